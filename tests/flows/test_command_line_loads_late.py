"""What `--help` costs: nothing but the command line itself is loaded."""

from __future__ import annotations

import importlib.metadata
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.catalog import PriorSettings
from flows.cli.pictures import prior

HEAVY = (
    "adapters",
    "crosscity",
    "cv2",
    "fsspec",
    "numpy",
    "prefect",
    "pyarrow",
    "requests",
    "torch",
    "yaml",
)


@pytest.mark.parametrize("words", [["--help"], ["harvest", "--help"], ["--version"]])
def test_help_and_version_load_none_of_what_does_the_work(words: list[str]) -> None:
    program = (
        "import sys\nfrom flows.cli.main import main\n"
        f"try: main({words!r})\nexcept SystemExit as end: assert not end.code\n"
        f"print(sorted({{name.split('.')[0] for name in sys.modules}} & set({HEAVY!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout


def test_opening_a_catalog_and_what_harvests_need_no_pytorch(write_catalog, tmp_path: Path) -> None:
    """It takes seconds, in each of the processes that a night of harvests starts."""
    catalog = write_catalog(tmp_path)
    program = (
        "import sys\nfrom pathlib import Path\n"
        "import flows.harvest_city, flows.watch_city, flows.cli.city, flows.cli.status\n"
        "from tasks.steps.settings import open_catalog\n"
        "catalog = open_catalog(Path(sys.argv[1]))\n"
        "assert catalog.trainings['demo'].adaptation, 'settings that are checked'\n"
        "print(sorted({'torch', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(catalog)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout


def test_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", "--version"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"crosscity {importlib.metadata.version('crosscity')}\n"


def test_the_verbs_defaults_are_the_catalogs() -> None:
    """They stand in the signature as numbers: the catalog's models would load with `--help`."""
    settings = PriorSettings()
    given = {name: p.default for name, p in inspect.signature(prior).parameters.items()}
    assert (given["downscale"], given["search_radius"], given["number"], given["k"]) == (
        settings.downscale,
        settings.search_radius,
        settings.superpixels,
        settings.k,
    )
