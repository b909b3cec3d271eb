"""Bad images, tables, stores and priors on the way through the flows."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from adapters.images import decode_image
from tasks.steps.dashboard import artifact_slug

HEIGHT, WIDTH = 48, 96
BAD_IMAGES = {"00011": "cut short or corrupt", "00012": "not a readable", "00013": "pixels"}


def view(place: int, time: int) -> Image.Image:
    """A place: coloured tiles; what differs between times is the light and the noise."""
    tiles = np.random.default_rng(place).integers(30, 200, (HEIGHT // 8, WIDTH // 8, 3))
    noise = np.random.default_rng([place, time]).integers(-10, 11, (HEIGHT, WIDTH, 3))
    pixels = np.kron(tiles, np.ones((8, 8, 1), int)) + noise + 20 * time
    return Image.fromarray(pixels.astype(np.uint8))


def jpeg(picture: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92, **options)
    return buffer.getvalue()


def bomb() -> bytes:
    """The header of a PNG of 60 000 × 60 000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 500))
    return b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b"")


def add_place(folder: Path, place: int, *, first: bytes | None = None) -> None:
    """Two times of a place; `first` replaces the image of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    for time in (0, 1):
        data = jpeg(view(place, time)) if first is None or time else first
        ending = "png" if data.startswith(b"\x89PNG") else "jpg"
        (folder / f"pano_{place:05d}_{time}_90.{ending}").write_bytes(data)


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seventeen places: fourteen good ones, of which three are odd, and three bad; two sizes."""
    root = tmp_path_factory.mktemp("streets")
    train = root / "Tokyo" / "Images" / "Train"
    for place in range(1, 11):
        add_place(train, place)
    whole = jpeg(view(11, 0))
    add_place(train, 11, first=whole[: len(whole) * 2 // 3])
    add_place(train, 12, first=b"<html>quota exceeded</html>")
    add_place(train, 13, first=bomb())
    add_place(train, 14, first=jpeg(view(14, 0).convert("L")))
    add_place(train, 15, first=jpeg(view(15, 0).convert("CMYK")))
    exif = Image.Exif()
    exif[0x0112] = 6
    add_place(train, 16, first=jpeg(view(16, 0).rotate(90, expand=True), exif=exif))
    add_place(train, 17, first=jpeg(view(17, 0).resize((WIDTH * 3 // 4, HEIGHT))))
    return root


def folder_city(root: Path, **changes: Any) -> dict[str, Any]:
    return {
        "provider": {
            "kind": "folder",
            "root": str(root),
            "licence": "CC0-1.0",
            "attribution": "made for a test",
        },
        "prior": {"downscale": 1, "superpixels": 12},
        "pairs_per_part": 5,
        "failure_limit": 0.15,
        **changes,
    }


@pytest.fixture(scope="module")
def harvested(streets, tmp_path_factory, write_catalog, many_flows) -> Path:
    """The catalog of a harvested city with some bad images, and its priors."""
    catalog = write_catalog(tmp_path_factory.mktemp("harvested"), city=folder_city(streets))
    for verb in ("harvest", "priors"):
        done = many_flows(verb, "tokyo", "--catalog", catalog)
        assert done["code"] == 0, done["err"]
    return catalog


def rows(catalog: Path, pattern: str) -> list[dict[str, Any]]:
    found = sorted((catalog.parent / "store").glob(pattern))
    assert found
    return [row for path in found for row in pq.read_table(path).to_pylist()]


def reported(outcome: dict[str, Any]) -> str:
    """The one sentence that a command ended with."""
    assert "Traceback" not in outcome["err"]
    sentences = [line for line in outcome["err"].splitlines() if line.startswith("crosscity: ")]
    assert len(sentences) == 1, outcome
    assert outcome["err"].splitlines()[-1] == sentences[0]
    return sentences[0]


def test_a_bad_image_is_a_row_with_its_reason_and_the_city_completes(harvested):
    images = rows(harvested, "imagery/tokyo/*/imagery.parquet")
    assert len(images) == 34
    failed = {row["image_id"]: row["reason"] for row in images if row["status"] == "failed"}
    assert set(failed) == {f"pano_{place}_0_90" for place in BAD_IMAGES}
    for place, reason in BAD_IMAGES.items():
        said = failed[f"pano_{place}_0_90"]
        assert reason in said
        assert place not in said  # equal faults of different images count as one
    for row in images:
        assert (row["status"] == "failed") == (row["file"] is None) == (row["width"] is None)


def test_a_place_with_a_bad_image_gives_no_pair(harvested):
    places = {row["place_id"] for row in rows(harvested, "pairs/tokyo/*/pairs.parquet")}
    assert places == {f"{place:05d}" for place in range(1, 18)} - set(BAD_IMAGES)


def test_grey_cmyk_and_turned_images_are_stored_upright(harvested):
    store = harvested.parent / "store"
    images = {r["image_id"]: r for r in rows(harvested, "imagery/tokyo/*/imagery.parquet")}
    for place in (14, 15, 16):
        row = images[f"pano_{place:05d}_0_90"]
        data = (store / row["artifact"] / row["file"]).read_bytes()
        assert b"Exif" not in data
        image = decode_image(data, row["image_id"])
        assert image.shape == (HEIGHT, WIDTH, 3)
        found = np.asarray(Image.fromarray(image).convert("L"), dtype=float)
        wanted = np.asarray(view(place, 0).convert("L"), dtype=float)
        assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.95


def test_a_pair_of_two_sizes_is_two_rows_with_the_reason(harvested):
    priors = rows(harvested, "static_prior/tokyo/*/part-*.parquet")
    assert len(priors) == 28
    failed = [row for row in priors if row["status"] == "failed"]
    assert {row["image_id"] for row in failed} == {"pano_00017_0_90", "pano_00017_1_90"}
    for row in failed:
        assert "differ in size (72×48 and 96×48)" in row["reason"]
        assert row["mask"] is None
    assert all(row["mask"] for row in priors if row["status"] == "ok")


def test_failures_are_counted_by_reason_in_the_dashboard(harvested, prefect_server, waiting):
    for name, wanted in (
        ("harvest-tokyo", "failed-images-tokyo"),
        ("priors-tokyo", "failed-priors-tokyo"),
    ):
        (run,) = (r for r in prefect_server.flow_runs(harvested) if r["name"] == name)
        named = f"{wanted}-in-{artifact_slug(harvested.parent.name)}-[0-9a-f]{{4}}"

        def is_shown(run: str = run["id"], named: str = named) -> bool:
            shown = prefect_server.artifacts(run)
            return any(re.fullmatch(named, artifact["key"]) for artifact in shown)

        waiting(is_shown, f"the server has {named}")


def test_more_bad_images_than_the_limit_fail_the_flow_with_one_sentence(
    streets, write_catalog, many_flows, tmp_path
):
    catalog = write_catalog(tmp_path, city=folder_city(streets, failure_limit=0.05))
    done = many_flows("harvest", "tokyo", "--catalog", catalog)
    assert done["code"] == 1
    assert "3 of 34 images failed, more than the limit of 5%" in reported(done)
    store = tmp_path / "store"
    assert (store / "imagery_part").is_dir()
    assert not (store / "imagery").exists()
    assert not (store / "pairs").exists()
    assert not list(store.glob("current/tokyo/*"))


def test_more_bad_pairs_than_the_limit_fail_the_flow_with_one_sentence(
    write_catalog, many_flows, prefect_server, waiting, tmp_path
):
    train = tmp_path / "streets" / "Tokyo" / "Images" / "Train"
    add_place(train, 1)
    add_place(train, 17, first=jpeg(view(17, 0).resize((WIDTH * 3 // 4, HEIGHT))))
    catalog = write_catalog(tmp_path, city=folder_city(tmp_path / "streets"))
    assert many_flows("harvest", "tokyo", "--catalog", catalog)["code"] == 0
    done = many_flows("priors", "tokyo", "--catalog", catalog)
    assert done["code"] == 1
    assert "2 of 4 priors failed, more than the limit of 15%" in reported(done)
    assert not (tmp_path / "store" / "static_prior").exists()
    assert "Traceback" not in done["err"]
    run = prefect_server.flow_runs(catalog)[0]
    assert (run["name"], run["state_type"]) == ("priors-tokyo", "FAILED")

    def shows_where() -> bool:  # Prefect hands its log over every two seconds
        logs = {"logs": {"flow_run_id": {"any_": [run["id"]]}}}
        found = prefect_server.post("/logs/filter", logs)
        return any("Traceback" in entry["message"] for entry in found)

    waiting(shows_where, "the dashboard shows where")


@pytest.mark.parametrize(
    ("shard", "verb"),
    [
        ("pairs/tokyo/*/pairs.parquet", "priors"),
        ("imagery/tokyo/*/imagery.parquet", "priors"),
    ],
)
def test_a_table_cut_short_in_the_store_is_named(harvested, many_flows, tmp_path, shard, verb):
    copy = tmp_path / "copy"
    shutil.copytree(harvested.parent, copy)
    if verb == "priors":  # so that there is something left to make
        shutil.rmtree(copy / "store" / "static_prior")
        shutil.rmtree(copy / "store" / "illustration")
    if shard.startswith("imagery/"):
        shutil.rmtree(copy / "store" / "static_prior_part")
    (path,) = copy.glob(f"store/{shard}")
    os.truncate(path, path.stat().st_size * 2 // 3)
    done = many_flows(verb, "tokyo", "--catalog", copy / "data_catalog.yaml")
    assert done["code"] == 2
    assert str(path.parent) in reported(done)
    assert path.name in reported(done)


def test_a_shard_cut_short_in_the_store_is_made_anew(harvested, many_flows, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(harvested.parent, copy)
    whole = digests(copy / "store" / "static_prior")
    assert whole
    for kind in ("static_prior", "illustration"):  # so that there is something left to make
        shutil.rmtree(copy / "store" / kind)
    (path,) = copy.glob("store/static_prior_part/tokyo/*/part-00000.parquet")
    before = path.read_bytes()
    os.truncate(path, len(before) * 2 // 3)
    done = many_flows("priors", "tokyo", "--catalog", copy / "data_catalog.yaml")
    assert done["code"] == 0, done["err"]
    assert path.read_bytes() == before
    assert digests(copy / "store" / "static_prior") == whole


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every table below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
    }


def test_a_harvest_makes_a_shard_anew_whose_table_was_cut_short(harvested, many_flows, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(harvested.parent, copy)
    (path,) = copy.glob("store/imagery_part/tokyo/*/part-00001.parquet")
    whole = path.read_bytes()
    os.truncate(path, len(whole) * 2 // 3)
    done = many_flows("harvest", "tokyo", "--catalog", copy / "data_catalog.yaml")
    assert done["code"] == 0, done["err"]
    assert path.read_bytes() == whole
    assert list(copy.glob("store/quarantine/imagery_part/tokyo/*"))


def test_a_store_that_cannot_be_written_fails_before_any_work(
    write_catalog, many_flows, prefect_server, tmp_path
):
    places = {"file/store": "is a file"}
    (tmp_path / "file").write_text("a regular file\n")
    if Path("/sys/kernel").is_dir():
        places["/sys/crosscity-store"] = "does not admit this user|read-only"
    for number, (place, said) in enumerate(places.items()):
        url = place if place.startswith("/") else str(tmp_path / place)
        catalog = write_catalog(tmp_path / str(number), stores={"local": {"url": url}})
        done = many_flows("harvest", "tokyo", "--catalog", catalog)
        assert done["code"] == 2
        assert any(part in reported(done) for part in said.split("|"))
        assert prefect_server.flow_runs(catalog) == []


@pytest.mark.parametrize(
    ("limit", "work_began"),
    [pytest.param(64, False, id="before"), pytest.param(5 << 18, True, id="while-it-works")],
)
def test_a_full_store_is_one_sentence(write_catalog, prefect_server, tmp_path, limit, work_began):
    """A limit on the size of files says the same to a writer as a full disk does.

    64 bytes let Python find a folder for temporary files, which it tries with four.
    """
    import resource

    noise = np.random.default_rng(0).integers(0, 256, (1300, 1300, 3)).astype(np.uint8)
    large = jpeg(Image.fromarray(noise))
    assert len(large) > 5 << 18
    add_place(tmp_path / "streets" / "Tokyo" / "Images" / "Train", 1, first=large)
    catalog = write_catalog(tmp_path, city=folder_city(tmp_path / "streets"))
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", "harvest", "tokyo", "--catalog", catalog],
        # Python renames what it could write of a module's bytecode, for all that import it later.
        env={**prefect_server.environment, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 2, done.stderr
    assert (
        f"the store at {tmp_path / 'store'} cannot be written, since the disk is full"
        in reported({"err": done.stderr, "code": done.returncode})
    )
    assert bool(prefect_server.flow_runs(catalog)) == work_began
    assert not list(tmp_path.glob("store/imagery_part/*/*"))


def test_priors_of_an_earlier_harvest_are_not_adapted_on(
    write_catalog, many_flows, prefect_server, tmp_path
):
    train = tmp_path / "streets" / "Tokyo" / "Images" / "Train"
    add_place(train, 1)
    catalog = write_catalog(tmp_path, city=folder_city(tmp_path / "streets"))
    at = ("--catalog", catalog)
    assert many_flows("harvest", "tokyo", *at)["code"] == 0
    without = many_flows("adapt", "tokyo", *at)
    assert without["code"] == 2
    assert "run `crosscity priors tokyo` first" in reported(without)
    assert many_flows("priors", "tokyo", *at)["code"] == 0
    add_place(train, 2)
    assert many_flows("harvest", "tokyo", *at)["code"] == 0
    stale = many_flows("adapt", "tokyo", *at)
    assert stale["code"] == 2
    assert "of an earlier harvest: run `crosscity priors tokyo`" in reported(stale)
    names = {run["name"] for run in prefect_server.flow_runs(catalog)}
    assert "pretrain-compact" not in names  # told before the long work, not after


def test_an_unknown_arm_is_reported_before_any_work(harvested, many_flows):
    done = many_flows("adapt", "tokyo", "--arm", "magic", "--catalog", harvested)
    assert done["code"] == 2
    assert "there is no arm 'magic'" in reported(done)


def test_a_city_without_labels_cannot_be_scored(harvested, many_flows):
    done = many_flows("adapt", "tokyo", "--arm", "fine_tuned", "--catalog", harvested)
    assert done["code"] == 2
    assert "no labels" in reported(done)


def real_pairs(city: str, root: Path, **prior: Any) -> dict[str, Any]:
    entry = folder_city(root, prior={"superpixels": 200, **prior})
    entry["provider"].update(city=city, licence="research only", attribution="© Google")
    return entry


@pytest.mark.parametrize(
    ("data", "city", "downscale"),
    [
        pytest.param("own_data", "Tokyo", 4, id="own-Tokyo-quartered"),
        pytest.param("shared_data", "Tokyo", 4, id="Tokyo-quartered"),
        *(
            pytest.param("shared_data", city, 2, id=f"{city}-halved", marks=pytest.mark.slow)
            for city in ("Rome", "Rio", "Tokyo", "Taipei")
        ),
    ],
)
def test_pairs_of_a_folder_go_through_harvest_and_priors(
    request, write_catalog, many_flows, tmp_path, data, city, downscale
):
    root = request.getfixturevalue(data) / "time_pairs"
    prior = {"downscale": downscale, "search_radius": 128}
    catalog = write_catalog(tmp_path, city=real_pairs(city, root, **prior))
    for verb in ("harvest", "priors"):
        done = many_flows(verb, "tokyo", "--catalog", catalog)
        assert done["code"] == 0, done["err"]
    found = rows(catalog, "static_prior/tokyo/*/part-*.parquet")
    assert len(found) == 2
    folder = root / city / "Images" / "Train"
    for row in found:
        assert row["status"] == "ok"
        assert row["superpixels"] == 200
        assert row["matches"] > 100
        with Image.open(io.BytesIO(row["mask"])) as mask:
            with Image.open(folder / f"{row['image_id']}.jpg") as original:
                assert mask.size == original.size
            share = np.asarray(mask).mean()
        assert share == pytest.approx(row["static_fraction"])
        assert 0.1 < share < 1  # how much is right is compared with the authors elsewhere
    (figure,) = tmp_path.glob("store/illustration/tokyo/*/prior.png")
    with Image.open(figure) as picture:
        assert picture.width > 1000
