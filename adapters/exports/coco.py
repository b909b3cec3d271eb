"""COCO: `images/` and `annotations.json` with one run-length coded mask a class and image.

The masks are COCO "stuff" annotations (https://cocodataset.org/#format-data): one object a class,
`iscrowd` 1 as compressed RLE asks for. Categories have Cityscapes' labelIds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from adapters.exports.base import ExportItem, needed
from adapters.exports.files import write_bytes, write_json
from crosscity.labels import CLASSES


class CocoExporter:
    """Writes images as they come and the annotations at the end."""

    def __init__(self, folder: Path, city: str) -> None:
        self._folder, self._city = folder, city
        self._masks = needed("pycocotools.mask", "pycocotools")
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._licences: dict[str, int] = {}

    def add(self, item: ExportItem) -> None:
        """Writes one image and notes the masks of its classes."""
        name = f"{item.image_id}.jpg"
        write_bytes(self._folder / "images" / name, item.jpeg)
        number = len(self._images) + 1
        self._images.append(
            {
                "id": number,
                "file_name": name,
                "height": item.size[0],
                "width": item.size[1],
                "license": self._licences.setdefault(item.licence, len(self._licences) + 1),
                "date_captured": item.captured_at.isoformat() if item.captured_at else "",
                "coco_url": item.page_url or "",
                "attribution": item.attribution,
                "split": item.split,
                "lat": item.lat,
                "lon": item.lon,
            }
        )
        if item.labels is None:
            return
        for road_class in CLASSES:
            mask = item.labels == road_class.train_id
            if not mask.any():
                continue
            coded = self._masks.encode(np.asfortranarray(mask.astype(np.uint8)))
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": number,
                    "category_id": road_class.label_id,
                    "segmentation": {
                        "size": [int(side) for side in coded["size"]],
                        "counts": coded["counts"].decode("ascii"),
                    },
                    "area": int(mask.sum()),
                    "bbox": [float(side) for side in self._masks.toBbox(coded)],
                    "iscrowd": 1,
                }
            )

    def finish(self) -> None:
        """Writes `annotations.json`."""
        categories = [
            {
                "id": each.label_id,
                "name": each.name,
                "supercategory": "static" if each.static else "moving",
            }
            for each in CLASSES
        ]
        write_json(
            self._folder / "annotations.json",
            {
                "info": {"description": f"Street views of {self._city}"},
                "licenses": [
                    {"id": number, "name": name, "url": ""}
                    for name, number in self._licences.items()
                ],
                "categories": categories,
                "images": self._images,
                "annotations": self._annotations,
            },
        )
