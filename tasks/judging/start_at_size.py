"""A start that is shown images at a size chosen without a label, as a segmenter of its own.

What an adaptation gains by showing images larger its start gains too, without a step of training.
So an adaptation is judged against the start at that size, and where the start is kept, it is kept
with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from adapters.store import ArtifactRef, Draft
from crosscity.segmenters.home import checked_size
from tasks.steps.identity import Identity, Words, make
from tasks.steps.plan import Plan
from tasks.training.segmenters import stored_segmenter, write_segmenter

START_VERSION: Final = "1"


def size_shown(summary: Mapping[str, Any]) -> tuple[int, int] | None:
    """The size that the summary of a judgement names; ``None`` where it names none."""
    return checked_size(summary.get("shown_size"))


def start_at_size(start: ArtifactRef, size: tuple[int, int] | None, plan: Plan) -> ArtifactRef:
    """The weights of a start with another size that images are shown at; written once.

    Args:
        start: A `segmenter`.
        size: (height, width); ``None``: its own.
        plan: The run's plan.

    Returns:
        A `segmenter` beside it; the start itself, where no other size is asked for.
    """
    if size is None:
        return start
    store = plan.open_store()

    def write(draft: Draft, _key: str) -> None:
        model, network = stored_segmenter(plan, start)
        network.trained_size = size
        write_segmenter(draft, network, model)
        draft.summary = dict(store.manifest(start).summary)

    identity = Identity(
        "segmenter",
        start.city,
        inputs={"segmenter": start},
        parameters={"trained_size": list(size)},
        version=START_VERSION,
        words=Words(
            what=f"the segmenter {start.uri} at {size[0]}×{size[1]} pixels was",
            absent=f"{start.uri} has not been kept at {size[0]}×{size[1]} pixels yet",
            verb="crosscity readapt",
        ),
    )
    return make(store, identity, write).ref
