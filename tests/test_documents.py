"""What the documents show must be true: the README's city loads, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from adapters.catalog import load_catalog

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").glob("*.md"),
        *(REPOSITORY / "benchmarks" / "results").glob("*.md"),
    ]
)


def test_the_readmes_city_is_a_valid_entry(tmp_path: Path) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"```yaml\n(.*?)```", readme, re.DOTALL)
    assert shown is not None
    city = yaml.safe_load(shown[1])
    catalog = yaml.safe_load((REPOSITORY / "data_catalog.yaml").read_text(encoding="utf-8"))
    catalog["cities"].update(city["cities"])
    path = tmp_path / "data_catalog.yaml"
    path.write_text(yaml.safe_dump(catalog), encoding="utf-8")
    assert set(city["cities"]) <= set(load_catalog(path).cities)
    assert len(shown[1].strip().splitlines()) <= 12


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    local = [target for target in targets if "://" not in target]
    missing = [target for target in local if not (document.parent / target).exists()]
    assert not missing
    assert "/work/" not in text
    assert "/root/" not in text


def test_every_make_target_of_the_documents_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"(?:^|`|&& )make ([a-z-]+)", text, re.MULTILINE):
            assert target in targets, f"{document.name}: make {target}"


def test_the_index_of_results_names_every_table() -> None:
    folder = REPOSITORY / "benchmarks" / "results"
    index = (folder / "README.md").read_text(encoding="utf-8")
    for table in folder.glob("*.md"):
        assert table.name == "README.md" or f"]({table.name})" in index
