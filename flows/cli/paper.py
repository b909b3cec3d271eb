"""Verbs on what the paper reports, and on transfers between labelled sets."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.city import SeedOption, done_or_run
from flows.cli.options import CATALOG, CatalogOption, ComputeOption
from flows.cli.outcome import JsonOption, add, ended


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
    page = plan.open_store().path(made, "tables.html")
    typer.echo(page.with_name("tables.md").read_text(encoding="utf-8"))
    typer.echo(f"page: {page}")


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
    add(scored.class_note())
    ended(
        "evaluation",
        made.uri,
        transfer=name,
        arm=arm,
        seed=seed,
        key=made.key,
        miou=scored.miou,
    )
