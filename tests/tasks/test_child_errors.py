"""An error of a child process arrives in the parent as what it was."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from adapters.store import StoreError
from tasks.steps.errors import InputError, TooManyFailures
from tasks.training.child_errors import errors_kept, kept_error


class OddError(InputError):
    """Its arguments are not what it is made of, so it cannot be read back."""

    __module__ = "tasks.odd"

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def raised_in(folder: Path, error: Exception) -> None:
    with pytest.raises(type(error)), errors_kept(folder):
        raise error


@pytest.mark.parametrize(
    "error",
    [InputError("no\nsuch InputError: file"), StoreError("damaged"), TooManyFailures("9 of 9")],
)
def test_errors_of_the_program_arrive_whole(tmp_path: Path, error: Exception) -> None:
    raised_in(tmp_path, error)
    found = kept_error(tmp_path)
    assert type(found) is type(error)
    assert str(found) == str(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("InputError: made up"), OddError(1, 2), KeyError("x")]
)
def test_other_errors_stay_the_traceback(tmp_path: Path, error: Exception) -> None:
    raised_in(tmp_path, error)
    assert kept_error(tmp_path) is None


def test_a_file_cut_short_is_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "1.error").write_bytes(pickle.dumps(InputError("x"))[:-3])
    assert kept_error(tmp_path) is None


def test_no_error_leaves_nothing(tmp_path: Path) -> None:
    with errors_kept(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
