"""Verbs on what the paper reports, and on transfers between labelled sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.city import SeedOption, done_or_run
from flows.cli.options import CATALOG, CatalogOption, ComputeOption
from flows.cli.outcome import JsonOption, add, ended, note

if TYPE_CHECKING:
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
        list[int] | None, typer.Option(help="Seed of the trainings; may be repeated.", min=0)
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
        str,
        typer.Option(
            help="pretrained, control, bn, ga, ga_ca, self_training, source_free or fine_tuned."
        ),
    ] = "ga_ca",
    seed: SeedOption = 0,
    catalog: CatalogOption = CATALOG,
    compute: ComputeOption = None,
    _as_json: JsonOption = False,
) -> None:
    """Adapt a segmenter from its source set to another labelled set, and score it there."""
    from flows.adapt_transfer import adapt_transfer  # noqa: PLC0415 - PyTorch loads late
    from tasks.judging.evaluation import read_evaluation  # noqa: PLC0415
    from tasks.steps.plan import open_plan  # noqa: PLC0415
    from tasks.training.transfers import check_transfer_arm  # noqa: PLC0415

    plan = open_plan(catalog, compute, transfer=name)
    check_transfer_arm(arm, name, plan)
    given = {
        "transfer": name,
        "arm": arm,
        "seed": seed,
        "catalog": str(catalog),
        "compute": compute,
    }
    made = done_or_run(adapt_transfer, given, plan, lambda ref: [ref], transfer=name)
    scored = read_evaluation(plan.open_store(), made)
    add(f"mIoU {100 * scored.miou:.1f} % ({scored.protocol}, {scored.images} images)")
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
