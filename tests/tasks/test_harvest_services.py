"""Harvests over HTTP, from a catalog entry to pairs and priors, with each provider's real code."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from adapters.catalog import CatalogError
from adapters.images import decode_image
from adapters.store import StoreAwayError
from adapters.street_view.base import StreetViewError
from adapters.street_view.web.account import Crowd
from adapters.street_view.web.errors import (
    AccessRefused,
    BudgetSpent,
    GivenUpError,
    HarvestStopped,
)
from flows.cli.errors import BAD_INPUT, PASSING, exit_code
from tasks.harvesting import current
from tasks.harvesting.current import Harvest, current_harvest, settle_harvest
from tasks.harvesting.pair_table import NO_OVERLAP
from tasks.harvesting.spending import StepSpending
from tasks.harvesting.watch import find_new_captures
from tasks.pages.report import render_credits
from tasks.steps.errors import InputError, StaleError, TooManyFailures
from tasks.steps.imagery import Imagery
from tasks.steps.plan import open_plan
from tasks.steps.schemas import PAIRS
from tasks.steps.tables import read_rows
from tests.harvested import harvested, ref_of

AREA = {"bbox": [139.699, 35.6595, 139.701, 35.663]}
ONE_IS_ENOUGH = [
    "panoramax",
    pytest.param("mapillary", marks=pytest.mark.slow),
    pytest.param("google", marks=pytest.mark.slow),
]
"""For what the providers share; `make test-slow` tries all."""
QUICK = {"requests_per_second": 100.0, "tile_metres": 5000.0}


def harvest(catalog: Path) -> Any:
    """The steps of harvest-city, without a server."""
    plan = open_plan(catalog, city="tokyo")
    found = Harvest(*harvested(plan))
    settle_harvest(found, "tokyo", plan, add=lambda *_: found)
    return found.pairs


@dataclass
class City:
    """A catalog entry and the server behind it."""

    server: Any
    write: Callable[..., Path]
    kind: str
    folder: Path

    def catalog(self, provider: dict[str, Any] | None = None, **city: Any) -> Path:
        settings: dict[str, Any] = {"kind": self.kind, "base_url": self.server.url, **QUICK}
        if self.kind == "mapillary":
            settings["token"] = self.server.token
        if self.kind == "google":
            settings |= {"key": self.server.key, "agreement": "contract 4711"}
        entry = {
            "provider": {**settings, **(provider or {})},
            "area": AREA,
            "places": 10,
            "test_places": 1,
            "labels": None,
            "image_size": [64, 128],
            "pairs_per_part": 2,
            "prior": {"downscale": 1, "superpixels": 40},
            **city,
        }
        return self.write(self.folder, city=entry)

    def rows(self, pattern: str) -> list[dict[str, Any]]:
        found = sorted((self.folder / "store").glob(pattern))
        return [row for path in found for row in pq.read_table(path).to_pylist()]


@pytest.fixture
def make_city(
    services: Any, street_world: Any, write_catalog: Any, tmp_path: Path
) -> Iterator[Callable[..., City]]:
    running = []

    def make(kind: str, world: Any = None) -> City:
        server = services.SERVERS[kind](world or street_world)
        server.__enter__()
        running.append(server)
        return City(server, write_catalog, kind, tmp_path)

    yield make
    for server in running:
        server.__exit__()


@pytest.mark.parametrize("kind", ["panoramax", "mapillary", "google", "kartaview"])
def test_a_city_is_harvested_over_http(make_city, kind):
    city = make_city(kind)
    catalog = city.catalog()
    pairs = harvest(catalog)
    store = open_plan(catalog).open_store()
    summary = store.manifest(pairs).summary
    assert summary["pairs"] == 4
    assert (summary["train"], summary["test"]) == (3, 1)
    assert current_harvest("tokyo", open_plan(catalog)).pairs == pairs

    images = city.rows("imagery/tokyo/*/imagery.parquet")
    assert len(images) == 8
    for row in images:
        assert row["status"] == "ok"
        assert row["provider"] == kind
        assert row["licence"].strip()
        assert row["attribution"].strip()
        assert row["page_url"].startswith("https://")
        assert row["time_precision"] == ("month" if kind == "google" else "second")
        data = (city.folder / "store" / row["artifact"] / row["file"]).read_bytes()
        assert decode_image(data, "it").shape == (64, 128, 3)
        assert b"Exif" not in data
    # The compasses of the two drives differ by degrees; the pictures say by how many.
    names = {"panoramax": "by_uuid", "google": "by_google"}
    source = getattr(city.server.world, names.get(kind, "by_number"))
    for row in images:
        if row["aligned_to"] is None:
            assert row["heading_offset"] is None
            continue
        (reference,) = (r for r in images if r["image_id"] == row["aligned_to"])
        truth = {r["image_id"]: source[r["source_id"]] for r in (row, reference)}
        error = {k: p.heading - p.told_heading for k, p in truth.items()}
        needed = error[reference["image_id"]] - error[row["image_id"]]
        needed = (needed + 180) % 360 - 180
        assert row["overlap"] > 0.23
        assert row["heading_offset"] == pytest.approx(needed, abs=3.5)  # they also stand apart


@pytest.mark.parametrize("kind", ONE_IS_ENOUGH)
def test_priors_are_made_of_what_came_over_http(make_city, kind):
    from tasks.priors.extraction import join_priors, prior_part, prior_parts

    city = make_city(kind)
    catalog = city.catalog()
    pairs = harvest(catalog)
    plan = open_plan(catalog, city="tokyo")
    imagery = current_harvest("tokyo", plan).imagery
    parts = [
        ref_of(prior_part.fn(imagery, pairs, part, "tokyo", plan))
        for part in prior_parts(imagery, pairs, "tokyo", plan)
    ]
    prior = ref_of(join_priors.fn(parts, pairs, "tokyo", plan))
    rows = city.rows("static_prior/tokyo/*/part-*.parquet")
    assert len(rows) == 6  # of the training pairs
    assert {row["status"] for row in rows} == {"ok"}
    assert np.mean([row["matches"] for row in rows]) > 10
    assert prior


def test_the_same_entry_gives_the_same_bytes_and_asks_once(make_city):
    city = make_city("panoramax")
    catalog = city.catalog()
    first = harvest(catalog)
    asked = len(city.server.asked)
    assert harvest(catalog) == first
    assert len(city.server.asked) == asked
    shutil.rmtree(city.folder / "store")
    assert harvest(catalog).digest == first.digest


def test_credits_name_everyone(make_city):
    city = make_city("mapillary")
    catalog = city.catalog()
    harvest(catalog)
    store = open_plan(catalog).open_store()
    imagery = Imagery(store, current_harvest("tokyo", open_plan(catalog)).imagery)
    assert imagery.credits() == [("CC-BY-SA-4.0", "mapper_a / Mapillary", 8)]
    assert len(imagery.sources()) == 8
    assert all(source.page_url.startswith("https://") for source in imagery.sources())
    page = render_credits("tokyo", imagery)
    assert page.count("https://www.mapillary.com/app/?pKey=") == 8
    assert "mapper_a / Mapillary: 8 images, CC-BY-SA-4.0" in page
    assert "2017-05-02" in page


def test_what_a_service_says_of_itself_is_text_and_never_html(make_city, monkeypatch):
    hostile = '<script>alert("1")</script>'
    city = make_city("panoramax")
    item = city.server.item

    def hostile_item(picture: Any) -> dict[str, Any]:
        record: dict[str, Any] = item(picture)
        record["properties"]["geovisio:producer"] = hostile
        return record

    monkeypatch.setattr(city.server, "item", hostile_item)
    catalog = city.catalog()
    harvest(catalog)
    store = open_plan(catalog).open_store()
    page = render_credits(
        "tokyo", Imagery(store, current_harvest("tokyo", open_plan(catalog)).imagery)
    )
    assert "<script" not in page
    assert "&lt;script&gt;" in page


# Stopping, resuming


def test_a_spent_budget_stops_and_the_next_run_goes_on(make_city):
    city = make_city("panoramax")
    catalog = city.catalog({"budget": {"requests": 14}}, pairs_per_part=4)
    with pytest.raises(BudgetSpent, match=r"budget of 14 requests .* what was fetched so far is"):
        harvest(catalog)
    assert len(city.server.asked) == 14
    with pytest.raises(BudgetSpent):  # the same budget buys nothing more
        harvest(catalog)
    assert len(city.server.asked) == 14
    fetched = city.server.paths("/api/pictures")
    catalog = city.catalog({"budget": {"requests": 24}}, pairs_per_part=4)
    harvest(catalog)
    again = city.server.paths("/api/pictures")
    assert len(again) == len(set(again)) == 8  # no picture was paid for twice
    assert again[: len(fetched)] == fetched
    store = open_plan(catalog).open_store()
    spent = store.manifest(current_harvest("tokyo", open_plan(catalog)).imagery).summary["spent"]
    listed = json.loads(
        next((city.folder / "store/captures/tokyo").glob("*/artifact.json")).read_text()
    )
    total = spent["requests"] + listed["summary"]["spent"]["requests"]
    # 22 are needed; what was looked up but not fetched before the stop is asked for again.
    assert 22 <= total == len(city.server.asked) <= 24


def test_what_a_later_run_can_have_is_a_passing_fault(make_city, services):
    """Cron and schedulers try again after 75, and leave what has to be mended."""
    city = make_city("panoramax")
    away = services.Fault("/api/search", times=-1, headers={"Retry-After": "0"})
    city.server.faults.append(away)
    with pytest.raises(GivenUpError, match=r"in 5 attempts \(status 503") as met:
        harvest(city.catalog())  # a list needs each of its answers
    assert exit_code(met.value) == PASSING
    city.server.faults.clear()
    catalog = city.catalog({"account": "ours"})
    entries = yaml.safe_load(catalog.read_text())
    catalog.write_text(yaml.safe_dump({**entries, "accounts": {"ours": {"day": {"requests": 3}}}}))
    with pytest.raises(BudgetSpent, match=r"3 requests a day for the account ours .* run") as met:
        harvest(catalog)
    assert exit_code(met.value) == PASSING
    with pytest.raises(BudgetSpent, match="raise `budget` in the catalog") as met:
        harvest(city.catalog({"budget": {"requests": 3}}))
    assert exit_code(met.value) == BAD_INPUT


def test_money_is_counted_for_what_is_billed(make_city):
    city = make_city("google")
    catalog = city.catalog()
    harvest(catalog)
    billed = len(city.server.paths("/tiles/")) + len(city.server.paths("/panoIds"))
    store = open_plan(catalog).open_store()
    parts = [store.manifest(r).summary["spent"]["usd"] for r in store.artifacts("imagery_part")]
    listing = next(store.artifacts("captures"))
    total = sum(parts) + store.manifest(listing).summary["spent"]["usd"]
    assert total == pytest.approx(0.002 * billed)
    assert billed > 8


@pytest.mark.parametrize("kind", ONE_IS_ENOUGH)
def test_passing_faults_change_nothing(make_city, services, kind):
    clean = make_city(kind)
    catalog = clean.catalog()
    wanted = [row["sha256"] for row in (harvest(catalog), clean.rows("imagery/*/*/*.parquet"))[1]]
    import shutil

    shutil.rmtree(clean.folder / "store")
    clean.server.faults += [
        services.Fault("", status=503, headers={"Retry-After": "0"}),
        services.Fault("jpg", "cut"),
        services.Fault("tiles", "cut"),
        services.Fault("", status=429, headers={"Retry-After": "0"}),
    ]
    harvest(catalog)
    assert [row["sha256"] for row in clean.rows("imagery/*/*/*.parquet")] == wanted
    assert not [f for f in clean.server.faults if f.times and f.path in ("", "jpg")] or (
        kind == "google"
    )


def test_pictures_of_a_service_that_was_away_for_a_moment_are_asked_for_again(
    make_city, services, street_world
):
    city = make_city("panoramax")
    catalog = city.catalog()
    harvest(catalog)
    wanted = city.rows("imagery/*/*/*.parquet")
    shutil.rmtree(city.folder / "store")
    # Of two places the earlier picture, which the other is aligned to; of a third the other one.
    away = [street_world.pictures[number].uuid for number in (0, 2, 5)]
    headers = {"Retry-After": "0"}
    city.server.faults += [services.Fault(one, times=5, headers=headers) for one in away]
    harvest(catalog)
    assert city.rows("imagery/*/*/*.parquet") == wanted
    assert not any(fault.times for fault in city.server.faults)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>Quota</html>", "not a readable"),
        (b"", "is empty"),
        (b"\xff\xd8\xff\xe0", "readable"),
    ],
)
def test_pictures_that_are_none_become_rows_with_a_reason(make_city, services, body, words):
    city = make_city("panoramax")
    city.server.faults.append(services.Fault("/api/pictures", "body", body=body))
    harvest(city.catalog(failure_limit=0.3))
    rows = city.rows("imagery/tokyo/*/imagery.parquet")
    (failed,) = (row for row in rows if row["status"] == "failed")
    assert words in failed["reason"]
    assert len(city.rows("pairs/tokyo/*/pairs.parquet")) == 3


def test_too_many_bad_pictures_fail_the_harvest(make_city, services):
    city = make_city("panoramax")
    city.server.faults.append(services.Fault("/api/pictures", status=404, times=-1))
    with pytest.raises(
        TooManyFailures, match=r"8 of 8 images failed.*: 8 × Panoramax answered status 404: [^;]*$"
    ):
        harvest(city.catalog())


def test_a_decompression_bomb_is_not_decoded(make_city, services):
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    city = make_city("panoramax")
    city.server.faults.append(services.Fault("/api/pictures", "body", body=bomb))
    harvest(city.catalog(failure_limit=0.3))
    rows = city.rows("imagery/tokyo/*/imagery.parquet")
    assert ["more pixels" in row["reason"] for row in rows if row["status"] == "failed"] == [True]


# Keys, terms and settings


def test_google_runs_only_with_an_agreement(make_city):
    city = make_city("google")
    for agreement in (None, "", "  "):
        with pytest.raises(StreetViewError, match=r"policies forbid image analysis.*`agreement`"):
            harvest(city.catalog({"agreement": agreement}))
    assert city.server.asked == []


def test_the_undocumented_history_is_asked_only_where_it_is_opted_for(make_city):
    city = make_city("google")
    city.server.across_drives = False
    with pytest.raises(InputError, match="no place with two of them"):
        harvest(city.catalog())
    assert city.server.paths("photometa") == []
    harvest(city.catalog({"unofficial_history": True, "history_url": city.server.url}))
    assert city.server.paths("photometa")
    assert len(city.rows("pairs/tokyo/*/pairs.parquet")) == 4
    keys = [a.query.get("key") for a in city.server.asked if "photometa" in a.path]
    assert set(keys) == {None}  # the key is not for that interface


def test_a_missing_token_is_named_and_a_refused_one_stops_at_once(make_city, monkeypatch):
    city = make_city("mapillary")
    monkeypatch.delenv("NO_SUCH_TOKEN", raising=False)
    with pytest.raises(CatalogError, match=r"cities.tokyo.provider.token .* NO_SUCH_TOKEN"):
        harvest(city.catalog({"token": "${NO_SUCH_TOKEN}"}))
    monkeypatch.setenv("NO_SUCH_TOKEN", "MLY|wrong")
    with pytest.raises(AccessRefused, match="Mapillary refused access") as caught:
        harvest(city.catalog({"token": "${NO_SUCH_TOKEN}"}))
    assert "MLY|wrong" not in str(caught.value)
    assert isinstance(caught.value, HarvestStopped)
    assert len(city.server.asked) == 1


def test_a_store_that_fails_at_the_end_does_not_hide_what_stopped_a_harvest(make_city, monkeypatch):
    city = make_city("mapillary")
    failed = []

    def away(*_: object) -> None:
        failed.append(True)
        raise StoreAwayError("the store does not answer")

    monkeypatch.setattr(Crowd, "close", away)
    monkeypatch.setattr(StepSpending, "_save_total", away)
    with pytest.raises(AccessRefused, match="Mapillary refused access"):
        harvest(city.catalog({"token": "MLY|wrong"}))
    assert len(failed) == 3  # how far the listing is, what it has used, who else asks the service


def test_a_base_url_must_be_safe(make_city):
    city = make_city("panoramax")
    with pytest.raises(CatalogError, match="must start with https"):
        harvest(city.catalog({"base_url": "http://panoramax.example"}))


def test_an_area_without_pairs_is_said_before_anything_is_fetched(make_city):
    city = make_city("panoramax")
    with pytest.raises(InputError, match=r"8 usable pictures .* no place with two of them"):
        harvest(city.catalog(min_days_apart=100_000))
    assert city.server.paths("pictures") == []


def written_area(path: Path, north: float, positions: int = 1) -> None:
    """The street's places south of a latitude, as QGIS writes the outline of a district."""
    south, west, east = 35.6595, 139.699, 139.701
    side = [[east, south + (north - south) * k / positions] for k in range(positions)]
    ring = [[west, south], *side, [east, north], [west, north], [west, south]]
    far = [[[x + 0.01, y] for x, y in ring]]
    geometry = {"type": "MultiPolygon", "coordinates": [[ring], far]}
    feature = {"type": "Feature", "properties": {"name": "新宿区"}, "geometry": geometry}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    collection = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
    path.write_text(json.dumps(collection), encoding="utf-8")


def test_a_city_of_a_geojson_file_is_harvested_and_follows_the_file(make_city):
    city = make_city("panoramax")
    catalog = city.catalog(area={"bbox": None, "geojson": "área.geojson"}, test_places=0)
    written_area(city.folder / "área.geojson", 35.6608)
    assert open_plan(catalog).open_store().manifest(harvest(catalog)).summary["pairs"] == 2
    current_harvest("tokyo", open_plan(catalog))
    written_area(city.folder / "área.geojson", 35.6614)
    said = r"area\.geojson\.coordinates \S.*35\.6608.*, the catalog says .*35\.6614"
    with pytest.raises(StaleError, match=said):
        current_harvest("tokyo", open_plan(catalog))
    assert open_plan(catalog).open_store().manifest(harvest(catalog)).summary["pairs"] == 3


def test_an_outline_of_thousands_of_positions_is_noted_by_its_digest(make_city, monkeypatch):
    city = make_city("panoramax")
    area = city.folder / "outline.json"
    catalog = city.catalog(area={"bbox": None, "geojson": area.name}, test_places=0)
    written_area(area, 35.6608, positions=5000)
    with monkeypatch.context() as patched:  # as releases before noted it
        patched.setattr(current, "_LONGEST_AREA", 1 << 30)
        before = harvest(catalog)
    assert current_harvest("tokyo", open_plan(catalog)).pairs == before
    harvest(catalog)
    assert current_harvest("tokyo", open_plan(catalog)).pairs == before
    assert (city.folder / "store/current/tokyo/harvest.json").stat().st_size < 1 << 14
    written_area(area, 35.6609, positions=5000)
    with pytest.raises(StaleError, match=r"area\.shape sha256 \w{32}, the catalog says sha256"):
        current_harvest("tokyo", open_plan(catalog))


def test_a_city_of_points_is_harvested(make_city):
    city = make_city("panoramax")
    rows = "name;breite;lat;lon\nSchule;1;35,66001;139,70001\nweit;2;35,7;139,7\n"
    (city.folder / "orte.csv").write_text(rows, encoding="utf-8-sig")
    area = {"bbox": None, "points": "orte.csv", "point_metres": 25}
    pairs = harvest(city.catalog(area=area, test_places=0))
    found = city.rows(f"pairs/tokyo/{pairs.key}/pairs.parquet")
    images = {row["image_id"]: row for row in city.rows("imagery/tokyo/*/imagery.parquet")}
    assert [round(images[row["image_a"]]["lat"], 3) for row in found] == [35.66]


def test_licences_that_are_not_accepted_are_left_out_and_told(make_city, services, street_world):
    pictures = [
        services.moved(p, p.number, licence="proprietary" if p.number < 2 else p.licence)
        for p in street_world.pictures
    ]
    city = make_city("panoramax", services.World(pictures))
    harvest(city.catalog())
    listing = json.loads(
        next((city.folder / "store/captures/tokyo").glob("*/artifact.json")).read_text()
    )
    assert listing["summary"]["rejected"] == {"its licence is proprietary": 2}
    assert len(city.rows("pairs/tokyo/*/pairs.parquet")) == 3


# Pairs


def test_views_that_show_something_else_are_not_a_pair(make_city, services, street_world):
    # The second drive's picture at the first place is of another street.
    wrong = street_world.pictures[7].jpeg
    pictures = [
        services.moved(p, p.number, jpeg=wrong if p.number == 1 else p.jpeg)
        for p in street_world.pictures
    ]
    city = make_city("panoramax", services.World(pictures))
    pairs = harvest(city.catalog())
    summary = open_plan(city.folder / "data_catalog.yaml").open_store().manifest(pairs).summary
    assert summary["pairs"] == 3
    assert summary["dropped"] == {NO_OVERLAP: 1}


def test_two_headings_give_two_pairs_a_place(make_city):
    city = make_city("panoramax")
    pairs = harvest(city.catalog({"headings": [0, 180]}))
    rows = city.rows("pairs/tokyo/*/pairs.parquet")
    assert len(rows) + sum(
        open_plan(city.folder / "data_catalog.yaml").open_store().manifest(pairs)
        .summary["dropped"].values()
    ) == 8  # fmt: skip
    assert len(rows) >= 7


def test_no_training_place_lies_within_the_margin_of_a_test_place(make_city):
    city = make_city("panoramax")
    pairs = harvest(city.catalog(test_margin_metres=70.0))  # places are 60 m apart
    summary = open_plan(city.folder / "data_catalog.yaml").open_store().manifest(pairs).summary
    assert summary["test"] == 1
    dropped = summary["dropped"]["closer than 70 metres to a test place"]
    assert dropped in (1, 2)
    assert summary["train"] == 3 - dropped


def test_the_time_of_the_last_listing_is_noted(make_city):
    city = make_city("panoramax")
    harvest(city.catalog())
    listing = json.loads(
        next((city.folder / "store/captures/tokyo").glob("*/artifact.json")).read_text()
    )
    at = datetime.fromisoformat(listing["summary"]["listed_at"])
    assert abs((datetime.now(UTC) - at).total_seconds()) < 300


def test_nothing_is_asked_of_what_is_new_where_the_list_ends_before(make_city):
    city = make_city("panoramax")
    harvest(city.catalog({"captured_before": "2022-01-01"}))
    plan, asked = open_plan(city.folder / "data_catalog.yaml"), len(city.server.asked)
    before = current_harvest("tokyo", plan)
    found = find_new_captures.fn(before, "tokyo", plan)
    assert found is None
    assert len(city.server.asked) == asked


# Quality


def darkened(services: Any, picture: Any) -> Any:
    import io

    from PIL import Image

    image = np.asarray(Image.open(io.BytesIO(picture.jpeg())))
    data = services.encoded((image // 12).astype(np.uint8))
    return services.moved(picture, picture.number, jpeg=lambda: data)


def test_unfit_images_are_rows_with_a_reason_and_no_failures(make_city, services, street_world):
    pictures = [darkened(services, p) if p.number in (2, 7) else p for p in street_world.pictures]
    city = make_city("panoramax", services.World(pictures))
    pairs = harvest(city.catalog(quality={"night": 44}, failure_limit=0.0))
    asked = len(city.server.asked)
    rows = city.rows("imagery/tokyo/*/imagery.parquet")
    unfit = [row for row in rows if row["status"] == "left_out"]
    assert len(unfit) == 2
    assert {row["reason"].partition(":")[0] for row in unfit} == {"night"}
    assert all(row["night"] < 44 for row in unfit)
    assert all(row["night"] >= 44 for row in rows if row["status"] == "ok")
    assert [row["status"] for row in rows].count("ok") == 6
    store = open_plan(city.folder / "data_catalog.yaml").open_store()
    (imagery,) = store.artifacts("imagery", "tokyo")
    assert store.manifest(imagery).summary["failures"] == {}
    assert list(store.manifest(imagery).summary["left_out"].values()) == [2]
    assert store.manifest(pairs).summary["pairs"] == 2
    # Other limits need no image again.
    again = harvest(city.catalog(quality={"night": None}, failure_limit=0.0))
    assert store.manifest(again).summary["pairs"] > 2
    assert len(city.server.asked) == asked


def unfit(fault: str, image: np.ndarray) -> np.ndarray:
    """A whole panorama with a fault that every view of it shows."""
    import cv2

    rows = np.arange(image.shape[0])[:, None, None] / image.shape[0]
    sky = np.where(rows < 0.45, 230, image * 0.6)
    made = {
        "night": image * 0.1,
        "blur": cv2.GaussianBlur(image, (0, 0), 6),
        "overexposed": image * 6.0 + 60,
        "obstructed": np.where(rows > 0.5, 20, image),
        "turned": sky[::-1],
        "none": sky,
    }
    return np.clip(made[fault], 0, 255).astype(np.uint8)


@pytest.mark.parametrize("fault", ["night", "blur", "overexposed", "obstructed", "turned"])
def test_each_fault_is_a_reason_of_its_own(make_city, services, street_world, fault):
    import io

    from PIL import Image

    def with_fault(picture: Any, name: str) -> Any:
        image = np.asarray(Image.open(io.BytesIO(picture.jpeg())))
        data = services.encoded(unfit(name, image))
        return services.moved(picture, picture.number, jpeg=lambda: data)

    bad = 3
    pictures = [
        with_fault(one, fault if one.number == bad else "none") for one in street_world.pictures
    ]
    limits = {"night": 44, "blur": 0.5, "overexposed": 0.5, "obstructed": 0.18, "turned": 4.5}
    off = dict.fromkeys(("night", "overexposed", "obstructed"))
    city = make_city("panoramax", services.World(pictures))
    harvest(city.catalog(quality={**off, fault: limits[fault]}, failure_limit=0.0))
    rows = city.rows("imagery/tokyo/*/imagery.parquet")
    left = [row for row in rows if row["status"] != "ok"]
    assert {row["status"] for row in left} == {"left_out"}
    assert {row["reason"].partition(":")[0] for row in left} == {fault}
    assert (len(rows), len(left)) == (8, 1)


def test_by_default_only_the_grossest_is_left_out(make_city, services, street_world):
    import io

    from PIL import Image

    def with_pixels(picture: Any, value: int) -> Any:
        size = Image.open(io.BytesIO(picture.jpeg())).size
        data = services.encoded(np.full((size[1], size[0], 3), value, dtype=np.uint8))
        return services.moved(picture, picture.number, jpeg=lambda: data)

    changed = {1: 0, 3: 255}
    pictures = [
        with_pixels(p, changed[p.number])
        if p.number in changed
        else (darkened(services, p) if p.number == 4 else p)
        for p in street_world.pictures
    ]
    city = make_city("panoramax", services.World(pictures))
    harvest(city.catalog())
    rows = city.rows("imagery/tokyo/*/imagery.parquet")
    reasons = {
        row["source_id"]: row["reason"].partition(":")[0]
        for row in rows
        if row["status"] == "left_out"
    }
    numbers = {p.uuid: p.number for p in pictures}
    assert {numbers[name]: reason for name, reason in reasons.items()} == {
        1: "night",
        3: "overexposed",
    }
    city.catalog(quality=dict.fromkeys(("night", "overexposed", "obstructed")))
    harvest(city.folder / "data_catalog.yaml")
    statuses = [row["status"] for row in city.rows("imagery/tokyo/*/imagery.parquet")]
    assert statuses.count("left_out") == 2  # of the first harvest alone


@pytest.mark.parametrize("kind", ONE_IS_ENOUGH)
def test_of_three_times_all_are_fetched_together_and_aligned_to_the_earlier(
    make_city, services, street_world, kind
):
    world = services.World(list(street_world.pictures))
    for place in (0, 1, 2):  # a third car, at three of the four places
        world.add(
            services.moved(
                street_world.pictures[2 * place + 1],
                900 + place,
                taken=datetime(2025, 6, 1, tzinfo=UTC),
                drive="drive-2025",
            )
        )
    city = make_city(kind, world)
    harvest(city.catalog(times=3, pairs_per_part=1))
    (path,) = (city.folder / "store").glob("imagery/tokyo/*/imagery.parquet")
    rows = pq.read_table(path).to_pylist()
    assert len(rows) == 11
    assert {row["status"] for row in rows} == {"ok"}
    first = {row["place_id"]: row["image_id"] for row in rows if row["aligned_to"] is None}
    assert len(first) == 4
    for row in rows:
        assert row["aligned_to"] in (None, first[row["place_id"]])
        assert (row["overlap"] is None) == (row["aligned_to"] is None)
    parts = [pq.read_table(p).to_pylist() for p in city.folder.glob("store/imagery_part/*/*/part*")]
    whole = [{row["place_id"] for row in part} for part in parts]
    assert sum(map(len, whole)) == 4  # no place is parted
    pairs = city.rows("pairs/tokyo/*/pairs.parquet")
    of_place = Counter(row["place_id"] for row in rows)
    assert sorted(of_place.values()) == [2, 3, 3, 3]
    assert {r["place_id"]: len(r["others"] or ()) + 2 for r in pairs} == of_place


@pytest.fixture
def lit_world(services: Any, street_world: Any) -> Any:
    """Two cars at noon, and a third by night at three of the four places; Tokyo is 9 h ahead."""
    noon, night = (datetime(2019, 5, 2, hour, tzinfo=UTC) for hour in (3, 12))
    cars = [
        services.moved(picture, picture.number, taken=noon.replace(year=2017 + picture.number % 2))
        for picture in street_world.pictures
    ]
    late = [
        services.moved(cars[2 * place + 1], 900 + place, taken=night, drive="by night")
        for place in (0, 1, 2)
    ]
    return services.World([*cars, *late])


@pytest.mark.parametrize("kind", ["panoramax", "mapillary", "kartaview"])
def test_pairs_of_day_and_night_are_asked_for(make_city, lit_world, kind):
    city = make_city(kind, lit_world)
    by_day = harvest(city.catalog())
    pairs = harvest(city.catalog(lights=["night", "day"]))
    assert pairs != by_day
    store = open_plan(city.catalog()).open_store()
    assert store.manifest(by_day).summary["pairs"] == 4
    assert store.manifest(pairs).summary["pairs"] == 3
    taken = {
        row["image_id"]: row["captured_at"].hour
        for row in city.rows("imagery/tokyo/*/imagery.parquet")
    }
    rows = read_rows(store, pairs, "pairs.parquet", PAIRS)
    assert [sorted((taken[r["image_a"]], taken[r["image_b"]])) for r in rows] == [[3, 12]] * 3
    listings = [
        json.loads(path.read_text())["summary"]["lights"]
        for path in (city.folder / "store/captures/tokyo").glob("*/artifact.json")
    ]
    assert listings == [{"day": 8, "night": 3}] * 2


def test_lights_that_an_area_lacks_are_said_before_anything_is_fetched(make_city, lit_world):
    city = make_city("panoramax", lit_world)
    with pytest.raises(
        InputError,
        match=r"30 days apart of which one is of the day and one of the twilight "
        r"\(of all: day 8, night 3\): enlarge the area",
    ):
        harvest(city.catalog(lights=["day", "twilight"]))
    assert city.server.paths("pictures") == []
