"""The layout of Cityscapes, which its own scripts read.

```
leftImg8bit/<split>/<city>/<city>_<place>_<number>_leftImg8bit.jpg
gtFine/<split>/<city>/<city>_<place>_<number>_gtFine_labelIds.png    and _labelTrainIds.png
static/<split>/<city>/<city>_<place>_<number>_static.png             1-bit static prior
images.csv                                       the image's own id, place, time, licence
```

The scripts take names apart at underscores and want a number of six digits for the sequence (here
the place) and for the frame (cityscapesscripts/helpers/csHelpers.py, getCsFileInfo).

Images stay the JPEGs they are: a PNG of a JPEG is four times as large and not a bit better. The
scripts read the labels alone.
"""

from __future__ import annotations

from pathlib import Path

from adapters.exports.base import ExportItem
from adapters.exports.files import write_bytes, write_sheet
from adapters.images import encode_label_png, encode_mask_png
from crosscity.labels import TRAIN_ID_TO_LABEL_ID, VOID

_UNLABELLED = 0
"""The labelId of pixels without a class (cityscapesscripts/helpers/labels.py)."""


class CityscapesExporter:
    """Writes images, label maps and priors under Cityscapes' names."""

    def __init__(self, folder: Path, city: str) -> None:
        self._folder, self._city = folder, city
        self._rows: list[dict[str, object]] = []
        self._places: dict[str, int] = {}

    def add(self, item: ExportItem) -> None:
        """Writes one image, its labels and its prior."""
        city = self._city.replace("_", "-")
        place = self._places.setdefault(item.place_id or item.image_id, len(self._places))
        stem = f"{item.split}/{city}/{city}_{place:06d}_{len(self._rows):06d}"
        write_bytes(self._folder / f"leftImg8bit/{stem}_leftImg8bit.jpg", item.jpeg)
        if item.labels is not None:
            ids = TRAIN_ID_TO_LABEL_ID[item.labels]
            ids[item.labels == VOID] = _UNLABELLED
            for kind, values in (("labelIds", ids), ("labelTrainIds", item.labels)):
                path = self._folder / f"gtFine/{stem}_gtFine_{kind}.png"
                write_bytes(path, encode_label_png(values))
        if item.static is not None:
            write_bytes(self._folder / f"static/{stem}_static.png", encode_mask_png(item.static))
        self._rows.append({"image": f"leftImg8bit/{stem}_leftImg8bit.jpg", **item.facts()})

    def finish(self) -> None:
        """Writes the table of images."""
        write_sheet(self._folder / "images.csv", self._rows)
