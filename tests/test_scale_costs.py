"""docs/scale.md says what follows from the measured figures."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def costs(load_module) -> ModuleType:
    """The script that writes the table."""
    return load_module("benchmarks/costs.py")


def numbers(text: str) -> list[float]:
    scales = {"million": 1e6, "thousand": 1e3, "GB": 1e9, "MB": 1e6}
    cells = re.findall(r"\| ([0-9.e+]+) ?(million|thousand|GB|MB)?", text)
    return [float(number) * scales.get(scale, 1) for number, scale in cells]


def test_the_table_follows_the_measured_figures(costs):
    _, _, rest = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8").partition(costs.BEGIN)
    written, end, _ = rest.partition(costs.END)
    assert end
    counted, _, _ = written.partition("\n\n")  # then come the prices
    found, wanted = numbers(counted), numbers(costs.table())
    assert len(wanted) >= 24
    # Measured again, the figures differ somewhat: `python benchmarks/costs.py` writes them anew.
    assert found == pytest.approx(wanted, rel=0.5)


def test_each_price_says_where_it_was_read_or_that_it_is_assumed(costs):
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert costs.prices.table() in text
    assert len(costs.prices.ALL) == costs.prices.table().count("](http") + text.count("**assumed**")


def test_what_is_counted_grows_with_the_pairs_and_is_priced(costs):
    small, large = costs.costs(1000), costs.costs(1_000_000)
    assert large.writes == pytest.approx(1000 * small.writes)
    assert large.once == pytest.approx(1000 * small.once)
    packed = costs.costs(1_000_000, pack=True)
    assert large.writes / 2 < packed.writes < large.writes  # a checkpoint an image, not a file too
    assert packed.reads == large.reads
    one = costs.Costs(1, 1, 0, 1, 1e9, 2000, 5000, 2e9)
    assert one.once == pytest.approx(2 * costs.CORE_HOUR + 0.01 + 0.002)
    assert one.monthly == pytest.approx(2 * 0.023 + 0.08)
