"""What the store asks of an S3 server (moto): requests are what an object store bills."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.store import (
    ArtifactRef,
    Store,
    StoreError,
    artifact_key,
    manifests,
    packs,
    upkeep,
)
from adapters.store.local import LocalPlace
from tasks.harvesting.current import Harvest, current_harvest, settle_harvest
from tasks.priors.extraction import join_priors, make_prior_part, prior_parts
from tasks.priors.identities import extracted
from tasks.steps import plan as plans
from tasks.steps.artifact_task import make_once
from tasks.steps.imagery import Imagery
from tasks.steps.plan import Plan, open_plan
from tasks.training.target_images import StoredTargets
from tests.harvested import harvested

pytest.importorskip("s3fs", reason="crosscity[s3] is not installed")
pytest.importorskip("moto", reason="moto is not installed")

CREDENTIALS = {"key": "a-key-of-nobody", "secret": "a-secret-of-nobody"}


class Asked(list[str]):
    """The method and path of each request, in their order."""

    def of(self, work: Callable[[], Any]) -> list[str]:
        """What a piece of work asks."""
        self.clear()
        work()
        return list(self)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Asked, str, dict[str, Any]]]:
    """A real S3 server; what it is asked, a bucket there, and the options to reach it."""
    from threading import Thread

    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    heard = Asked()
    backends = DomainDispatcherApplication(create_backend_app)

    def listening(environ: dict[str, Any], start_response: Any) -> Any:
        heard.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        return backends(environ, start_response)

    server = make_server("127.0.0.1", 0, listening, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    where = {"endpoint_url": f"http://127.0.0.1:{server.port}", "region_name": "us-east-1"}
    bucket = f"requests-{server.port}"  # moto keeps buckets for the whole process
    boto3.client(
        "s3",
        **where,
        aws_access_key_id=CREDENTIALS["key"],
        aws_secret_access_key=CREDENTIALS["secret"],
    ).create_bucket(Bucket=bucket)
    yield heard, bucket, {**CREDENTIALS, "client_kwargs": where}
    server.shutdown()
    thread.join()


@pytest.fixture
def asked(
    server: Any,
    tmp_path: Path,
    still_heart: None,  # noqa: ARG001 - for what it does
) -> tuple[Asked, str, dict[str, Any]]:
    """The same with a store of each test's own."""
    heard, bucket, options = server
    heard.clear()
    return heard, f"s3://{bucket}/{tmp_path.name}", options


FACTS: dict[str, Any] = {"inputs": ["a" * 64], "parameters": {}, "version": "1"}
KEY = artifact_key("imagery", **FACTS)


def publish(store: Store, files: dict[str, bytes]) -> ArtifactRef:
    with store.draft("imagery", "rome", KEY, **FACTS) as draft:
        for name, data in files.items():
            draft.file(name).write_bytes(data)
    return draft.ref


@pytest.mark.parametrize("count", [1, 40])
def test_publishing_asks_two_more_than_there_are_files_and_a_second_epoch_nothing(
    asked, tmp_path: Path, count: int
):
    heard, url, options = asked
    store = Store(url, options=options, cache_dir=tmp_path / "cache")
    files = {f"{number}.jpg": bytes([number]) * 1000 for number in range(count)}
    ref = publish(store, files)
    ours = [one for one in heard if one.endswith((".jpg", "artifact.json"))]
    assert ours == heard
    assert len(heard) <= count + 2, heard
    assert heard[-1].startswith("PUT")
    assert heard[-1].endswith("artifact.json")  # after the files

    cache = tmp_path / "another cache"
    reader = Store(url, options=options, cache_dir=cache)

    def epoch(store: Store) -> None:
        for name, path in zip(files, store.paths(ref, list(files)), strict=True):
            assert path.read_bytes() == files[name]

    first = heard.of(lambda: epoch(reader))
    assert len(first) == count + 1, first  # the manifest, and each file once
    assert heard.of(lambda: epoch(reader)) == []
    # Nor does another process of this machine ask: manifests and files are kept by their digests.
    manifests._kept.clear()
    assert heard.of(lambda: epoch(Store(url, options=options, cache_dir=cache))) == []


def test_a_manifest_that_is_kept_is_not_sent_again_and_one_that_is_gone_is_not_found(
    asked, tmp_path: Path, monkeypatch
):
    heard, url, options = asked
    store = Store(url, options=options, cache_dir=tmp_path / "cache")
    where = ("imagery", "rome", KEY)
    assert len(heard.of(lambda: store.find(*where))) == 1  # not HEAD, then LIST
    ref = publish(store, {"x": b"1"})
    sizes: list[int | None] = []
    get = store._place._files.call_s3

    def listening(method: str, **arguments: Any) -> Any:
        sizes.append(None)
        answer = get(method, **arguments)
        sizes[-1] = answer.get("ContentLength")
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(store._place._files, "call_s3", listening)
        for _ in range(2):
            assert heard.of(lambda: store.find(*where)) == [
                f"GET /{url.removeprefix('s3://')}/{ref.uri}/artifact.json"
            ]
    assert sizes[0] is not None
    assert sizes[0] > 100
    assert sizes[1] is None  # If-None-Match: answered by a status alone
    store.remove(ref)
    assert store.find(*where) is None
    assert store.known_at(ref.uri) is None
    # A kept file that was cut short, as by a loss of power, is as if it were not there.
    publish(store, {"x": b"2"})
    again = store.find(*where)
    assert again is not None
    (kept,) = [path for path in (tmp_path / "cache").rglob("kept") if path.is_file()]
    kept.write_bytes(kept.read_bytes()[:-20])
    manifests._kept.clear()
    assert store.manifest(again).digest == again.digest
    assert store.find(*where) == again


def test_what_is_joined_is_copied_by_the_server(asked, tmp_path: Path, monkeypatch):
    heard, url, options = asked
    store = Store(url, options=options, cache_dir=tmp_path / "cache")
    part = publish(store, {"part-0": b"masks" * 1000})
    facts = {**FACTS, "inputs": [part.digest]}

    def join() -> None:
        with store.draft("static_prior", "rome", "joined", **facts) as draft:
            draft.add_link("part-0", part)
            draft.file("more").write_bytes(b"more")

    sent: list[tuple[str, int]] = []
    put = store._place._files.put_file

    def sending(path: str, *rest: Any) -> None:
        sent.append((Path(path).name, Path(path).stat().st_size))
        put(path, *rest)

    monkeypatch.setattr(store._place._files, "put_file", sending)
    requests = heard.of(join)
    assert sent == [("more", 4)]
    # The manifest and file of the part, which were not read here yet; two files and the manifest.
    assert len(requests) == 5, requests
    joined = store.find("static_prior", "rome", "joined")
    assert joined is not None
    elsewhere = Store(url, options=options, cache_dir=tmp_path / "another cache")
    elsewhere.verify(joined)
    assert elsewhere.path(joined, "part-0").read_bytes() == b"masks" * 1000


def test_a_change_of_a_shared_record_asks_twice(asked, tmp_path: Path):
    heard, url, options = asked
    one, two = (Store(url, options=options, cache_dir=tmp_path / "cache") for _ in range(2))
    ledgers = [store.shared("accounts", "service") for store in (one, two)]
    ledgers[0].change(lambda _: {"spent": 1})

    def more(state: dict[str, Any]) -> dict[str, Any]:
        return {"spent": state["spent"] + 1}

    assert [word.split()[0] for word in heard.of(lambda: ledgers[0].change(more))] == ["GET", "PUT"]
    # What is remembered of an earlier reading never overwrites what somebody wrote meanwhile.
    path = ledgers[0]._path
    before = one._place.read(path)
    ledgers[1].change(more)
    assert not one._place.swap(path, before, b"{}")
    ledgers[0].change(more)
    assert ledgers[1].read() == {"spent": 4}


@pytest.mark.parametrize("count", [1, 12])
def test_making_an_artifact_costs_a_constant_beside_its_files(asked, tmp_path: Path, count: int):
    heard, url, options = asked
    store = Store(url, options=options, cache_dir=tmp_path / "cache")
    store.check_writable()

    def write(draft: Any, _key: str) -> None:
        for number in range(count):
            draft.file(str(number)).write_bytes(b"x")

    def make() -> None:
        facts = {"inputs": {}, "parameters": {}, "version": "1"}
        make_once(store, "imagery", "rome", **facts, write=write)

    requests = heard.of(make)
    assert len(requests) <= count + 10, "\n".join(requests)
    assert len(heard.of(make)) == 1


def test_a_small_checkpoint_is_one_write_and_one_read(asked, tmp_path: Path):
    heard, url, options = asked
    store = Store(url, options=options, cache_dir=tmp_path / "cache")
    where = ("imagery_part", "rome", KEY)
    image = bytes(range(256)) * 1000

    def methods(work: Callable[[], Any]) -> list[str]:
        return [one.split()[0] for one in heard.of(work)]

    assert methods(lambda: store.load_progress(*where, "a.jpg")) == ["GET"]
    assert methods(lambda: store.save_progress(*where, "a.jpg", b"before")) == ["PUT"]
    assert methods(lambda: store.save_progress(*where, "a.jpg", image)) == ["PUT"]
    elsewhere = Store(url, options=options, cache_dir=tmp_path / "another cache")
    assert methods(lambda: elsewhere.load_progress(*where, "a.jpg")) == ["GET"]
    assert elsewhere.load_progress(*where, "a.jpg").read_bytes() == image
    # A large one, as of a training, goes beside its record, which is replaced last.
    large = image * 17
    assert methods(lambda: store.save_progress(*where, "step", large))[-1] == "GET"  # the listing
    assert elsewhere.load_progress(*where, "step").read_bytes() == large
    assert elsewhere.list_progress(*where) == ["a.jpg", "step"]


@pytest.fixture(params=[False, True], ids=["apart", "packed"])
def plan_of(
    request: pytest.FixtureRequest,
    write_catalog: Callable[..., Path],
    asked: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str, int], Plan]:
    """plan_of(machine, pairs_per_part): a plan as another machine would open it."""
    _, url, options = asked

    def opened(machine: str, pairs_per_part: int) -> Plan:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        plans._STORES._stores.clear()
        manifests._kept.clear()
        city = {"places": 4, "test_places": 1, "pairs_per_part": pairs_per_part}
        folder = tmp_path / f"catalog-{pairs_per_part}"
        entry = {"url": f"{url}/{pairs_per_part}", "options": options, "pack": request.param}
        return open_plan(write_catalog(folder, city=city, stores={"local": entry}), city="tokyo")

    return opened


def nothing_was_added(*_: object) -> Any:
    raise AssertionError("nothing was added to an earlier harvest")


def with_priors(plan: Plan) -> int:
    """Harvests the city and extracts its priors; how many shards of priors there are."""
    imagery, pairs = harvested(plan)
    settle_harvest(Harvest(imagery, pairs), "tokyo", plan, add=nothing_was_added)
    shards = prior_parts(imagery, pairs, "tokyo", plan)
    made = [make_prior_part(imagery, pairs, shard, "tokyo", plan).ref for shard in shards]
    join_priors.fn(made, pairs, "tokyo", plan)
    return len(shards)


def test_opening_a_city_asks_the_same_however_many_parts_it_has(asked, plan_of):
    heard, _, _ = asked
    counts: dict[int, list[int]] = {}
    for pairs_per_part in (3, 1):
        shards = with_priors(plan_of("maker", pairs_per_part))
        assert shards == 3 // pairs_per_part

        def find(plan: Plan) -> None:
            current_harvest("tokyo", plan)

        def open_all(plan: Plan) -> StoredTargets:
            found = current_harvest("tokyo", plan)
            Imagery(plan.open_store(), found.imagery)
            masks = extracted(found.pairs, "tokyo", plan)
            return StoredTargets(plan, found.imagery, found.pairs, masks)

        def epoch(targets: StoredTargets) -> None:
            for index in range(len(targets)):
                targets.images([index])
                targets.priors([index])

        plan = plan_of("reader", pairs_per_part)
        store = plan.open_store()
        shards_of_images = [store.manifest(one) for one in store.artifacts("imagery_part")]
        assert shards_of_images
        for one in shards_of_images:
            assert bool(one.packed) == plan.store.pack
        plan = plan_of("reader of another machine", pairs_per_part)
        cold = heard.of(lambda plan=plan: find(plan))
        assert len(cold) <= 3, cold
        targets = open_all(plan)
        epoch(targets)
        assert heard.of(lambda targets=targets: epoch(targets)) == []
        # Another process of that machine: what it has kept, it does not fetch again.
        plan = plan_of("reader of another machine", pairs_per_part)
        assert len(heard.of(lambda plan=plan: find(plan))) <= 3
        warm = heard.of(lambda plan=plan: epoch(open_all(plan)))
        counts[pairs_per_part] = [len(cold), len(warm)]
    assert counts[3] == counts[1], warm
    assert counts[1][1] <= 8, warm  # pointer, imagery, pairs; where the priors are, and these


@pytest.mark.parametrize("count", [2, 40])
def test_a_pack_is_written_in_two_requests_and_a_small_one_is_read_in_two(
    asked, tmp_path: Path, count: int
):
    heard, url, options = asked
    store = Store(url, options=options, cache_dir=tmp_path / "cache", pack=True)
    files = {
        f"images/{number:02}.jpg": bytes([number]) * (1000 + number) for number in range(count)
    }
    files |= {"empty": b"", "large": bytes(packs.LARGEST + 1)}
    ref = publish(store, files)
    assert [one.split()[0] for one in heard] == ["PUT", "PUT", "PUT"]  # pack, large, manifest
    assert heard[-1].endswith("artifact.json")
    # One opened without the setting reads it: a part, then the rest, and a second time nothing.
    reader = Store(url, options=options, cache_dir=tmp_path / "another cache")
    reader.manifest(ref)

    def epoch() -> None:
        for name, data in files.items():
            assert reader.path(ref, name).read_bytes() == data
            assert reader.path(ref, name).suffix == Path(name).suffix

    first = heard.of(epoch)
    assert len(first) == 3, first
    assert sum("/.pack-" in one and one.startswith("GET") for one in first) == 2
    assert heard.of(epoch) == []
    reader.verify(ref)
    # The same artifact without a pack is the same by its digest, and the first stays.
    assert publish(reader, files) == ref
    assert reader.manifest(ref).packed
    reader.verify(ref)


def test_most_of_a_pack_is_fetched_by_stretches_and_little_of_it_by_files(
    asked, tmp_path: Path, monkeypatch
):
    heard, url, options = asked
    monkeypatch.setattr(packs, "REQUEST_BYTES", 2000)
    monkeypatch.setattr(packs, "STRETCH_BYTES", 30_000)
    files = {f"{n:02}.jpg": bytes([n + 1]) * 1000 for n in range(40)}
    store = Store(url, options=options, cache_dir=tmp_path / "cache", pack=True)
    ref = publish(store, files)
    names = list(store.manifest(ref).packed)
    assert names == sorted(files)
    stretches = [packs.stretch_of(store.manifest(ref), name) for name in names]
    assert stretches == [tuple(names[:30])] * 30 + [tuple(names[30:])] * 10

    def requests(wanted: list[str], folder: str, *, together: bool) -> int:
        reader = Store(url, options=options, cache_dir=tmp_path / folder)
        reader.manifest(ref)

        def read() -> None:
            paths = (
                reader.paths(ref, wanted)
                if together
                else [reader.path(ref, name) for name in wanted]
            )
            assert [path.read_bytes() for path in paths] == [files[name] for name in wanted]

        return len(heard.of(read))

    assert requests(names[20:25], "few", together=False) == 5
    # A file is worth 3000 bytes, the stretches 32,000 and 12,000: 10 and 4 files go before.
    assert requests(names, "all", together=False) == 10 + 1 + 4 + 1
    assert requests(names, "side by side", together=True) == 10 + 1 + 4 + 1
    # One damaged file is told, and no other.
    pack = store.manifest(ref).pack
    data = store._place.read(pack)
    assert data is not None
    store._place.replace(pack, data[:25_500] + b"?" + data[25_501:])
    assert requests([name for name in names if name != "25.jpg"], "damaged", together=False) == 16
    with pytest.raises(StoreError, match=r"25\.jpg has SHA-256"):
        Store(url, options=options, cache_dir=tmp_path / "damaged").path(ref, "25.jpg")


@pytest.mark.parametrize("first_packs", [True, False])
def test_what_a_second_writer_who_packs_otherwise_has_sent_is_swept(
    asked, tmp_path: Path, first_packs: bool
):
    _, url, options = asked
    files = {"a.jpg": b"1" * 100, "images/b.jpg": b"2" * 100}
    first, second = (
        Store(url, options=options, cache_dir=tmp_path / "cache", pack=pack)
        for pack in (first_packs, not first_packs)
    )
    ref = publish(first, files)
    mine = {file.path for file in first.files()}
    assert publish(second, files) == ref
    theirs = {file.path for file in first.files()} - mine
    assert len(theirs) == (2 if first_packs else 1)
    later = datetime.now(UTC) + timedelta(days=3)
    assert upkeep.orphans(first, timedelta(days=9), later) == []  # it may be at it
    found = upkeep.orphans(first, timedelta(days=1), later)
    assert {one.place for one in found} == theirs
    for one in found:
        first.remove_left(one)
    assert {file.path for file in first.files()} == mine
    Store(url, options=options, cache_dir=tmp_path / "another").verify(ref)


def test_a_copy_on_a_disk_that_cannot_be_written_to_is_read(asked, tmp_path: Path, monkeypatch):
    _, url, options = asked
    store = Store(url, options=options, cache_dir=tmp_path / "cache", pack=True)
    files = {"a.jpg": b"1" * 100, "images/b.jpg": b"2" * 100}
    ref = publish(store, files)
    copy = tmp_path / "copied"
    for file in store.files():
        (copy / file.path).parent.mkdir(parents=True, exist_ok=True)
        (copy / file.path).write_bytes(store._place.read(file.path) or b"")
    there = sorted(copy.rglob("*"))

    def refuse(_: object) -> Any:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(LocalPlace, "scratch", refuse)
    on_disk = Store(copy, cache_dir=tmp_path / "cache of the disk")
    on_disk.verify(ref)
    for _ in range(2):
        for name, data in files.items():
            assert on_disk.path(ref, name).read_bytes() == data
    assert sorted(copy.rglob("*")) == there
    pack = copy / store.manifest(ref).pack
    pack.write_bytes(pack.read_bytes()[:-1] + b"?")
    with pytest.raises(StoreError, match=r"b\.jpg"):
        on_disk.verify(ref)


def test_a_pack_that_is_cut_short_altered_or_gone_is_damage(asked, tmp_path: Path):
    _, url, options = asked
    files = {"a.jpg": b"1" * 100, "b.jpg": b"2" * 100}
    for number, damaged in enumerate([b"1" * 100, b"1" * 150, b"1" * 100 + b"3" * 100, None]):
        one = Store(f"{url}-{number}", options=options, cache_dir=tmp_path / "cache", pack=True)
        ref = publish(one, files)
        pack = one.manifest(ref).pack
        assert one._place.read(pack) == b"1" * 100 + b"2" * 100
        assert one.fault_at(ref.uri) is None
        if damaged is None:
            one._place.remove(pack)
        else:
            one._place.replace(pack, damaged)
        fresh = Store(f"{url}-{number}", options=options, cache_dir=tmp_path / str(number))
        assert "b.jpg" in str(fresh.fault_at(ref.uri)) or damaged is None
        with pytest.raises(StoreError, match=r"b\.jpg"):
            fresh.path(ref, "b.jpg")
        assert fresh.find("imagery", "rome", KEY) is None  # in quarantine, to be made again
        assert publish(one, files) == ref
        Store(f"{url}-{number}", options=options, cache_dir=tmp_path / "more").verify(ref)


def test_what_is_joined_from_a_pack_and_what_is_copied_to_a_disk_is_whole(asked, tmp_path: Path):
    _, url, options = asked
    store = Store(url, options=options, cache_dir=tmp_path / "cache", pack=True)
    part = publish(store, {"a": b"masks" * 1000, "b": b"more"})
    with store.draft("static_prior", "rome", "joined", **FACTS) as draft:
        draft.add_link("part-0", part, "a")
        draft.file("table").write_bytes(b"rows")
    assert store.manifest(draft.ref).packed == ("part-0", "table")
    elsewhere = Store(url, options=options, cache_dir=tmp_path / "another cache")
    assert elsewhere.path(draft.ref, "part-0").read_bytes() == b"masks" * 1000
    copy = tmp_path / "copied"
    for file in store.files():
        (copy / file.path).parent.mkdir(parents=True, exist_ok=True)
        (copy / file.path).write_bytes(store._place.read(file.path))
    on_disk = Store(copy)
    for ref in (part, draft.ref):
        on_disk.verify(ref)
    assert on_disk.path(part, "b").read_bytes() == b"more"
    assert [ref.kind for ref in on_disk.artifacts()] == ["imagery", "static_prior"]
    # Upkeep takes a pack for what the manifest needs, and removes it with the artifact.
    later = datetime.now(UTC) + timedelta(days=3)
    assert upkeep.orphans(store, timedelta(days=1), later) == []
    store.remove(part)
    assert [file.path for file in store.files() if file.path.startswith("imagery/")] == []
