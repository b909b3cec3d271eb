"""What the documents show must be true: the README's city loads, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
import typer
import yaml
from pydantic import TypeAdapter

from adapters.catalog import load_catalog
from adapters.catalog.model import Catalog
from flows.cli.application import app
from tasks.steps.plan import open_plan
from tasks.steps.simulated_only import simulated_only_remark

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
    added = yaml.safe_load(shown[1])
    catalog = yaml.safe_load((REPOSITORY / "data_catalog.yaml").read_text(encoding="utf-8"))
    for section, entries in added.items():
        catalog[section].update(entries)
    path = tmp_path / "data_catalog.yaml"
    path.write_text(yaml.safe_dump(catalog), encoding="utf-8")
    assert set(added["cities"]) <= set(load_catalog(path).cities)
    assert not [
        name for name in added["cities"] if simulated_only_remark(open_plan(path, city=name), name)
    ]
    assert len(shown[1].strip().splitlines()) <= 14


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


def test_the_readme_is_short_and_begins_with_pictures() -> None:
    lines = (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 150
    pictures = [number for number, line in enumerate(lines) if line.startswith("![")]
    assert len(pictures) == 2
    assert max(pictures) < next(n for n, line in enumerate(lines) if line.startswith("## "))


def test_pictures_of_the_documents_are_small() -> None:
    images = (REPOSITORY / "docs" / "images").iterdir()
    assert sum(path.stat().st_size for path in images) < 500_000


def shown_commands() -> list[tuple[str, list[str]]]:
    """Every `crosscity …` of the documents, in a line of its own or between backticks."""
    found = []
    for document in DOCUMENTS:
        if document.name == "CHANGELOG.md":
            continue
        text = document.read_text(encoding="utf-8")
        blocks = re.findall(r"^```(?:sh|bash)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        lines = [line.split("#")[0] for block in blocks for line in block.splitlines()]
        lines += [each.replace("\n", " ") for each in re.findall(r"`(crosscity [^`]+)`", text)]
        for line in lines:
            for part in re.split(r"&&|;|\|", line):
                words = part.split()
                if words[:1] == ["crosscity"]:
                    found.append((document.name, words[1:]))
    return found


def options_of(command: click.Command) -> set[str]:
    """Every way to write one of its options."""
    return {name for each in command.params for name in (*each.opts, *each.secondary_opts)}


def test_every_command_of_the_documents_exists_with_its_options() -> None:
    shown = shown_commands()
    assert len(shown) > 40
    everywhere = {"--help", "--version", "--install-completion"}
    for document, words in shown:
        said = f"{document}: crosscity {' '.join(words)}"
        command = typer.main.get_command(app)
        known = options_of(command) | everywhere
        for word in words:
            verbs = getattr(command, "commands", {})
            if word.startswith("-"):
                assert word.split("=")[0].rstrip(",.") in known, said
            elif verbs and re.fullmatch(r"[a-z][a-z-]+", word):
                assert word in verbs, said
                command = verbs[word]
                known |= options_of(command)


def pieces_of_a_catalog() -> list[tuple[str, str, dict[str, object]]]:
    """Every section of a catalog that these pages show, with its entries, which are whole ones."""
    found = []
    for page in (REPOSITORY / "docs" / f"{name}.md" for name in WHOLE_ENTRIES):
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text("utf-8"), re.S | re.M):
            shown = yaml.safe_load(block)
            for section, entries in shown.items() if isinstance(shown, dict) else ():
                if section in SECTIONS and isinstance(entries, dict):
                    found.append((page.name, section, entries))
    return found


WHOLE_ENTRIES = ("datasets", "segmenters", "extending")
SECTIONS = ("datasets", "segmenters", "trainings", "cities", "recipes", "transfers", "protocols")


def test_pieces_of_a_catalog_may_be_put_into_the_one_that_comes_along() -> None:
    """Its entries are right by themselves, and none has the name of one that is there."""
    ours = yaml.safe_load((REPOSITORY / "data_catalog.yaml").read_text(encoding="utf-8"))
    pieces = pieces_of_a_catalog()
    assert len(pieces) > 20
    for page, section, entries in pieces:
        kind = TypeAdapter(Catalog.model_fields[section].annotation)
        kind.validate_python(entries)
        taken = sorted(entries.keys() & ours.get(section, {}).keys())
        assert not taken, f"{page}: {section} has {taken}, which the catalog that comes along has"
