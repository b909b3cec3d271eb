"""Tells whoever uses a city's harvest that its files have changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.cli.outcome import note

if TYPE_CHECKING:
    from tasks.steps.plan import Plan


def tell_changed_files(plan: Plan, city: str) -> None:
    """A note where the folder of a city has other files than those that were harvested."""
    if plan.city(city).provider.kind != "folder":
        return
    from tasks.harvesting.changed_files import changed_files_remark  # noqa: PLC0415 - loads late

    remark = changed_files_remark(city, plan)
    if remark is not None:
        note(f"note: {remark}")
