"""Segmenters that have seen simulated streets alone, in a city of real ones.

They are for the demo: simulated streets teach the classes, not how real ones look, and what no
adaptation can make up for should be said before hours are spent.
"""

from __future__ import annotations

from tasks.steps.plan import Plan

_COMES_ALONG = "package:crosscity/"
"""Where the weights lie that come along; they were trained on simulated streets."""


def simulated_only_remark(plan: Plan, owner: str) -> str | None:
    """What is to be said of a city's segmenter; ``None`` where there is nothing.

    Args:
        plan: A run's plan, or the whole catalog's.
        owner: A city or a transfer; whoever names two labelled sets knows what they are.
    """
    if owner in plan.cities:
        segmenter = plan.city(owner).segmenter
        is_real = plan.city(owner).provider.kind != "simulated"
    else:
        segmenter = plan.transfer(owner).segmenter
        is_real = plan.dataset(plan.transfer(owner).target).kind == "images"
    if not is_real or not _learned_from_simulated(plan, segmenter):
        return None
    return (
        f"segmenter {segmenter} has seen simulated streets alone and {owner}'s are real: "
        "begin from weights that were trained on real streets (docs/segmenters.md, Weights without "
        "their source)"
    )


def _learned_from_simulated(plan: Plan, segmenter: str) -> bool:
    entry = plan.segmenter(segmenter)
    if entry.weights is not None:
        return entry.weights.startswith(_COMES_ALONG)
    if entry.source is None or plan.dataset(entry.source).kind != "simulated":
        return False
    of_a_hub = entry.is_of_hub
    return not of_a_hub or bool(entry.options.get("new_classifier") or entry.pretraining)
