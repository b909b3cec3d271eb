"""A chart of what the adaptations of a city scored, over the dates on which they were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks.pages.charts import COLOURS, INK, WIDTH, blank_figure, legend, style, svg_of

_MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class Dated:
    """The score of an adaptation.

    Attributes:
        made_at: When it was made, with its time zone.
        miou: In [0, 1].
        arm: How it was adapted, as people are told.
    """

    made_at: datetime
    miou: float
    arm: str


def scores_over_dates(scores: Sequence[Dated], name: str) -> str:
    """MIoU in percent over dates (UTC) as an SVG element; a colour and a marker for each arm.

    Args:
        scores: Two or more, in any order.
        name: Begins the ids in the SVG: unique on the page.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - slow

    figure = blank_figure(WIDTH, 2.6)
    axes = figure.add_subplot()
    style(axes)
    ordered = sorted(scores, key=lambda one: (one.made_at, one.arm))
    arms = list(dict.fromkeys(one.arm for one in ordered))
    for place, arm in enumerate(arms):
        of_arm = [one for one in ordered if one.arm == arm]
        axes.plot(
            [one.made_at for one in of_arm],  # type: ignore[arg-type]
            [100 * one.miou for one in of_arm],
            color=COLOURS[place % len(COLOURS)],
            marker=_MARKERS[place // len(COLOURS) % len(_MARKERS)],
            linewidth=1.3,
            markersize=5,
            label=arm,
        )
    locator = AutoDateLocator(minticks=2, maxticks=5)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.xaxis.get_offset_text().set_color(INK)
    axes.set_xlabel("made (UTC)")
    axes.set_ylabel("mIoU, %")
    legend(axes)
    first, last = (f"{one.made_at:%Y-%m-%d}" for one in (ordered[0], ordered[-1]))
    told = f"mIoU of {len(ordered)} adaptations from {first} to {last}, by arm: {', '.join(arms)}"
    return svg_of(figure, told, name)
