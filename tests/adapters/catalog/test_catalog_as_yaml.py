"""What YAML admits and no catalog means, and cron lines as the scheduler reads them."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from PIL import Image

from adapters.catalog import CatalogError, load_catalog
from adapters.catalog.cron import checked_cron, next_runs
from adapters.catalog.model import SegmenterEntry

NOW = datetime(2026, 11, 28, 12, 30, 17, tzinfo=UTC)


def changed(write_catalog, tmp_path: Path, before: str, after: str) -> Path:
    path = write_catalog(tmp_path)
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    return path


def line_of(path: Path, part: str) -> int:
    return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if part in line)


def reported(path: Path) -> str:
    with pytest.raises(CatalogError) as error:
        load_catalog(path)
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    "written",
    [
        "{{ STORE }}",
        "{{STORE}}",
        "{{ STORE }}/sub",
        "{{ env.STORE | default('x') }}",
        "{% raw %}x{% endraw %}",
        "[{{ STORE }}]",
    ],
)
def test_templates_are_reported_with_their_line_and_the_remedy(write_catalog, tmp_path, written):
    path = changed(write_catalog, tmp_path, "url: store", f"url: {written}")
    text = reported(path)
    assert f"{path}:{line_of(path, 'url: ')}" in text
    assert "${NAME}" in text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("    provider:\n", "    provider: &a\n      again: *a\n"),
        ("trainings:\n", "trainings: &t\n  loop: {preset: *t}\n"),
        ("    - 64\n", "    - &s [*s]\n"),
    ],
)
def test_anchors_that_hold_themselves_are_reported(write_catalog, tmp_path, before, after):
    path = changed(write_catalog, tmp_path, before, after)
    assert "the anchor holds itself" in reported(path)
    assert f"{path}:" in reported(path)


def test_anchors_that_grow_are_refused(write_catalog, tmp_path):
    bombs = "\n".join(
        f"  b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 10) if i else '1'}]" for i in range(9)
    )
    path = changed(write_catalog, tmp_path, "version: 1\n", f"version: 1\nbomb:\n{bombs}\n")
    assert "anchors make it larger" in reported(path)
    path.write_text("a: " + "[" * 5000 + "]" * 5000)
    # Newer releases of PyYAML refuse it themselves, before Python's stack is full.
    assert any(one in reported(path) for one in ("nested too deeply", "maximum nesting depth"))


def test_anchors_that_are_only_repeated_stay(write_catalog, tmp_path):
    path = changed(
        write_catalog, tmp_path, "trainings:\n", "trainings:\n  x: &x {preset: demo}\n  y: *x\n"
    )
    assert load_catalog(path).trainings["y"].preset == "demo"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no", "quote it: YAML reads no as false"),
        ("NO", "quote it: YAML reads NO as false"),
        ("on", "quote it: YAML reads on as true"),
        ("off", "quote it: YAML reads off as false"),
        ("~", "quote it: YAML reads ~"),
        ("2024", "quote it: YAML reads 2024 as a int"),
        ("1.5", "quote it: YAML reads 1.5 as a float"),
        ("2024-05-01", "quote it: YAML reads 2024-05-01 as a timestamp"),
    ],
)
def test_words_that_yaml_takes_for_something_else(write_catalog, tmp_path, name, said):
    path = changed(write_catalog, tmp_path, "  tokyo:\n", f"  {name}:\n")
    text = reported(path)
    assert said in text
    assert f"{path}:{line_of(path, f'  {name}:')}: {name}: " in text or name == "~"
    path.write_text(path.read_text().replace(f"  {name}:\n", '  "no":\n'))
    assert "no" in load_catalog(path).cities


ALL_VOID = "  ours: {kind: folder, root: x, label_map: {0: void, 255: void}}\n"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("style: tokyo", "style: no", "provider.style: a text is needed: quote it"),
        ("style: tokyo", "style: 2024", "provider.style: a text is needed: quote it"),
        ("style: tokyo", "style: 2024-05-01", "provider.style: a text is needed: quote it"),
        ("    seed: 3\n", "    seed: 3\n    schedule: 12:30\n", "reads 12:30 as the number 750"),
        # A value that may be one of several things is told once, by its own key.
        ("checkpoint_every: 2", "image_size: [8, 64]", "trainings.demo.image_size.0: Input should"),
        ("checkpoint_every: 2", "image_size: big", "trainings.demo.image_size: a list in brackets"),
        ("checkpoint_every: 2", "image_size: [64]", "trainings.demo.image_size.1: is missing"),
        ("seed: 3", "min_days_apart: .inf", "YAML reads .inf as no finite number"),
        ("seed: 3", "quality: {turned: -.INF}", "YAML reads -.INF as no finite number"),
        ("seed: 3", "failure_limit: .NaN", "YAML reads .NaN as no finite number"),
        ("checkpoint_every: 2", "source_free: {lr: .nan}", "YAML reads .nan as no finite number"),
        ("seed: 3", "min_days_apart: 1e999", "min_days_apart: Input should be a finite number"),
        ("seed: 3", "max_metres_apart: inf", "max_metres_apart: Input should be a finite number"),
        ("seed: 3", "test_margin_metres: infinity", "Input should be a finite number"),
        ("style: tokyo", "style: !!binary dG9reW8=", "bytes in base 64"),
        ("seed: 3", "seed: 18446744073709551616", "cities.tokyo.seed: Input should be less than"),
        ("seed: 3", "training_seed: 9223372036854775808", "training_seed: Input should be less"),
        ("    seed: 3\n", "    seed: 3\n---\nversion: 1\n", "--- begins a second catalog here"),
        ("datasets:\n", "datasets:\n" + ALL_VOID, "leaves nothing to learn from"),
        ("seed: 3", "seed: 3  # \x07", "the character U+0007 stands there, which"),
        ("seed: 3", "seed: 3 \x00", "the character U+0000 stands there"),
        ("  tokyo:\n", "  Tokyo:\n", "cities.Tokyo: names are of a-z, 0-9, _ and -"),
        ("  tokyo:\n", "  zürich:\n", "names are of a-z"),
        ("  tokyo:\n", "  new york:\n", "names are of a-z"),
        ("  tokyo:\n", "  ../x:\n", "names are of a-z"),
        ("style: tokyo", "style: atlantis", "provider.style: there is no style 'atlantis'; there"),
        ("style: frankfurt", "style: Frankfurt", "datasets.frankfurt.style: there is no style"),
        ("preset: demo", "preset: |\n      demo", "trainings.demo.preset: Input should be"),
        ("places: 7", "places: ${N}", "places: Input should be a valid integer"),
        ("- 139.7\n", "- 139,7\n", "area.bbox.0: Input should be a valid number"),
        ("  tokyo:\n", "  tokyo: x\n", "mapping values are not allowed"),
        ("version: 1", "version: '1'", "version: Input should be 1"),
        ("seed: 3", "seed: 3.5", "seed: Input should be a valid integer"),
        ("options:\n      width: 16", "options: [16]", "options: keys and their values are needed"),
    ],
)
def test_values_that_yaml_takes_for_something_else(write_catalog, tmp_path, before, after, said):
    path = changed(write_catalog, tmp_path, before, after)
    assert said in reported(path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("catalog_jinja_block.yaml", ":15: .*NAME"),
        (
            "catalog_bad_cron.yaml",
            ":17: cities.oslo.schedule: .* five fields .* has 4",
        ),
        (
            "catalog_minus_one_label.yaml",
            ":6: datasets.ours.label_map: no label file holds -1",
        ),
        ("catalog_norway_city_no.yaml", ":12: no: quote it: YAML reads no as false"),
    ],
)
def test_the_catalogs_that_failed(shared_data, tmp_path, name, said):
    source = shared_data / "cases" / name
    if not source.is_file():
        pytest.skip(f"{name} is not among the shared files")
    shutil.copy(source, tmp_path / name)
    with pytest.raises(CatalogError, match=rf"{name}{said}"):
        load_catalog(tmp_path / name)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 3 * *", "five fields .*has 4"),
        ("0 3 * * 1 0", "has 6: a sixth would be read as seconds"),
        ("", "has 0"),
        ("@daily", "five fields, not a word"),
        ("60 3 * * *", "bad minute"),
        ("0 24 * * *", "bad hour"),
        ("0 0 0 * *", "bad day-of-month"),
        ("0 0 30 2 *", "bad day-of-month|never comes"),
        ("0 0 * 13 *", "bad month"),
        ("0 0 * * 8", "bad day-of-week"),
        ("0 0 * * 5-1", "bad day-of-week"),
        ("0 0 */2 * 1", "read in two ways"),
        ("0 0 1 * */2", "read in two ways"),
        ("H 3 * * *", "bad minute"),
        ("0 3 * * ?", "weekday '\\?'"),
        ("*/0 * * * *", "bad minute"),
        ("0 0 * * 0-0", "range from a number to itself"),
        # cronsim reads these, croniter, which Prefect uses, otherwise or not at all.
        ("0 3 1/10 * *", "day of the month '1/10' has steps from one number on"),
        ("5/15 3 * * *", "write the range, as 5-59/15"),
        ("0 3 * * 5L", "not read alike"),
        ("0 3 * * 1,5l", "not read alike"),
        ("0 3 LW * *", "not read alike"),
        ("0 3 15W * *", "not read alike"),
        ("0 3 1 * 1#1", "not read alike"),
        ("CRON_TZ=UTC 0 3 * * 1", "has 6"),
        ("0 22-2 * * *", "bad hour"),
    ],
)
def test_cron_lines_that_programs_read_in_different_ways(write_catalog, tmp_path, line, said):
    path = write_catalog(tmp_path, city={"schedule": line})
    with pytest.raises(CatalogError, match=rf"cities\.tokyo\.schedule: .*({said})") as error:
        load_catalog(path)
    assert f":{line_of(path, 'schedule:')}: " in str(error.value)


def scheduled(line: str) -> list[float]:
    """The next three runs by Prefect's own code (server/schemas/schedules.py, `CronSchedule`)."""
    from prefect.server.schemas.schedules import CronSchedule

    dates = asyncio.run(CronSchedule(cron=line, timezone="UTC").get_dates(3, NOW))
    return [date.timestamp() for date in dates]


def field(low: int, high: int) -> strategies.SearchStrategy[str]:
    number = strategies.integers(low, high)
    span = strategies.tuples(number, number).map(lambda two: f"{min(two)}-{max(two)}")
    step = strategies.integers(1, max(1, (high - low) // 2))
    return strategies.one_of(
        strategies.just("*"),
        number.map(str),
        span,
        step.map(lambda one: f"*/{one}"),
        strategies.tuples(span, step).map(lambda both: f"{both[0]}/{both[1]}"),
        strategies.lists(number, min_size=2, max_size=3).map(lambda many: ",".join(map(str, many))),
        strategies.tuples(number, step).map(lambda both: f"{both[0]}/{both[1]}"),
        strategies.sampled_from(["L", "LW", "15W", "1#2", "mon#1", "5L", "sun", "fri", "jan", "?"]),
    )


ENDS = ((0, 59), (0, 23), (1, 28), (1, 12), (0, 7))


@hypothesis.settings(max_examples=60)
@hypothesis.given(
    strategies.tuples(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 7)).map(
        " ".join
    )
)
def test_an_admitted_line_comes_when_prefect_runs_it(line):
    try:
        checked = checked_cron(line)
    except ValueError:
        return
    assert [run.timestamp() for run in next_runs(checked, NOW)] == scheduled(checked)


def test_lines_with_names_come_when_prefect_runs_them():
    for line in ("0 3 * * 1", "0 3 * * mon", "0 3 1 jan *", "30 2 * * MON-FRI", "0 0 1 * 1"):
        runs = next_runs(checked_cron(line), NOW)
        assert [run.timestamp() for run in runs] == scheduled(line)


def test_check_prints_the_next_three_runs(write_catalog, tmp_path, many_commands):
    path = write_catalog(tmp_path, city={"schedule": "0  3 * * 1", "watch_schedule": "15 4 1 * *"})
    done = many_commands("catalog", "check", "--catalog", path)
    assert done["code"] == 0, done
    text = done["out"]
    assert "readapt-city tokyo: '0 3 * * 1' (UTC) comes next on Mon 2" in text
    assert text.count(" 03:00") == 3
    assert text.count("-01 04:15") == 3


def test_a_file_is_written_and_not_a_folder(write_catalog, tmp_path, many_commands):
    path = write_catalog(tmp_path)
    for target in (".", tmp_path, "..", tmp_path / ".."):
        done = many_commands("catalog", "deployments", "--catalog", path, "-o", target)
        assert done["code"] == 2, done
        assert "is a folder: name the file to write" in done["err"]
        words = ("init", "--city", "x", "--bbox", "1,2,3,4", "--force", "-o", target)
        done = many_commands(*words)
        assert done["code"] == 2, done
        assert "is a folder: name the file to write" in done["err"]


def test_where_nothing_can_be_written_is_reported_before_the_work(tmp_path, many_commands):
    """Matching takes minutes on large images; images are not written over either."""
    images = [tmp_path / name for name in ("a.png", "b.png")]
    for seed, image in enumerate(images):
        noise = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(image)
    before = images[0].read_bytes()
    for verb, given in (("match", images), ("superpixels", images[:1])):
        for target, said in (
            (tmp_path, "is a folder"),
            (tmp_path / "none" / "x", "there is no folder"),
            (images[0], "is an image that is read here"),
            (tmp_path / "." / "a.png", "is an image that is read here"),
        ):
            for where in (("-o", target), ("-o", tmp_path / "out", "--draw", target)):
                done = many_commands(verb, *given, *where)
                assert done["code"] == 2, done
                assert said in done["err"]
    assert images[0].read_bytes() == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"rename": {"a.": "b."}}, "rename is about a weight file"),
        ({"architecture": "hf:x", "weights": "w.pth"}, "brings its weights"),
        (
            {"architecture": "hf:x", "options": {"labels": {"Road": "raod"}}},
            "'raod', which is none",
        ),
        (
            {"architecture": "hf:x", "options": {"labels": {"a": "road"}, "new_classifier": True}},
            "labels are of no use",
        ),
    ],
)
def test_settings_that_would_be_ignored_are_errors(entry, said):
    with pytest.raises(ValueError, match=said):
        SegmenterEntry.model_validate({"architecture": "compact", "source": "x", **entry})


CITY = "    seed: 3\n"
FOLDER = "  ours: {kind: folder, root: x, label_map: MAP}\n"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        # YAML 1.1 counts by eights and sixties (yaml.org/type/int.html).
        ("places: 7", "places: 010", "YAML reads 010 as the number 8: write 8"),
        ("places: 7", "places: 1:30", "YAML reads 1:30 as the number 90"),
        ("places: 7", "places: 0b11", "YAML reads 0b11 as the number 3"),
        ("seed: 3", "min_days_apart: 1:30.5", "YAML reads 1:30.5 as the number 90.5"),
        ("datasets:\n", "datasets:\n" + FOLDER.replace("MAP", "{010: road}"), "reads 010 as the"),
        # Python takes true for 1.
        ("seed: 3", "seed: yes", "cities.tokyo.seed: a number is needed: YAML reads yes, on"),
        ("seed: 3", "max_metres_apart: on", "max_metres_apart: a number is needed"),
        ("- 35.6\n", "- on\n", "cities.tokyo.area.bbox.1: a number is needed"),
        # References as shells, Docker, Windows, make and VS Code write them.
        ("url: store", 'url: "${STORE:-here}"', "${STORE:-here} is not a reference"),
        ("url: store", "url: $STORE/sub", "$STORE is not a reference"),
        ("url: store", "url: $STORE", "$STORE is not a reference"),
        ("url: store", "url: '%STORE%/sub'", "%STORE% is not a reference"),
        ("url: store", "url: $(STORE)/sub", "$(STORE) is not a reference"),
        ("url: store", 'url: "${env:STORE}"', "${env:STORE} is not a reference"),
        ("url: store", 'url: "${ STORE }"', "${ STORE } is not a reference"),
        ("url: store", 'url: "$${STORE}"', "$${STORE} is not a reference"),
        ("url: store", 'url: "${STORE"', "${STORE is not a reference"),
        # Tags of Home Assistant, CloudFormation, mkdocs.
        ("url: store", "url: !include store.yaml", "other files are added by `include:`"),
        ("url: store", "url: !ENV STORE", '"${NAME}" is taken from'),
        ("url: store", "url: !!python/object:os.system {}", "tags are not read here"),
        # Blanks of web pages, tabs, colours that begin a comment.
        ("    places: 7", "    places:\u00a07", "a blank there is no space"),
        ("    places: 7", "\tplaces: 7", "indented by spaces, not by tabs"),
        (
            "datasets:\n",
            "datasets:\n" + FOLDER.replace("MAP", "{#804080: road}"),
            "quote colours, as '#804080'",
        ),
        # Shapes.
        ("datasets:\n", "datasets:\n" + FOLDER.replace("MAP", "[road, car]"), "a class for each"),
        (
            "datasets:\n",
            "datasets:\n" + FOLDER.replace("MAP", "{'#80408A': road, '#80408a': car}"),
            "stands in the label map twice",
        ),
        (
            "datasets:\n",
            "datasets:\n" + FOLDER.replace("MAP", "{0: road, '#80408a': car}"),
            "either values (0 to 255) or colours",
        ),
    ],
)
def test_habits_of_other_programs_are_reported_with_their_line(
    write_catalog, tmp_path, before, after, said
):
    path = changed(write_catalog, tmp_path, before, after)
    was = write_catalog(tmp_path / "was").read_text().splitlines()
    text = reported(path)
    assert said in text
    line = int(text.removeprefix(f"{path}:").partition(":")[0])
    lines = path.read_text().splitlines()
    first = next(at for at, (old, new) in enumerate(zip(was, lines, strict=False), 1) if old != new)
    assert first <= line <= first + 2


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        ({"headings": [0, -0.0]}, "headings: headings has 0 twice"),
        ({"headings": 90}, "headings: a list in brackets is needed"),
        ({"headings": [0, 360]}, "headings.1: Input should be less than 360"),
        ({"captured_after": 20240501}, "captured_after: a day is needed, as 2024-05-01"),
        ({"captured_after": 0}, "captured_after: a day is needed"),
        ({"captured_after": "01.05.2024"}, "captured_after: Input should be a valid date"),
        ({"base_url": "http://panoramax.example.org"}, "base_url: .*must start with https://"),
        ({"base_url": "panoramax.example.org"}, "base_url: .*must start with https://"),
        ({"base_url": "https://x.org/api?key=1"}, "base_url: .*must not have a query"),
        ({"licences": "CC-BY-4.0"}, "licences: a list in brackets is needed"),
    ],
)
def test_settings_of_a_service_that_it_would_read_otherwise(
    write_catalog, tmp_path, provider, said
):
    path = write_catalog(tmp_path, city={"provider": {"kind": "panoramax", **provider}})
    where = r"data_catalog\.yaml:[0-9]+: cities\.tokyo\.provider\."
    with pytest.raises(CatalogError, match=where + said):
        load_catalog(path)


@pytest.mark.parametrize("marks", ["bom", "crlf", "cr", "end", "directive", "tab"])
def test_files_as_editors_save_them_are_read(write_catalog, tmp_path, marks):
    path = write_catalog(tmp_path)
    wanted = load_catalog(path)
    content = path.read_bytes()
    changes = {
        "bom": b"\xef\xbb\xbf" + content,
        "crlf": content.replace(b"\n", b"\r\n"),
        "cr": content.replace(b"\n", b"\r"),
        "end": content + b"...\n",
        "directive": b"%YAML 1.1\n---\n" + content,
        "tab": content.replace(b"places: 7", b"places:\t7", 1),
    }
    path.write_bytes(changes[marks])
    assert load_catalog(path) == wanted
