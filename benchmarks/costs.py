"""What a city costs beside its service: processor time, database, requests and money.

    python benchmarks/costs.py          # writes the table into docs/scale.md

Counts from what was measured: `orchestration.json` (the largest city in it, a pair at a time) and
`prior_speed.json`. Requests to the store are those that `tests/adapters/store/test_requests.py`
holds. Prices are those of `benchmarks/prices.py`, some of them assumed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import prices
from benchmarks.whole_files import write_text

RESULTS: Final = Path(__file__).parent / "results"
PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
BEGIN: Final = "<!-- begin of what benchmarks/costs.py writes -->\n"
END: Final = "<!-- end of what benchmarks/costs.py writes -->\n"

STAGES: Final = ("harvest", "priors")
PAIRS: Final = (1_600, 100_000, 10_000_000)
PAIRS_A_PART: Final = 50
STORED_BYTES: Final = 560_000
"""Of the two views of a pair (docs/scale.md)."""

CORE_HOUR: Final = prices.MACHINE_HOUR.usd / prices.CORES_OF_MACHINE
THOUSAND_WRITES: Final = prices.WRITES.usd
THOUSAND_READS: Final = prices.READS.usd
STORE_GIGABYTE_MONTH: Final = prices.STORE.usd
DISK_GIGABYTE_MONTH: Final = prices.DISK.usd

# Requests of one image: a fetched one is kept as a checkpoint first, then published in its shard;
# it is looked for before, and read once by priors and by training.
IMAGE_WRITES: Final = 2
IMAGE_WRITES_PACKED: Final = 1
"""With `pack: true` in the store's entry: the images of a shard are published as one object."""
IMAGE_READS: Final = 3
# Requests of one shard: the slices, parts and leases of harvest and priors, and the joined file.
SHARD_WRITES: Final = 16
SHARD_READS: Final = 18


@dataclass(frozen=True)
class Costs:
    """What so many pairs cost.

    Attributes:
        pairs: How many.
        science_hours: Core hours of the static priors.
        steps_hours: Core hours of everything else in harvest and priors that is not a service's.
        server_hours: Core hours of the orchestrator's server.
        database_bytes: What its database grows by.
        writes: Requests to the store that are billed as writes.
        reads: Those that are billed as reads.
        stored_bytes: Images in the store.
    """

    pairs: int
    science_hours: float
    steps_hours: float
    server_hours: float
    database_bytes: float
    writes: float
    reads: float
    stored_bytes: float

    @property
    def once(self) -> float:
        """USD for harvest and priors."""
        hours = self.science_hours + self.steps_hours + self.server_hours
        requests = self.writes * THOUSAND_WRITES + self.reads * THOUSAND_READS
        return hours * CORE_HOUR + requests / 1000

    @property
    def monthly(self) -> float:
        """USD a month for what stays."""
        kept = self.stored_bytes * STORE_GIGABYTE_MONTH + self.database_bytes * DISK_GIGABYTE_MONTH
        return kept / 1e9


def costs(pairs: int, *, pack: bool = False) -> Costs:
    """What so many pairs cost, by what was measured; in a store with `pack: true`, if asked."""
    rows: list[dict[str, Any]] = json.loads((RESULTS / "orchestration.json").read_text())
    speed: dict[str, Any] = json.loads((RESULTS / "prior_speed.json").read_text())
    sizes = [{row["pairs"] for row in rows if row["stage"] == stage} for stage in STAGES]
    largest: int = max(set.intersection(*sizes))
    stages = [row for row in rows if row["pairs"] == largest and row["stage"] in STAGES]

    def of_all(name: str) -> float:
        return pairs * sum(float(row[name]) for row in stages) / largest

    written = sum(float(row["task_runs"] * row["database_bytes_a_task_run"]) for row in stages)
    shards = pairs / PAIRS_A_PART
    of_images = 2 * pairs * (IMAGE_WRITES_PACKED if pack else IMAGE_WRITES)
    return Costs(
        pairs=pairs,
        science_hours=pairs * float(speed["default"]["processor_seconds_per_pair"]) / 3600,
        steps_hours=of_all("processor_seconds") / 3600,
        server_hours=of_all("server_seconds") / 3600,
        database_bytes=pairs * written / largest,
        writes=of_images + shards * (SHARD_WRITES + int(pack)),
        reads=2 * pairs * IMAGE_READS + shards * SHARD_READS,
        stored_bytes=pairs * STORED_BYTES,
    )


def table() -> str:
    """The table of docs/scale.md."""
    counted = [costs(pairs) for pairs in PAIRS]
    packed = [costs(pairs, pack=True) for pairs in PAIRS]
    lines = [
        "| | " + " | ".join(f"{one.pairs:,} pairs".replace(",", " ") for one in counted) + " |",
        "|---|" + "---|" * len(counted),
        _row("processor time of the priors", [f"{one.science_hours:.3g} h" for one in counted]),
        _row("of all other steps", [f"{one.steps_hours:.3g} h" for one in counted]),
        _row("of the server", [f"{one.server_hours:.3g} h" for one in counted]),
        _row("its database", [_bytes(one.database_bytes) for one in counted]),
        _row("requests, billed as writes", [_number(one.writes) for one in counted]),
        _row("the same with `pack: true`", [_number(one.writes) for one in packed]),
        _row("requests, billed as reads", [_number(one.reads) for one in counted]),
        _row("once, at these prices", [f"{_number(one.once)} USD" for one in counted]),
        _row("the same with `pack: true`", [f"{_number(one.once)} USD" for one in packed]),
        _row("a month, for what is stored", [f"{_number(one.monthly)} USD" for one in counted]),
    ]
    return "\n".join(lines) + "\n"


def write_page() -> None:
    """Puts both tables into docs/scale.md."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    write_text(PAGE, f"{before}{BEGIN}{table()}\n{prices.table()}{END}{after}")


def _row(name: str, cells: list[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    for limit, name in ((1e6, " million"), (1e3, " thousand")):
        if value >= limit:
            return f"{value / limit:.3g}{name}"
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _bytes(value: float) -> str:
    return f"{value / 1e9:.3g} GB" if value >= 1e9 else f"{value / 1e6:.3g} MB"


if __name__ == "__main__":
    typer.run(write_page)
