"""A static STAC 1.1 catalog: one collection, one item an image, assets beside it.

Written by `pystac`, which knows the specification. Items without a position have no geometry, as
the specification allows; the moment is null with a range where it is unknown.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from adapters.exports.base import ExportItem, class_table, needed
from adapters.exports.files import write_bytes, write_json
from adapters.images import encode_label_png, encode_mask_png
from crosscity.areas import geojson_bbox

_IDENTIFIERS: Final = {
    identifier.casefold(): identifier
    for identifier in (
        *(f"CC-BY{more}-{n}.0" for n in (2, 3, 4) for more in ("", "-SA", "-ND", "-NC", "-NC-SA")),
        *("CC-BY-2.5", "CC-BY-SA-2.5", "CC0-1.0", "ODbL-1.0", "ODC-By-1.0", "PDDL-1.0"),
        *("etalab-2.0", "OGL-UK-3.0", "Apache-2.0", "MIT"),
    )
}
"""Of the licences that images are under (https://spdx.org/licenses/), by lower case."""
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class StacExporter:
    """Writes the files of the items as they come, and the JSON documents at the end."""

    def __init__(self, folder: Path, city: str) -> None:
        # An asset's address is made relative to its item's, which pystac makes absolute.
        self._folder, self._city = folder.absolute(), city
        self._stac: Any = needed("pystac", "pystac")
        self._items: list[Any] = []
        self._licences: set[str] = set()

    def add(self, item: ExportItem) -> None:
        """Writes the assets of one image and notes its item."""
        place = self._folder / "items" / item.image_id
        files = {"image": (f"{item.image_id}.jpg", item.jpeg, "image/jpeg")}
        if item.labels is not None:
            files["labels"] = ("labels.png", encode_label_png(item.labels), "image/png")
        if item.static is not None:
            files["static_prior"] = ("static.png", encode_mask_png(item.static), "image/png")
        known = item.lat is not None and item.lon is not None
        moment = item.captured_at
        properties: dict[str, Any] = {
            "license": _spdx(item.licence),
            "crosscity:licence": item.licence,
            "crosscity:attribution": item.attribution,
            "crosscity:split": item.split,
        }
        if item.heading is not None:
            properties["view:azimuth"] = item.heading % 360
        if moment is None:
            properties["start_datetime"] = _LONG_AGO.isoformat()
            properties["end_datetime"] = datetime.now(UTC).isoformat()
        made = self._stac.Item(
            id=item.image_id,
            geometry={"type": "Point", "coordinates": [item.lon, item.lat]} if known else None,
            bbox=[item.lon, item.lat, item.lon, item.lat] if known else None,
            datetime=moment,
            properties=properties,
        )
        for role, (name, data, kind) in files.items():
            write_bytes(place / name, data)
            asset = self._stac.Asset(href=str(place / name), media_type=kind, roles=[_role(role)])
            made.add_asset(role, asset)
        self._licences.add(item.licence)
        self._items.append(made)

    def finish(self) -> None:
        """Writes `collection.json` and the items, with links relative to each other."""
        stac = self._stac
        located = [item.geometry["coordinates"] for item in self._items if item.geometry]
        moments = [item.datetime for item in self._items if item.datetime]
        box = geojson_bbox(located) if located else [-180.0, -90.0, 180.0, 90.0]
        interval = [min(moments), max(moments)] if moments else [_LONG_AGO, None]
        only = next(iter(self._licences)) if len(self._licences) == 1 else ""
        collection = stac.Collection(
            id=self._city,
            description=f"Street views of {self._city}: images, predictions and static priors",
            extent=stac.Extent(stac.SpatialExtent([box]), stac.TemporalExtent([interval])),
            license=_spdx(only),
        )
        for item in self._items:
            item.set_self_href(str(self._folder / "items" / item.id / f"{item.id}.json"))
        collection.set_self_href(str(self._folder / "collection.json"))
        collection.add_items(self._items)
        for item in self._items:
            item.set_self_href(str(self._folder / "items" / item.id / f"{item.id}.json"))
            item.make_asset_hrefs_relative()
        collection.save(catalog_type=stac.CatalogType.SELF_CONTAINED)
        write_json(self._folder / "classes.json", class_table())


def _role(name: str) -> str:
    return "data" if name == "image" else "labels"


def _spdx(licence: str) -> str:
    """What STAC's `license` field may hold: an SPDX identifier as SPDX writes it, or "other"."""
    return _IDENTIFIERS.get("-".join(licence.casefold().split()), "other")
