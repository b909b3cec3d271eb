"""Benchmarks write their results whole or not at all (`benchmarks/whole_files.py`)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
NO_RESULT = {
    "catalog",  # a catalog that is measured with, in a folder of its own
    "path",  # likewise
    "folder / 'cities' / f'city-{number}.yaml'",  # a part of one
    "note",  # of a process that lives
    "program",  # that is run
    "temporary",  # gets its name by a rename
    "unfinished",  # likewise
    "Path('/proc/self/autogroup')",  # the system's
    "Path('/proc/self/clear_refs')",
}


def written_in_place(text: str) -> Iterator[str]:
    """What of a script is written under the name that it is to have."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            written = ast.unparse(node.func.value)
            if node.func.attr == "write_text" and written not in NO_RESULT:
                yield f"line {node.lineno}: {written}"


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_results_are_written_whole(path: Path) -> None:
    assert list(written_in_place(path.read_text(encoding="utf-8"))) == []


def test_a_result_that_is_written_in_place_is_found() -> None:
    script = "(output / 'dusk.md').write_text(table)\nunfinished.write_text('')\n"
    assert list(written_in_place(script)) == ["line 1: output / 'dusk.md'"]
