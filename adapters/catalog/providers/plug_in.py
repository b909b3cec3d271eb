"""Providers of the user's own package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field

from adapters.catalog.plug_in import FunctionName, build_plug_in
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

        made = build_plug_in(
            self.python,
            self.options,
            site,
            key=site.key,
            noun="provider",
            protocol="adapters.street_view.base.StreetView",
            methods=_METHODS,
        )
        return CheckedStreetView(cast("StreetView", made), self.python)

    def identity(self) -> Mapping[str, Any]:
        """The function and its options."""
        return {"python": self.python, "options": self.options}
