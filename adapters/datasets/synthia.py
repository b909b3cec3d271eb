"""SYNTHIA-RAND-CITYSCAPES.

Ros et al.: *The SYNTHIA Dataset: A Large Collection of Synthetic Images for Semantic Segmentation
of Urban Scenes*, CVPR 2016. For non-commercial use (CC BY-NC-SA 3.0).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.datasets.base import DatasetError
from adapters.datasets.files import FileDataset, by_name, paired
from adapters.datasets.label_maps import LabelMap, train_id
from adapters.images import MAX_BYTES
from adapters.label_png import decode_first_channel

_CLASSES: Final = (
    *("void", "sky", "building", "road", "sidewalk", "fence", "vegetation", "pole", "car"),
    *("traffic sign", "person", "bicycle", "motorcycle", "void", "void", "traffic light"),
    *("terrain", "rider", "truck", "bus", "train", "wall", "void"),
)
"""Our class of each of its class ids, 0 to 22. Parking slots (13), road works (14) and lane marks
(22) are void, as in the 16 classes that papers compare on."""

_LABELS: Final = LabelMap(
    f"SYNTHIA class id (0 to {len(_CLASSES) - 1})",
    {index: train_id(name) for index, name in enumerate(_CLASSES)},
)


class SynthiaDataset(FileDataset):
    """9400 rendered images of 760×1280 pixels: ``RGB/<n>.png`` with ``GT/LABELS/<n>.png``.

    Labels are 16-bit PNGs whose first channel is the class id and whose second numbers the
    instances. The set has no splits: "train" is all of it but `val` images, spread evenly.
    """

    name = "synthia"

    def __init__(self, root: Path | str, *, val: int = 0, max_bytes: int = MAX_BYTES) -> None:
        """Lists the files.

        Args:
            root: The folder that holds ``RGB`` and ``GT``.
            val: Images that are held out as "val".
            max_bytes: Largest file that is read.

        Raises:
            DatasetError: The folder or its labels are not there, or `val` is out of range.
        """
        super().__init__(root, max_bytes=max_bytes)
        folders = self._root / "RGB", self._root / "GT" / "LABELS"
        images, labels = (
            by_name(folder.iterdir(), folder) if folder.is_dir() else {} for folder in folders
        )
        label_of, image_of = f"{folders[1]}/{{sample}}.png", f"{folders[0]}/{{sample}}.png"
        files = paired(images, labels, label_of, image_of)
        if not 0 <= val < max(1, len(files)):
            raise DatasetError(f"{self._root} has {len(files)} images; val cannot be {val}.")
        names = list(files)
        held_out = {names[place * len(names) // val] for place in range(val)} if val else set()
        self._add_split("train", {name: files[name] for name in names if name not in held_out})
        if val:
            self._add_split("val", {name: files[name] for name in names if name in held_out})
        self._require_labels("GT/LABELS/*.png")

    def _train_ids(self, data: bytes, path: Path) -> npt.NDArray[np.uint8]:
        return _LABELS.apply(decode_first_channel(data, str(path)), str(path))
