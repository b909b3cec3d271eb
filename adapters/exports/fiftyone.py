"""FiftyOne's `ImageSegmentationDirectory`: `data/` and `labels/` with one PNG an image.

```python
import fiftyone as fo, json

dataset = fo.Dataset.from_dir("out", dataset_type=fo.types.ImageSegmentationDirectory)
targets = json.load(open("out/mask_targets.json"))
dataset.default_mask_targets = {int(value): name for value, name in targets.items()}
```

FiftyOne takes 0 for "no label", so the maps hold Cityscapes' labelIds, which begin at 7. Layout:
https://docs.voxel51.com/user_guide/import_datasets.html (ImageSegmentationDirectory).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from adapters.exports.base import ExportItem
from adapters.exports.files import write_bytes, write_json
from adapters.images import encode_label_png
from crosscity.labels import CLASSES, TRAIN_ID_TO_LABEL_ID, VOID

_FACTS: Final = ("split", "lat", "lon", "licence", "attribution")


class FiftyOneExporter:
    """Writes images and maps of one name, and what each value means."""

    def __init__(self, folder: Path, city: str) -> None:
        self._folder, self._city = folder, city
        self._rows: list[dict[str, object]] = []

    def add(self, item: ExportItem) -> None:
        """Writes one image and its labels."""
        write_bytes(self._folder / "data" / f"{item.image_id}.jpg", item.jpeg)
        if item.labels is not None:
            ids = TRAIN_ID_TO_LABEL_ID[item.labels]
            ids[item.labels == VOID] = 0
            write_bytes(self._folder / "labels" / f"{item.image_id}.png", encode_label_png(ids))
        facts = item.facts()
        row = {"image": item.image_id, "city": self._city}
        self._rows.append(row | {name: facts[name] for name in _FACTS})

    def finish(self) -> None:
        """Writes the meaning of the values, and the terms of every image."""
        targets = {str(each.label_id): each.name for each in CLASSES}
        write_json(self._folder / "mask_targets.json", targets)
        write_json(self._folder / "images.json", self._rows)
