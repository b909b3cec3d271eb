"""CVAT for images 1.1: `images/` and `annotations.xml`, to be corrected by hand and brought back.

CVAT has no place for the terms of an image: they stand in `images.csv`, with its place and time.

Masks are run-length coded inside their bounding box, row by row, and begin with the background
(https://docs.cvat.ai/docs/other/xml_format/, "Run-length encoding").
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt

from adapters.exports.base import ExportItem
from adapters.exports.files import write_bytes, write_sheet
from crosscity.labels import CLASSES


class CvatExporter:
    """Writes images as they come and the annotations at the end."""

    def __init__(self, folder: Path, city: str) -> None:
        self._folder, self._city = folder, city
        self._images: list[ET.Element] = []
        self._rows: list[dict[str, object]] = []

    def add(self, item: ExportItem) -> None:
        """Writes one image and notes a mask for each class in it."""
        name = f"{item.image_id}.jpg"
        write_bytes(self._folder / "images" / name, item.jpeg)
        height, width = item.size
        image = ET.Element(
            "image",
            id=str(len(self._images)),
            name=name,
            subset=item.split,
            width=str(width),
            height=str(height),
        )
        if item.labels is not None:
            for order, road_class in enumerate(CLASSES):
                mask = item.labels == road_class.train_id
                if mask.any():
                    attributes = {"label": road_class.name, "source": "auto", "occluded": "0"}
                    ET.SubElement(
                        image, "mask", attributes | run_lengths(mask) | {"z_order": str(order)}
                    )
        self._images.append(image)
        self._rows.append({"image": f"images/{name}", **item.facts()})

    def finish(self) -> None:
        """Writes `annotations.xml` and `images.csv`."""
        root = ET.Element("annotations")
        ET.SubElement(root, "version").text = "1.1"
        task = ET.SubElement(ET.SubElement(root, "meta"), "task")
        for name, value in (
            ("name", self._city),
            ("size", str(len(self._images))),
            ("mode", "annotation"),
        ):
            ET.SubElement(task, name).text = value
        labels = ET.SubElement(task, "labels")
        for road_class in CLASSES:
            label = ET.SubElement(labels, "label")
            ET.SubElement(label, "name").text = road_class.name
            ET.SubElement(label, "color").text = "#{:02x}{:02x}{:02x}".format(*road_class.colour)
            ET.SubElement(label, "type").text = "mask"
            ET.SubElement(label, "attributes")
        root.extend(self._images)
        ET.indent(root)
        data = ET.tostring(root, encoding="utf-8", xml_declaration=True)
        write_bytes(self._folder / "annotations.xml", data + b"\n")
        write_sheet(self._folder / "images.csv", self._rows)


def run_lengths(mask: npt.NDArray[np.bool_]) -> dict[str, str]:
    """`rle`, `left`, `top`, `width` and `height` of a (H, W) mask that has a pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    inside = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    flat = inside.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], changes, [flat.size]])
    lengths = np.diff(bounds).tolist()
    if flat[0]:
        lengths = [0, *lengths]  # the first run is of the background
    return {
        "rle": ", ".join(map(str, lengths)),
        "left": str(left),
        "top": str(top),
        "width": str(inside.shape[1]),
        "height": str(inside.shape[0]),
    }
