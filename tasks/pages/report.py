"""The report of a city, labelled or not: what there is of it, on one page and as figures."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from adapters.catalog import PriorSettings
from adapters.catalog.recipes import BUILT_IN_RECIPES
from adapters.store import ArtifactRef, Draft, Store
from tasks.harvesting.pair_table import count_dropped, read_dropped
from tasks.judging.differences import read_difference_rows
from tasks.judging.evaluated import evaluation_of, panels_of
from tasks.judging.evaluation import (
    read_evaluation,
    score_table,
    short_names,
)
from tasks.judging.promotion import has_labels
from tasks.pages.city_map import LOCATED, map_of_places, maps_of_classes, places_of, refusals
from tasks.pages.figures import REPORT_FORMAT, report_figures, table_of_figures
from tasks.pages.lineage import Known, behind, lineage, stages
from tasks.pages.page import inline_picture, render_page
from tasks.pages.pieces import (
    arms_of,
    curves_of,
    evaluations_of,
    judged_classes,
    labelled_panels,
    labels_tuned_on,
    last_blind,
    percent,
    remarks_of,
    score_tables,
    scores_as_json,
    shown_differences,
    worst_as_json,
    worst_pictures,
)
from tasks.pages.scores import missing_lines
from tasks.priors.identities import required_figure
from tasks.priors.quality import quality_identity, read_quality
from tasks.steps.artifact_task import Made, artifact_task
from tasks.steps.commands import with_seed
from tasks.steps.dashboard import (
    only_shown,
    publish_lineage,
    publish_markdown,
    publish_picture,
    publish_table,
)
from tasks.steps.errors import InputError, StaleError
from tasks.steps.identity import Identity, Words, find, make
from tasks.steps.imagery import Imagery, ImageSource
from tasks.steps.logs import log
from tasks.steps.pictures import read_picture
from tasks.steps.plan import Plan
from tasks.steps.schemas import IMAGERY, IMAGES_OF_PAIR, PAIRS
from tasks.steps.tables import read_rows
from tasks.training.arms import ARM_NAMES, arm_name, is_trained, saw_labels
from tasks.training.trained import TrainedSegmenters

REPORT_VERSION = "12"
FIGURES_FILE: Final = "report.json"


@artifact_task("write report", run_name="report of {city}, seed {seed}")
def write_report(parts: Mapping[str, ArtifactRef], city: str, seed: int, plan: Plan) -> Made:
    """Writes `report.html` and `report.json` from what there is, by role.

    Args:
        parts: `imagery` and `pairs`; as far as they are there `static_prior`, `prior_figure`,
            `prior_quality` (of simulated cities), `safeguard` and `differences` (of the shown arm
            and the pre-trained segmenter), `worst_images` (of the shown arm, with labels), and of
            each arm `evaluation-ARM`, `segmenter-ARM` and `panels-ARM`.
        city: The city.
        seed: Of the trainings.
        plan: The run's plan.
    """

    def write(draft: Draft, _key: str) -> None:
        rests_on = behind(plan.open_store(), parts)
        content = report_content(plan, city, seed, parts, rests_on)
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        (draft.path / FIGURES_FILE).write_text(text, encoding="utf-8")
        html = _render(plan, city, seed, parts, content, rests_on)
        (draft.path / "report.html").write_text(html, encoding="utf-8")
        page = render_credits(city, Imagery(plan.open_store(), parts["imagery"]))
        (draft.path / "credits.html").write_text(page, encoding="utf-8")
        lineage = {role: ref.to_dict() for role, ref in parts.items()}
        (draft.path / "parts.json").write_text(json.dumps(lineage, indent=2), encoding="utf-8")
        evaluations = evaluations_of(parts)
        command = with_seed(f"crosscity adapt {city}", seed)
        without = f"{city} has no adaptation{_with_seed(seed)} yet: `{command}`"
        table = table_of_figures(content) or without
        if evaluations:
            table = score_table(evaluations, plan)
        (draft.path / "table.txt").write_text(table + "\n", encoding="utf-8")

    made = make(plan.open_store(), report_identity(parts, city, seed, plan), write)
    _publish(plan.open_store(), made.ref, parts, city)
    publish_lineage(f"report-{city}-lineage", plan.open_store(), made.ref, f"Report of {city}")
    return made


@only_shown
def _publish(store: Store, ref: ArtifactRef, parts: Mapping[str, ArtifactRef], city: str) -> None:
    table = store.path(ref, "table.txt").read_text(encoding="utf-8")
    publish_markdown(
        f"report-{city}",
        f"```\n{table}```\n\n`{ref.uri}/report.html` in the store\n",
        f"Report of {city}",
    )
    rows = []
    for arm, scored in evaluations_of(parts).items():
        evaluated = read_evaluation(store, scored)
        by_class = {
            short_names().get(name, name): _rounded(iou)
            for name, iou in evaluated.per_class.items()
        }
        rows.append({"segmenter": arm_name(arm), **by_class, "mIoU": _rounded(evaluated.miou)})
    if rows:
        publish_table(f"scores-{city}", rows, f"IoU by class on {city}, in percent")
    if "prior_figure" in parts:
        publish_picture(
            f"prior-{city}",
            lambda: read_picture(store, parts["prior_figure"], "prior.png"),
            f"A pair of {city}, its matches, superpixels and static prior",
        )


def _with_seed(seed: int) -> str:
    return f" with seed {seed}" if seed else ""


def render_credits(city: str, imagery: Imagery) -> str:
    """The page that names every image's author, licence and original, as licences ask."""
    sources: dict[tuple[str, str], list[ImageSource]] = {}
    for source in imagery.sources():
        sources.setdefault((source.licence, source.attribution), []).append(source)
    groups = [
        {
            "licence": licence,
            "attribution": attribution,
            "count": count,
            "sources": sources[licence, attribution],
        }
        for licence, attribution, count in imagery.credits()
    ]
    return render_page("credits.html.j2", city=city, groups=groups)


def report_path(store: Store, ref: ArtifactRef) -> Path:
    """Where the report lies on this machine."""
    return store.path(ref, "report.html")


def report_identity(parts: Mapping[str, ArtifactRef], city: str, seed: int, plan: Plan) -> Identity:
    """What decides a report; arguments as of `write_report`."""
    return Identity(
        "report",
        city,
        inputs=parts,
        parameters={
            "seed": seed,
            "arm": shown_arm(parts, city, plan),
            **_said_of_catalog(parts, city, seed, plan),
        },
        version=REPORT_VERSION,
        words=Words(
            what=f"the report of {city} was",
            absent=f"there is no report of {city} yet",
            verb=f"crosscity report {city} --seed {seed}",
        ),
    )


def _said_of_catalog(
    parts: Mapping[str, ArtifactRef], city: str, seed: int, plan: Plan
) -> dict[str, Any]:
    """What a page says of the catalog that none of its parts decides; arguments as there."""
    labelled = has_labels(city, plan)
    scored, shown = evaluations_of(parts), shown_arm(parts, city, plan)
    return {
        "source": plan.segmenter(plan.city(city).segmenter).source or "other places",
        "has_labels": labelled,
        "missing": missing_lines(scored, city, seed, plan, shown=shown) if labelled else [],
    }


def report_parts(
    city: str, seed: int, plan: Plan, arms: Sequence[str] | None = None
) -> dict[str, ArtifactRef]:
    """What a report shows, as far as it is there and of what the catalog says now.

    Args:
        city: The city.
        seed: Of the trainings.
        plan: Of the catalog.
        arms: Those that are looked for; one that is stale is left out with a warning.

    Raises:
        InputError: Nothing was harvested, or what every arm rests on was made with other settings;
            says what to run.
    """
    plan.city(city)
    store, trained = plan.open_store(), TrainedSegmenters(city, seed, plan)
    harvest = trained.harvest
    parts = {"imagery": harvest.imagery, "pairs": harvest.pairs}
    with _missing_left_out():
        parts["static_prior"] = trained.static_prior
        parts["prior_figure"] = required_figure(harvest.imagery, harvest.pairs, city, plan)
        quality = find(store, quality_identity(trained.static_prior, city))
        if quality is not None:
            parts["prior_quality"] = quality
    shown = (*ARM_NAMES, *BUILT_IN_RECIPES, *plan.recipes) if arms is None else arms
    for arm in dict.fromkeys(shown):
        try:
            parts |= _parts_of_arm(trained, arm)
        except StaleError as error:
            if not is_trained(arm):
                raise
            log(logging.WARNING, f"left out of the report: {error}")
        except InputError:
            continue  # it was not run
    return parts


@contextmanager
def _missing_left_out() -> Iterator[None]:
    """Lets what was not made be left out; what was made otherwise is an error that says so."""
    try:
        yield
    except StaleError:
        raise
    except InputError:
        return


def _parts_of_arm(trained: TrainedSegmenters, arm: str) -> dict[str, ArtifactRef]:
    if not has_labels(trained.owner, trained.plan):
        return {f"segmenter-{arm}": trained.of_arm(arm)} if is_trained(arm) else {}
    parts: dict[str, ArtifactRef] = {}
    if is_trained(arm):
        parts[f"segmenter-{arm}"] = trained.of_arm(arm)
        panels = panels_of(trained, arm)
        if panels is not None:
            parts[f"panels-{arm}"] = panels
    try:
        parts[f"evaluation-{arm}"] = evaluation_of(trained, arm)
    except StaleError:
        raise
    except InputError:
        pass  # adapted and not scored yet: shown without a score
    return parts


def shown_arm(parts: Mapping[str, ArtifactRef], city: str, plan: Plan) -> str | None:
    """The arm that the page is about: the city's own, else the last that saw no label of it."""
    there = arms_of(parts)
    own = plan.city(city).arm
    return own if own in there else last_blind(there, city, plan)


def compared_segmenters(
    parts: Mapping[str, ArtifactRef], city: str, seed: int, plan: Plan
) -> tuple[ArtifactRef, ArtifactRef] | None:
    """The segmenters before and after that a report compares without labels, if there are two."""
    arm = shown_arm(parts, city, plan)
    if arm is None:
        return None
    return TrainedSegmenters(city, seed, plan).start, parts[f"segmenter-{arm}"]


def report_content(
    plan: Plan,
    city: str,
    seed: int,
    parts: Mapping[str, ArtifactRef],
    rests_on: Sequence[Known] | None = None,
) -> dict[str, Any]:
    """What `report.json` holds; `rests_on` is `behind` the parts, where that is known."""
    store, arm = plan.open_store(), shown_arm(parts, city, plan)
    scored = {name: read_evaluation(store, ref) for name, ref in evaluations_of(parts).items()}
    states = read_rows(store, parts["imagery"], "imagery.parquet", IMAGERY, ("status", "reason"))
    known = behind(store, parts) if rests_on is None else rests_on
    verdict = None
    if "safeguard" in parts:
        judged: dict[str, Any] = dict(store.manifest(parts["safeguard"]).summary)
        verdict = {name: judged[name] for name in ("keep", "sentence", "reasons", "vanished")}
        verdict["agreed"] = judged["signals"]["agreed"]
    return {
        "format": REPORT_FORMAT,
        "city": city,
        "seed": seed,
        "arm": arm,
        "figures": report_figures(store, parts, scored, arm),
        "verdict": verdict,
        "scores": scores_as_json(scored),
        "missing": _said_of_catalog(parts, city, seed, plan)["missing"],
        "refused_images": refusals(states),
        "dropped_from_pairs": _dropped_from_pairs(store, parts["pairs"]),
        "worst_images": worst_as_json(store, parts),
        "remarks": remarks_of(known),
        "stages": stages(known),
        "made_of": {role: ref.uri for role, ref in parts.items()},
        "credits": [
            {"licence": licence, "attribution": whom, "images": count}
            for licence, whom, count in Imagery(store, parts["imagery"]).credits()
        ],
    }


def _dropped_from_pairs(store: Store, pairs: ArtifactRef) -> dict[str, int]:
    """How often what became no pair, by reason, the most frequent first."""
    rows = read_dropped(store, pairs)
    noted: Any = store.manifest(pairs).summary.get("dropped", {})
    counted = noted if rows is None else count_dropped(rows)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _render(
    plan: Plan,
    city: str,
    seed: int,
    parts: Mapping[str, ArtifactRef],
    content: Mapping[str, Any] | None = None,
    rests_on: Sequence[Known] | None = None,
) -> str:
    store, entry = plan.open_store(), plan.city(city)
    content = report_content(plan, city, seed, parts) if content is None else content
    scored = {arm: read_evaluation(store, ref) for arm, ref in evaluations_of(parts).items()}
    arm, said = content["arm"], _said_of_catalog(parts, city, seed, plan)
    shown = (*LOCATED, "status", "reason")
    imagery = read_rows(store, parts["imagery"], "imagery.parquet", IMAGERY, shown)
    pairs = read_rows(store, parts["pairs"], "pairs.parquet", PAIRS, (*IMAGES_OF_PAIR, "split"))
    known = behind(store, parts) if rests_on is None else rests_on
    return render_page(
        "report.html.j2",
        city=city,
        source=said["source"],
        seed=seed,
        arm=None if arm is None else arm_name(arm),
        figures=content["figures"],
        verdict=content["verdict"],
        classes=judged_classes(store, parts),
        scores=(
            score_tables(store, scored, parts, arm, content["missing"], city, plan)
            if scored
            else None
        ),
        missing=content["missing"],
        adapt=with_seed(f"crosscity adapt {city}", seed),
        has_labels=said["has_labels"],
        learned=arm is not None and saw_labels(arm, city, plan),
        worst=worst_pictures(store, parts),
        remarks=content["remarks"],
        fine_tune_images=labels_tuned_on(known, parts),
        differences=shown_differences(store, parts),
        map=map_of_places(
            places_of(imagery, pairs, read_dropped(store, parts["pairs"])), entry.area, "map"
        ),
        class_maps=(
            maps_of_classes(
                imagery, read_difference_rows(store, parts["differences"]), entry.area, "classes"
            )
            if "differences" in parts
            else []
        ),
        refused=[
            {"what": what, "reason": reason, "number": number}
            for what, counts in (
                ("image", content["refused_images"]),
                ("pair", content["dropped_from_pairs"]),
            )
            for reason, number in counts.items()
        ],
        prior=_prior(store, parts, entry.prior),
        panels=labelled_panels(store, parts.get(f"panels-{arm}"), city),
        curves=curves_of(store, parts, arm),
        stages=content["stages"],
        lineage=lineage(known),
        code_version=store.manifest(parts["pairs"]).code_version,
        credits=content["credits"],
    )


def _prior(
    store: Store, parts: Mapping[str, ArtifactRef], settings: PriorSettings
) -> dict[str, Any] | None:
    if "static_prior" not in parts:
        return None
    summary = store.manifest(parts["static_prior"]).summary
    figure, quality = parts.get("prior_figure"), parts.get("prior_quality")
    return {
        "k": settings.k,
        "coverage": _whole_percent(settings.coverage),
        "weakest": _whole_percent(settings.weakest),
        "images": summary["images"],
        "static_fraction": percent(float(str(summary["mean_static_fraction"]))),
        "figure": None if figure is None else inline_picture(store, figure, "prior.png"),
        "quality": None if quality is None else _quality(store, quality),
    }


def _quality(store: Store, ref: ArtifactRef) -> dict[str, Any]:
    quality = read_quality(store, ref)
    return {
        "images": quality.images,
        "precision": percent(quality.precision),
        "recall": percent(quality.recall),
        "moving_flagged": percent(quality.moving_flagged),
    }


def _rounded(iou: float) -> float | None:
    return None if math.isnan(iou) else round(100 * iou, 1)


def _whole_percent(share: float) -> str | None:
    return f"{100 * share:.3g} %" if share else None
