"""GeoParquet 1.1: one row an image, a point where it was taken, and the share of every class.

Geometries are WKB points in OGC:CRS84 (longitude, latitude), as the specification's default says
(https://geoparquet.org/releases/v1.1.0/). GIS programs open the file as a layer.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adapters.exports.base import ExportItem
from adapters.exports.files import write_bytes
from crosscity.areas import geojson_bbox
from crosscity.labels import CLASSES

_POINT: Final = 1
_SHARES: Final = tuple(f"share_{each.name.replace(' ', '_')}" for each in CLASSES)
_SCHEMA: Final = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("geometry", pa.binary()),
        pa.field("city", pa.string()),
        pa.field("place", pa.string()),
        pa.field("heading", pa.float64()),
        pa.field("captured_at", pa.timestamp("ms", tz="UTC")),
        pa.field("split", pa.string()),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("attribution", pa.string(), nullable=False),
        pa.field("page_url", pa.string()),
        pa.field("static_share", pa.float64()),
        *(pa.field(name, pa.float64()) for name in _SHARES),
    ]
)


class GeoParquetExporter:
    """Collects rows; the images lie beside the table."""

    def __init__(self, folder: Path, city: str) -> None:
        self._folder, self._city = folder, city
        self._rows: list[dict[str, Any]] = []

    def add(self, item: ExportItem) -> None:
        """Writes one image and notes its row."""
        file = f"images/{item.image_id}.jpg"
        write_bytes(self._folder / file, item.jpeg)
        row = dict.fromkeys(_SCHEMA.names)
        known = item.lat is not None and item.lon is not None
        facts = item.facts() | {"captured_at": item.captured_at}
        row |= {name: value for name, value in facts.items() if name in row}
        row |= {
            "image": item.image_id,
            "file": file,
            "geometry": struct.pack("<BIdd", 1, _POINT, item.lon, item.lat) if known else None,
            "city": self._city,
            "static_share": None if item.static is None else float(item.static.mean()),
        }
        if item.labels is not None:
            counts = np.bincount(item.labels.ravel(), minlength=256)[: len(CLASSES)]
            row |= dict(zip(_SHARES, (counts / item.labels.size).tolist(), strict=True))
        self._rows.append(row)

    def finish(self) -> None:
        """Writes `images.parquet`."""
        column: dict[str, Any] = {"encoding": "WKB", "geometry_types": ["Point"]}
        located = [row["geometry"] for row in self._rows if row["geometry"] is not None]
        if located:
            column["bbox"] = geojson_bbox([struct.unpack("<BIdd", each)[2:] for each in located])
        meta = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
        schema = _SCHEMA.with_metadata({"geo": json.dumps(meta)})
        table = pa.Table.from_pylist(self._rows, schema=schema)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        write_bytes(self._folder / "images.parquet", sink.getvalue().to_pybytes())
