"""Lists a made-up city of 200 000 pictures over HTTP: processor time and memory of the harvester.

    python benchmarks/harvest_scale.py [PICTURES [TILE METRES]] [--trace]

The server runs in a process of its own, so its memory and time are not counted. No image is
fetched. The figures in docs/scale.md are from here.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Annotated

import typer

from adapters.street_view.panoramax import PanoramaxStreetView
from adapters.street_view.service import HarvestPlan
from adapters.street_view.web.addresses import Addresses
from adapters.street_view.web.budget import Budget, Ledger
from adapters.street_view.web.client import Manners, WebClient

SERVER = Path(__file__).resolve().parents[1] / "tests" / "imagery_services.py"
AREA = (2.2995, 48.8495, 2.40, 48.92)


class Progress:
    """Samples memory tile by tile."""

    def __init__(self) -> None:
        self.peaks: list[float] = []

    def load(self) -> None:
        """Nothing to go on from."""

    def save(self, note: object) -> None:
        """Nothing is noted."""

    def advance(self, done: int, total: int) -> None:
        """Peak of Python's and numpy's memory in the tile that was just listed."""
        self.peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
        tracemalloc.reset_peak()
        if done % 100 == 0:
            print(f"  {done} of {total} tiles", flush=True)


def main(
    pictures: Annotated[int, typer.Argument(min=1, help="Of the city.")] = 200_000,
    metres: Annotated[float, typer.Argument(min=1, help="Side of a tile.")] = 250.0,
    traced: Annotated[bool, typer.Option("--trace", help="Also memory by tile.")] = False,
) -> None:
    """Prints the figures."""
    command = [sys.executable, str(SERVER), "panoramax", str(pictures)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            if server.stdout is None:
                raise RuntimeError("the server says nothing")
            url = server.stdout.readline().strip()
            plan = HarvestPlan(
                bounds=AREA, places=1600, seed=0, image_size=(647, 1280), tile_metres=metres
            )
            client = WebClient(
                "Panoramax", Addresses(url), Ledger("it", Budget()), Manners(per_second=1e6)
            )
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            record = Progress()
            if traced:
                tracemalloc.start()
            cpu, wall = time.process_time(), time.monotonic()
            listing = PanoramaxStreetView(plan, client).list_views(
                record=record if traced else None
            )
            cpu, wall = time.process_time() - cpu, time.monotonic() - wall
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        finally:
            server.terminate()
    spent = client.ledger.spent
    print(f"{pictures} pictures, tiles of {metres:g} m")
    print(f"records read {listing.pictures}, places with a pair {listing.candidates}")
    print(f"places taken {len(listing.captures) // 2}")
    print(f"processor {cpu:.1f} s, wall {wall:.1f} s (the server's own time included)")
    print(f"memory {before:.0f} MiB before, {after:.0f} MiB at most")
    print(f"requests {spent.requests}, {spent.bytes / 1e6:.0f} MB")
    if record.peaks:
        peaks = sorted(record.peaks)
        print(f"peak a tile: median {peaks[len(peaks) // 2]:.1f} MiB, largest {peaks[-1]:.1f} MiB")


if __name__ == "__main__":
    typer.run(main)
