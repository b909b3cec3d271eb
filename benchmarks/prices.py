"""What clouds and services ask for, in one place: each price with where it was read, if anywhere.

A price with a source was read in a stored copy of the page named, which may be older than the date
below; one without is assumed, from memory of the vendor's list, which could not be opened. Look all
of them up before you rely on a sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WRITTEN: Final = "2026-11"
"""Year and month in which these were written down."""


@dataclass(frozen=True)
class Price:
    """A price before tax and discounts.

    Attributes:
        usd: What one unit costs.
        unit: The unit.
        of: What is bought.
        source: Address of the page that it was read on; empty where it is assumed.
    """

    usd: float
    unit: str
    of: str
    source: str = ""


_S3_BY_OTHERS: Final = (
    "https://devnotes.tech/understanding-aws-s3-pricing-a-complete-cost-breakdown-with-examples"
)
_TILES: Final = "https://developers.google.com/maps/documentation/tile/usage-and-billing"

MACHINE_HOUR: Final = Price(
    0.1008, "an hour", "Amazon EC2 m7i.large on demand in us-east-1: two virtual cores, 8 GiB"
)
CORES_OF_MACHINE: Final = 2
WRITES: Final = Price(0.005, "1 000", "Amazon S3 Standard: PUT, COPY, POST and LIST", _S3_BY_OTHERS)
READS: Final = Price(
    0.0004, "1 000", "Amazon S3 Standard: GET and all others; DELETE is free", _S3_BY_OTHERS
)
STORE: Final = Price(0.023, "GB and month", "Amazon S3 Standard, the first 50 TB", _S3_BY_OTHERS)
DISK: Final = Price(0.08, "GB and month", "Amazon EBS gp3, for the server's database")
TILES: Final = Price(
    2.0, "1 000", "Google's Street View tiles up to a million a month; 1.60 beyond", _TILES
)

ALL: Final = (MACHINE_HOUR, WRITES, READS, STORE, DISK, TILES)


def table() -> str:
    """The prices as a table of docs/scale.md."""
    lines = [
        f"| price, written down {WRITTEN} | USD | per | where it was read |",
        "|---|---|---|---|",
    ]
    for one in ALL:
        read = f"[there]({one.source})" if one.source else "**assumed**"
        lines.append(f"| {one.of} | {one.usd:g} | {one.unit} | {read} |")
    return "\n".join(lines) + "\n"
