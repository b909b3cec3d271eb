"""Telling a device that is missing or has failed from work that was wrong, by what torch raises."""

from __future__ import annotations

import re
import sys
from typing import Final

PROCESSOR: Final = "cpu"
"""As torch names it."""

_OF_A_DEVICE: Final = re.compile(
    r"\b(CUDA|HIP|XPU|NVML|Triton) (driver )?(error|Error)|\bTriton Error \[CUDA\]|\bNCCL error"
    r"|\bcuDNN error|\bCU(BLAS|DNN|SOLVER|SPARSE|FFT)_STATUS_|\bNo CUDA GPUs are available"
    r"|\bNo HIP GPUs are available|\bFound no NVIDIA driver|\bNVML_SUCCESS"
)
"""How c10, cuBLAS, cuDNN, NCCL and Triton begin: the first is a torch.AcceleratorError
(c10/cuda/CUDAException.cpp), the others are plain RuntimeErrors."""

_OF_THE_WORK: Final = re.compile(
    r"device-side assert|invalid argument|invalid configuration|no kernel image|invalid device"
    r"|invalid resource handle|misaligned address|_STATUS_(INVALID_VALUE|BAD_PARAM|NOT_SUPPORTED)"
)
"""Errors of cudaGetErrorString that the same work would meet again on a device that is well."""

_LONGEST: Final = 160


def why_unusable(device: str) -> str | None:
    """In a line, why torch cannot use a device; ``None`` where it can, if with little memory left.

    Args:
        device: As torch names it; whatever else is one that cannot be used.
    """
    if device == PROCESSOR:
        return None
    import torch  # noqa: PLC0415 - large; who matches on the processor need not load it

    try:
        torch.zeros(1, device=torch.device(device)).item()  # "meta" computes nothing
    except torch.OutOfMemoryError:
        return None
    except (RuntimeError, AssertionError) as error:
        return first_line(error)
    return None


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether a device has less memory than was asked of it (`torch.OutOfMemoryError`)."""
    torch = sys.modules.get("torch")  # what was never loaded has raised nothing
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def is_device_error(error: BaseException) -> bool:
    """Whether a device, its driver or its libraries report an error, whosever fault it was.

    After most of them nothing of the process runs on that device any more. A lack of memory
    (`torch.OutOfMemoryError`) is none of them.
    """
    import torch  # noqa: PLC0415 - as above

    if isinstance(error, torch.OutOfMemoryError) or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, torch.AcceleratorError) or bool(_OF_A_DEVICE.search(str(error)))


def has_failed(error: BaseException) -> bool:
    """Whether it is the device that failed, so that the same work may succeed later."""
    return is_device_error(error) and not _OF_THE_WORK.search(str(error))


def first_line(error: BaseException) -> str:
    """What torch says, without its advice on debugging."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:_LONGEST]
