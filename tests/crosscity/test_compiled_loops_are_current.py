"""Compiled code on disk is of what the files say now, also in files that a loop only calls."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import crosscity

ROOT = Path(crosscity.__file__).parent

FILES = {
    "__init__.py": "",
    "constants.py": "STEP = 1\n",
    "below.py": """
from crosscity.compiled_loops import compiled_loop
from loops.constants import STEP

@compiled_loop()
def below(x):
    return x + STEP
""",
    "above.py": """
from crosscity.compiled_loops import compiled_loop
from loops.below import below

@compiled_loop()
def above(x):
    return 10 * below(x)
""",
}
PROGRAM = """
from crosscity.compiling import notice_of_compiling
from loops.above import above
with notice_of_compiling(lambda _: None) as compiled:
    print(above(1), len(compiled) > 0)
"""


def said(folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT.parent))),
             "NUMBA_CACHE_DIR": str(folder / "kept"), **environment},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "loops").mkdir()
    for name, text in FILES.items():
        (tmp_path / "loops" / name).write_text(text)
    return tmp_path


def test_a_loop_is_compiled_anew_when_what_it_calls_has_changed(folder: Path) -> None:
    assert said(folder) == "20 True"
    assert said(folder) == "20 False"
    (folder / "loops" / "constants.py").write_text("STEP = 2\n")
    assert said(folder) == "30 True"
    below = folder / "loops" / "below.py"
    below.write_text(below.read_text().replace("x + STEP", "x - STEP"))
    assert said(folder) == "-10 True"
    (folder / "loops" / "beside.py").write_text("NOTHING = 0\n")
    assert said(folder) == "-10 False"


def test_loops_of_a_zipped_package_are_kept_likewise(folder: Path) -> None:
    for step in (1, 2):
        (folder / "loops" / "constants.py").write_text(f"STEP = {step}\n")
        whole = shutil.make_archive(str(folder / "whole"), "zip", folder, "loops")
        for anew in (True, False):
            kept = {"XDG_CACHE_HOME": str(folder), "NUMBA_CACHE_DIR": ""}
            assert said(Path(whole), **kept) == f"{10 + 10 * step} {anew}"


@pytest.mark.skipif(
    not hasattr(numba.config, "CACHE_LOCATOR_CLASSES"), reason="this Numba finds a place always"
)
def test_where_nothing_can_be_kept_loops_run_all_the_same(folder: Path) -> None:
    nowhere = {"NUMBA_CACHE_LOCATOR_CLASSES": "ZipCacheLocator"}  # finds no place for plain files
    assert said(folder, **nowhere) == "20 True"
    assert said(folder, **nowhere) == "20 True"


def test_no_loop_is_kept_in_another_way() -> None:
    others = [
        str(path.relative_to(ROOT))
        for path in ROOT.glob("**/*.py")
        if path.name != "compiled_loops.py" and re.search(r"\bnjit\b", path.read_text("utf-8"))
    ]
    assert others == []


def test_the_loops_of_the_cities_are_kept_by_all_that_they_call(tmp_path: Path) -> None:
    """Materials are called by the shading alone; a loop's entry stands in another file."""
    program = "from simcity.compiled import _SOURCES; print(_SOURCES)"
    cities = tmp_path / "simcity"
    cities.mkdir()
    for path in (ROOT.parent / "simcity").glob("**/*.*"):
        if path.suffix in (".py", ".toml"):
            copy = cities / path.relative_to(ROOT.parent / "simcity")
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
    digests = []
    for text in ("", "# changed\n"):
        with (cities / "materials.py").open("a", encoding="utf-8") as file:
            file.write(text)
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT.parent)))},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.append(done.stdout)
    assert digests[0] != digests[1]
