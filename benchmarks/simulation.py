"""Time per rendered street view, by city and size, on one core.

python benchmarks/simulation.py --places 20 --out benchmarks/results/simulation.json
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.whole_files import write_json
from simcity import ALGORITHM_VERSION, STYLES, render

SIZES = ((64, 128), (128, 256), (256, 512), (647, 1280))


def seconds_per_image(name: str, height: int, width: int, places: int) -> dict[str, float]:
    """Mean seconds of wall and of processor time; the first, compiling image is not counted."""
    style = STYLES[name]
    render(style, seed=0, place=places, time=0, height=height, width=width)
    wall, processor = time.perf_counter(), time.thread_time()
    for place in range(places):
        render(style, seed=0, place=place, time=0, height=height, width=width)
    return {
        "wall": (time.perf_counter() - wall) / places,
        "processor": (time.thread_time() - processor) / places,
    }


def main() -> None:
    """Prints a row per city and size, and writes them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--places", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for height, width in SIZES:
        places = options.places if height < 500 else max(3, options.places // 5)
        for name in STYLES:
            seconds = seconds_per_image(name, height, width, places)
            rows.append({"city": name, "height": height, "width": width, **seconds})
            print(
                f"{name:10} {width:5}×{height:<4} {1e3 * seconds['wall']:8.1f} ms wall"
                f" {1e3 * seconds['processor']:8.1f} ms processor"
            )
    if options.out:
        about = {"version": ALGORITHM_VERSION, "machine": platform.machine(), "rows": rows}
        write_json(options.out, about, indent=1)


if __name__ == "__main__":
    main()
