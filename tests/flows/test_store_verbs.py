"""`crosscity store`: what is damaged is found, moved and listed."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from adapters.store import ArtifactRef, Selection, Store, StoreError, artifact_key, upkeep
from adapters.store.records import Manifest
from adapters.store.upkeep import Kept, orphans, removable, sampled
from flows.cli.store import app
from tasks.judging import promotion
from tasks.steps.counted import counted


@pytest.fixture
def store(write_catalog, tmp_path):
    """The store of a catalog with two artifacts, and how to run a verb on it."""
    catalog = write_catalog(tmp_path)
    opened = Store(tmp_path / "store")
    for key in ("one", "two"):
        with opened.draft("pairs", "tokyo", key, inputs=[], parameters={}, version="1") as draft:
            draft.file("x").write_bytes(key.encode())

    def run(*words: str):
        return CliRunner().invoke(app, [*words, "--catalog", str(catalog)])

    return tmp_path / "store", run


def test_a_whole_store_is_whole(store) -> None:
    _, run = store
    done = run("repair")
    assert done.exit_code == 0
    assert "2 artifacts are whole, 0 are not" in done.output
    assert "0 artifacts are in quarantine" in run("quarantine").output


def test_what_is_damaged_is_moved_named_and_listed(store) -> None:
    folder, run = store
    (folder / "pairs/tokyo/one/x").write_bytes(b"eno")
    (folder / "pairs/tokyo/two/artifact.json").write_bytes(b"{")
    done = run("repair")
    assert done.exit_code == 1
    assert "0 artifacts are whole, 2 are not" in done.output
    listed = run("quarantine").output
    assert "quarantine/pairs/tokyo/one." in listed
    assert "x has SHA-256" in listed
    assert "artifact.json is damaged" in listed
    assert "2 artifacts are in quarantine" in listed
    again = run("repair")
    assert again.exit_code == 0
    assert "0 artifacts are whole, 0 are not" in again.output


def test_verifying_changes_nothing_and_says_what_makes_it_again(store) -> None:
    folder, run = store
    assert "of 2 artifacts, 2 are whole and 0 are not\n" in run("verify").output
    few = run("verify", "--sample", "0.5", "--seed", "0").output
    assert "of 1 artifact, 1 is whole and 0 are not (a sample of 2)" in few
    (folder / "pairs/tokyo/one/x").write_bytes(b"eno")
    (folder / "pairs/tokyo/two/artifact.json").write_bytes(b"{")
    for _ in range(2):
        done = run("verify")
        assert done.exit_code == 1
        assert "of 2 artifacts, 0 are whole and 2 are not" in done.output
        assert done.output.count("`crosscity harvest tokyo` makes it again") == 2
    assert "0 artifacts are in quarantine" in run("quarantine").output


def test_what_makes_it_again_is_a_command_that_takes_its_owner(write_catalog, tmp_path) -> None:
    """Artifacts lie under cities, transfers, data sets and segmenters: no verb takes them all."""
    transfers = {"home": {"segmenter": "compact", "target": "frankfurt"}}
    catalog = write_catalog(tmp_path, transfers=transfers)
    store = Store(tmp_path / "store")
    compared = ", or the `crosscity compare` that it was made for,"
    remedies = {
        ("adaptation", "tokyo"): "`crosscity adapt tokyo`",
        ("report", "tokyo"): "`crosscity report tokyo`",
        ("predictions_part", "tokyo"): "`crosscity predict tokyo`",
        ("comparison", "tokyo"): "the next command that needs it",
        ("differences", "tokyo"): "`crosscity report tokyo`" + compared,
        ("evaluation", "tokyo"): "`crosscity evaluate tokyo`" + compared,
        ("differences", "home"): "`crosscity transfer home`" + compared,
        ("adaptation", "home"): "`crosscity transfer home`",
        ("comparison", "home"): "the next command that needs it",
        ("segmenter", "frankfurt"): "the next command that needs it",
        ("labelled", "frankfurt"): "the next command that needs it",
    }
    for kind, owner in remedies:
        with store.draft(kind, owner, "a", inputs=[], parameters={}, version="1") as draft:
            draft.file("x").write_bytes(b"one")
        (tmp_path / "store" / kind / owner / "a" / "x").write_bytes(b"eno")
    done = CliRunner().invoke(app, ["verify", "--catalog", str(catalog)])
    assert done.exit_code == 1
    for (kind, owner), remedy in remedies.items():
        (line,) = [line for line in done.output.splitlines() if f"{kind}/{owner}/a" in line]
        assert line.endswith(f": {remedy} makes it again, once it is moved")


def test_a_damaged_pointer_is_moved_and_its_log_comes_back(store) -> None:
    folder, run = store
    opened = Store(folder)
    for ref in list(opened.artifacts("pairs", "tokyo")):
        promotion.put_in_use(opened, "tokyo", ref, reason=f"for {ref.key}")
    log = promotion.promotion_log(opened, "tokyo")
    assert len(log) == 2
    pointer = folder / "current/tokyo/promoted.json"
    whole = pointer.read_bytes()
    pointer.write_bytes(whole[:-30])
    done = run("verify")
    assert done.exit_code == 1
    assert "damaged pointers or shared files: 1" in done.output
    assert f"{pointer} is damaged" in done.output
    assert pointer.read_bytes() == whole[:-30]
    assert run("prune").exit_code != 0  # nobody knows what counts
    done = run("repair")
    assert done.exit_code == 1
    assert "current/tokyo/promoted.json: moved to quarantine/current/tokyo/promoted." in done.output
    assert "its newest sound state is restored" in done.output
    assert pointer.read_bytes() == whole
    assert promotion.promotion_log(Store(folder), "tokyo") == log
    assert "quarantine/current/tokyo/promoted." in run("quarantine").output
    for verb in ("repair", "verify"):
        assert run(verb).exit_code == 0


def test_a_damaged_pointer_of_which_nothing_was_kept_says_what_is_lost(store) -> None:
    folder, run = store
    pointer = folder / "current/tokyo/harvest.json"
    pointer.parent.mkdir(parents=True)
    pointer.write_bytes(b"{")
    done = run("repair")
    assert done.exit_code == 1
    assert "no state of it was kept, so tokyo is without it until `crosscity harvest" in done.output
    assert not pointer.exists()
    pointer.write_bytes(b'{"format": 99, "refs": {}, "notes": {}}')
    done = run("repair")
    assert done.exit_code == 1
    assert "newer version" in done.output
    assert "is damaged" not in done.output
    assert pointer.exists()


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\x00" * 30])
def test_a_damaged_shared_file_is_moved_and_counts_anew(store, damage) -> None:
    folder, run = store
    record = Store(folder).shared("accounts", "google")
    record.change(lambda _: {"usd": 12})
    with Store(folder).lease("pairs", "tokyo", "three"):
        assert run("verify").exit_code == 0  # what others hold just now is whole
    path = folder / ".shared/accounts/google.json"
    path.write_bytes(damage)
    with pytest.raises(StoreError, match=r"google\.json is damaged: `crosscity store repair`"):
        record.read()
    assert run("verify").exit_code == 1
    assert path.read_bytes() == damage
    done = run("repair")
    assert done.exit_code == 1
    assert "google.json: moved to quarantine/shared/accounts/google.json." in done.output
    assert "what it counted begins anew" in done.output
    assert record.read() == {}
    assert "quarantine/shared/accounts/google.json." in run("quarantine").output
    (moved,) = (folder / "quarantine/shared/accounts").glob("*/google.json")
    assert moved.read_bytes() == damage
    for verb in ("repair", "verify"):
        assert run(verb).exit_code == 0


def test_a_sample_has_its_share_and_changes_with_the_seed() -> None:
    places = [f"pairs/tokyo/{number}" for number in range(2000)]
    first = list(sampled(places, 0.1, 1))
    assert 140 < len(first) < 260
    assert first == list(sampled(places, 0.1, 1)) != list(sampled(places, 0.1, 2))
    assert list(sampled(places, 1.0, 1)) == places
    assert list(sampled(places, 0.0, 1)) == []


OLD = datetime(2026, 1, 1, tzinfo=UTC)


class City:
    """A city whose artifacts are made one a day, from `OLD` on."""

    def __init__(self, folder, monkeypatch) -> None:
        self.store, self.days, self.clock = Store(folder), 0, self

        class Clock(datetime):
            @classmethod
            def now(cls, _tz=None):
                return OLD + timedelta(days=self.days)

        monkeypatch.setattr("adapters.store.store.datetime", Clock)

    def make(self, kind: str, *inputs: ArtifactRef) -> ArtifactRef:
        self.days += 1
        made_of = {str(number): ref.digest for number, ref in enumerate(inputs)}
        parameters = {"number": self.days}
        key = artifact_key(kind, inputs=made_of, parameters=parameters, version="1")
        with self.store.draft(
            kind, "tokyo", key, inputs=made_of, parameters=parameters, version="1"
        ) as draft:
            draft.file("x").write_bytes(b"x" * self.days)
        return draft.ref

    def harvest(self) -> dict[str, ArtifactRef]:
        found = {"part": self.make("imagery_part", self.make("captures"))}
        found["imagery"] = self.make("imagery", found["part"])
        found["pairs"] = self.make("pairs", found["imagery"])
        found["slice"] = self.make("pairs_slice", found["imagery"], found["pairs"])
        found["prior"] = self.make("static_prior", self.make("static_prior_part", found["pairs"]))
        return found

    def adapt(self, harvest: dict[str, ArtifactRef]) -> ArtifactRef:
        start = self.make("segmenter", self.make("labelled"))
        made = self.make("adaptation", start, harvest["pairs"], harvest["prior"])
        self.make("evaluation", made, self.make("labelled"))  # test images, which nothing else has
        self.make("safeguard", made, start)
        return made

    def removable(self, **kept) -> set[str]:
        found = removable(self.store, Kept(**{"days": 0.0, **kept}), OLD + timedelta(days=400))
        return {one.kind for one in found}


@pytest.fixture
def city(tmp_path, monkeypatch) -> City:
    return City(tmp_path / "store", monkeypatch)


def test_pruning_keeps_what_a_segmenter_in_use_and_the_last_harvests_are_made_of(city) -> None:
    first, second, third = (city.harvest() for _ in range(3))
    used, unused = city.adapt(first), city.adapt(second)
    city.store.switch("promoted", "tokyo", Selection({"artifact": used}))
    everything = set(city.store.artifacts())
    found = removable(city.store, Kept(harvests=1, earlier=0, days=0.0), OLD + timedelta(days=400))
    gone = {one.ref for one in found}
    assert unused in gone
    assert gone >= set(second.values())
    assert not gone & {used, *first.values(), *third.values()}
    for one in found:
        city.store.remove(one.ref)
    for ref in everything - gone:  # whole, with all that they were made of
        city.store.verify(ref)
        assert None not in city.store.inputs_of(ref).values()
    assert set(city.store.artifacts()) == everything - gone
    kinds = {ref.kind for ref in everything - gone}
    assert {"evaluation", "safeguard", "segmenter", "labelled", "pairs_slice"} <= kinds


def test_pruning_keeps_what_a_rollback_goes_back_to(city) -> None:
    harvest = city.harvest()
    used, before = city.adapt(harvest), city.adapt(harvest)
    city.store.switch(
        "promoted", "tokyo", Selection({"artifact": used}, {"earlier": [before.to_dict()]})
    )
    assert city.removable(harvests=1, earlier=1) == set()
    assert "adaptation" in city.removable(harvests=1, earlier=0)


@pytest.mark.parametrize("there", [1, 2, 3])
def test_pruning_keeps_all_harvests_where_there_are_fewer_than_it_may_keep(city, there) -> None:
    for _ in range(there):
        city.harvest()
    for kept in range(there, there + 4):
        assert city.removable(harvests=kept) == set()
    gone = removable(city.store, Kept(there - 1, 0, days=0.0), OLD + timedelta(days=400))
    assert [one.kind for one in gone].count("pairs") == 1


def test_what_pruning_takes_grows_with_the_store_and_not_with_its_square() -> None:
    def seconds(count: int) -> float:
        made, roots = {}, []
        for number in range(count):
            facts = {"key": f"{number:024d}", "made_at": OLD, "files": {}, "parameters": {}}
            facts |= {"city": "tokyo", "version": "1", "code_version": "1"}
            pairs = Manifest(kind="pairs", inputs={}, **facts)
            cut = Manifest(kind="pairs_slice", inputs={"pairs": pairs.digest}, **facts)
            made |= {pairs.ref: pairs, cut.ref: cut}
            roots.append(pairs.ref)
        began = time.thread_time()
        assert len(upkeep._reached(roots, made)) == 2 * count
        return time.thread_time() - began

    few, many = (min(seconds(count) for _ in range(3)) for count in (1000, 4000))
    assert many < 12 * few  # as it is, five times; where each asks all others, forty times


def test_pruning_removes_nothing_young(city) -> None:
    city.harvest()
    assert city.removable(harvests=0, days=1000.0) == set()
    assert city.removable(harvests=0) == {ref.kind for ref in city.store.artifacts()}


def test_pruning_says_first_and_does_it_when_told(city, write_catalog, tmp_path) -> None:
    catalog = write_catalog(tmp_path)
    for _ in range(3):
        city.harvest()
    before = set(city.store.artifacts())

    def run(*words: str):
        return CliRunner().invoke(app, ["prune", *words, "--catalog", str(catalog)])

    assert "would remove 7 artifacts" in run().output
    assert set(city.store.artifacts()) == before
    assert "removed 7 artifacts" in run("--yes").output
    assert len(set(city.store.artifacts())) == len(before) - 7
    assert "there is nothing to remove" in run("--yes").output
    assert not list((tmp_path / "store" / ".drafts").iterdir())


@pytest.mark.parametrize("remote", [False, True])
def test_pruning_removes_what_died_uploads_and_trainings_left(
    remote, write_catalog, tmp_path, monkeypatch
) -> None:
    url = f"memory://orphans/{tmp_path.name}" if remote else str(tmp_path / "store")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    catalog = write_catalog(tmp_path, stores={"local": {"url": url}})
    store = Store(url, cache_dir=tmp_path / "cache")
    where = ("pairs", "tokyo", "one")
    with store.draft(*where, inputs=[], parameters={}, version="1") as draft:
        draft.file("images/x").write_bytes(b"whole")
    put = store._place.replace
    put("pairs/tokyo/one/0123456789abcdef/images/x", b"of a writer that came second")
    put("pairs/tokyo/two/0123456789abcdef/images/x", b"of one that died")
    put("pairs/tokyo/two/0123456789abcdef/y", b"of one that died")
    store.save_progress(*where, "step", b"of what is finished")
    store.save_progress("adaptation", "tokyo", "three", "step", b"of what goes on")
    uploads = ["pairs/tokyo/one/0123456789abcdef", "pairs/tokyo/two/0123456789abcdef"]
    # On a disk, files without a manifest are damage, which is moved and not removed.
    expected = [".progress/pairs/tokyo/one", *(uploads if remote else [])]
    day = timedelta(days=1)
    found = orphans(store, day, store.now() + 2 * day)
    assert [one.place for one in found] == expected
    assert sum(one.bytes for one in found) >= 19 + (60 if remote else 0)
    assert orphans(store, day, store.now()) == []  # somebody may be writing it just now

    clock = Store.now
    monkeypatch.setattr(Store, "now", lambda self: clock(self) + 2 * day)
    run = [*["prune", "--days", "1", "--catalog"], str(catalog)]
    reported = CliRunner().invoke(app, run).output
    assert all(place in reported for place in expected)
    assert f"would remove what was left in {counted(len(expected), 'place')}" in reported
    done = CliRunner().invoke(app, [*run, "--yes"])
    assert done.exit_code == 0, done.output
    assert orphans(store, day, store.now()) == []
    assert store.load_progress("adaptation", "tokyo", "three", "step").read_bytes()


def test_a_damaged_selection_stops_pruning(city, tmp_path) -> None:
    city.harvest()
    path = tmp_path / "store/current/tokyo/promoted.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(StoreError, match="is damaged"):
        city.removable(harvests=0)
