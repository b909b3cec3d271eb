"""New imagery is added; what is there stays as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from adapters.street_view.web.errors import BudgetSpent
from tasks.harvesting import harvest as harvest_module
from tasks.harvesting import listing as listing_module
from tasks.harvesting import pair_table
from tasks.harvesting import watch as watch_module
from tasks.harvesting.changed_files import changed_files_remark
from tasks.harvesting.current import (
    HARVEST,
    Harvest,
    announce_landed,
    current_harvest,
    grow_harvest,
    settle_harvest,
)
from tasks.harvesting.fetching import capture_row, listing_digest
from tasks.harvesting.providers import street_view
from tasks.harvesting.watch import (
    FIXED_TEST,
    add_imagery,
    add_pairs,
    find_new_captures,
    landed_event,
)
from tasks.judging.steps_ahead import steps_ahead
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan, open_plan
from tests.harvested import fetched, harvested, ref_of


def harvest(catalog: str, meanwhile: Callable[[], object] | None = None) -> Any:
    plan = open_plan(catalog, city="tokyo")
    found = Harvest(*harvested(plan))
    settle_harvest(found, "tokyo", plan, adding(plan, meanwhile))
    return found.pairs


def adding(plan: Plan, meanwhile: Callable[[], object] | None = None) -> Any:
    """Adds shards to a harvest, as harvest-city does, while something else happens once."""
    others = [] if meanwhile is None else [meanwhile]

    def add(found: Harvest, more: Any) -> Harvest:
        grown = ref_of(add_imagery.fn(found, more, "tokyo", plan))
        if others:
            others.pop()()
        return Harvest(grown, ref_of(add_pairs.fn(found, grown, "tokyo", plan)))

    return add


def listed(catalog: str) -> Any:
    """What is new at the provider."""
    plan = open_plan(catalog, city="tokyo")
    return find_new_captures.fn(current_harvest("tokyo", plan), "tokyo", plan)


def look(catalog: str) -> Any:
    """The steps of watch-city, without a server; the pairs, or None."""
    plan = open_plan(catalog, city="tokyo")
    before = current_harvest("tokyo", plan)
    captures = find_new_captures.fn(before, "tokyo", plan)
    if captures is None:
        return None
    imagery = ref_of(add_imagery.fn(before, fetched(captures, plan), "tokyo", plan))
    pairs = ref_of(add_pairs.fn(before, imagery, "tokyo", plan))
    landed = landed_event("tokyo", imagery, pairs, plan)
    grown = Harvest(imagery, pairs)
    assert grow_harvest(before, grown, "tokyo", plan, events=[landed])
    return pairs


NOT_PUBLISHED = {".progress", ".locks", ".alive", ".leases", ".shared", "current"}
"""Folders of a store that are not artifacts."""


def files(folder: Path) -> dict[str, str]:
    """Every published file with its digest."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "store").rglob("*"))
        if path.is_file() and not NOT_PUBLISHED & set(path.parts)
    }


def table(catalog: str, name: str) -> list[dict[str, Any]]:
    store = open_plan(catalog).open_store()
    ref = getattr(current_harvest("tokyo", open_plan(catalog)), name)
    rows: list[dict[str, Any]] = pq.read_table(store.path(ref, f"{name}.parquet")).to_pylist()
    return rows


@pytest.fixture
def city(
    services: Any, street_world: Any, write_catalog: Any, tmp_path: Path
) -> Iterator[tuple[Any, Callable[..., str]]]:
    """A server whose world can grow, and its catalog."""
    world = services.World(list(street_world.pictures))
    with services.PanoramaxServer(world) as server:

        def catalog(**changes: Any) -> str:
            entry = {
                "provider": {
                    "kind": "panoramax",
                    "base_url": server.url,
                    "requests_per_second": 100.0,
                    "tile_metres": 100.0,
                },
                "area": {"bbox": [139.699, 35.6595, 139.701, 35.663]},
                "places": 10,
                "test_places": 1,
                "test_margin_metres": 30.0,
                "labels": None,
                "image_size": [64, 128],
                "pairs_per_part": 2,
                **changes,
            }
            return str(write_catalog(tmp_path, city=entry))

        yield server, catalog


def new_drive(services: Any, world: Any, places: tuple[int, ...], taken: datetime) -> None:
    """A third car's pictures at some places: what the second saw, years later."""
    world.add(
        *(
            services.moved(
                world.pictures[2 * place + 1], 10 * taken.year + place, taken=taken,
                drive=f"drive-{taken.year}",
            )
            for place in places
        )
    )  # fmt: skip


NOW = datetime.now(UTC).replace(microsecond=0)


def test_nothing_new_is_nothing(city):
    server, make = city
    catalog = make()
    before = harvest(catalog)
    published = files(Path(catalog).parent)
    assert look(catalog) is None
    assert look(catalog) is None  # and the second look is not shorter than the first
    assert len([a for a in server.asked if "bbox" in a.query]) >= 3
    assert files(Path(catalog).parent) == published
    assert current_harvest("tokyo", open_plan(catalog)).pairs == before


def test_a_new_drive_is_added_and_old_artifacts_stay(city, services):
    server, make = city
    catalog = make()
    harvest(catalog)
    old_pairs, old_images = table(catalog, "pairs"), table(catalog, "imagery")
    published = files(Path(catalog).parent)
    asked = len(server.asked)
    new_drive(services, server.world, (0, 1, 2, 3), NOW + timedelta(hours=1))

    pairs = look(catalog)
    store = open_plan(catalog).open_store()
    assert current_harvest("tokyo", open_plan(catalog)).pairs == pairs
    after = files(Path(catalog).parent)
    assert {name: after[name] for name in published} == published
    images = table(catalog, "imagery")
    assert images[: len(old_images)] == old_images
    rows = table(catalog, "pairs")
    assert rows[: len(old_pairs)] == old_pairs

    added = rows[len(old_pairs) :]
    (test_place,) = {row["place_id"] for row in old_pairs if row["split"] == "test"}
    assert len(added) == 3  # the fourth is at the test place
    assert {row["split"] for row in added} == {"train"}
    assert test_place not in {row["place_id"] for row in added}
    assert store.manifest(pairs).summary["dropped"] == {FIXED_TEST: 1}
    assert store.manifest(pairs).summary["added"] == 3
    news = {row["image_id"]: row for row in images[len(old_images) :]}
    for row in added:
        assert news[row["image_b"]]["captured_at"] == NOW + timedelta(hours=1)
    # Only what is new was downloaded: the new pictures and their earlier partners.
    downloads = [a.path for a in server.asked[asked:] if "pictures" in a.path]
    assert len(downloads) == 8

    assert look(catalog) is None
    new_drive(services, server.world, (1,), NOW + timedelta(days=400))
    again = look(catalog)
    assert store.manifest(again).summary["added"] == 1


def test_a_later_harvest_does_not_lose_what_was_added(city, services):
    server, make = city
    catalog = make()
    base = harvest(catalog)
    new_drive(services, server.world, (0, 1, 2, 3), NOW + timedelta(hours=1))
    added = look(catalog)
    assert harvest(catalog) == base
    assert current_harvest("tokyo", open_plan(catalog)).pairs == added


@pytest.fixture
def grown(city, services):
    """A harvested city to which two drives were added; the server, and how to make the catalog."""
    server, make = city
    catalog = make()
    harvest(catalog)
    new_drive(services, server.world, (0, 1, 2, 3), NOW + timedelta(hours=1))
    look(catalog)
    new_drive(services, server.world, (1,), NOW + timedelta(days=400))
    look(catalog)
    return server, make


def test_a_raised_harvest_version_fetches_nothing_again_and_loses_nothing(grown, monkeypatch):
    server, make = grown
    catalog = make()
    plan = open_plan(catalog)
    before, images, pairs = (
        current_harvest("tokyo", plan),
        table(catalog, "imagery"),
        table(catalog, "pairs"),
    )
    asked = len(server.asked)
    for module in (harvest_module, watch_module):
        monkeypatch.setattr(module, "HARVEST_VERSION", "3")
    harvest(catalog)
    assert len(server.asked) == asked, "neither a list nor an image is asked for again"
    after = current_harvest("tokyo", plan)
    assert after.imagery != before.imagery
    assert table(catalog, "imagery") == images
    assert table(catalog, "pairs") == pairs
    assert look(catalog) is None
    harvest(catalog)
    assert current_harvest("tokyo", plan) == after


def test_what_a_watch_adds_while_a_harvest_is_made_anew_is_not_lost(grown, services, monkeypatch):
    server, make = grown
    catalog = make()
    for module in (harvest_module, watch_module):
        monkeypatch.setattr(module, "HARVEST_VERSION", "3")
    with_all: list[Any] = []

    def watch() -> None:
        new_drive(services, server.world, (2,), NOW + timedelta(days=800))
        assert look(catalog) is not None
        with_all.extend(table(catalog, "imagery"))

    harvest(catalog, meanwhile=watch)
    plan = open_plan(catalog)
    found = current_harvest("tokyo", plan)
    store = plan.open_store()
    assert store.manifest(found.imagery).version == "3"
    assert table(catalog, "imagery") == with_all
    made_of = [found.pairs]
    while (earlier := store.inputs_of(made_of[-1]).get("before")) is not None:
        made_of.append(earlier)
    assert len(made_of) == 4, "of the harvest that was made anew, with all three additions"
    assert look(catalog) is None
    assert len(unannounced(plan)) == 3, "each addition is still to be announced"


def unannounced(plan: Plan) -> Any:
    state = plan.open_store().selected(HARVEST, "tokyo")
    assert state is not None
    return state.notes.get("unannounced", [])


def test_a_watch_that_was_overtaken_changes_and_announces_nothing(city, services):
    server, make = city
    catalog = make()
    harvest(catalog)
    plan = open_plan(catalog, city="tokyo")
    before = current_harvest("tokyo", plan)
    new_drive(services, server.world, (0,), NOW + timedelta(hours=1))
    captures = find_new_captures.fn(before, "tokyo", plan)
    imagery = ref_of(add_imagery.fn(before, fetched(captures, plan), "tokyo", plan))
    added = Harvest(imagery, ref_of(add_pairs.fn(before, imagery, "tokyo", plan)))
    harvest(make(test_places=0))  # by somebody else, who has changed the catalog
    other = current_harvest("tokyo", open_plan(catalog))
    landed = landed_event("tokyo", added.imagery, added.pairs, plan)
    assert not grow_harvest(before, added, "tokyo", plan, events=[landed])
    assert current_harvest("tokyo", open_plan(catalog)) == other
    assert unannounced(plan) == []
    assert look(catalog) is not None, "what was new is found beside the other harvest"
    assert len(table(catalog, "imagery")) > 8


def test_other_settings_of_pairs_keep_what_was_added(grown):
    server, make = grown
    images = table(make(), "imagery")
    asked = len(server.asked)
    catalog = make(test_places=0)
    harvest(catalog)
    assert len(server.asked) == asked
    assert table(catalog, "imagery") == images
    assert {row["split"] for row in table(catalog, "pairs")} == {"train"}
    assert len(table(catalog, "pairs")) == 4 + 4 + 1


def test_damaged_pairs_are_made_again_with_what_was_added(grown):
    server, make = grown
    catalog = make()
    plan, folder = open_plan(catalog), Path(catalog).parent / "store"
    before, pairs = current_harvest("tokyo", plan), table(catalog, "pairs")
    for ref in (before.pairs, before.imagery):
        (folder / ref.uri / "artifact.json").write_bytes(b"{")
    with pytest.raises(InputError, match="run `crosscity harvest tokyo` first"):
        current_harvest("tokyo", plan)
    asked = len(server.asked)
    harvest(catalog)
    assert len(server.asked) == asked
    assert current_harvest("tokyo", plan) == before
    assert table(catalog, "pairs") == pairs


def test_what_was_there_at_the_last_listing_is_not_news_but_late_uploads_are(city, services):
    server, make = city
    yesterday = NOW - timedelta(days=1)
    new_drive(services, server.world, (0,), yesterday)
    catalog = make(min_days_apart=2000, test_places=0)
    harvest(catalog)
    assert look(catalog) is None
    new_drive(services, server.world, (2,), yesterday - timedelta(days=2))
    late = listed(catalog)
    rows = pq.read_table(open_plan(catalog).open_store().path(late, "captures.parquet")).to_pylist()
    assert [r["captured_at"] for r in rows if r["aligned_to"]] == [yesterday - timedelta(days=2)]


def test_news_of_another_light_than_asked_for_is_none(city, services):
    server, make = city
    drives = [
        services.moved(p, p.number, taken=p.taken.replace(hour=3)) for p in server.world.pictures
    ]
    server.world.pictures[:] = drives
    new_drive(services, server.world, (0, 1, 3), NOW.replace(year=2021, hour=13))
    catalog = make(lights=["day", "night"])
    harvest(catalog)
    assert len(table(catalog, "pairs")) == 3
    new_drive(services, server.world, (2,), (NOW + timedelta(days=1)).replace(hour=2))
    assert look(catalog) is None  # by day, where all that there is was taken by day
    new_drive(services, server.world, (2,), (NOW + timedelta(days=400)).replace(hour=13))
    look(catalog)
    rows = table(catalog, "pairs")
    assert len(rows) == 4
    taken = {row["image_id"]: row["captured_at"].hour for row in table(catalog, "imagery")}
    assert {tuple(sorted((taken[r["image_a"]], taken[r["image_b"]]))) for r in rows} <= {
        (2, 13),
        (3, 13),
    }


def test_later_than_the_lookback_is_not_found(city, services):
    server, make = city
    catalog = make(lookback_days=1)
    harvest(catalog)
    new_drive(services, server.world, (2,), NOW - timedelta(days=30))
    assert look(catalog) is None


def test_a_stopped_look_goes_on(city, services):
    server, make = city
    catalog = make()
    harvest(catalog)
    new_drive(services, server.world, (0, 1, 2, 3), NOW + timedelta(hours=1))
    captures = listed(catalog)
    asked = len(server.asked)
    assert listed(catalog) == captures
    assert len(server.asked) == asked
    assert look(catalog) is not None


def asking(server: Any, **settings: Any) -> dict[str, Any]:
    """The provider of the city with other settings."""
    return {
        "kind": "panoramax",
        "base_url": server.url,
        "requests_per_second": 100.0,
        "tile_metres": 100.0,
        **settings,
    }


def test_each_look_that_finds_nothing_has_the_whole_of_the_budget(city):
    server, make = city
    catalog = make()
    harvest(catalog)
    asked = len(server.asked)
    assert look(catalog) is None
    of_a_look = len(server.asked) - asked
    make(provider=asking(server, budget={"requests": of_a_look}))
    for _ in range(3):
        assert look(catalog) is None
    assert len(server.asked) == asked + 4 * of_a_look


def test_news_of_the_days_in_which_a_listing_was_stopped_are_found(city, services, monkeypatch):
    """It counts from where it began: what was listed before the stop is not listed again."""
    server, make = city
    began = NOW - timedelta(days=60)
    monkeypatch.setattr(listing_module, "_now", lambda: began)
    catalog = make(provider=asking(server, budget={"requests": 4}))
    with pytest.raises(BudgetSpent):
        harvest(catalog)
    new_drive(services, server.world, (0,), began + timedelta(days=5))  # in a tile that was listed
    monkeypatch.setattr(listing_module, "_now", lambda: NOW)
    make()
    harvest(catalog)
    assert began + timedelta(days=5) not in {r["captured_at"] for r in table(catalog, "imagery")}
    assert look(catalog) is not None
    assert began + timedelta(days=5) in {r["captured_at"] for r in table(catalog, "imagery")}


def test_an_area_that_had_no_pairs_is_listed_again_at_the_next_run(city, monkeypatch):
    server, make = city
    for setting in ("_NOTE_EVERY_SECONDS", "_NOTE_SHARE"):  # as if each tile took long
        monkeypatch.setattr(listing_module, setting, -1.0)
    later = [p for p in server.world.pictures if p.number % 2]
    server.world.pictures[:] = [p for p in server.world.pictures if not p.number % 2]
    server.world.refresh()
    catalog = make()
    with pytest.raises(InputError, match=r"has 4 usable pictures .* no place with two of them"):
        harvest(catalog)
    server.world.add(*later)  # a second car came along
    harvest(catalog)
    assert len(table(catalog, "pairs")) == 4


def test_the_event_names_city_count_and_artifacts(city, services, monkeypatch):
    server, make = city
    catalog = make()
    harvest(catalog)
    new_drive(services, server.world, (0, 1, 2, 3), NOW + timedelta(hours=1))
    pairs = look(catalog)
    imagery = current_harvest("tokyo", open_plan(catalog)).imagery
    reported: list[dict[str, Any]] = []
    monkeypatch.setattr("tasks.steps.announcing.send", reported.append)
    announce_landed("tokyo", open_plan(catalog))
    assert reported == [
        {
            "event": "imagery.landed",
            "city": "tokyo",
            "payload": {
                "city": "tokyo",
                "count": 3,
                "images": 8,
                "artifacts": {"imagery": imagery.key, "pairs": pairs.key},
            },
        }
    ]


def test_a_city_without_a_harvest_says_what_to_run(city):
    with pytest.raises(InputError, match="run `crosscity harvest tokyo` first"):
        listed(city[1]())


@pytest.fixture
def folder(write_catalog, tmp_path):
    """The catalog of a city of a folder, and what puts a picture into it."""
    train = tmp_path / "streets" / "Tokyo" / "Images" / "Train"
    train.mkdir(parents=True)

    def put(place: int, time: int, seed: int = 0) -> None:
        pixels = np.random.default_rng([place, time, seed]).integers(0, 256, (40, 80, 3))
        path = train / f"pano_{place:05d}_{time}_90.png"
        Image.fromarray(pixels.astype(np.uint8)).save(path)

    for place in (1, 2, 3):
        put(place, 0)
        put(place, 1)
    provider = {
        "kind": "folder",
        "root": str(tmp_path / "streets"),
        "licence": "CC0-1.0",
        "attribution": "x",
    }
    return str(write_catalog(tmp_path, city={"provider": provider})), put


def test_replaced_files_of_a_folder_are_told_until_they_are_harvested(folder):
    """A picture that was replaced under its name: verbs go on with the harvest before, and say so;
    `crosscity plan` says what `readapt` would do."""
    catalog, put = folder

    def plan() -> Plan:
        return open_plan(catalog)

    def ahead() -> dict[str, str]:
        return {step.name: step.state for step in steps_ahead("tokyo", "full", 0, plan())}

    assert changed_files_remark("tokyo", plan()) is None
    harvest(catalog)
    assert changed_files_remark("tokyo", plan()) is None
    assert ahead()["harvest"] == "found"
    put(2, 1, seed=1)
    remark = changed_files_remark("tokyo", plan())
    assert remark is not None
    assert "have changed since it was harvested" in remark
    assert ahead()["harvest"] == "to be made anew"
    assert ahead()["adaptation full"] == "to be made"
    harvest(catalog)
    assert changed_files_remark("tokyo", plan()) is None
    put(4, 0)
    put(4, 1)
    assert changed_files_remark("tokyo", plan()) is not None
    assert look(catalog) is not None
    assert changed_files_remark("tokyo", plan()) is None, "watch has taken them in"


def test_new_files_in_a_folder_are_added(folder):
    catalog, put = folder
    put(4, 0)
    harvest(catalog)
    old = table(catalog, "pairs")
    assert look(catalog) is None
    put(4, 1)  # its partner is there, unpaired
    put(5, 0)
    put(5, 1)
    assert look(catalog) is not None
    rows = table(catalog, "pairs")
    assert rows[: len(old)] == old
    assert {row["place_id"] for row in rows[len(old) :]} == {"00004", "00005"}
    assert {row["split"] for row in rows[len(old) :]} == {"train"}


def test_added_pairs_are_made_anew_where_alignment_changed(city, services, monkeypatch):
    """Their key has all that the first pairs' key has: it once forgot the alignment's version."""
    server, make = city
    catalog = make()
    plan = open_plan(catalog)
    first = harvest(catalog)
    new_drive(services, server.world, (0, 1), NOW + timedelta(hours=1))
    before = current_harvest("tokyo", plan)
    added = look(catalog)
    imagery = current_harvest("tokyo", plan).imagery
    store = plan.open_store()
    settings = store.manifest(first).parameters
    assert store.manifest(added).parameters == settings
    assert ref_of(add_pairs.fn(before, imagery, "tokyo", plan)) == added

    monkeypatch.setattr(pair_table, "ALIGNMENT_VERSION", "of tomorrow")
    again = ref_of(add_pairs.fn(before, imagery, "tokyo", plan))
    assert again.key != added.key
    assert store.manifest(again).parameters == {**settings, "alignment": "of tomorrow"}


def test_the_digest_of_a_list_is_of_its_values(city):
    _, make = city
    rows = [capture_row(c) for c in street_view(open_plan(make()), "tokyo").captures()]
    assert rows[0]["captured_at"] is not None
    again = [dict(sorted(row.items())) for row in rows]
    assert listing_digest(again) == listing_digest(rows)
    later = {**rows[0], "captured_at": rows[0]["captured_at"] + timedelta(seconds=1)}
    assert listing_digest([later, *rows[1:]]) != listing_digest(rows)
    assert listing_digest(rows[1:]) != listing_digest(rows)
