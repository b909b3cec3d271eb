"""What pages show of each class that a judgement has seen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from adapters.store import ArtifactRef
from tasks.pages.pieces import judged_classes


def signals(**agreed: tuple[float | None, float | None]) -> dict[str, Any]:
    def both(values: tuple[float | None, float | None]) -> dict[str, float | None]:
        return {"before": values[0], "after": values[1]}

    return {
        "shares": {name: both((0.0, 0.0) if name == "bus" else (0.5, 0.4)) for name in agreed},
        "agreed": {name: both(values) for name, values in agreed.items()},
    }


def shown(summary: dict[str, Any]) -> dict[str, Any]:
    ref = ArtifactRef("safeguard", "home", "0" * 24, "safeguard/home/0", "0" * 64)
    store: Any = SimpleNamespace(manifest=lambda _: SimpleNamespace(summary=summary))
    found = judged_classes(store, {"safeguard": ref})
    assert found is not None
    return found


def test_the_class_on_which_looks_agree_less_by_the_most_comes_first() -> None:
    smaller = signals(road=(0.9, 0.9), sky=(0.9, 0.5), rider=(0.7, None), bus=(None, None))
    mirrored = signals(road=(0.9, 0.95), sky=(0.9, 0.6), rider=(0.3, 0.0), bus=(None, None))
    looks = {"smaller": smaller, "mirrored": mirrored}
    found = shown({"signals": smaller, "looks": looks})
    assert found["looks"] == ["an image and its smaller copy", "an image and its mirror image"]
    assert [row["name"] for row in found["rows"]] == ["rider", "sky", "road"]
    assert found["rows"][1]["agreed"] == [(0.9, 0.5), (0.9, 0.6)]


def test_pairs_of_a_city_have_one_column_and_a_class_that_is_new_comes_last() -> None:
    found = shown({"signals": signals(pole=(None, 0.2), road=(0.8, 0.9))})
    assert found["looks"] == ["the two times of a pair"]
    assert [row["name"] for row in found["rows"]] == ["road", "pole"]


def test_there_is_nothing_without_a_judgement() -> None:
    store: Any = SimpleNamespace()
    assert judged_classes(store, {}) is None
