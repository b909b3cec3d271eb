"""The catalog: what it accepts, and that every error names file, line and key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.catalog import CatalogError, catalog_json_schema, load_catalog
from adapters.catalog.environment import (
    environment_references,
    resolve_environment,
    resolve_options,
)

REPOSITORY = Path(__file__).resolve().parents[3]
SHIPPED = REPOSITORY / "data_catalog.yaml"

SMALL = """\
version: 1
store: local
stores:
  local: {url: store}
datasets:
  frankfurt: {kind: simulated, style: frankfurt, image_size: [64, 128], train: 4, val: 1, test: 2}
segmenters:
  compact: {architecture: compact, source: frankfurt}
trainings:
  demo: {preset: demo}
cities:
  tokyo:
    provider: {kind: simulated, style: tokyo}
    area: {bbox: [139.7, 35.6, 139.8, 35.7]}
    places: 4
    test_places: 1
"""


SERVICE = SMALL.replace("{kind: simulated, style: tokyo}", "{kind: panoramax}")


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str) -> Path:
        path = tmp_path / "catalog.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def test_shipped_catalog_has_the_papers_cities() -> None:
    catalog = load_catalog(SHIPPED)
    assert {"rome", "rio", "tokyo", "taipei"} <= set(catalog.cities)
    assert "frankfurt" in catalog.datasets


def test_yaml_merge_keys_share_settings_between_cities() -> None:
    catalog = load_catalog(SHIPPED)
    assert catalog.cities["rio"].places == catalog.cities["rome"].places
    assert catalog.cities["rio"].seed != catalog.cities["rome"].seed


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [
        ("[139.7, 35.6, 139.8, 35.7]", "[139.8, 35.6, 139.7, 35.7]", 14, "cities.tokyo.area",
         "[west, south, east, north]"),
        ("[139.7, 35.6, 139.8, 35.7]", "[139.7, 35.7, 139.8, 35.6]", 14, "cities.tokyo.area",
         "south 35.7 not below north 35.6"),
        ("[139.7, 35.6, 139.8, 35.7]", "[139.7, 95, 139.8, 96]", 14, "cities.tokyo.area.bbox.1",
         "less than or equal to 90"),
        ("places: 4", "places: four", 15, "cities.tokyo.places", "'four'"),
        ("places: 4", "plcaes: 4", 15, "cities.tokyo.plcaes", "setting; places may be meant"),
        ("{preset: demo}", "{preset: demo, steps: 3}", 10, "trainings.demo.steps",
         "no such setting; there are adaptation, checkpoint_every, fine_tuning, image_size, "),
        ("style: tokyo", "style: tokyo, root: x", 13, "cities.tokyo.provider.root",
         "no such setting; there are kind, mask, style"),
        ("  local: {url: store}", "  local: {url: store, hidden: 1}", 4, "stores.local.hidden",
         "no such setting; there are cache_gigabytes, options, "),
        ("trainings:", "training:", 9, "training", "no such setting; trainings may be meant"),
        ("test_places: 1", "test_places: 4", 12, "cities.tokyo", "must be below places"),
        ("    places: 4", "    places: 4\n    image_size: [64, 128]\n    prior: {superpixels: 513}",
         12, "cities.tokyo", "prior.superpixels: images of 64×128 pixels high and wide, 16×32 at "),
        ("kind: simulated, style: tokyo", "kind: telepathy", 13, "cities.tokyo.provider",
         "telepathy"),
        ("    places: 4",
         "    places: 4\n    labels: {kind: cross_city, root: x, fine_tune_places: 9}", 16,
         "cities.tokyo.labels.fine_tune_places", "no such setting"),
        ("source: frankfurt", "source: berlin", 8, "segmenters.compact.source", "'berlin'"),
        ("store: local", "store: attic", 2, "store", "'attic'"),
        ("    places: 4", "    places: 4\n    places: 5", 16, "cities.tokyo.places", "twice"),
    ],
)  # fmt: skip
def test_faults_name_file_line_and_key(write, old, new, line, key, words) -> None:
    path = write(SMALL.replace(old, new))
    with pytest.raises(CatalogError) as caught:
        load_catalog(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: {key}: ")
    assert words in message


@pytest.mark.parametrize("written", ["    <<: *rome", "    area: {<<: *rome, places: 3}"])
def test_what_repeats_an_entry_that_none_marks_is_named(write, written) -> None:
    path = write(SMALL.replace("    places: 4", written))
    with pytest.raises(CatalogError) as caught:
        load_catalog(path)
    assert str(caught.value) == f"{path}:15: *rome repeats an entry that no &rome above it marks"


@pytest.mark.parametrize(
    ("old", "new", "key", "other"),
    [
        ("  tokyo:\n", "  frankfurt:\n", "cities.frankfurt", "`datasets`"),
        (
            "cities:\n",
            "transfers:\n  tokyo: {segmenter: compact, target: frankfurt}\ncities:\n",
            "transfers.tokyo",
            "`cities`",
        ),
    ],
)
def test_sets_cities_and_transfers_have_names_of_their_own(write, old, new, key, other) -> None:
    """What a name stands for, labels and results, must be one entry."""
    text = SMALL.replace(old, new)
    name = key.partition(".")[2]
    section = key.partition(".")[0]
    lines = text.splitlines()
    line = next(
        number
        for number, words in enumerate(lines, start=1)
        if words.startswith(f"  {name}:") and number > lines.index(f"{section}:")
    )
    path = write(text)
    with pytest.raises(CatalogError) as caught:
        load_catalog(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: {key}: {other} has an entry of this name too")
    assert "rename" in message


SETS = """\
version: 1
store: local
stores:
  local: {url: store}
datasets:
  city: {kind: cityscapes, root: "${DATA}/cityscapes", labels: labelTrainIds}
  game: {kind: synthia, root: synthia, val: 10, image_size: [380, 640]}
  dusk: {kind: camvid, root: camvid, sequences: [0001TP]}
  rome: {kind: cross_city, root: cities, city: Roma}
  ours: {kind: folder, root: ours, label_map: {0: road, 7: void}}
segmenters:
  mine: {python: "package.module:build", source: ours}
  theirs: {architecture: "hf:a/b", source: city}
trainings:
  demo: {preset: demo, image_size: [256, 512]}
transfers:
  game-city: {segmenter: mine, target: city, protocol: synthia16, evaluation_size: [256, 512]}
"""


def test_data_sets_segmenters_and_transfers_of_every_kind(write) -> None:
    catalog = load_catalog(write(SETS))
    assert [entry.kind for entry in catalog.datasets.values()] == [
        "cityscapes",
        "synthia",
        "camvid",
        "cross_city",
        "folder",
    ]
    assert catalog.datasets["ours"].label_map == {0: "road", 7: "void"}
    assert catalog.transfers["game-city"].evaluation_size == (256, 512)
    assert environment_references(catalog) == {"DATA": ["datasets.city.root"]}


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [
        ("labels: labelTrainIds", "labels: colour", 6, "datasets.city.labels", "'labelIds'"),
        ("val: 10", "val: -1", 7, "datasets.game.val", "greater than or equal to 0"),
        ("val: 10", "vla: 10", 7, "datasets.game.vla", "no such setting"),
        ("kind: camvid", "kind: kitti", 8, "datasets.dusk", "kitti"),
        (", city: Roma", "", 9, "datasets.rome.city", "is missing"),
        ('{0: road, 7: void}', "{}", 10, "datasets.ours.label_map", "needs an entry"),
        ('python: "package.module:build"', "options: {}", 12, "segmenters.mine",
         "give architecture or python"),
        ('architecture: "hf:a/b"', "architecture: x, weights: a, backbone_weights: b", 13,
         "segmenters.theirs", "of no use"),
        ("target: city", "target: moon", 17, "transfers.game-city.target", "'moon'"),
        ("protocol: synthia16", "protocol: all", 17, "transfers.game-city.protocol", "score13"),
        ("image_size: [256, 512]}\ntransfers", "image_size: [8, 512]}\ntransfers", 15,
         "trainings.demo.image_size.0", "greater than or equal to 32"),
    ],
)  # fmt: skip
def test_faults_of_sets_name_line_and_key(write, old, new, line, key, words) -> None:
    assert old in SETS
    path = write(SETS.replace(old, new))
    with pytest.raises(CatalogError) as caught:
        load_catalog(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: {key}: ")
    assert words in message


def test_the_protocols_of_the_catalog_are_those_of_the_science() -> None:
    from typing import get_args

    from adapters.catalog.model import Protocol
    from crosscity.evaluation import PROTOCOLS

    assert set(get_args(Protocol)) == set(PROTOCOLS)


def test_all_faults_are_reported_at_once(write) -> None:
    path = write(SMALL.replace("places: 4", "places: 0").replace("train: 4", "train: 0"))
    with pytest.raises(CatalogError) as caught:
        load_catalog(path)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "store: [", "\tversion: 1"])
def test_what_is_not_a_catalog_is_said_in_one_line(write, text) -> None:
    with pytest.raises(CatalogError) as caught:
        load_catalog(write(text))
    assert "catalog.yaml" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="--catalog"):
        load_catalog(tmp_path / "none.yaml")


def test_area_takes_a_polygon(write) -> None:
    polygon = (
        "{geojson: {type: Polygon, coordinates: "
        "[[[139.7, 35.6], [139.8, 35.6], [139.8, 35.7], [139.7, 35.6]]]}}"
    )
    catalog = load_catalog(write(SERVICE.replace("{bbox: [139.7, 35.6, 139.8, 35.7]}", polygon)))
    area = catalog.cities["tokyo"].area
    assert area is not None
    assert area.bounds() == (139.7, 35.6, 139.8, 35.7)
    open_ring = polygon.replace(", [139.7, 35.6]]]", "]]")
    with pytest.raises(CatalogError, match="end where it starts"):
        load_catalog(write(SERVICE.replace("{bbox: [139.7, 35.6, 139.8, 35.7]}", open_ring)))


def test_environment_is_read_where_used_and_its_value_never_told(monkeypatch, write) -> None:
    catalog = load_catalog(write(SMALL.replace("{url: store}", '{url: "${STORE_ROOT}/x"}')))
    assert environment_references(catalog) == {"STORE_ROOT": ["stores.local.url"]}
    monkeypatch.delenv("STORE_ROOT", raising=False)
    with pytest.raises(CatalogError, match=r"stores\.local\.url needs .* STORE_ROOT.* worker"):
        resolve_environment(catalog.stores["local"].url, key="stores.local.url")
    monkeypatch.setenv("STORE_ROOT", "/data")
    assert resolve_environment(catalog.stores["local"].url, key="k") == "/data/x"
    assert "/data" not in repr(catalog)
    assert resolve_options({"a": {"b": "${STORE_ROOT}"}, "n": 3}, key="k") == {
        "a": {"b": "/data"},
        "n": 3,
    }


def test_published_schema_is_the_schema() -> None:
    published = (REPOSITORY / "docs" / "data_catalog.schema.json").read_text(encoding="utf-8")
    assert published.strip() == catalog_json_schema().strip()
    assert json.loads(published)["title"] == "CrossCity data catalog"
