"""Pictures in artifacts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adapters.images import decode_image, encode_png
from adapters.store import ArtifactRef, Draft, Store


def write_png(draft: Draft, name: str, picture: npt.NDArray[np.uint8]) -> None:
    """Writes a (H, W, 3) uint8 RGB picture into an artifact."""
    (draft.path / name).write_bytes(encode_png(picture))


def read_picture(store: Store, ref: ArtifactRef, name: str) -> npt.NDArray[np.uint8]:
    """Reads a picture of an artifact as (H, W, 3) uint8 RGB."""
    return decode_image(store.path(ref, name).read_bytes(), name)
