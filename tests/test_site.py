"""The documents as a site, and the notebook, which are checked whole: `pytest -m slow`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOK = REPOSITORY / "docs" / "notebooks" / "adapt_a_city.ipynb"
LOADED = re.compile(r"<(?:script|link|img|iframe)[^>]*?(?:src|href)=[\"'](https?:)?//[^\"']*")
"""What a browser would fetch from elsewhere when it opens a page."""


@pytest.mark.slow
def test_the_site_has_no_dead_link_or_anchor_and_loads_nothing_from_elsewhere(
    tmp_path: Path,
) -> None:
    pytest.importorskip("mkdocstrings", reason="the extra [docs] is not installed")
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", site],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(site).as_posix(): path for path in site.rglob("*.html")}
    assert {"index.html", "docs/api.html", "docs/notebooks/adapt_a_city.html"} <= pages.keys()
    for name, path in pages.items():
        text = path.read_text(encoding="utf-8")
        elsewhere = [
            found[0]
            for found in LOADED.finditer(text)
            if 'rel="canonical"' not in found[0] and "rel=canonical" not in found[0]
        ]
        assert elsewhere == [], name
    api = pages["docs/api.html"].read_text(encoding="utf-8")
    for name in ("deep_matching", "static_prior", "load_segmenter", "predict", "LabelledDataset"):
        assert f"{name}</" in api or f'.{name}"' in api, name


@pytest.mark.slow
def test_the_notebook_runs() -> None:
    nbclient = pytest.importorskip("nbclient", reason="the extra [docs] is not installed")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert sum(cell.cell_type == "code" for cell in notebook.cells) == 10
    nbclient.NotebookClient(
        notebook, timeout=1500, kernel_name="python3", resources={"metadata": {"path": REPOSITORY}}
    ).execute()
    said = json.dumps(notebook.cells)
    (before,) = re.findall(r"before: mIoU ([\d.]+)", said)
    (after,) = re.findall(r"after: mIoU ([\d.]+)", said)
    assert 30 < float(before) < 100
    assert 30 < float(after) < 100
    pictures = sum("image/png" in said for said in map(json.dumps, notebook.cells))
    assert pictures == 3


def test_the_notebook_is_committed_small_and_every_import_of_it_is_there() -> None:
    assert NOTEBOOK.stat().st_size < 1_000_000
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    first = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    exec(compile(first, str(NOTEBOOK), "exec"), {})  # noqa: S102 - our own words
