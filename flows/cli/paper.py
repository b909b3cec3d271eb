"""Verbs on what the paper reports, and on transfers to the images of a set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.city import SeedOption, done_or_run
from flows.cli.left_out import tell_left_out
from flows.cli.options import CATALOG, CatalogOption, ComputeOption
from flows.cli.outcome import JsonOption, add, ended, note
from tasks.steps.counted import counted

if TYPE_CHECKING:
    from adapters.store import ArtifactRef
    from tasks.steps.plan import Plan


def register(app: typer.Typer) -> None:
    """Adds the verbs to the command line."""
    app.command("paper-tables")(paper_tables)
    app.command("transfer")(transfer)


def paper_tables(
    city: Annotated[
        list[str] | None, typer.Option(help="A city with labels; may be repeated; default: all.")
    ] = None,
    transfer: Annotated[
        list[str] | None, typer.Option(help="A transfer; may be repeated; default: all.")
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(help="Seed of the trainings; may be repeated; default: 0, 1 and 2.", min=0),
    ] = None,
    folds: Annotated[int, typer.Option(help="Folds of the fine-tuned arm.", min=2)] = 10,
    catalog: CatalogOption = CATALOG,
    compute: ComputeOption = None,
    _as_json: JsonOption = False,
) -> None:
    """The paper's tables and figures, beside the paper's own numbers."""
    from flows.paper_tables import paper_tables as run  # noqa: PLC0415 - PyTorch loads late
    from tasks.steps.plan import open_plan  # noqa: PLC0415

    plan = open_plan(catalog, compute)
    given = {
        "cities": city or None,
        "transfers": transfer or None,
        "seeds": seed or [0, 1, 2],
        "folds": folds,
        "catalog": str(catalog),
        "compute": compute,
    }
    made = done_or_run(run, given, plan, lambda ref: [ref])
    # Each by its name: of a store elsewhere, each file is copied to a folder of its own.
    store = plan.open_store()
    page, numbers = (store.path(made, name) for name in ("tables.html", "numbers.parquet"))
    add(store.path(made, "tables.md").read_text(encoding="utf-8"))
    ended(
        "page",
        page,
        next_step=f"open it in a browser; {numbers} has every number",
        key=made.key,
        numbers=str(numbers),
    )


def transfer(
    name: Annotated[str, typer.Argument(help="A transfer of the catalog.")],
    arm: Annotated[
        str | None,
        typer.Option(
            help="pretrained, control, bn, ga, ga_ca, self_training, source_free, fine_tuned or a "
            "recipe; default: `arm` of its entry, else ga_ca, or source_free without a source."
        ),
    ] = None,
    seed: SeedOption = 0,
    catalog: CatalogOption = CATALOG,
    compute: ComputeOption = None,
    _as_json: JsonOption = False,
) -> None:
    """Adapt a segmenter to the images of another set, labelled or not, and score or judge it."""
    from flows.adapt_transfer import adapt_transfer  # noqa: PLC0415 - PyTorch loads late
    from tasks.steps.plan import open_plan  # noqa: PLC0415
    from tasks.training.labelled import sets_as_first_listed  # noqa: PLC0415
    from tasks.training.transfers import (  # noqa: PLC0415
        arm_of_transfer,
        check_splits,
        check_transfer_arm,
    )

    plan = open_plan(catalog, compute, transfer=name)
    arm = arm_of_transfer(name, plan) if arm is None else arm
    check_transfer_arm(arm, name, plan)
    check_splits(arm, name, plan)
    given = {
        "transfer": name,
        "arm": arm,
        "seed": seed,
        "catalog": str(catalog),
        "compute": compute,
    }
    show = _show_unscored if plan.scored_split(name) is None else _show_scored
    with sets_as_first_listed():
        _tell_of_images(name, arm, seed, plan)
        made = done_or_run(adapt_transfer, given, plan, lambda ref: [ref], transfer=name)
        show(name, arm, seed, made, plan)


def _tell_of_images(name: str, arm: str, seed: int, plan: Plan) -> None:
    """Tells what of a target's pictures is not read, and that they are others than before.

    Raises:
        InputError: There is no image to adapt to.
        DatasetError: The target is not there, or holds no picture.
    """
    from tasks.steps.errors import InputError, StaleError  # noqa: PLC0415
    from tasks.training.arms import is_fine_tuned, is_trained  # noqa: PLC0415
    from tasks.training.labelled import unlabelled_parts  # noqa: PLC0415
    from tasks.training.trained import TrainedSegmenters  # noqa: PLC0415

    if not is_trained(arm) or is_fine_tuned(arm):
        return
    sets = plan.transfer(name)
    unlabelled_parts(sets.target, sets.target_split, plan)
    tell_left_out(plan, sets.target)
    try:
        TrainedSegmenters(name, seed, plan).of_arm(arm)
    except StaleError as error:
        note(f"note: {str(error).partition(': run `')[0]}: it is made anew")
    except InputError:
        return  # it is made for the first time


def _show_unscored(name: str, arm: str, seed: int, made: ArtifactRef, plan: Plan) -> None:
    """What is seen of an adaptation without a label, and what comes next."""
    page, content, table = _shown(name, arm, seed, plan)
    figures, judged = content["figures"], content["safeguard"]
    good = figures["images"] - figures["images_failed"]
    add(f"adapted to {counted(good, 'image')} of {plan.transfer(name).target}, by {arm}")
    for reason, number in content["failed_images"].items():
        note(f"note: {number} left out: {reason}")
    add(table)
    for remark in content["remarks"]:
        note(f"remark: {remark}")
    note(f"note: {content['not_scored']}, so nothing was scored: look at the pictures of the page")
    ended(
        "report",
        page,
        next_step=f"open it in a browser; {step_after_adapting(name, content, seed, plan)}",
        transfer=name,
        arm=arm,
        seed=seed,
        key=made.key,
        segmenter=made.uri,
        verdict=None if judged is None else judged["sentence"],
        figures=figures,
        failed=content["failed_images"],
        remarks=content["remarks"],
    )


def step_after_adapting(name: str, content: Mapping[str, Any], seed: int, plan: Plan) -> str:
    """What to do with an adaptation that nobody has scored.

    Args:
        name: The transfer.
        content: Of its `report.json`.
        seed: Of the training.
        plan: Of the catalog.
    """
    from tasks.judging.promotion import promoted_segmenter  # noqa: PLC0415
    from tasks.training.trained import TrainedSegmenters  # noqa: PLC0415

    trained, judged = TrainedSegmenters(name, seed, plan), content["verdict"]
    if judged is not None and judged["keep"] == "before":
        return (
            "the segmenter before looks better: keep it (`crosscity promote "
            f"{name} {trained.start.key[:12]}` notes that), or adapt with another --arm or other "
            "settings of `trainings`"
        )
    adapted = trained.of_arm(content["arm"])
    in_use = promoted_segmenter(plan.open_store(), name)
    which = name if seed == 0 and in_use in (None, adapted) else adapted.key[:12]
    return (
        f"`crosscity predict FOLDER --segmenter {which} -o DIR` uses it, `crosscity segmenter "
        f"export {name} --segmenter {which} -o DIR` hands it on"
    )


def _show_scored(name: str, arm: str, seed: int, made: ArtifactRef, plan: Plan) -> None:
    """Scores, what is seen without them, and remarks."""
    from tasks.judging.evaluation import read_evaluation  # noqa: PLC0415

    scored = read_evaluation(plan.open_store(), made)
    add(f"mIoU {100 * scored.miou:.1f} % ({scored.protocol}, {counted(scored.images, 'image')})")
    page, content, table = _shown(name, arm, seed, plan)
    add(table)
    judged = content.get("safeguard")
    if judged is not None and content["arm"] == arm:
        (note if judged["keep"] == "before" else add)(judged["sentence"])
    for remark in [*content["remarks"], *content["missing"]]:
        if remark not in table:
            note(f"remark: {remark}")
    add(f"evaluation: {made.uri}")
    ended(
        "report",
        page,
        next_step="open it in a browser; `crosscity report --all` has all of them",
        transfer=name,
        arm=arm,
        seed=seed,
        key=made.key,
        evaluation=made.uri,
        miou=scored.miou,
        figures=content["figures"],
        remarks=content["remarks"],
        missing=content["missing"],
    )


def _shown(name: str, arm: str, seed: int, plan: Plan) -> tuple[Path, dict[str, Any], str]:
    """Page, figures and table of the report that a transfer has left."""
    from flows.report_transfer import report_transfer_by  # noqa: PLC0415
    from tasks.pages.report import report_path  # noqa: PLC0415
    from tasks.steps.looking import only_looking  # noqa: PLC0415

    with only_looking():
        made = report_transfer_by.fn(plan, name, arm, seed)
    store = plan.open_store()
    content, table = (
        store.path(made, file).read_text(encoding="utf-8") for file in ("report.json", "table.txt")
    )
    return report_path(store, made), json.loads(content), table.rstrip()
