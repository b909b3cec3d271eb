"""The recipes of docs/extending.md do what the page says, as they stand there."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image

from adapters.catalog import CatalogError
from adapters.street_view.simulated import SimulatedCity, find_style
from crosscity.segmenters import ComposedSegmenter
from tasks.harvesting.harvest import list_captures
from tasks.harvesting.providers import street_view
from tasks.priors.pair_prior import extract_prior
from tasks.steps.plan import open_plan
from tasks.training.labelled import labelled_part, labelled_parts
from tasks.training.segmenters import starting_segmenter
from tasks.training.trained import TrainedSegmenters
from tests.harvested import harvested, ref_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"


def recipe(heading: str) -> tuple[str, str, dict[str, Any]]:
    """Name and content of the file that a section shows, and the catalog entries under it."""
    page = PAGE.read_text(encoding="utf-8")
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (file,) = re.findall(r"```(?:python|toml)\n(.*?)```", section, re.DOTALL)
    (entries,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    named = re.match(r"# (\S+)\n", file)
    assert named is not None, "the first line of a recipe names its file"
    return named[1], file, yaml.safe_load(entries)


@pytest.fixture
def follow(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], str]]:
    """Does what a section says: puts the file in its place and the entries into a catalog."""
    written: list[str] = []

    def do(heading: str) -> str:
        name, content, entries = recipe(heading)
        folder = tmp_path / "installed"
        folder.mkdir()
        (folder / name).write_text(content, encoding="utf-8")
        monkeypatch.syspath_prepend(folder)
        written.append(name.removesuffix(".py"))
        path = write_catalog(tmp_path)
        catalog = yaml.safe_load(path.read_text(encoding="utf-8"))
        for section, named in entries.items():
            catalog[section] = {**catalog.get(section, {}), **named}
        path.write_text(yaml.safe_dump(catalog, sort_keys=False), encoding="utf-8")
        return str(path)

    yield do
    for name in written:
        sys.modules.pop(name, None)


def test_a_provider(follow: Callable[[str], str], tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    lines = ["file,place,lat,lon,heading,time,photographer"]
    rng = np.random.default_rng(0)
    for place in range(4):
        for time, year in enumerate((2015, 2019)):
            name = f"via-{place}-{time}.jpg"
            pixels = rng.integers(0, 256, (48, 96, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name)
            when = f"{year}-05-01T10:00:00+00:00"
            lines.append(f"{name},via-{place},44.4{place},11.34,90,{when},Anna")
    (folder / "table.csv").write_text("\n".join(lines), encoding="utf-8")
    plan = open_plan(follow("A provider of street views"))

    captures = ref_of(list_captures.fn("bologna", plan))
    imagery, pairs = harvested(plan, "bologna")

    store = plan.open_store()
    rows = pq.read_table(store.path(pairs, "pairs.parquet")).to_pylist()
    assert sorted(row["split"] for row in rows) == ["test", "train", "train", "train"]
    images = pq.read_table(store.path(imagery, "imagery.parquet")).to_pylist()
    assert {(row["status"], row["licence"], row["attribution"]) for row in images} == {
        ("ok", "CC-BY-4.0", "Anna")
    }
    assert store.manifest(captures).parameters["python"] == "my_photographs:build"


def test_a_data_set(follow: Callable[[str], str], tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 256, (10, 32, 48, 3), dtype=np.uint8))
    ours = rng.integers(0, 4, (10, 32, 48))
    np.save(folder / "labels.npy", ours)
    plan = open_plan(follow("A data set"))

    assert labelled_parts("ours", "train", None, plan) == [0]
    shard = ref_of(labelled_part.fn("ours", "test", None, 0, plan))

    store = plan.open_store()
    (file,) = store.manifest(shard).files
    rows = pq.read_table(store.path(shard, file)).to_pylist()
    assert [row["sample"] for row in rows] == ["000004", "000009"]
    assert Image.open(io.BytesIO(rows[0]["image"])).size == (96, 64)
    labels = np.asarray(Image.open(io.BytesIO(rows[0]["labels"])))
    assert np.array_equal(labels, np.array([255, 0, 1, 13])[ours[4]]), "at their own size"


def test_a_segmenter(follow: Callable[[str], str]) -> None:
    starting = starting_segmenter(open_plan(follow("A segmenter")), "mine", seed=1)
    assert isinstance(starting.segmenter, ComposedSegmenter)
    assert starting.segmenter.n_features == 16


def test_a_city_style(follow: Callable[[str], str], tmp_path: Path) -> None:
    catalog = follow("A city style")
    plan = open_plan(catalog, city="lima")
    captures = ref_of(list_captures.fn("lima", plan))
    provider = street_view(plan, "lima")
    assert len(provider.captures()) == 8
    assert provider.captures()[0].image_id == "lima_0_000000_0"
    before = provider.revision()

    style = tmp_path / "installed" / "lima.toml"
    style.write_text(style.read_text().replace("tree_chance = 0.3", "tree_chance = 0.9"))
    assert street_view(plan, "lima").revision() != before
    assert ref_of(list_captures.fn("lima", plan)) != captures

    style.write_text("tree_chances = 0.3\n")
    said = r"cities\.lima\.provider\.style: .*lima\.toml:1: .*no field 'tree_chances'; did you mean"
    with pytest.raises(CatalogError, match=said):
        street_view(plan, "lima")


def test_a_matcher(follow: Callable[[str], str]) -> None:
    settings = open_plan(follow("A matcher")).city("oslo").prior
    assert (settings.matcher, 4 * settings.downscale) == ("python:my_shift:match", 4)
    city = SimulatedCity(find_style("rome"), 0, (128, 256))
    wide = city.render(0, 0).image
    first, second = wide[3:, 5:], wide[:-3, :-5]  # what is at x, y here is at x + 5, y + 3 there
    parked, moved = first.copy(), second.copy()
    parked[20:60, 40:100], moved[20:60, 40:100] = 0, 255
    prior = extract_prior(parked, moved, settings)
    assert len(prior.matches) > 1000
    shift = [
        float(np.median(getattr(prior.matches, f"{axis}_b") - getattr(prior.matches, f"{axis}_a")))
        for axis in "xy"
    ]
    np.testing.assert_allclose(shift, [5, 3], atol=0.1)
    static = prior.masks[0]
    assert static[17:57, 35:95].mean() < 0.3, "what changed"
    assert static[:, 130:].mean() > 0.6, "what did not"
    assert prior.probabilities == (None, None), "they are fitted to other matches"


def test_a_recipe(
    follow: Callable[[str], str],
    write_catalog: Callable[..., Path],
    tmp_path: Path,
    crosscity: Any,
    prefect_server: Any,
) -> None:
    plain = write_catalog(tmp_path)  # of the same store, and nothing in it depends on a recipe
    for verb in ("harvest", "priors"):
        done = crosscity(verb, "tokyo", "--catalog", plain, server=prefect_server)
        assert done.returncode == 0, done.stderr
    catalog = follow("A recipe")
    here = {"PYTHONPATH": str(tmp_path / "installed")}
    words = ("adapt", "tokyo", "--arm", "sharpened", "--catalog", catalog)
    done = crosscity(*words, server=prefect_server, environment=here)
    assert done.returncode == 0, done.stderr
    plan = open_plan(catalog)
    ref = TrainedSegmenters("tokyo", 0, plan).of_arm("sharpened")
    rows = pq.read_table(plan.open_store().path(ref, "history.parquet")).to_pylist()
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["quantity"], []).append(row["value"])
    assert len(found["sharpening_loss"]) == 3  # the second half of six steps
    assert all(value >= 0 for value in found["sharpening_loss"])
    loss = sys.modules["my_sharpening"].Sharpening  # against a plain writing, on two sure cells
    logits = torch.tensor([[2.0, 0.0], [0.0, 3.0], [0.5, 0.4]]).T.reshape(1, 2, 1, 3)
    shown = SimpleNamespace(
        segmenter=SimpleNamespace(classify=lambda features: features),
        options=loss.Options(sure=0.8),
        record=lambda *_: None,
    )
    phi = logits.softmax(1)[0, :, 0].T.numpy()
    entropies = -(phi * np.log(phi)).sum(1)
    value = loss.loss(shown, SimpleNamespace(target_features=logits))
    assert float(value) == pytest.approx(entropies[:2].mean(), rel=1e-5)
    assert found["lambda_Sharpening"][:3] == [0, 0, 0]
    assert plan.open_store().manifest(ref).parameters["teacher_momentum"] == 0.9

    document = yaml.safe_load(Path(catalog).read_text(encoding="utf-8"))
    document["recipes"]["sharpened"]["objectives"][2]["options"]["sure"] = 2
    Path(catalog).write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(CatalogError, match=r"sharpened\.objectives\.2: .*sure must be in \(0, 1\)"):
        open_plan(catalog)
