"""Verbs on a city: each runs the flow that its deployment runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from flows.cli.changed_files import tell_changed_files
from flows.cli.options import CATALOG, CatalogOption, CityArgument, ComputeOption
from flows.cli.outcome import JsonOption, add, ended, note, tell_failures, tell_remarks
from flows.cli.output import warnings_shown
from flows.cli.promotion import show_pin
from flows.cli.server import answering_server, run_dashboard, running_server
from tasks.steps.commands import with_seed
from tasks.steps.counted import counted

if TYPE_CHECKING:
    from prefect import Flow

    from adapters.store import ArtifactRef
    from tasks.steps.plan import Plan

Result = TypeVar("Result")

SeedOption = Annotated[int, typer.Option(help="Seed of the training.", min=0)]
_ARMS = (
    "control, bn, ga, ga_ca, full, self_training, source_free, source_free_looks, fine_tuned, or a "
    "recipe: teacher, evidence, looks, few_labels, few_labels_source_free, or one of `recipes`"
)
ArmOption = Annotated[
    str | None,
    typer.Option(help=f"{_ARMS} (see docs/method.md); default: `arm` of the city's entry."),
]


def register(app: typer.Typer) -> None:
    """Adds the verbs to the command line."""
    verbs: list[Callable[..., None]] = [
        demo,
        harvest,
        watch,
        priors,
        pretrain,
        adapt,
        evaluate,
        readapt,
        dashboard,
    ]
    for verb in verbs:
        app.command(verb.__name__)(verb)


def demo(
    city: CityArgument = "tokyo",
    seed: SeedOption = 0,
    catalog: CatalogOption = CATALOG,
    compute: ComputeOption = None,
    _as_json: JsonOption = False,
) -> None:
    """Harvest, match, adapt and evaluate an embedded city, and write a report."""
    from tasks.pages.demo import finished_demo  # noqa: PLC0415 - Prefect and PyTorch load late

    plan = opened_plan(catalog, compute, city, harvests=True)
    result = finished_demo(city, seed, plan)
    if result is None:
        from flows.demo import demo as run  # noqa: PLC0415

        given = {"city": city, "seed": seed, "catalog": str(catalog), "compute": compute}
        done_or_run(run, given, plan, lambda ref: [ref], city=city)
        result = finished_demo(city, seed, plan)
        if result is None:
            raise RuntimeError("the demo ended without its report")
    else:
        note("everything is in the store already")
    add(result.table)
    add(f"report: {result.report}")
    add("dashboard: `crosscity dashboard` (or `make dashboard`), then http://127.0.0.1:4200")
    ended(
        "report",
        result.report,
        said="",
        next_step="open it in a browser; `crosscity init` writes a catalog for a city of your own",
        city=city,
        seed=seed,
    )


def harvest(
    city: CityArgument,
    catalog: CatalogOption = CATALOG,
    compute: ComputeOption = None,
    _as_json: JsonOption = False,
) -> None:
    """Fetch a city's images and choose its pairs."""
    from flows.cli.already import find_finished  # noqa: PLC0415 - reads the store's code late
    from flows.harvest_city import harvest_city  # noqa: PLC0415 - PyTorch loads late
    from tasks.pages.finished import finished_harvest  # noqa: PLC0415

    plan = opened_plan(catalog, compute, city, harvests=True, writes=False)
    given = {"city": city, "catalog": str(catalog), "compute": compute}
    made = find_finished(lambda: finished_harvest(city, plan), plan)
    if made is None:
        made = done_or_run(harvest_city, given, plan, lambda ref: [ref], city=city)
    _tell_of_imagery(made, plan)
    ended("pairs", made.uri, next_step=f"`crosscity priors {city}`", city=city, key=made.key)


def _tell_of_imagery(pairs: ArtifactRef, plan: Plan) -> None:
    """Which images of a harvest failed or were left out."""
    store = plan.open_store()
    imagery = store.inputs_of(pairs).get("imagery")
    if imagery is not None:
        tell_failures(store.manifest(imagery).summary, "images")


def watch(
    city: CityArgument,
    catalog: CatalogOption = CATALOG,
    compute: ComputeOption = None,
    _as_json: JsonOption = False,
) -> None:
    """Add imagery that is newer than a city's last harvest."""
    from flows.watch_city import watch_city  # noqa: PLC0415 - PyTorch loads late

    plan = opened_plan(catalog, compute, city, harvests=True, writes=False)
    given = {"city": city, "catalog": str(catalog), "compute": compute}
    made = done_or_run(watch_city, given, plan, lambda ref: [ref] if ref else [], city=city)
    if made is None:
        said = f"nothing new in {city}: what was harvested before is there"
        step = f"`crosscity status {city}` says what there is"
        ended("pairs", "", said=said, next_step=step, city=city, key=None)
    else:
        _tell_of_imagery(made, plan)
        step = f"`crosscity readapt {city}`"
        ended("pairs", made.uri, next_step=step, city=city, key=made.key)


def priors(
    city: CityArgument,
    catalog: CatalogOption = CATALOG,
    compute: ComputeOption = None,
    _as_json: JsonOption = False,
) -> None:
    """Extract the static priors of a harvested city."""
    from flows.extract_priors import extract_priors  # noqa: PLC0415 - PyTorch loads late

    plan = opened_plan(catalog, compute, city, writes=False)
    given = {"city": city, "catalog": str(catalog), "compute": compute}
    made = done_or_run(extract_priors, given, plan, lambda ref: [ref], city=city)
    tell_failures(plan.open_store().manifest(made).summary, "priors")
    ended("priors", made.uri, next_step=f"`crosscity adapt {city}`", city=city, key=made.key)


def pretrain(
    segmenter: Annotated[str, typer.Argument(help="A segmenter of the catalog.")] = "compact",
    seed: SeedOption = 0,
    catalog: CatalogOption = CATALOG,
    compute: ComputeOption = None,
    _as_json: JsonOption = False,
) -> None:
    """Pre-train a segmenter on its source set."""
    from flows.pretrain_segmenter import pretrain_segmenter  # noqa: PLC0415 - PyTorch loads late
    from tasks.steps.plan import open_plan  # noqa: PLC0415

    plan = open_plan(catalog, compute, segmenter=segmenter)
    given = {"segmenter": segmenter, "seed": seed, "catalog": str(catalog), "compute": compute}
    made = done_or_run(pretrain_segmenter, given, plan, lambda ref: [ref], segmenter=segmenter)
    step = "`crosscity adapt CITY`, with a city that names this segmenter"
    ended("segmenter", made.uri, next_step=step, segmenter=segmenter, seed=seed, key=made.key)


def adapt(
    city: CityArgument,
    arm: ArmOption = None,
    seed: SeedOption = 0,
    catalog: CatalogOption = CATALOG,
    compute: ComputeOption = None,
    _as_json: JsonOption = False,
) -> None:
    """Adapt the pre-trained segmenter to a city."""
    from flows.adapt_city import adapt_city  # noqa: PLC0415 - PyTorch loads late

    plan = opened_plan(catalog, compute, city, writes=False)
    arm = plan.city(city).arm if arm is None else arm
    given = {"city": city, "arm": arm, "seed": seed, "catalog": str(catalog), "compute": compute}
    made = done_or_run(adapt_city, given, plan, lambda ref: [ref], city=city)
    step = f"crosscity evaluate {city} --arm {arm} --seed {seed}"
    if plan.city(city).labels is None:
        step = with_seed(f"crosscity report {city}", seed)
    ended(
        "segmenter",
        made.uri,
        next_step=f"`{step}`",
        city=city,
        arm=arm,
        seed=seed,
        key=made.key,
    )


def evaluate(
    city: CityArgument,
    arm: Annotated[
        str | None,
        typer.Option(
            help="pretrained, fine_tuned or an arm of adapt; default: `arm` of the city's entry."
        ),
    ] = None,
    seed: SeedOption = 0,
    catalog: CatalogOption = CATALOG,
    compute: ComputeOption = None,
    _as_json: JsonOption = False,
) -> None:
    """Evaluate a segmenter on the test places of a city, or without labels on its pairs."""
    from flows.evaluate_city import evaluate_city  # noqa: PLC0415 - PyTorch loads late
    from tasks.judging.evaluation import read_evaluation, score_table  # noqa: PLC0415

    plan = opened_plan(catalog, compute, city, writes=False)
    arm = plan.city(city).arm if arm is None else arm
    given = {"city": city, "arm": arm, "seed": seed, "catalog": str(catalog), "compute": compute}
    made = done_or_run(evaluate_city, given, plan, lambda ref: [ref], city=city)
    if made.kind == "safeguard":
        _show_signals(city, arm, seed, made, plan)
        return
    add(score_table({arm: made}, plan))
    summary: dict[str, Any] = dict(plan.open_store().manifest(made).summary)
    tell_remarks(summary)
    found = read_evaluation(plan.open_store(), made)
    ended(
        "evaluation",
        made.uri,
        next_step=f"`{with_seed(f'crosscity report {city}', seed)}`",
        city=city,
        arm=arm,
        seed=seed,
        key=made.key,
        miou=found.miou,
        per_class={name: None if math.isnan(iou) else iou for name, iou in found.per_class.items()},
        remarks=summary.get("remarks", []),
    )


def _show_signals(city: str, arm: str, seed: int, judged: ArtifactRef, plan: Plan) -> None:
    """What is seen of a segmenter without a label."""
    from tasks.training.arms import is_trained  # noqa: PLC0415 - PyTorch loads late

    summary: dict[str, Any] = dict(plan.open_store().manifest(judged).summary)
    signals = summary["signals"]
    names = ("agreement", "kappa", "entropy", "information")
    add(
        f"{city} has no labels; on {counted(signals['pairs'], 'pair')}, "
        f"{counted(signals['points'], 'static point')}:"
    )
    width = max(12, len(arm)) + 2  # recipes have long names
    add(f"{'':<14}{'pre-trained':>12}{arm:>{width}}")
    for name in names:
        values = [signals[name][when] for when in ("before", "after")]
        shown = ["–" if value is None else f"{value:.3f}" for value in values]
        add(f"{name:<14}{shown[0]:>12}{shown[1]:>{width}}")
    if is_trained(arm):
        add(summary["sentence"])
    ended(
        "evaluation without labels",
        judged.uri,
        next_step=f"`{with_seed(f'crosscity report {city}', seed)}`",
        city=city,
        arm=arm,
        seed=seed,
        key=judged.key,
        **{name: signals[name]["after"] for name in names},
    )


def readapt(
    city: CityArgument,
    arm: ArmOption = None,
    seed: Annotated[
        int | None, typer.Option(help="Default: `training_seed` of the city's entry.", min=0)
    ] = None,
    catalog: CatalogOption = CATALOG,
    compute: ComputeOption = None,
    _as_json: JsonOption = False,
) -> None:
    """Harvest, extract priors, adapt, evaluate; promote the segmenter if it shows no harm."""
    from flows.cli.ahead import plan_lines  # noqa: PLC0415
    from flows.readapt_city import readapt_city  # noqa: PLC0415 - PyTorch loads late
    from tasks.training.labelled import check_tested  # noqa: PLC0415
    from tasks.training.trainings import check_adaptation  # noqa: PLC0415

    plan = opened_plan(catalog, compute, city, harvests=True, writes=False)
    check_adaptation(city, plan.city(city).arm if arm is None else arm, plan)
    check_tested(city, plan)
    for line in plan_lines(plan, city, arm, seed):
        note(line)
    given = {"city": city, "arm": arm, "seed": seed, "catalog": str(catalog), "compute": compute}
    made = done_or_run(
        readapt_city, given, plan, lambda done: [done.promoted] if done else [], city=city
    )
    if made is None:
        raise RuntimeError(f"{city} was readapted to without a segmenter")
    verdict = None
    if made.judged is not None:
        from tasks.judging.safeguard import verdict_of  # noqa: PLC0415

        verdict = verdict_of(made.judged, plan)
        add(verdict)
    add(f"in use in {city}: {made.promoted.uri}")
    held = show_pin(plan, city)
    ended(
        "segmenter in use",
        made.promoted.uri,
        said="",
        next_step=f"`crosscity predict {city}`, `crosscity segmenter export {city} -o DIR`",
        city=city,
        key=made.promoted.key,
        verdict=verdict,
        pinned=held,
    )


def dashboard(catalog: CatalogOption = CATALOG) -> None:
    """Show the runs so far at http://127.0.0.1:4200 (or another port), until Ctrl-C.

    Where a server runs already, it has the dashboard, and its address is told.
    """
    root = catalog.absolute().parent
    standing = answering_server(root)
    if standing is None:
        raise typer.Exit(run_dashboard(root))
    add(f"a server runs already, and has the dashboard: {standing}")


def opened_plan(
    catalog: Path, compute: str | None, city: str, *, harvests: bool = False, writes: bool = True
) -> Plan:
    """Fails on a wrong catalog, city, store or provider at once, not after a server has started.

    Verbs that may find everything done also work on a store that cannot be written to.
    """
    from tasks.steps.plan import open_plan  # noqa: PLC0415

    plan = open_plan(catalog, compute, city=city)
    if writes:
        check_store(plan)
    if harvests:
        from tasks.harvesting.providers import street_view  # noqa: PLC0415 - compiled code loads late

        street_view(plan, city)
    else:
        tell_changed_files(plan, city)
    return plan


def done_or_run(
    flow: Flow[..., Result],
    given: Mapping[str, Any],
    plan: Plan,
    refs: Callable[[Result], Iterable[ArtifactRef]],
    *,
    city: str | None = None,
    transfer: str | None = None,
    segmenter: str | None = None,
) -> Result:
    """What a flow gives back: without a server where it has nothing to do, else by its run.

    The flow works by the plan that the verb has read.

    Args:
        flow: The flow.
        given: Its arguments, the catalog and the compute profile among them.
        plan: Of the catalog.
        refs: What of the result is verified where nothing has to be done.
        city: What the plan is about, as `open_plan` was told.
        transfer: So too.
        segmenter: So too.
    """
    from flows.cli.already import find_done  # noqa: PLC0415 - reads the store's code late
    from tasks.steps.plan import handed_on  # noqa: PLC0415

    about = {"city": city, "transfer": transfer, "segmenter": segmenter}
    with handed_on(plan, given["compute"], **about):
        done = find_done(lambda: flow.fn(**given), plan, refs)
        if done is not None:
            return done.result
        check_store(plan)
        with running(Path(given["catalog"])):
            made: Result = flow(**given)
            return made


@contextmanager
def running(catalog: Path) -> Iterator[None]:
    """A server, and progress in the terminal, while a flow runs."""
    root = catalog.absolute().parent
    with running_server(root) as address:
        note(f"watch it at {address}")
        from flows.cli.progress import TerminalProgress  # noqa: PLC0415
        from tasks.steps import progress  # noqa: PLC0415 - reads Prefect's settings

        with TerminalProgress() as shown:
            progress.listen(shown)
            with warnings_shown():
                yield


def check_store(plan: Plan) -> None:
    """Fails on a wrong store at once, not after a server has started."""
    plan.open_store().check_writable()
