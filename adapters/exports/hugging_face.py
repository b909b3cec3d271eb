"""A folder that `datasets.load_dataset("parquet", …)` reads with images decoded.

Rows hold the encoded images themselves; the features that make `datasets` decode them stand in the
Parquet schema's metadata, where it puts them itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from adapters.exports.base import ExportItem, class_table
from adapters.exports.files import write_bytes, write_json
from adapters.images import encode_label_png, encode_mask_png

_ROWS_A_FILE: Final = 200
_IMAGE: Final = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
_TEXTS: Final = ("image_id", "city", "place", "captured_at", "licence", "attribution", "page_url")
_NUMBERS: Final = ("lat", "lon", "heading")
_IMAGES: Final = ("image", "labels", "static_prior")


class HuggingFaceExporter:
    """Writes `data/<split>-00000.parquet` files as rows come, so memory stays bounded."""

    def __init__(self, folder: Path, city: str) -> None:
        self._folder, self._city = folder, city
        self._waiting: dict[str, list[dict[str, Any]]] = {}
        self._written: dict[str, int] = {}

    def add(self, item: ExportItem) -> None:
        """Notes one row; a full file is written."""
        labels = None if item.labels is None else encode_label_png(item.labels)
        static = None if item.static is None else encode_mask_png(item.static)
        rows = self._waiting.setdefault(item.split, [])
        rows.append(
            {
                "image": {"bytes": item.jpeg, "path": f"{item.image_id}.jpg"},
                "labels": _png_value(labels, item.image_id),
                "static_prior": _png_value(static, item.image_id),
                "city": self._city,
                **item.facts(),
            }
        )
        if len(rows) == _ROWS_A_FILE:
            self._write(item.split)

    def finish(self) -> None:
        """Writes the last rows and the classes."""
        for split in [split for split, rows in self._waiting.items() if rows]:
            self._write(split)
        write_json(self._folder / "classes.json", class_table())

    def _write(self, split: str) -> None:
        number = self._written.get(split, 0)
        table = pa.Table.from_pylist(self._waiting[split], schema=_schema())
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        name = f"{split}-{number:05d}.parquet"
        write_bytes(self._folder / "data" / name, sink.getvalue().to_pybytes())
        self._written[split], self._waiting[split] = number + 1, []


def _png_value(data: bytes | None, name: str) -> dict[str, Any] | None:
    return None if data is None else {"bytes": data, "path": f"{name}.png"}


def _schema() -> pa.Schema:
    features = {
        **{name: {"_type": "Image"} for name in _IMAGES},
        **{name: {"dtype": "string", "_type": "Value"} for name in _TEXTS},
        **{name: {"dtype": "float64", "_type": "Value"} for name in _NUMBERS},
    }
    return pa.schema(
        [
            *(pa.field(name, _IMAGE) for name in _IMAGES),
            *(pa.field(name, pa.string()) for name in _TEXTS),
            *(pa.field(name, pa.float64()) for name in _NUMBERS),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
