"""Every format by name: a new one is a file beside these and a line here."""

from __future__ import annotations

from typing import Final

from adapters.exports.base import Exporter, ExportError
from adapters.exports.cityscapes import CityscapesExporter
from adapters.exports.coco import CocoExporter
from adapters.exports.cvat import CvatExporter
from adapters.exports.fiftyone import FiftyOneExporter
from adapters.exports.geoparquet import GeoParquetExporter
from adapters.exports.hugging_face import HuggingFaceExporter
from adapters.exports.stac import StacExporter

FORMATS: Final[dict[str, type[Exporter]]] = {
    "cityscapes": CityscapesExporter,
    "coco": CocoExporter,
    "cvat": CvatExporter,
    "fiftyone": FiftyOneExporter,
    "geoparquet": GeoParquetExporter,
    "hf-dataset": HuggingFaceExporter,
    "stac": StacExporter,
}


def exporter(name: str) -> type[Exporter]:
    """The exporter of that name.

    Raises:
        ExportError: There is none.
    """
    if name not in FORMATS:
        raise ExportError(f"there is no format {name!r}; there are {', '.join(FORMATS)}")
    return FORMATS[name]
