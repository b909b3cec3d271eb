"""Charts and maps: the same bytes each time, and nothing from elsewhere."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime

import pyarrow as pa

from adapters.catalog.areas import Area
from crosscity.adaptation.objectives import OBJECTIVES, find_objective
from tasks.judging.differences import CLASS_NAMES, EVENLY_SPREAD, MOST_DIFFERENT, evenly, pictured
from tasks.pages.charts import class_shares, thinned, training_curves
from tasks.pages.city_map import map_of_places, maps_of_classes, places_of, refusals
from tasks.pages.dated_scores import Dated, scores_over_dates
from tasks.steps.schemas import HISTORY as STORED

AREA = Area(bbox=(0.0, 50.0, 1.0, 51.0))
HISTORY = [
    {"step": step, "quantity": name, "value": 1 / (step + 1)}
    for step in range(300)
    for name in ("task_loss", "total_loss", "lambda_global", "learning_rate", "peak_memory_mib")
]


def _image(name, status="ok", reason=None, at=(0.5, 50.5)):
    lon, lat = at
    return {"image_id": name, "lon": lon, "lat": lat, "status": status, "reason": reason}


IMAGERY = [
    _image("a"),
    _image("b"),
    _image("c", at=(0.2, 50.2)),
    _image("d", "failed", "too dark: 0.91", at=(0.8, 50.9)),
    _image("e", "failed", "too dark: 0.99", at=(0.9, 50.9)),
    _image("f", "left_out", '<script>alert("1")</script>', at=(None, None)),
]
PAIRS = [{"image_a": "a", "image_b": "b", "split": "train"}]


def _svgs() -> list[str]:
    seen = [
        {"image_id": name, "classes_after": [n, 10 - n, *[0] * (len(CLASS_NAMES) - 2)]}
        for name, n in (("a", 1), ("b", 5), ("c", 9))
    ]
    return [
        *(svg for _, svg in training_curves(HISTORY, "t")),
        class_shares({"road": (0.4, 0.5), "sky": (0.6, 0.5)}, ("before", "after"), "s"),
        str(map_of_places(places_of(IMAGERY, PAIRS), AREA, "m")),
        *(svg for _, svg in maps_of_classes(IMAGERY, seen, AREA, "c")),
    ]


def test_charts_are_the_same_bytes_and_load_nothing() -> None:
    first = _svgs()
    assert first == _svgs()
    assert len(first) == 3 + 1 + 1 + 2
    for svg in first:
        root = ET.fromstring(svg)  # noqa: S314 - of our own making
        assert root.tag == "svg"
        assert root.attrib["role"] == "img"
        assert len(root.attrib["aria-label"]) > 10
        assert not re.search(r"http|url\(|<style|<script", svg)
        assert "currentColor" in svg
        names = {each.attrib["id"] for each in root.iter() if "id" in each.attrib}
        used = {each.attrib["href"] for each in root.iter() if "href" in each.attrib}
        assert all(each.startswith(("#", "data:image/png;base64,")) for each in used)
        assert {each[1:] for each in used if each.startswith("#")} <= names
    ids = [name for svg in first for name in re.findall(r'\bid="([^"]+)"', svg)]
    assert len(ids) == len(set(ids)), "an id of one chart is that of another"


def test_each_loss_and_weight_of_a_recipe_is_drawn() -> None:
    """Of the objectives that come along, and of one's own (docs/extending.md)."""
    objectives = [find_objective(name) for name in OBJECTIVES]
    rows = {row for one in objectives for row in one.rows}
    rows |= {"smoothness_loss", *(f"lambda_{name}" for name in (*OBJECTIVES, "smoothness"))}
    history = [{"step": 0, "quantity": row, "value": 1.0} for row in (*rows, "images_per_second")]
    charts = training_curves(history, "t")
    assert len({title for title, _ in charts}) == len(charts)
    drawn = " ".join(svg for _, svg in charts)
    labels = " ".join(re.findall(r'aria-label="([^"]+)"', drawn))
    assert not [row for row in rows if row.replace("_", " ") not in labels]
    assert "images per second" not in labels


def test_a_chart_has_a_line_of_each_quantity_also_where_colours_are_few() -> None:
    def lines(count: int) -> int:
        names = [f"objective{number}_loss" for number in range(count)]
        rows = [{"step": s, "quantity": name, "value": 1.0} for s in (0, 1) for name in names]
        ((_, svg),) = training_curves(rows, "t")
        return svg.count("<path")

    each = lines(3) - lines(2)
    assert lines(9) - lines(3) == 6 * each


def test_of_a_long_history_the_rows_that_are_drawn_suffice() -> None:
    rows = [
        {"step": step, "quantity": name, "value": None if step == 7 else step / 7}
        for step in range(1_001)
        for name in ("task_loss", "home_miou", "peak_memory_mib")
        if name != "home_miou" or step % 100 == 0
    ]
    some = thinned(pa.Table.from_pylist(rows, schema=STORED))
    assert len(some) == 200 + 11 + 200
    assert training_curves(some, "t") == training_curves(rows, "t")


def test_scores_over_dates_are_one_chart_whatever_their_order() -> None:
    scores = [
        Dated(datetime(2026, month, 3, tzinfo=UTC), 0.3 + 0.01 * month, arm)
        for month in (1, 4, 9)
        for arm in ("GA", "<b>")
    ]
    svg = scores_over_dates(scores, "d")
    assert svg == scores_over_dates(scores[::-1], "d")
    root = ET.fromstring(svg)  # noqa: S314 - of our own making
    assert (
        "6 adaptations from 2026-01-03 to 2026-09-03, by arm: <b>, GA"
        in (root.attrib["aria-label"])
    )
    assert "mIoU, %" in svg
    assert "currentColor" in svg
    assert "<b>" not in svg


def test_a_single_curve_says_which_loss_it_is() -> None:
    """`source_free` has no task, and its loss stood under "Task" without a name."""
    history = [
        {"step": step, "quantity": name, "value": 1 / (step + 1)}
        for step in range(3)
        for name in ("self_training_loss", "learning_rate")
    ]
    (title, losses), (_, rates) = training_curves(history, "t")
    assert title == "Losses"
    assert re.search(r"<text[^>]*>self training loss</text>", losses)
    assert "learning rate</text>" not in rates


def test_the_map_says_what_is_on_it() -> None:
    svg = str(map_of_places(places_of(IMAGERY, PAIRS), AREA, "m"))
    for words in ("pairs (1)", "in no pair (1)", "refused: too dark (2)"):
        assert words in svg
    assert refusals(IMAGERY) == {"too dark": 2, '<script>alert("1")</script>': 1}


DROPPED = [
    {"image_id": "c", "place_id": "3", "group": 0, "reason": "no two captures 60 days apart"},
    {"image_id": "a", "place_id": "1", "group": 1, "reason": "no two captures within 5 metres"},
    {"image_id": "b", "place_id": "1", "group": 1, "reason": "no two captures within 5 metres"},
    {"image_id": "f", "place_id": "9", "group": 2, "reason": "no two captures within 5 metres"},
]


def test_the_map_says_why_good_images_are_in_no_pair() -> None:
    places = places_of(IMAGERY, PAIRS, DROPPED)
    assert places.unpaired == []
    assert places.dropped == {
        "no two captures 60 days apart": [(0.2, 50.2)],
        "no two captures within 5 metres": [(0.5, 50.5)],  # together; "f" has no position
    }
    svg = str(map_of_places(places, AREA, "m"))
    assert "no pair: no two captures 60 days apart (1)" in svg
    assert "in no pair (" not in svg
    many = [{**DROPPED[0], "group": n, "reason": f"reason {n}"} for n in range(7)]
    assert "no pair: other reasons (3)" in str(
        map_of_places(places_of(IMAGERY, [], many), AREA, "m")
    )


def test_a_city_on_both_sides_of_the_antimeridian_is_one_map() -> None:
    """As wide as its area, and not as the globe."""
    rings = [
        [[(w, -17.0), (e, -17.0), (e, -16.5), (w, -16.5), (w, -17.0)]]
        for w, e in ((179.5, 180.0), (-180.0, -179.5))
    ]
    area = Area(geojson={"type": "MultiPolygon", "coordinates": rings})
    imagery = [_image("a", at=(179.75, -16.8)), _image("b", at=(-179.75, -16.7))]
    svg = str(map_of_places(places_of(imagery, []), area, "m"))
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert texts[:3] == ["179.5", "180", "\N{MINUS SIGN}179.5"]


def test_without_positions_there_is_no_map() -> None:
    nowhere = [_image("a", at=(None, None))]
    assert map_of_places(places_of(nowhere, []), AREA, "m") is None
    assert maps_of_classes(nowhere, [{"image_id": "a", "classes_after": [1]}], None, "c") == []


def test_the_pictures_are_found_and_not_chosen() -> None:
    rows = [
        {"image_id": f"{n:02d}", "changed": (n * 7 % 40) / 40, "status": "ok"} for n in range(40)
    ]
    rows.append({"image_id": "x", "changed": None, "status": "failed"})
    found = pictured(rows)
    different = [row for row, why in found if why == MOST_DIFFERENT]
    spread = [row["image_id"] for row, why in found if why == EVENLY_SPREAD]
    assert [row["changed"] * 40 for row in different] == [39, 38, 37, 36, 35, 34]
    assert len(spread) == 6
    assert not {row["image_id"] for row in different} & set(spread)
    assert len(pictured(rows[:4])) == 4
    assert evenly([], 3) == []
    assert evenly(list("abcde"), 3) == ["a", "c", "e"]
