"""CamVid, in the layout of 11 classes and in its own of 32 colours.

Brostow, Fauqueur, Cipolla: *Semantic object classes in video: A high-definition ground truth
database*, PRL 2009; Brostow et al., ECCV 2008. The copy of 11 classes comes with SegNet
(Badrinarayanan et al., PAMI 2017) and states CC BY-NC 4.0. For research.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.datasets.base import DatasetError
from adapters.datasets.files import FileDataset, Files, by_name, paired
from adapters.datasets.label_maps import ColourMap, LabelMap, train_id
from adapters.images import MAX_BYTES

SPLITS: Final = ("train", "val", "test")
_ELEVEN: Final = (
    *("sky", "building", "pole", "road", "sidewalk", "vegetation", "traffic sign", "fence", "car"),
    *("person", "rider", "void"),
)
"""Our class of each of the values 0 to 11. A "bicyclist" is a rider with the bicycle, a "car" any
vehicle, a "sign" also a light: the protocol `camvid11` scores them so."""

_ELEVEN_MAP: Final = LabelMap(
    "CamVid class of the layout of 11 classes (0 to 11)",
    {value: train_id(name) for value, name in enumerate(_ELEVEN)},
)

_COLOURS: Final = {
    (64, 128, 64): "void",  # Animal
    (192, 0, 128): "building",  # Archway
    (0, 128, 192): "rider",  # Bicyclist
    (0, 128, 64): "void",  # Bridge
    (128, 0, 0): "building",  # Building
    (64, 0, 128): "car",  # Car
    (64, 0, 192): "void",  # CartLuggagePram
    (192, 128, 64): "person",  # Child
    (192, 192, 128): "pole",  # Column_Pole
    (64, 64, 128): "fence",  # Fence
    (128, 0, 192): "road",  # LaneMkgsDriv
    (192, 0, 64): "road",  # LaneMkgsNonDriv
    (128, 128, 64): "void",  # Misc_Text
    (192, 0, 192): "motorcycle",  # MotorcycleScooter
    (128, 64, 64): "void",  # OtherMoving
    (64, 192, 128): "void",  # ParkingBlock
    (64, 64, 0): "person",  # Pedestrian
    (128, 64, 128): "road",  # Road
    (128, 128, 192): "void",  # RoadShoulder
    (0, 0, 192): "sidewalk",  # Sidewalk
    (192, 128, 128): "traffic sign",  # SignSymbol
    (128, 128, 128): "sky",  # Sky
    (64, 128, 192): "car",  # SUVPickupTruck
    (0, 0, 64): "void",  # TrafficCone
    (0, 64, 64): "traffic light",  # TrafficLight
    (192, 64, 128): "train",  # Train
    (128, 128, 0): "vegetation",  # Tree
    (192, 128, 192): "truck",  # Truck_Bus
    (64, 0, 64): "void",  # Tunnel
    (192, 192, 0): "vegetation",  # VegetationMisc
    (0, 0, 0): "void",  # Void
    (64, 192, 0): "wall",  # Wall
}
"""Our class of each of the 32 colours of its `label_colors.txt`. Void is what the 19 classes of
Cityscapes have no place for."""

_COLOUR_MAP: Final = ColourMap(
    "colour of CamVid's 32 classes",
    {colour: train_id(name) for colour, name in _COLOURS.items()},
)
_FRAME: Final = re.compile(r"(?P<sequence>[A-Za-z0-9]+)_f?(?P<frame>[0-9]+)(?:_L)?")
_VALIDATION_FRAMES: Final = range(7959, 8160)
"""Of 0016E5, and half of 0001TP: how SegNet divides the 701 frames, which later papers follow."""
_LAST_TRAINING_FRAME_OF_DUSK: Final = 8520


class CamVidDataset(FileDataset):
    """701 labelled frames of four drives in Cambridge; `0001TP` is at dusk, the others by day.

    Three layouts are known by their folders:

    - 11 classes: ``{train,val,test}/<frame>.*`` with ``{train,val,test}annot/<frame>.png``.
    - the original: ``701_StillsRaw_full/<frame>.png`` with ``LabeledApproved_full/<frame>_L.png``
      in 32 colours. It has no splits; they are SegNet's, by sequence and frame number.
    - Kaggle's: ``{train,val,test}/<frame>.png`` with ``{…}_labels/<frame>_L.png`` in 32 colours.
    """

    name = "camvid"

    def __init__(
        self,
        root: Path | str,
        *,
        sequences: Sequence[str] | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Lists the frames.

        Args:
            root: The folder that holds one of the layouts.
            sequences: Take only frames of these drives (0001TP, 0006R0, 0016E5, Seq05VD).
            max_bytes: Largest file that is read.

        Raises:
            DatasetError: The folder holds none of them, or no frame of a sequence.
        """
        super().__init__(root, max_bytes=max_bytes)
        original = (self._root / "LabeledApproved_full").is_dir()
        divided = (self._root / "train_labels").is_dir()
        self._colours = original or divided
        layout = self._eleven_class_layout
        if original or divided:
            layout = self._original_layout if original else self._divided_layout
        splits = layout()
        found = {_sequence(name) for files in splits.values() for name in files}
        for wanted in sequences or ():
            if wanted not in found:
                known = ", ".join(sorted(found)) or "none"
                raise DatasetError(f"{self._root} has no sequence {wanted!r}; it has {known}.")
        for split, files in splits.items():
            taken = {n: f for n, f in files.items() if not sequences or _sequence(n) in sequences}
            self._add_split(split, taken)
        if not self._files:
            raise DatasetError(
                f"{self._root} holds no CamVid: train/ with trainannot/ or train_labels/, or "
                "701_StillsRaw_full/ with LabeledApproved_full/."
            )
        self._require_labels("of its frames")

    def _eleven_class_layout(self) -> dict[str, dict[str, Files]]:
        return {
            split: paired(
                _by_stem(self._root / split),
                _by_stem(self._root / f"{split}annot"),
                f"{self._root / f'{split}annot'}/{{sample}}.png",
                f"{self._root / split}/{{sample}}.png",
            )
            for split in SPLITS
        }

    def _divided_layout(self) -> dict[str, dict[str, Files]]:
        splits = {}
        for split in SPLITS:
            images, labels = self._root / split, self._root / f"{split}_labels"
            splits[split] = paired(
                _by_stem(images),
                _by_stem(labels, "_L"),
                f"{labels}/{{sample}}_L.png",
                f"{images}/{{sample}}.png",
            )
        return splits

    def _original_layout(self) -> dict[str, dict[str, Files]]:
        images, labels = self._root / "701_StillsRaw_full", self._root / "LabeledApproved_full"
        files = paired(
            _by_stem(images),
            _by_stem(labels, "_L"),
            f"{labels}/{{sample}}_L.png",
            f"{images}/{{sample}}.png",
        )
        splits: dict[str, dict[str, Files]] = {split: {} for split in SPLITS}
        for name, found in files.items():
            splits[_split(name)][name] = found
        return splits

    def _train_ids(self, data: bytes, path: Path) -> npt.NDArray[np.uint8]:
        if self._colours:
            return _COLOUR_MAP.apply_colours(self._label_colours(data, path), str(path))
        return _ELEVEN_MAP.apply(self._values(data, path), str(path))


def _by_stem(folder: Path, ending: str | None = None) -> dict[str, Path]:
    return by_name(folder.iterdir(), folder, ending) if folder.is_dir() else {}


def _sequence(name: str) -> str:
    match = _FRAME.fullmatch(name)
    return match["sequence"] if match else ""


def _split(name: str) -> str:
    match = _FRAME.fullmatch(name)
    if match is None or match["sequence"] == "Seq05VD":
        return "test" if match else "train"
    frame = int(match["frame"])
    if match["sequence"] == "0001TP":
        return "train" if frame <= _LAST_TRAINING_FRAME_OF_DUSK else "test"
    is_validation = match["sequence"] == "0016E5" and frame in _VALIDATION_FRAMES
    return "val" if is_validation else "train"
