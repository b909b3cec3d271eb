"""Tensors in files that whoever may read the folder may read too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from stat import S_IMODE

from safetensors.torch import save_file
from torch import Tensor


def write_tensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a safetensors file with the permissions that any new file has here.

    safetensors leaves a file that its owner alone can read: weights of a shared store, or of a
    folder that is handed on, would be there for nobody else.

    Args:
        tensors: By name, each in memory of its own.
        path: Of the file, which is replaced.
        metadata: Words for its header.
    """
    path.touch()
    mode = S_IMODE(path.stat().st_mode)
    save_file(dict(tensors), path, metadata=None if metadata is None else dict(metadata))
    path.chmod(mode)
