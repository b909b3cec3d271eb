"""The page of the paper's tables, as a browser lays it out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from crosscity.labels import CLASSES
from tasks.pages.paper_tables import Table, _page

MEASURED = """<script>
document.title = [...document.querySelectorAll("tbody td:last-child, tbody td:first-child")]
  .map(cell => cell.getBoundingClientRect()).map(at => `${at.left} ${at.right}`).join(";")
  + `|${document.documentElement.clientWidth}|${document.querySelector("table").scrollWidth}`;
</script>"""


def test_names_and_means_of_a_wide_table_are_in_sight(tmp_path: Path) -> None:
    """The mean lay behind a scroll bar of its own that nobody looks for."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    headings = ("segmenter", *(one.short for one in CLASSES), "mIoU")
    row = ("Pre-trained", *("45.4 ± 7.7" for _ in CLASSES), "38.2 ± 0.2")
    no_store: Any = None
    page = tmp_path / "tables.html"
    text = _page(no_store, [Table("Table 2: rome", "In percent.", headings, (row,))], {}, [0])
    page.write_text(text.replace("</body>", f"{MEASURED}</body>"), encoding="utf-8")
    words = "--headless --no-sandbox --disable-gpu --disable-background-networking --dump-dom"
    done = subprocess.run(
        [
            *(chromium, *words.split(), f"--user-data-dir={tmp_path / 'profile'}"),
            *("--window-size=700,900", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"<title>(.*)</title>", done.stdout)
    assert found is not None
    cells, seen, width = found[1].split("|")
    assert float(width) > float(seen), "the table is not wide"
    edges = [[float(edge) for edge in cell.split()] for cell in cells.split(";")]
    assert len(edges) == 2
    assert all(left >= 0 and right <= float(seen) for left, right in edges)
