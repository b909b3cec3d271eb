"""Making and finding go by one identity; what is missing is explained by what was made last."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from adapters.catalog.datasets import DataSet, FileSet, SimulatedSet
from adapters.store import ArtifactRef, Selection, Store
from tasks.harvesting.current import Harvest, current_harvest, settle_harvest
from tasks.steps import identity as identities
from tasks.steps.errors import InputError, StaleError
from tasks.steps.identity import Identity, Words, find, make, missing, newest, required
from tasks.steps.plan import Plan, open_plan
from tasks.training import labelled
from tasks.training.extras import Extras
from tasks.training.labelled import labelled_part
from tasks.training.trained import TrainedSegmenters
from tasks.training.trainings import adapt, pretrain
from tests.harvested import harvested, ref_of


def number(value: Any, version: str = "1", **changes: Any) -> Identity:
    words = Words(
        what="the number of rome was",
        absent="rome has no number yet",
        verb="crosscity count rome",
        section="counting.",
        keys={"machine": "devices of the compute profile"},
        inputs={"part": "other parts", "files": "other files"},
        ignored=("part_size",),
    )
    made = Identity("numbers", "rome", {}, {"value": value}, version, words, "number", ())
    return replace(made, **changes)


def made(store: Store, identity: Identity) -> ArtifactRef:
    return make(store, identity, lambda draft, _: draft.file("x").write_bytes(b"x") and None).ref


def said(store: Store, identity: Identity) -> str:
    with pytest.raises(InputError) as caught:
        required(store, identity)
    return str(caught.value)


def test_what_is_made_is_found_by_the_same_identity_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert said(store, number(3)) == "rome has no number yet: run `crosscity count rome` first"
    assert not isinstance(missing(store, number(3)), StaleError)
    ref = made(store, number(3))
    assert find(store, number(3)) == required(store, number(3)) == ref
    assert said(store, number(4)) == (
        "the number of rome was made with counting.value 3, the catalog says 4: run "
        "`crosscity count rome`"
    )
    assert isinstance(missing(store, number(4)), StaleError)
    assert "made by version 1 of the algorithm, this program has 2" in said(store, number(3, "2"))
    changed = number(3, parameters={"value": 3, "machine": 2})
    assert "made with devices of the compute profile not set, the catalog says 2" in said(
        store, changed
    )


def test_inputs_and_what_no_catalog_holds_are_named_in_words(tmp_path: Path) -> None:
    store = Store(tmp_path)
    parts = [made(store, number(value, producer="")) for value in (1, 2)]
    before = {"pairs": parts[0], "part-00000": parts[0], "part-00001": parts[1]}
    made(store, number(7, inputs=before, parameters={"files": "a", "part_size": 2}))
    now = {"pairs": parts[1], "part-00000": parts[0]}
    wanted = number(7, inputs=now, parameters={"files": "b", "part_size": 3})
    assert "was made of another pairs and other parts and other files: run" in said(store, wanted)
    same = number(7, inputs=before, parameters={"files": "a", "part_size": 3})
    assert "was made of the same and cannot be found" in said(store, same)


def test_what_was_made_last_is_reported_also_where_an_older_release_noted_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    for value in range(4):
        made(store, number(value, producer=f"number-{value}"))
    assert newest(store, number(9, producer="number-2")).parameters == {"value": 2}  # type: ignore[union-attr]
    shutil.rmtree(tmp_path / ".newest")
    assert newest(store, number(9)).parameters == {"value": 3}  # type: ignore[union-attr]
    assert newest(store, number(9, marks=None)) is None, "nothing tells which is meant"
    found = newest(store, number(1, marks=("value",)))
    assert found is not None
    assert found.parameters == {"value": 1}
    assert newest(store, number(9, marks=("value",))) is None
    read: list[ArtifactRef] = []
    monkeypatch.setattr(identities, "_MOST_LOOKED_AT", 2)
    manifest = Store.manifest
    monkeypatch.setattr(Store, "manifest", lambda s, ref: read.append(ref) or manifest(s, ref))
    newest(store, number(9))
    assert len(read) == 2, "a sentence does not read a store of any size"


KINDS = {kind.model_fields["kind"].annotation: kind for kind in get_args(get_args(DataSet)[0])}


class Set:
    """A set whose files stay as they are."""

    def revision(self, samples: object = None) -> str:  # noqa: ARG002
        return "same"


def entry(kind: Any) -> Any:
    """An entry of a kind, unchecked: of each setting some value."""
    given: dict[str, Any] = {}
    for name, info in kind.model_fields.items():
        given[name] = info.get_default(call_default_factory=True) if not info.is_required() else 1
    given["kind"] = get_args(kind.model_fields["kind"].annotation)[0]
    given["image_size"] = (8, 16)
    if kind is SimulatedSet:
        given["style"] = "tokyo"
    return kind.model_construct(**given)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@given(st.data())
def test_any_setting_of_a_data_set_decides_its_images(data: st.DataObject) -> None:
    """Drawn from the models, so one that is added later is covered; paths alone do not count."""
    kind = data.draw(st.sampled_from(list(KINDS.values())))
    counts = {"train", "val", "test"} if kind is SimulatedSet else set()
    left_out = {"kind", *kind.unnamed, *counts}  # a number of images is in the samples' names
    names = sorted(set(kind.model_fields) - left_out)
    name = data.draw(st.sampled_from(names))
    before = entry(kind)
    after = before.model_copy(update={name: "rome" if name == "style" else "another"})
    if name == "image_size":
        after = before.model_copy(update={name: (9, 16)})
    if name == "seed":
        after = before.model_copy(update={name: 12})
    assert before.identity(Set(), ["a"]) == before.model_copy().identity(Set(), ["a"])
    assert before.identity(Set(), ["a"]) != after.identity(Set(), ["a"]), (kind, name)


def pictures(folder: Path, count: int, shade: int = 0) -> None:
    random = np.random.default_rng(7)
    for part in ("images/train", "labels/train"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image = random.integers(0, 256, (64, 128, 3), dtype=np.uint8)
        labels = np.full((64, 128), index % 2, dtype=np.uint8)
        labels[:4] = shade
        cv2.imwrite(str(folder / f"images/train/{index}.png"), image)
        cv2.imwrite(str(folder / f"labels/train/{index}.png"), labels)


def test_files_and_settings_of_a_set_on_disk_are_part_of_its_segmenter(
    write_catalog: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "set"
    pictures(folder, 3)
    given: dict[str, Any] = {
        "kind": "folder",
        "root": str(folder),
        "label_map": {0: "road", 1: "sky"},
        "image_size": [64, 128],
    }
    path = write_catalog(tmp_path, datasets={"own": given})
    document = yaml.safe_load(path.read_text())

    def plan(**changes: Any) -> Plan:
        document["segmenters"]["compact"]["source"] = "own"
        document["datasets"]["own"] = {**given, **changes}
        path.write_text(yaml.safe_dump(document))
        return open_plan(path)

    def start(opened: Plan) -> ArtifactRef:
        return TrainedSegmenters("tokyo", 0, opened).start

    with pytest.raises(InputError, match="no segmenter 'pretrained' for tokyo yet: run `crosscity"):
        start(plan())
    parts = [ref_of(labelled_part.fn("own", "train", None, 0, plan()))]
    with pytest.raises(InputError, match="no segmenter 'pretrained' for tokyo yet: run `crosscity"):
        start(plan())
    trained = ref_of(pretrain.fn(parts, [], "compact", 0, plan()))
    assert start(plan()) == trained
    with pytest.raises(StaleError, match=r"own\.image_size \[64, 128\], the catalog says"):
        start(plan(image_size=[32, 64]))
    with pytest.raises(StaleError, match=r"datasets\.own\.label_map\.1 sky, the catalog says car"):
        start(plan(label_map={0: "road", 1: "car"}))
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    assert start(plan(root=str(moved))) == trained, "where it lies does not matter"
    pictures(folder, 4)
    with pytest.raises(StaleError, match=r"\(train\) were 3 when they were read, and are 4 now"):
        start(plan())
    (folder / "images/train/3.png").unlink()
    (folder / "labels/train/3.png").unlink()
    assert start(plan()) == trained
    pictures(folder, 3, shade=1)
    with pytest.raises(StaleError, match=r"images of own \(train\) were made of other files: run"):
        start(plan())
    shutil.rmtree(folder)
    with pytest.raises(InputError, match=r"There is no folder .*set: give the one"):
        start(plan())


def test_a_set_of_several_shards_that_grew_or_shrank_is_reported_with_both_numbers(
    write_catalog: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelled, "PART_SIZE", 2)

    def plan(train: int) -> Plan:
        return open_plan(write_catalog(tmp_path, datasets={"frankfurt": {"train": train}}))

    def shards(opened: Plan, split: str) -> list[ArtifactRef]:
        numbers = labelled.labelled_parts("frankfurt", split, None, opened)
        return [ref_of(labelled_part.fn("frankfurt", split, None, n, opened)) for n in numbers]

    def start(opened: Plan) -> ArtifactRef:
        return TrainedSegmenters("tokyo", 0, opened).start

    parts, home = shards(plan(6), "train"), shards(plan(6), "val")
    assert len(parts) == 3
    trained = ref_of(pretrain.fn(parts, home, "compact", 0, plan(6)))
    assert start(plan(6)) == trained
    for number in (5, 7, 8):
        changed = rf"\(train\) were made with datasets\.frankfurt\.train 6, .* says {number}: run"
        with pytest.raises(StaleError, match=changed):
            start(plan(number))
    with pytest.raises(StaleError, match=r"other labelled images of frankfurt \(6 then, 4 now\)"):
        start(plan(4))  # whose shards are all there


@pytest.fixture
def city(write_catalog: Any, tmp_path: Path) -> Plan:
    """The plan of a harvested city whose source is read."""
    plan = open_plan(write_catalog(tmp_path), city="tokyo")
    harvest = Harvest(*harvested(plan))
    settle_harvest(harvest, "tokyo", plan, add=lambda *_: harvest)
    return plan


def test_arms_and_seeds_in_flight_at_once_never_mix(city: Plan) -> None:
    """Each is found as what was made of its own start, whichever ended last."""
    harvest = current_harvest("tokyo", city)
    source, home = (
        [ref_of(labelled_part.fn("frankfurt", split, None, 0, city))] for split in ("train", "val")
    )
    runs = [(arm, seed) for seed in (0, 1) for arm in ("ga", "control")]

    def whole(run: tuple[str, int]) -> ArtifactRef:
        arm, seed = run
        start = ref_of(pretrain.fn(source, home, "compact", seed, city))
        targets = (harvest.imagery, harvest.pairs, None)
        return ref_of(adapt.fn(start, source, *targets, Extras(), arm, seed, "tokyo", city))

    with ThreadPoolExecutor(len(runs)) as pool:
        left = dict(zip(runs, pool.map(whole, runs), strict=True))
    assert len(set(left.values())) == len(runs)
    store = city.open_store()
    for arm, seed in runs:
        trained = TrainedSegmenters("tokyo", seed, city)
        assert trained.of_arm(arm) == left[arm, seed]
        manifest = store.manifest(left[arm, seed])
        assert (manifest.parameters["arm"], manifest.parameters["seed"]) == (arm, seed)
        assert isinstance(manifest.inputs, dict)
        assert manifest.inputs["segmenter"] == trained.start.digest
        assert store.manifest(trained.start).parameters["seed"] == seed


def test_two_pointers_of_a_release_long_ago_are_one_harvest(city: Plan) -> None:
    """Images cost requests: what was fetched before there was one pointer is not fetched again."""
    store, known = city.open_store(), current_harvest("tokyo", city)
    folder = Path(str(city.store.url)) / "current" / "tokyo"
    (folder / "harvest.json").unlink()
    with pytest.raises(InputError, match="no harvested pairs in this store"):
        current_harvest("tokyo", city)
    for name, ref in (("imagery", known.imagery), ("pairs", known.pairs)):
        (folder / f"{name}.json").write_text(json.dumps(ref.to_dict()))
    assert current_harvest("tokyo", city) == known
    entry = city.city("tokyo")
    changed = entry.model_copy(update={"min_days_apart": 90.0})
    with pytest.raises(StaleError, match=r"was made with min_days_apart 30.*, the catalog says 90"):
        current_harvest("tokyo", city.model_copy(update={"cities": {"tokyo": changed}}))
    other = next(ref for ref in store.artifacts("imagery_part", "tokyo"))
    (folder / "imagery.json").write_text(json.dumps(other.to_dict()))
    with pytest.raises(InputError, match="no harvested pairs in this store"):
        current_harvest("tokyo", city)


def test_a_setting_that_a_later_release_brings_makes_no_harvest_stale(city: Plan) -> None:
    """Its default is what the harvest was made with; another value is a change."""
    store = city.open_store()
    state = store.selected("harvest", "tokyo")
    assert state is not None
    noted: Any = json.loads(json.dumps(dict(state.notes)))
    del noted["made_with"]["max_metres_apart"]
    del noted["made_with"]["provider"]["kind"]  # required, so nothing stands for it
    noted["made_with"]["of_an_older_release"] = 3
    store.switch("harvest", "tokyo", Selection(state.refs, noted))
    with pytest.raises(StaleError, match=r"made with provider\.kind not set"):
        current_harvest("tokyo", city)
    noted["made_with"]["provider"]["kind"] = "simulated"
    store.switch("harvest", "tokyo", Selection(state.refs, noted))
    assert current_harvest("tokyo", city).pairs == state.refs["pairs"]
    changed = city.city("tokyo").model_copy(update={"max_metres_apart": 4.5})
    with pytest.raises(StaleError, match=r"max_metres_apart .*, the catalog says 4\.5"):
        current_harvest("tokyo", city.model_copy(update={"cities": {"tokyo": changed}}))


def test_kinds_of_sets_are_all_looked_at() -> None:
    assert len(KINDS) >= 6
    assert any(issubclass(kind, FileSet) for kind in KINDS.values())
