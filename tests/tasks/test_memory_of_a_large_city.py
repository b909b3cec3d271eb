"""What a process of a training holds of a city: it must not grow with the pixels of all pairs."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from adapters import mapped_tables
from adapters.store import ArtifactRef, Store
from adapters.tables import read_table
from tasks.harvesting import watch
from tasks.judging import segmenter_facts
from tasks.pages import figures
from tasks.priors.stored import StoredPriors
from tasks.steps.imagery import Imagery
from tasks.steps.schemas import IMAGERY, PAIRS, STATIC_PRIOR
from tasks.steps.tables import write_rows
from tasks.training import kept_points
from tasks.training.kept_points import KeptPoints
from tests.tasks.made_priors import stored_priors


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mapped_tables._sweep.cache_clear()
    mapped_tables._warn_that_held.cache_clear()
    yield tmp_path / "cache"
    mapped_tables._warn_that_held.cache_clear()


def cell(name: str, size: int = 20_000) -> bytes:
    return np.random.default_rng(list(name.encode())).bytes(size)


def shards(count: int, rows: int) -> Iterator[list[dict[str, Any]]]:
    for shard in range(count):
        yield [
            {
                **dict.fromkeys(STATIC_PRIOR.names),
                "image_id": f"{shard}-{row}",
                "pair_id": "p",
                "mask": cell(f"m{shard}-{row}"),
                "probability": cell(f"p{shard}-{row}") if row else None,
                "status": "failed" if row == 1 else "ok",
            }
            for row in range(rows)
        ]


def held() -> int:
    """Bytes that Python and Arrow have allocated."""
    return tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes()


def open_files(folder: Path) -> int:
    """How many files of a folder this process holds open."""
    found = 0
    for one in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # another thread has just closed it
            found += one.readlink().is_relative_to(folder)
    return found


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
def test_masks_stay_on_disk_and_are_read_once_whoever_opens_them(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, read = Store(tmp_path / "store"), []

    def counted(path: Path, *words: Any, **more: Any) -> pa.Table:
        read.append(path.name)
        return read_table(path, *words, **more)

    monkeypatch.setattr(mapped_tables, "read_table", counted)
    made = stored_priors(store, shards(20, 10))  # 8 MB
    before = held()
    opened = [StoredPriors(store, made) for _ in range(3)]
    assert held() - before < 2**21
    assert open_files(tmp_path) <= 2
    assert read == [f"part-{shard:05d}.parquet" for shard in range(20)]
    for priors in opened:
        assert priors.mask("17-3") == cell("m17-3")
        assert priors.probability("19-9") == cell("p19-9")
        assert priors.probability("0-0") is None
        assert ("0-0" in priors, "0-1" in priors, "x" in priors) == (True, False, False)
        assert priors.mask("0-1") is None
    assert cache.is_dir()


@pytest.mark.usefixtures("cache")
def test_where_nothing_can_be_kept_that_is_said_once_a_city(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    priors = StoredPriors(
        Store(tmp_path / "store"), stored_priors(Store(tmp_path / "store"), shards(3, 3))
    )
    assert priors.mask("2-2") == cell("m2-2")
    assert caplog.text.count("held in memory instead") == 1


FACTS: dict[str, Any] = {"inputs": {}, "parameters": {}, "version": "1"}


def image_row(number: int) -> dict[str, Any]:
    name = hashlib.sha256(str(number).encode()).hexdigest()
    return {
        **dict.fromkeys(IMAGERY.names),
        **dict.fromkeys(("image_id", "sha256", "source_id", "sequence", "page_url"), name),
        **{"provider": "panoramax", "place_id": name[:8], "file": f"{name}.jpg"},
        **{
            "heading": 1.0,
            "pitch": 0.0,
            "fov": 90.0,
            "width": 1280,
            "height": 640 + number % 2,
        },
        **{"licence": "CC-BY-SA-4.0", "attribution": f"user {number % 40}"},
        **{"captured_at": datetime(2020, 1, 1 + number % 28, tzinfo=UTC)},
        **{"time_precision": "month", "artifact": "imagery_part/tokyo/" + 24 * "0"},
        "status": "failed" if number == 7 else "ok",
    }


def stored_images(store: Store, rows: list[dict[str, Any]]) -> ArtifactRef:
    with store.draft("imagery", "tokyo", 24 * "0", **FACTS) as draft:
        write_rows(draft, "imagery.parquet", rows, IMAGERY)
    return draft.ref


@pytest.mark.usefixtures("traced", "cache")
def test_rows_of_images_are_columns(tmp_path: Path) -> None:
    count, store = 5_000, Store(tmp_path / "store")
    rows = [image_row(number) for number in range(count)]
    imagery = stored_images(store, rows)
    with store.draft("imagery_part", "tokyo", 24 * "0", **FACTS) as part:
        (part.path / f"{rows[3]['image_id']}.jpg").write_bytes(b"JPEG")
    expected, known = rows[3], {one["image_id"] for one in rows if one["status"] == "ok"}
    gone = rows[7]["image_id"]
    del rows
    before = held()
    images = Imagery(store, imagery)
    assert held() - before < 1_200 * count  # as rows they took 2 400 bytes each
    assert images.row(expected["image_id"]) == expected
    assert images.size(expected["image_id"]) == (641, 1280)
    assert images.data(expected["image_id"]) == b"JPEG"
    assert images.ids() == sorted(known)
    with pytest.raises(KeyError):
        images.row(gone)
    assert sum(number for _, _, number in images.credits()) == count - 1
    (source,) = [one for one in images.sources() if one.image_id == expected["image_id"]]
    assert (source.attribution, source.taken) == ("user 3", "2020-01")


def points(number: int) -> kept_points.Points:
    random = np.random.default_rng(number)
    largest = 100_000 if number == 3 else 1280
    one, other = (np.float64(random.integers(0, largest, (5_000, 2))) for _ in range(2))
    return one, other


@pytest.mark.usefixtures("traced")
def test_points_of_pairs_are_held_up_to_a_limit_and_then_on_disk(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_points, "IN_MEMORY", 100_000)
    kept, before = KeptPoints(), held()
    for number in range(50):  # 8 MB
        kept.keep((str(number), "b"), points(number))
    nothing = np.zeros((0, 2)), np.zeros((0, 2))
    kept.keep(("none", "b"), nothing)
    assert held() - before < 2**18
    assert list((cache / "crosscity").iterdir()) == []  # nothing that a kill would leave
    for number in (0, 3, 49, 20):
        found = kept.find((str(number), "b"))
        assert found is not None
        assert found[0].dtype == np.float64
        assert np.array_equal(found, points(number))
    assert np.array_equal(kept.find(("none", "b")) or (), nothing)
    assert kept.find(("50", "b")) is None


def test_on_a_full_disk_further_points_are_not_kept_and_that_is_said_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kept_points, "IN_MEMORY", 0)
    kept = KeptPoints()
    kept.keep(("0", "b"), points(0))
    monkeypatch.setattr(kept_points, "SPARE_BYTES", 2**62)
    for number in (1, 2):
        kept.keep((str(number), "b"), points(number))
        assert kept.find((str(number), "b")) is None
    assert np.array_equal(kept.find(("0", "b")) or (), points(0))
    assert caplog.text.count("(No space left on device): further pairs are matched each time") == 1
    assert caplog.text.count(f"the cache folder {cache / 'crosscity'} cannot be written") == 1


@pytest.mark.usefixtures("traced", "cache")
@pytest.mark.parametrize("what", ["known", "figures", "terms"])
def test_who_asks_a_column_of_all_images_is_given_no_other(tmp_path: Path, what: str) -> None:
    count, store = 5_000, Store(tmp_path / "store")
    imagery = stored_images(store, [image_row(number) for number in range(count)])
    pair = dict.fromkeys(PAIRS.names) | {"pair_id": "p", "place_id": "p", "split": "train"}
    ids = {"image_a": "a", "image_b": "b"}
    with store.draft("pairs", "tokyo", 24 * "0", **FACTS) as draft:
        write_rows(draft, "pairs.parquet", [pair | ids] * count, PAIRS)
    asked: dict[str, Callable[[], object]] = {
        "known": lambda: watch._column(store, imagery, "image_id"),
        "figures": lambda: figures._harvest(store, {"imagery": imagery, "pairs": draft.ref}),
        "terms": lambda: list(segmenter_facts._terms(store, {"imagery/tokyo/x": imagery})),
    }
    before = held()
    tracemalloc.reset_peak()
    asked[what]()
    assert tracemalloc.get_traced_memory()[1] - before < 900 * count  # rows took 2 400 bytes each
