"""Which report of a city or transfer is asked for its figures.

A report that is found again keeps the date at which it was written. So after settings were changed
and changed back, or another seed was looked at, the one that was written last is not the one that
`crosscity report` shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from adapters.store import ArtifactRef
    from tasks.pages.read_report import ReadReport
    from tasks.steps.plan import Plan


MOST_LOOKED_AT: Final = 8
"""Seeds and arms whose report of now is looked for: each look reads some hundred manifests."""


@dataclass(frozen=True)
class AskedReport:
    """A report whose figures are asked.

    Attributes:
        report: Its figures.
        newer: Where what counts now and was made after it lies; see `made_since`.
        current: Whether `crosscity report` would show it now.
        seed: Of its trainings.
        others: Seeds of other reports, sorted.
    """

    report: ReadReport
    newer: tuple[str, ...]
    current: bool
    seed: int | None
    others: tuple[int, ...]

    def warning(self, plan: Plan) -> str:
        """What is said where it is not of what there is now; else empty."""
        owner = self.report.city
        verb = "transfer" if owner in plan.transfers else "report"
        again = f"`crosscity {verb} {owner}` writes a new one, or says what it lacks"
        if self.newer:
            newer = ", ".join(self.newer)
            return f"{newer} is newer than {self.report.name}, whose figures are asked: {again}"
        if self.current:
            return ""
        return (
            f"{self.report.name}, whose figures are asked, is not of what the catalog says and the "
            f"store has now: {again}"
        )


def asked_report(owner: str, plan: Plan, seed: int | None = None) -> AskedReport:
    """The report that was written last of those that `crosscity report` would show now.

    Where it would show none of them, as something was changed since, the one that was written last.
    Of more than `MOST_LOOKED_AT` seeds (of a transfer, seeds and arms) those of the newest reports
    are looked at; name another.

    Args:
        owner: The city or transfer.
        plan: Of the catalog.
        seed: Of its trainings; ``None``: any.

    Raises:
        InputError: There is none.
        StoreError: It is damaged.
    """
    from tasks.pages.read_report import (  # noqa: PLC0415 - `--help` needs none of it
        made_since,
        reports_of,
        stored_report,
    )

    refs, store = reports_of(owner, plan, seed), plan.open_store()
    about: list[dict[str, Any]] = [dict(store.manifest(ref).parameters) for ref in refs]
    now: dict[tuple[Any, Any], ArtifactRef | None] = {}
    chosen, current = 0, False
    for number, (ref, of_it) in enumerate(zip(refs, about, strict=True)):
        which = of_it.get("seed"), of_it.get("arm")
        if which not in now:
            if len(now) == MOST_LOOKED_AT:
                continue
            now[which] = _shown_now(owner, plan, *which)
        if now[which] == ref:
            chosen, current = number, True
            break
    report = stored_report(refs[chosen], plan)
    seeds: set[Any] = {of_it.get("seed") for of_it in about} - {about[chosen].get("seed"), None}
    return AskedReport(
        report,
        tuple(made_since(report, plan)),
        current,
        about[chosen].get("seed"),
        tuple(sorted(seeds)),
    )


def _shown_now(owner: str, plan: Plan, seed: int | None, arm: str | None) -> ArtifactRef | None:
    """The report of a seed, and of a transfer also of an arm, that a verb would show now."""
    from flows.cli.already import found_now  # noqa: PLC0415 - Prefect loads late

    if owner in plan.transfers:
        from flows.report_transfer import report_transfer_by  # noqa: PLC0415

        return found_now(lambda: report_transfer_by.fn(plan, owner, arm, seed or 0))
    from flows.report_city import report_city_by  # noqa: PLC0415

    return found_now(lambda: report_city_by.fn(plan, owner, seed or 0))
