"""What the command line says and returns, for good and for bad input."""

from __future__ import annotations

import io
import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from tasks.training.arms import ADAPTED_ARMS

HEIGHT, WIDTH = 64, 96


def bomb_png() -> bytes:
    """A PNG whose header promises 100 000 × 100 000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def scene() -> np.ndarray:
    """A picture with corners to match: coloured tiles with some noise on them."""
    rng = np.random.default_rng(5)
    tiles = rng.integers(20, 235, (HEIGHT // 8, WIDTH // 8, 3))
    noise = rng.integers(-15, 16, (HEIGHT, WIDTH, 3))
    return (np.kron(tiles, np.ones((8, 8, 1), int)) + noise).astype(np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    image = scene()
    picture = Image.fromarray(image)
    picture.save(folder / "good.png")
    picture.convert("L").save(folder / "grey.png")
    picture.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    # Stored lying on its side, with a note to turn it by 90° clockwise.
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.rotate(90, expand=True).save(folder / "rotated.jpg", exif=exif, quality=95)
    picture.resize((WIDTH // 2, HEIGHT // 2)).save(folder / "small.png")
    picture.resize((9, 8)).save(folder / "tiny.png")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    (folder / "truncated.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    (folder / "text.jpg").write_text("this is not an image\n")
    (folder / "bomb.png").write_bytes(bomb_png())
    (folder / "file").write_text("a regular file\n")
    return folder


BAD = {
    "truncated.jpg": r"truncated\.jpg is cut short or corrupt",
    "text.jpg": r"text\.jpg is not a readable JPEG, PNG or WebP image",
    "bomb.png": r"bomb\.png .*pixels",
    "absent.jpg": r"absent\.jpg cannot be read: No such file",
}
GOOD = ("grey.png", "cmyk.jpg", "rotated.jpg")


@pytest.fixture(scope="module")
def outcomes(
    pictures: Path, write_catalog: Callable[..., Path], many_commands: Callable[..., dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """What every command line of this module comes to, by a short name."""
    catalog = write_catalog(pictures / "catalog")

    def variant(name: str, **changes: Any) -> Path:
        return write_catalog(pictures / name, **changes)

    def city(**changes: Any) -> dict[str, Any]:
        return {"city": changes}

    at = str(pictures) + "/"
    harvest = ["harvest", "tokyo", "--catalog"]
    lines: dict[str, list[object]] = {
        "unknown city": ["harvest", "atlantis", "--catalog", catalog],
        "unknown provider": [*harvest, variant("a", **city(provider={"kind": "webcam"}))],
        "swapped bbox": [*harvest, variant("b", **city(area={"bbox": [139.8, 35.6, 139.7, 35.7]}))],
        "swapped latitudes": [
            *harvest,
            variant("c", **city(area={"bbox": [139.7, 35.7, 139.8, 35.6]})),
        ],
        "missing catalog": [*harvest, at + "nowhere.yaml"],
        "missing variable": [
            *harvest,
            variant("d", stores={"local": {"url": "${CROSSCITY_NO_SUCH_VARIABLE}/store"}}),
        ],
        "store below a file": [
            *harvest,
            variant("e", stores={"local": {"url": at + "file/store"}}),
        ],
        "misspelt key": [*harvest, variant("f", **city(palces=3))],
        "unknown profile": [*harvest, variant("g", compute="mainframe")],
        "different sizes": ["match", at + "good.png", at + "small.png", "-o", at + "m.parquet"],
        "different sizes of a prior": ["prior", at + "good.png", at + "small.png", "-o", at + "p"],
        "match below a file": ["match", at + "good.png", at + "grey.png", "-o", at + "file/m"],
        "prior below a file": ["prior", at + "good.png", at + "grey.png", "-o", at + "file/p"],
        "superpixels below a file": ["superpixels", at + "good.png", "-o", at + "file/labels.png"],
        "deployments below a file": [
            *["catalog", "deployments", "--catalog", catalog],
            *["-o", at + "file/prefect.yaml"],
        ],
        "too many superpixels": ["superpixels", at + "good.png", "-n", 70000, "-o", at + "s.png"],
        "no superpixels": ["superpixels", at + "good.png", "-n", 0, "-o", at + "s.png"],
        "odd downscale": [
            *["match", at + "good.png", at + "good.png", "--downscale", 3],
            *["-o", at + "m.parquet"],
        ],
        **{
            f"odd {option} of a prior": [
                *["prior", at + "good.png", at + "good.png", option, value, "-o", at + "p"]
            ]
            for option, value in {"--downscale": 3, "-k": -1, "--search-radius": "nan"}.items()
        },
        **{
            f"{verb} drawn over its result": [
                *[verb, *[at + "good.png"] * images, "-o", at + "m.parquet"],
                *["--draw", at + "../" + pictures.name + "/m.parquet"],
            ]
            for verb, images in (("match", 2), ("superpixels", 1))
        },
        "try two sizes": ["try", at + "good.png", at + "small.png", "-o", at + "try"],
        "no verb": ["frobnicate"],
        "debug": ["harvest", "atlantis", "--catalog", catalog, "--debug"],
        "match": [
            *["match", at + "good.png", at + "good.png", "--downscale", 1],
            *["-o", at + "matches.parquet", "--draw", at + "matches.png"],
        ],
        "superpixels": [
            *["superpixels", at + "good.png", "-n", 30],
            *["-o", at + "labels.png", "--draw", at + "drawn.png"],
        ],
        "prior": [
            *["prior", at + "good.png", at + "good.png", "--downscale", 1, "--superpixels", 30],
            *["-o", at + "prior/here"],
        ],
        "prior over another": ["prior", at + "good.png", at + "good.png", "-o", at + "prior/here"],
        "more superpixels than pixels": [
            *["prior", at + "good.png", at + "good.png", "--superpixels", 385, "-o", at + "p"],
        ],
        "more labels than pixels": [
            *["superpixels", at + "small.png", "-n", 40000, "-o", at + "s.png"],
        ],
        "try pictures of few pixels": ["try", *[at + "tiny.png"] * 2, "-o", at + "tiny"],
        "check": ["catalog", "check", "--catalog", catalog],
        "check missing variable": [
            "catalog",
            "check",
            "--catalog",
            pictures / "d/data_catalog.yaml",
        ],
        "schema": ["catalog", "schema"],
        "deployments missing": [
            *["catalog", "deployments", "--catalog", catalog, "--check"],
            *["-o", at + "prefect.yaml"],
        ],
        "deployments": ["catalog", "deployments", "--catalog", catalog, "-o", at + "prefect.yaml"],
        "deployments good": [
            *["catalog", "deployments", "--catalog", catalog, "--check"],
            *["-o", at + "prefect.yaml"],
        ],
    }
    for name in BAD:
        lines[f"match {name}"] = ["match", at + "good.png", at + name, "-o", at + "bad.parquet"]
        lines[f"superpixels {name}"] = ["superpixels", at + name, "-o", at + "bad.png"]
        lines[f"prior {name}"] = ["prior", at + name, at + "good.png", "-o", at + "bad"]
    for name in GOOD:
        lines[f"match {name}"] = [
            *["match", at + "good.png", at + name, "--downscale", 1],
            *["-o", at + f"{name}.parquet"],
        ]
        lines[f"superpixels {name}"] = [
            *["superpixels", at + name, "-n", 20, "-o", at + f"{name}.labels.png"],
        ]
        lines[f"prior {name}"] = [
            *["prior", at + "good.png", at + name, "--downscale", 1, "--superpixels", 30],
            *["-o", at + f"prior-{name}"],
        ]
    return {case: many_commands(*words) for case, words in lines.items()}


@pytest.mark.parametrize(
    ("case", "reported"),
    [
        ("unknown city", r"no city 'atlantis'; it has tokyo"),
        ("unknown provider", r"data_catalog\.yaml:\d+: cities\.tokyo\.provider.*webcam"),
        ("swapped bbox", r"data_catalog\.yaml:\d+: cities\.tokyo\.area.*west 139\.8 not below"),
        (
            "swapped latitudes",
            r"data_catalog\.yaml:\d+: cities\.tokyo\.area.*south 35\.7 not below",
        ),
        ("missing catalog", r"there is no catalog at .*nowhere\.yaml"),
        ("missing variable", r"stores\.local\.url needs .*CROSSCITY_NO_SUCH_VARIABLE"),
        ("store below a file", r"the store at .*file/store cannot be made .* is a file"),
        ("misspelt key", r"data_catalog\.yaml:\d+: cities\.tokyo\.palces: no such setting"),
        ("unknown profile", r"compute: `computes` has no entry 'mainframe'"),
        ("different sizes", r"differ in size \(96×64 and 48×32\)"),
        ("different sizes of a prior", r"differ in size \(96×64 and 48×32\)"),
        ("match below a file", r"file/m cannot be written"),
        ("prior below a file", r"file/p cannot be made because .* is a file"),
        ("superpixels below a file", r"file/labels\.png cannot be written"),
        ("deployments below a file", r"file/prefect\.yaml cannot be written"),
        ("too many superpixels", r"-n 70000 is too many"),
        ("no superpixels", r"-n is from 1 to the 6144 pixels of .*good\.png, not 0$"),
        ("more labels than pixels", r"-n is from 1 to the 1536 pixels of .*small\.png, not 40000$"),
        ("odd downscale", r"downscale must be 1, 2 or 4, not 3"),
        *(
            (f"{verb} drawn over its result", r"m\.parquet is named for the result too")
            for verb in ("match", "superpixels")
        ),
        ("odd --downscale of a prior", r"--downscale cannot be 3: input should be 1, 2 or 4$"),
        ("odd -k of a prior", r"-k cannot be -1: input should be greater than or equal to 0$"),
        ("odd --search-radius of a prior", r"--search-radius cannot be nan: .* finite number$"),
        ("prior over another", r"prior/here holds something already: name an empty folder"),
        ("more superpixels than pixels", r"64×96 .* 16×24 at .* superpixels: lower --superpixels$"),
        ("try pictures of few pixels", r"8×9 .* fewer pixels than 100 .*: take larger pictures$"),
        ("deployments missing", r"prefect\.yaml does not follow from .*crosscity catalog"),
        *(
            (f"{verb} {name}", reported)
            for name, reported in BAD.items()
            for verb in ("match", "prior")
        ),
        *((f"superpixels {name}", reported) for name, reported in BAD.items()),
    ],
)
def test_bad_input_is_reported_in_one_sentence_with_exit_code_2(outcomes, case, reported):
    outcome = outcomes[case]
    assert outcome["code"] == 2, outcome
    (line,) = outcome["err"].splitlines()
    assert line.startswith("crosscity: ")
    assert re.search(reported, line), line
    assert "Traceback" not in outcome["err"]
    assert outcome["out"] == ""


def test_bad_input_leaves_no_result_behind(outcomes, pictures):
    assert outcomes
    assert not [path for path in pictures.iterdir() if path.stem == "bad"]
    assert not list(pictures.glob("**/.*.part"))
    assert not (pictures / "m.parquet").exists()


def test_an_unknown_verb_is_bad_input(outcomes):
    assert outcomes["no verb"]["code"] == 2
    assert "frobnicate" in outcomes["no verb"]["err"]


def test_debug_shows_the_traceback_before_the_sentence(outcomes):
    assert outcomes["debug"]["code"] == 2
    assert "Traceback (most recent call last)" in outcomes["debug"]["err"]
    assert outcomes["debug"]["err"].splitlines()[-1].startswith("crosscity: the catalog has no")


def test_match_writes_its_columns_and_a_drawing(outcomes, pictures):
    assert outcomes["match"]["code"] == 0, outcomes["match"]
    table = pq.read_table(pictures / "matches.parquet")
    assert table.column_names == ["x_a", "y_a", "x_b", "y_b", "score", "entry"]
    assert {str(field.type) for field in table.schema} == {"float", "int32"}
    assert f"{table.num_rows} matches" in outcomes["match"]["out"]
    _same_places(table)
    assert cv2.imread(str(pictures / "matches.png")).shape[2] == 3


def _same_places(table: pa.Table) -> None:
    """An image matches itself, or its grey or turned twin, where it stands."""
    columns = table.to_pydict()
    across = np.abs(np.array(columns["x_a"]) - np.array(columns["x_b"]))
    along = np.abs(np.array(columns["y_a"]) - np.array(columns["y_b"]))
    assert table.num_rows > 50
    assert np.mean((across <= 4) & (along <= 4)) > 0.8


def test_superpixels_writes_16_bit_labels(outcomes, pictures):
    assert outcomes["superpixels"]["code"] == 0, outcomes["superpixels"]
    labels = cv2.imread(str(pictures / "labels.png"), cv2.IMREAD_UNCHANGED)
    assert labels.dtype == np.uint16
    assert labels.shape == (HEIGHT, WIDTH)
    assert sorted(np.unique(labels)) == list(range(30))
    assert cv2.imread(str(pictures / "drawn.png")).shape[2] == 3


def test_prior_of_an_image_and_itself_is_static_almost_everywhere(outcomes, pictures):
    assert outcomes["prior"]["code"] == 0, outcomes["prior"]
    folder = pictures / "prior" / "here"
    assert {path.name for path in folder.iterdir()} == {
        "prior_a.png",
        "prior_b.png",
        "overlay_a.png",
        "overlay_b.png",
        "figure.png",
    }
    for side in "ab":
        mask = Image.open(folder / f"prior_{side}.png")
        assert mask.mode == "1"
        assert mask.size == (WIDTH, HEIGHT)
        assert np.asarray(mask).mean() > 0.5


def test_the_masks_of_a_first_look_fit_their_pictures_of_two_sizes(outcomes, pictures):
    assert outcomes["try two sizes"]["code"] == 0, outcomes["try two sizes"]
    for picture, mask in (("good", "prior_a"), ("small", "prior_b")):
        with Image.open(pictures / f"{picture}.png") as given:
            assert Image.open(pictures / "try" / f"{mask}.png").size == given.size


@pytest.mark.parametrize("name", GOOD)
def test_grey_cmyk_and_turned_images_are_read_upright(outcomes, pictures, name):
    for verb in ("match", "superpixels", "prior"):
        assert outcomes[f"{verb} {name}"]["code"] == 0, outcomes[f"{verb} {name}"]
    labels = cv2.imread(str(pictures / f"{name}.labels.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (HEIGHT, WIDTH)
    _same_places(pq.read_table(pictures / f"{name}.parquet"))


def test_catalog_check_counts_and_names_the_variables_that_will_be_needed(outcomes):
    assert outcomes["check"]["code"] == 0
    assert "good; 1 cities, 1 data sets, 1 segmenters" in outcomes["check"]["out"]
    assert outcomes["check missing variable"]["code"] == 0
    assert "CROSSCITY_NO_SUCH_VARIABLE" in outcomes["check missing variable"]["err"]


def test_catalog_schema_is_a_json_schema_of_the_catalog(outcomes):
    schema = json.loads(outcomes["schema"]["out"])
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert {"cities", "datasets", "segmenters", "stores", "computes"} <= set(schema["properties"])


def test_catalog_deployments_writes_what_its_check_accepts(outcomes, pictures):
    assert outcomes["deployments"]["code"] == 0
    assert outcomes["deployments good"]["code"] == 0
    document = yaml.safe_load((pictures / "prefect.yaml").read_text(encoding="utf-8"))
    assert {entry["name"] for entry in document["deployments"]} == {"tokyo", "compact", "all"}


def test_the_exit_code_reaches_the_shell(crosscity, tmp_path):
    assert crosscity("catalog", "schema", alone=True).returncode == 0
    absent = crosscity("catalog", "check", "--catalog", tmp_path / "absent.yaml", alone=True)
    assert absent.returncode == 2
    assert "Traceback" not in absent.stderr


def test_the_help_names_every_arm(many_commands):
    for verb in ("adapt", "readapt"):
        said = many_commands(verb, "--help")["out"]
        for arm in ADAPTED_ARMS:
            assert re.search(rf"\b{arm}\b", said), f"{verb}: {arm}"


@pytest.mark.parametrize("verb", ["adapt", "evaluate", "readapt", "plan", "transfer"])
def test_an_arm_that_there_is_not_ends_before_anything_starts(
    write_catalog, tmp_path, many_commands, verb
):
    transfer = {"segmenter": "compact", "target": "frankfurt", "test_split": "val"}
    catalog = write_catalog(tmp_path, transfers={"home": transfer})
    owner = "home" if verb == "transfer" else "tokyo"
    done = many_commands(verb, owner, "--arm", "fulll", "--catalog", str(catalog))
    assert done["code"] == 2
    assert "there is no arm 'fulll'" in done["err"]
    assert "watch it at" not in done["err"] + done["out"]
    assert not (tmp_path / "store").exists()
