"""Providers of the user's own package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field

from adapters.catalog.errors import CatalogError
from adapters.catalog.plug_in import FunctionName, call_plug_in, lacks
from adapters.catalog.providers.base import CitySite, ProviderEntry

if TYPE_CHECKING:
    from adapters.street_view.base import StreetView

_METHODS = ("captures", "near", "within", "fetch", "revision")


class PluggedProvider(ProviderEntry):
    """A provider of the user's own: `python: my_package.my_module:build` (docs/extending.md).

    The function is called with a `CitySite` and the options, and returns a
    `adapters.street_view.base.StreetView`.
    """

    kind: Literal["python"] = "python"
    python: FunctionName
    options: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of the function; secrets as ${NAME}"
    )

    def open(self, site: CitySite) -> StreetView:
        """What the user's function returns, checked wherever it answers."""
        from adapters.street_view.checked import CheckedStreetView  # noqa: PLC0415

        made = call_plug_in(self.python, self.options, site, key=site.key)
        missing = lacks(made, _METHODS)
        if missing:
            raise CatalogError(
                f"{site.key}: {self.python} returned {type(made).__name__}, which has no "
                f"{', '.join(missing)}: it must return a provider as "
                "adapters.street_view.base.StreetView describes it"
            )
        return CheckedStreetView(cast("StreetView", made), self.python)

    def identity(self) -> Mapping[str, Any]:
        """The function and its options."""
        return {"python": self.python, "options": self.options}
