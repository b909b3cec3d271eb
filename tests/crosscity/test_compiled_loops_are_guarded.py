"""Every way into a compiled loop is checked: by who may call it, and by what tests give it.

Numba's loops index without looking, so a wrong number ends the process. They are reached through
few functions, which look at what they are given (`crosscity.checks`); these here say which, and
that `test_bad_input.py` gives each of them whatever numpy and Python have. A slow one does so while
every index is looked at.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import crosscity
import crosscity.matching
import crosscity.partitioning
import simcity
from crosscity.prior_parts import MATCHERS, SUPERPIXEL_METHODS
from tests.crosscity import test_bad_input

ROOT = Path(crosscity.__file__).parent
ROOMS = ("crosscity.matching", "crosscity.partitioning")
PRIORS = ("crosscity.static_regions", "crosscity.static_probability", "crosscity.several_times")

CHECKED = {
    # Offered by the packages themselves.
    "deep_matching", "reliable_matches", "Matches",
    "entropy_rate_superpixels", "superpixel_hierarchy", "balance_weight_for", "greedy_partition",
    "partition_objective", "superpixel_quality", "SuperpixelHierarchy",
    # By name of the catalog.
    "build_matcher", "superpixel_method",
    # Of the static prior, and beside it.
    "static_prior", "static_prior_of_times", "covered_shares", "counts_by_time", "matched_counts",
    "matched_pixels", "superpixels_in_order", "static_probability", "evidence_of_times",
    "least_evidence", "without_pixels", "matches_outside", "same_place",
}  # fmt: skip
"""Functions that look at everything they are given: all of them are in `test_bad_input.py`."""
RESULTS = {
    "PartitionObjective", "SuperpixelQuality", "GreedyPartition",
    "StaticProbability",  # numbers alone, which it looks at
}  # fmt: skip
"""Classes of results, which index nothing."""
OF_RESULTS = {"static_by_evidence", "evidence", "delivered", "delivered_of_times", "static_share"}
"""Plain arithmetic of whole arrays, which indexes nothing."""


def modules(package: str) -> Iterator[ModuleType]:
    found = importlib.import_module(package)
    yield found
    for each in pkgutil.iter_modules(getattr(found, "__path__", [])):
        if not each.name.startswith("triton_"):  # needs Triton; no loop of Numba
            yield importlib.import_module(f"{package}.{each.name}")


@cache
def source(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def is_compiled(function: ast.FunctionDef) -> bool:
    return any("compiled_loop" in ast.unparse(each) for each in function.decorator_list)


@cache
def compiled() -> dict[str, str]:
    """Compiled functions of the science, and the module of each."""
    return {
        node.name: module.__name__
        for room in ROOMS
        for module in modules(room)
        for node in ast.walk(source(module))
        if isinstance(node, ast.FunctionDef) and is_compiled(node)
    }


def called_in(node: ast.AST) -> set[str]:
    """Names that a piece of code uses."""
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} | {
        each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)
    }


def users(names: set[str]) -> dict[str, set[str]]:
    """Modules outside the two packages that import any of the names, and which."""
    found: dict[str, set[str]] = {}
    for path in ROOT.parent.glob("**/*.py"):
        inside = path.relative_to(ROOT.parent).parts
        if inside[0] not in ("crosscity", "simcity", "adapters", "tasks", "flows"):
            continue
        if inside[:2] in (("crosscity", "matching"), ("crosscity", "partitioning")):
            continue
        text = path.read_text(encoding="utf-8")
        if not any(room in text for room in ROOMS):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(ROOMS):
                imported = {each.name for each in node.names} & names
                if imported:
                    found.setdefault("/".join(inside), set()).update(imported)
    return found


@cache
def reaching() -> set[str]:
    """Functions and classes of the packages from which a compiled loop can be reached."""
    uses: dict[str, set[str]] = {}
    for room in ROOMS:
        for module in modules(room):
            for node in source(module).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    uses.setdefault(node.name, set()).update(called_in(node))
    reached, size = set(compiled()), -1
    while len(reached) != size:
        size = len(reached)
        reached |= {name for name, used in uses.items() if used & reached}
    return reached


def test_there_are_compiled_loops_and_they_are_found() -> None:
    found = compiled()
    assert len(found) > 40
    assert {"aggregate_patch", "step_down", "join_clusters", "join_in_windows"} <= set(found)
    assert {"deep_matching", "entropy_rate_superpixels"} <= reaching()


def test_no_compiled_loop_is_offered_or_called_from_elsewhere() -> None:
    loops = set(compiled())
    for room in ROOMS:
        assert not loops & set(importlib.import_module(room).__all__)
    assert users(loops) == {}


def test_whoever_outside_reaches_a_compiled_loop_goes_through_a_function_that_looks() -> None:
    unchecked = {
        path: names - CHECKED - RESULTS
        for path, names in users(reaching()).items()
        if names - CHECKED - RESULTS
    }
    assert unchecked == {}


@pytest.mark.parametrize("room", ROOMS)
def test_all_that_a_package_offers_is_looked_at(room: str) -> None:
    package = importlib.import_module(room)
    offered = {
        name
        for name in package.__all__
        if not name.isupper() and inspect.signature(getattr(package, name)).parameters
    }
    assert offered <= CHECKED | RESULTS


@pytest.mark.parametrize("name", PRIORS)
def test_all_that_the_static_prior_offers_is_looked_at(name: str) -> None:
    offered = {
        node.name
        for node in source(importlib.import_module(name)).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    assert offered <= CHECKED | RESULTS | OF_RESULTS


def test_each_of_them_is_given_everything() -> None:
    used = called_in(ast.parse(inspect.getsource(test_bad_input)))
    assert CHECKED - used == set()


CITIES = {"render", "render_from", "capture_pose", "Pose", "CityStyle", "render_panorama"}
"""What of the simulated cities leads to their compiled loops, or is given to what does."""
ENTRIES = {"scene.py", "lens.py"}
"""Modules of the simulated cities that call compiled loops, on arrays that they made themselves."""


def test_compiled_loops_of_the_cities_are_called_on_arrays_that_were_made_for_them() -> None:
    drawn = {
        path.name: imported
        for path in ROOT.parent.glob("simcity/*.py")
        for imported in [imported_from("simcity.compiled", path)]
        if imported
    }
    assert set(drawn) == ENTRIES
    assert set.union(*drawn.values()) == {"rasterise", "shade", "draw_wires", "vote", "develop"}
    offered = {name for name in simcity.__all__ if not name.isupper()}
    # The rest make or read styles, which check themselves.
    assert offered <= CITIES | {"Rendering", "read_style", "in_light"}


def imported_from(module: str, path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        each.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == module
        for each in node.names
    }


def test_all_that_reaches_a_loop_is_called_while_bounds_are_looked_at() -> None:
    script = Path(__file__).with_name("under_bounds_checks.py")
    used = called_in(ast.parse(script.read_text(encoding="utf-8")))
    assert CITIES - used == set()


@pytest.mark.slow
def test_no_index_lies_outside_an_array(tmp_path: Path) -> None:
    """The same in a process whose numba looks at every index: a minute to compile it so."""
    folder = Path(__file__).parent
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "timeout=900",
            str(folder / "under_bounds_checks.py"), str(folder / "test_bad_input.py"),
        ],
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)},
        cwd=ROOT.parent,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]


def test_each_matcher_and_superpixel_method_is_given_everything() -> None:
    given = {*test_bad_input.OF_A_PICTURE}
    assert set(MATCHERS) | set(SUPERPIXEL_METHODS) <= given
