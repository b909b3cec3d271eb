"""The report of a transfer from one labelled set to another: scores, mistakes, remarks."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from adapters.store import ArtifactRef, Draft, Store
from tasks.judging.evaluated import evaluation_of, panels_of
from tasks.judging.evaluation import Evaluated, class_notes, read_evaluation, score_table
from tasks.pages.figures import REPORT_FORMAT, score_figures
from tasks.pages.lineage import behind, lineage, stages
from tasks.pages.page import render_page
from tasks.pages.pieces import (
    FileNames,
    arms_of,
    curves_of,
    evaluations_of,
    judged_classes,
    labelled_panels,
    last_blind,
    remarks_of,
    score_tables,
    scores_as_json,
    worst_as_json,
    worst_pictures,
)
from tasks.pages.scores import missing_lines
from tasks.steps.artifact_task import Made, artifact_task
from tasks.steps.dashboard import only_shown, publish_lineage, publish_markdown
from tasks.steps.errors import InputError, StaleError
from tasks.steps.identity import Identity, Words, make
from tasks.steps.plan import Plan
from tasks.training.arms import arm_name, is_trained
from tasks.training.trained import TrainedSegmenters
from tasks.training.transfers import arm_of_transfer, arms_of_transfers, not_scored

TRANSFER_REPORT_VERSION: Final = "8"


@artifact_task("write report of a transfer", run_name="report of {transfer}, {arm}")
def write_transfer_report(
    parts: Mapping[str, ArtifactRef], transfer: str, arm: str | None, seed: int, plan: Plan
) -> Made:
    """Writes `report.html` and `report.json` of a transfer.

    Args:
        parts: Of each arm that was scored `evaluation-ARM`, `segmenter-ARM` and `panels-ARM`, and
            `worst_images` and `safeguard` of the shown one.
        transfer: Of the catalog.
        arm: The arm that the page is about; ``None`` where only the pre-trained one was scored.
        seed: Of the trainings.
        plan: The run's plan.
    """

    def write(draft: Draft, _key: str) -> None:
        content = transfer_content(plan, transfer, arm, seed, parts)
        page = _render(plan, transfer, parts, content)
        write_files(draft, content, page, score_table(evaluations_of(parts), plan))

    store = plan.open_store()
    made = make(store, transfer_report_identity(parts, transfer, arm, seed, plan), write)
    publish_report(store, made.ref, transfer)
    return made


def write_files(draft: Draft, content: Mapping[str, Any], page: str, table: str) -> None:
    """The three files of a transfer's report: figures, page and what the terminal shows."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    (draft.path / "report.json").write_text(text, encoding="utf-8")
    (draft.path / "report.html").write_text(page, encoding="utf-8")
    (draft.path / "table.txt").write_text(f"{table}\n", encoding="utf-8")


@only_shown
def publish_report(store: Store, ref: ArtifactRef, transfer: str) -> None:
    """Shows the report of a transfer in the dashboard."""
    table = store.path(ref, "table.txt").read_text(encoding="utf-8")
    publish_markdown(
        f"report-{transfer}",
        f"```\n{table}```\n\n`{ref.uri}/report.html` in the store\n",
        f"Report of {transfer}",
    )
    publish_lineage(f"report-{transfer}-lineage", store, ref, f"Report of {transfer}")


def transfer_report_identity(
    parts: Mapping[str, ArtifactRef], transfer: str, arm: str | None, seed: int, plan: Plan
) -> Identity:
    """What decides a report of a transfer; arguments as of `write_transfer_report`."""
    return Identity(
        "report",
        transfer,
        inputs=parts,
        parameters={"seed": seed, "arm": arm, **_said_of_catalog(parts, transfer, seed, plan)},
        version=TRANSFER_REPORT_VERSION,
        words=Words(
            what=f"the report of {transfer} was",
            absent=f"there is no report of {transfer} yet",
            verb=f"crosscity report {transfer} --seed {seed}",
        ),
    )


def _said_of_catalog(
    parts: Mapping[str, ArtifactRef], transfer: str, seed: int, plan: Plan
) -> dict[str, Any]:
    """What a page says of the catalog that none of its parts decides; arguments as there."""
    entry = plan.transfer(transfer)
    scored = plan.scored_split(transfer) is not None
    return {
        "transfer": entry.model_dump(mode="json"),
        "source": _source(transfer, plan),
        "missing": _missing(evaluations_of(parts), transfer, seed, plan) if scored else [],
        "not_scored": None if scored else not_scored(transfer, plan),
    }


def _source(transfer: str, plan: Plan) -> str:
    return plan.segmenter(plan.transfer(transfer).segmenter).source or "other places"


def _missing(scored: Collection[str], transfer: str, seed: int, plan: Plan) -> list[str]:
    return missing_lines(scored, transfer, seed, plan, verb="transfer")


def transfer_parts(transfer: str, seed: int, plan: Plan) -> dict[str, ArtifactRef]:
    """What a report of a transfer shows, as far as it is there and of what the catalog says now.

    Raises:
        InputError: No arm was scored, or trained where nothing is scored; says what to run.
    """
    trained = TrainedSegmenters(transfer, seed, plan)
    parts_of_arm = _parts_of_arm if plan.scored_split(transfer) is not None else _unscored
    parts: dict[str, ArtifactRef] = {}
    stale: StaleError | None = None
    for arm in arms_of_transfers(plan):
        try:
            parts |= parts_of_arm(trained, arm)
        except StaleError as error:
            stale = stale or error  # it was made otherwise
        except InputError:
            continue  # it was not run
    if not parts:
        raise stale or InputError(_nothing_yet(transfer, seed, plan))
    return parts


def _parts_of_arm(trained: TrainedSegmenters, arm: str) -> dict[str, ArtifactRef]:
    found = {f"evaluation-{arm}": evaluation_of(trained, arm)}
    if is_trained(arm):
        found[f"segmenter-{arm}"] = trained.of_arm(arm)
        panels = panels_of(trained, arm)
        if panels is not None:
            found[f"panels-{arm}"] = panels
    return found


def _unscored(trained: TrainedSegmenters, arm: str) -> dict[str, ArtifactRef]:
    return {f"segmenter-{arm}": trained.of_arm(arm)} if is_trained(arm) else {}


def _nothing_yet(transfer: str, seed: int, plan: Plan) -> str:
    if plan.scored_split(transfer) is None:
        return (
            f"no arm of {transfer} was adapted with seed {seed} yet: run `crosscity transfer "
            f"{transfer} --arm {arm_of_transfer(transfer, plan)} --seed {seed}`"
        )
    return (
        f"no arm of {transfer} was scored with seed {seed} yet: run `crosscity transfer "
        f"{transfer} --arm pretrained --seed {seed}`, and then other arms"
    )


def shown_arm_of_transfer(
    parts: Mapping[str, ArtifactRef], wanted: str | None, transfer: str, plan: Plan
) -> str | None:
    """The arm that a page is about: the wanted one, else the last that saw no label."""
    there = arms_of(parts)
    return wanted if wanted in there else last_blind(there, transfer, plan)


def shown_arm_without_scores(
    parts: Mapping[str, ArtifactRef], wanted: str | None, transfer: str, plan: Plan
) -> str:
    """The arm that a page is about where nothing is scored.

    The wanted one, else the transfer's own, else the last that saw no label.
    """
    there = arms_of(parts)
    own = wanted if wanted in there else arm_of_transfer(transfer, plan)
    return str(own if own in there else last_blind(there, transfer, plan))


def transfer_content(
    plan: Plan, transfer: str, arm: str | None, seed: int, parts: Mapping[str, ArtifactRef]
) -> dict[str, Any]:
    """What `report.json` holds; `city` is the transfer, so that what reads reports reads it."""
    store = plan.open_store()
    scored, known = _scored(store, parts), behind(store, parts)
    return {
        "format": REPORT_FORMAT,
        "city": transfer,
        "transfer": _entry(plan, transfer),
        "seed": seed,
        "arm": arm,
        "figures": {
            "images": next(iter(scored.values())).images,
            **score_figures(scored, arm),
        },
        "scores": scores_as_json(scored),
        "worst_images": worst_as_json(store, parts),
        **_judgement(store, parts),
        "remarks": [*class_notes(scored), *remarks_of(known)],
        "missing": _missing(scored, transfer, seed, plan),
        "stages": stages(known),
        "made_of": {role: ref.uri for role, ref in parts.items()},
    }


def _entry(plan: Plan, transfer: str) -> dict[str, Any]:
    """The catalog's entry; an arm only where it names one, as reports of before have it."""
    entry = plan.transfer(transfer)
    return entry.model_dump(mode="json", exclude={"arm"} if entry.arm is None else None)


def _judgement(store: Store, parts: Mapping[str, ArtifactRef]) -> dict[str, Any]:
    """What the safeguard said of the shown arm."""
    if "safeguard" not in parts:
        return {}
    summary: dict[str, Any] = dict(store.manifest(parts["safeguard"]).summary)
    return {"safeguard": {name: summary[name] for name in ("keep", "sentence", "looks")}}


def _scored(store: Store, parts: Mapping[str, ArtifactRef]) -> dict[str, Evaluated]:
    return {arm: read_evaluation(store, ref) for arm, ref in evaluations_of(parts).items()}


def _render(
    plan: Plan, transfer: str, parts: Mapping[str, ArtifactRef], content: Mapping[str, Any]
) -> str:
    store, sets, arm = plan.open_store(), plan.transfer(transfer), content["arm"]
    return transfer_page(
        "transfer.html.j2",
        plan,
        transfer,
        parts,
        content,
        split=sets.test_split,
        judged=content.get("safeguard"),
        classes=judged_classes(store, parts),
        scores=score_tables(
            store, _scored(store, parts), parts, arm, content["missing"], transfer, plan
        ),
        worst=worst_pictures(store, parts, FileNames(plan, sets.target)),
        panels=labelled_panels(store, parts.get(f"panels-{arm}"), sets.target),
    )


def transfer_page(
    template: str,
    plan: Plan,
    transfer: str,
    parts: Mapping[str, ArtifactRef],
    content: Mapping[str, Any],
    **shown: object,
) -> str:
    """The page of a transfer: what every such page has, and what else its template shows.

    Args:
        template: The template's file name.
        plan: The run's plan.
        transfer: Of the catalog.
        parts: Of the report.
        content: What `report.json` holds.
        shown: Of this kind of page alone.
    """
    store, sets, arm = plan.open_store(), plan.transfer(transfer), content["arm"]
    first, known = next(iter(parts.values())), behind(store, parts)
    return render_page(
        template,
        transfer=transfer,
        source=_source(transfer, plan),
        segmenter=sets.segmenter,
        target=sets.target,
        seed=content["seed"],
        arm=None if arm is None else arm_name(arm),
        figures=content["figures"],
        curves=curves_of(store, parts, arm),
        remarks=remarks_of(known),
        stages=content["stages"],
        lineage=lineage(known),
        code_version=store.manifest(first).code_version,
        **shown,
    )
