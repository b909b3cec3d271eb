"""A catalog of several files: one catalog, whose faults name the file that they stand in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_origin

import pytest
import yaml

from adapters.catalog import Catalog, CatalogError, load_catalog
from adapters.catalog.tree import SECTIONS

MAIN = """\
version: 1
store: local
stores:
  local: {url: store}
include: cities/*.yaml
datasets:
  frankfurt: {kind: simulated, style: frankfurt, image_size: [64, 128], train: 4, val: 1, test: 2}
segmenters:
  compact: {architecture: compact, source: frankfurt}
trainings:
  demo: {preset: demo}
cities:
  rome:
    provider: {kind: simulated, style: rome}
    area: {bbox: [12.4, 41.8, 12.5, 41.9]}
"""
TOKYO = """\
# Tokyo, kept by the office there.
cities:
  tokyo:
    provider: {kind: simulated, style: tokyo}
    area: {bbox: [139.7, 35.6, 139.8, 35.7]}
    places: 4
    test_places: 1
"""
RIO = """\
cities:
  rio: &rio
    provider: {kind: simulated, style: rio}
    area: {bbox: [-43.3, -23.0, -43.1, -22.9]}
  rio-wet:
    <<: *rio
    seed: 2
trainings:
  slow: {preset: lab}
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    (tmp_path / "cities").mkdir()
    (tmp_path / "cities" / "tokyo.yaml").write_text(TOKYO, encoding="utf-8")
    (tmp_path / "cities" / "rio.yaml").write_text(RIO, encoding="utf-8")
    path = tmp_path / "catalog.yaml"
    path.write_text(MAIN, encoding="utf-8")
    return path


def refused(path: Path) -> str:
    with pytest.raises(CatalogError) as raised:
        load_catalog(path)
    message = str(raised.value)
    assert "\n" not in message
    return message


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_it_is_the_catalog_that_one_file_would_be(catalog: Path) -> None:
    parts: list[dict[str, Any]] = [yaml.safe_load(text) for text in (MAIN, RIO, TOKYO)]
    whole = parts[0]
    for part in parts[1:]:
        for section, entries in part.items():
            whole[section].update(entries)
    found = load_catalog(catalog)
    assert found == Catalog.model_validate(whole)
    assert list(found.cities) == ["rome", "rio", "rio-wet", "tokyo"]
    assert found.cities["rio-wet"].seed == 2


def test_sections_that_only_included_files_have(catalog: Path) -> None:
    edited(catalog, MAIN[MAIN.index("cities:\n") :], "")
    assert set(load_catalog(catalog).cities) == {"rio", "rio-wet", "tokyo"}
    edited(catalog, "trainings:\n  demo: {preset: demo}\n", "trainings:\n")
    edited(catalog.parent / "cities" / "rio.yaml", "  slow: {preset: lab}", "  demo: {preset: lab}")
    assert load_catalog(catalog).trainings["demo"].preset == "lab"


def test_a_fault_names_the_included_file_and_line(catalog: Path) -> None:
    tokyo = catalog.parent / "cities" / "tokyo.yaml"
    edited(tokyo, "places: 4", "places: four")
    assert refused(catalog).startswith(f"{tokyo}:6: cities.tokyo.places: ")
    edited(tokyo, "places: four", "segmenter: large")
    assert refused(catalog).startswith(f"{tokyo}:6: cities.tokyo.segmenter: `segmenters` has no")
    edited(tokyo, "segmenter: large", "places: [")
    assert refused(catalog).startswith(f"{tokyo}:8: did not find expected")
    tokyo.write_text(TOKYO, encoding="utf-8")
    assert "tokyo" in load_catalog(catalog).cities


def test_a_fault_of_the_catalogs_own_file_names_that(catalog: Path) -> None:
    edited(catalog, "style: rome}", "style: rome, colour: 3}")
    said = "cities.rome.provider.colour: no such setting; there are kind, mask, style"
    assert refused(catalog) == f"{catalog}:14: {said}"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "again.yaml",
            "cities:\n  rome: {}\n",
            r"again\.yaml:2: cities\.rome: is defined in .*catalog\.yaml:13 already: remove one",
        ),
        (
            "again.yaml",
            "cities:\n  tokio: {}\n  tokio: {}\n",
            r"again\.yaml:3: cities\.tokio: is defined in .*again\.yaml:2 already",
        ),
        (
            "ztokyo.yaml",
            "cities:\n  tokyo: {}\n",
            r"ztokyo\.yaml:2: cities\.tokyo: is defined in .*cities/tokyo\.yaml:3 already",
        ),
        ("more.yaml", "include: x.yaml\n", r"more\.yaml:1: include: does not belong into an incl"),
        ("more.yaml", "cities: {}\nversion: 1\n", r"more\.yaml:2: version: does not belong into"),
        ("more.yaml", "cities: {}\ncities: {}\n", r"more\.yaml:2: cities: stands here twice"),
        ("more.yaml", "cities: [a]\n", r"more\.yaml:1: cities: must be a mapping of names"),
        ("more.yaml", "- a\n", r"more\.yaml: the catalog must be a mapping .* that it includes"),
        ("more.yaml", "cities: {a: {places: 1, places: 2}}\n", r"more\.yaml:1: cities\.a\.places"),
    ],
)
def test_included_files_that_are_wrong(catalog: Path, name: str, content: str, said: str) -> None:
    (catalog.parent / "cities" / name).write_text(content, encoding="utf-8")
    with pytest.raises(CatalogError, match=said):
        load_catalog(catalog)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("towns/*.yaml", r"'towns/\*\.yaml' matches no file in "),
        ("../*.yaml", "must be a path below the catalog's folder"),
        ("cities/../../x.yaml", "must be a path below the catalog's folder"),
        ("/etc/passwd", "must be a path below the catalog's folder"),
        ("https://example.org/a.yaml", "must be a path below the catalog's folder"),
        ("{a: b}", r"catalog\.yaml:5: include: must be a name of files"),
        ("[cities/rio.yaml, [x]]", r"catalog\.yaml:5: include: must be a name of files"),
        ('""', "must be a path below the catalog's folder"),
    ],
)
def test_includes_that_are_refused(catalog: Path, pattern: str, said: str) -> None:
    edited(catalog, "include: cities/*.yaml", f"include: {pattern}")
    with pytest.raises(CatalogError, match=said):
        load_catalog(catalog)


def test_a_link_out_of_the_folder_is_refused(catalog: Path, tmp_path_factory: Any) -> None:
    outside = tmp_path_factory.mktemp("outside") / "paris.yaml"
    outside.write_text("cities: {}\n", encoding="utf-8")
    (catalog.parent / "cities" / "paris.yaml").symlink_to(outside)
    assert "outside the catalog's folder" in refused(catalog)


def test_a_file_that_two_patterns_name_is_read_once(catalog: Path) -> None:
    edited(catalog, "cities/*.yaml", "[cities/rio.yaml, cities/*.yaml, '*.yaml']")
    assert len(load_catalog(catalog).cities) == 4


def test_all_files_together_have_a_limit(catalog: Path) -> None:
    for number in range(5):
        path = catalog.parent / "cities" / f"large-{number}.yaml"
        path.write_text("#" * 1_000_000 + "\ncities: {}\n", encoding="utf-8")
    assert "with what it includes larger than 4 MiB" in refused(catalog)


def test_an_unchanged_catalog_is_parsed_once(
    catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    compose = yaml.compose

    def counted(stream: Any, Loader: Any) -> Any:  # the name is the library's
        parsed.append(Path(stream.name).name)
        return compose(stream, Loader=Loader)

    monkeypatch.setattr(yaml, "compose", counted)
    first = load_catalog(catalog)
    # The own file names the others, so it is parsed before they are read, and then with them.
    assert sorted(parsed) == ["catalog.yaml", "catalog.yaml", "rio.yaml", "tokyo.yaml"]
    assert load_catalog(catalog) is first
    assert len(parsed) == 4
    edited(catalog, "include: cities/*.yaml\n", "")
    parsed.clear()
    assert list(load_catalog(catalog).cities) == ["rome"]
    assert parsed == ["catalog.yaml"]


def test_any_change_is_seen_even_of_the_same_size_and_time(catalog: Path) -> None:
    import os

    tokyo = catalog.parent / "cities" / "tokyo.yaml"
    assert load_catalog(catalog).cities["tokyo"].places == 4
    before = tokyo.stat()
    edited(tokyo, "places: 4", "places: 7")
    os.utime(tokyo, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load_catalog(catalog).cities["tokyo"].places == 7
    (catalog.parent / "cities" / "oslo.yaml").write_text(
        TOKYO.replace("tokyo:", "oslo:"), encoding="utf-8"
    )
    assert "oslo" in load_catalog(catalog).cities
    tokyo.unlink()
    assert "tokyo" not in load_catalog(catalog).cities


def test_every_section_of_entries_may_stand_in_an_included_file(catalog: Path) -> None:
    kinds = {name: one.annotation for name, one in Catalog.model_fields.items()}
    of_entries = {n for n, kind in kinds.items() if get_origin(kind) is dict}
    of_entries -= {"deployments"}  # of flows, and not of names of one's own
    assert of_entries == set(SECTIONS)
    (catalog.parent / "cities" / "ours.yaml").write_text(
        "recipes: {calm: {objectives: [{objective: source_task}]}}\n", encoding="utf-8"
    )
    assert set(load_catalog(catalog).recipes) == {"calm"}
