"""What every provider entry of the catalog offers, and what it gets to know of its city."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from adapters.catalog.areas import Polygon
from adapters.catalog.entry import Entry
from adapters.catalog.environment import resolve_environment, resolve_folder
from adapters.catalog.masks import Mask
from crosscity.lights import Lights

if TYPE_CHECKING:
    from adapters.street_view.base import StreetView


@dataclass(frozen=True)
class CitySite:
    """A city as its provider sees it: which captures are wanted, where and how large.

    Attributes:
        name: The city's name in the catalog.
        folder: The catalog's folder; relative paths of the catalog start there.
        bounds: (west, south, east, north) in WGS84 degrees, ``None`` where the city has no area.
        polygons: The area's polygons; empty where it is its bounds, or points.
        points: (longitude, latitude) that places must be near to; empty where none are given.
        point_metres: How near.
        places: How many places are wanted.
        seed: Fixes which.
        image_size: (height, width) of the views in pixels.
        min_days_apart: Least time between the two captures of a pair, days.
        max_metres_apart: Most distance between them, metres.
        times: Most captures of a place and view.
        lights: The light of one capture of a pair and that of the other; ``None`` for any.
    """

    name: str
    folder: Path
    bounds: tuple[float, float, float, float] | None
    polygons: tuple[Polygon, ...]
    points: tuple[tuple[float, float], ...]
    point_metres: float
    places: int
    seed: int
    image_size: tuple[int, int]
    min_days_apart: float
    max_metres_apart: float
    times: int = 2
    lights: Lights | None = None

    @property
    def key(self) -> str:
        """The dotted key of the provider's entry, for errors."""
        return f"cities.{self.name}.provider"

    def text(self, value: str, setting: str) -> str:
        """A setting's text with its `${NAME}` read from the environment."""
        return resolve_environment(value, key=f"{self.key}.{setting}")

    def path(self, value: str, setting: str) -> Path:
        """The folder or file that a setting names."""
        return resolve_folder(self.folder, value, key=f"{self.key}.{setting}")


class ProviderEntry(Entry):
    """Base of the provider entries.

    A kind of provider is one module of this package, and one line in its `__init__.py`. Modules
    import the provider itself where it is opened: the catalog is read without it.
    """

    kind: str
    mask: Mask | None = Field(
        default=None,
        description="pixels that show the provider and not the street: watermarks, bonnets, drawn "
        "text. They are never static and never matched",
    )
    needs_area: ClassVar[bool] = False
    """Whether a city of this kind is refused without an `area`."""
    samples_places: ClassVar[bool] = True
    """Whether it gives the city's number of places, and not all that there are."""
    has_own_sizes: ClassVar[bool] = False
    """Whether images come at sizes of their own, and not at the city's `image_size`."""
    without_light: ClassVar[str | None] = None
    """Why nothing tells whether its pictures are of the day or the night, where that is so."""
    test_margin: ClassVar[float] = 0.0
    """Default of `City.test_margin_metres`."""

    def open(self, site: CitySite) -> StreetView:
        """The provider of a city; nothing is asked of a service yet.

        Raises:
            StreetViewError: The settings do not allow it to run.
            CatalogError: A setting is wrong, or a key or token is not in the environment.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how it is opened")

    def identity(self) -> Mapping[str, Any]:
        """What, beside listing and revision, tells this provider's captures from another's."""
        return {}
