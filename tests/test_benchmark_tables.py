"""Tables that a benchmark writes after every arm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import street_arms
from benchmarks.street_arms import differences
from benchmarks.whole_files import write_json

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


def counts(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 9, (3, 19, 19)).astype(np.int64)


@pytest.fixture
def resampled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is resampled; it takes long."""
    asked: list[Any] = []

    def difference(*words: Any) -> list[float]:
        asked.append(words)
        return [float(len(asked)), 0.0, 1.0]

    monkeypatch.setattr(street_arms, "resampled_difference", difference)
    monkeypatch.setattr(street_arms, "_gains", {})
    return asked


def test_what_did_not_change_is_not_resampled_again(resampled: list[Any]) -> None:
    seen = {("a", "tokyo"): [counts(0)], ("b", "tokyo"): [counts(1)], ("b", "rome"): [counts(3)]}
    compared = [("a", "b"), ("b", "a")]

    def table() -> list[str]:
        def runs(city: str, arm: str, other: str) -> Any:
            both = seen.get((arm, city)), seen.get((other, city))
            return both if all(both) else None

        return differences("Differences", ["tokyo", "rome"], compared, runs)

    first = table()
    of_one_city = len(resampled)
    assert of_one_city == 6, "in one city, over all of it, in its large classes and in the others"
    assert table() == first
    assert len(resampled) == of_one_city
    seen["a", "rome"] = [counts(2)]
    assert table() != first
    assert len(resampled) == of_one_city + 2 * 4, "tokyo alone is as it was"


def test_other_counts_are_resampled(resampled: list[Any]) -> None:
    for of in (0, 1, 1):
        street_arms.gain([([counts(of)], [counts(7)])])
    street_arms.gain([([counts(7)], [counts(0)])])
    street_arms.gain([([counts(0), counts(7)], [])])
    assert len(resampled) == 4


def test_no_measurement_begins_where_it_is_asked_what_it_takes() -> None:
    """`--help` measured, and wrote over results that had taken days."""
    begun = {path.name: path.read_text(encoding="utf-8") for path in SCRIPTS}
    begun = {name: text for name, text in begun.items() if '__name__ == "__main__"' in text}
    del begun["forked_python.py"]  # stands for Python, and takes its words
    assert len(begun) > 30
    parsed = ("typer.run(", "ArgumentParser(")
    assert not [name for name, text in begun.items() if not any(one in text for one in parsed)]


def test_rows_of_before_stay_where_a_write_breaks_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = tmp_path / "rows.json"
    write_json(noted, [1], indent=1)
    whole = noted.read_text(encoding="utf-8")
    assert whole.endswith("]\n")
    written = Path.write_text

    def killed(path: Path, text: str, **how: Any) -> int:
        written(path, text[:3], **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        write_json(noted, [1, 2], indent=1)
    assert noted.read_text(encoding="utf-8") == whole
