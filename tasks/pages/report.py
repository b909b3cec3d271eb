"""The report of a city: the paper's Table 2, its Fig. 4 and Fig. 5, lineage and credits."""

from __future__ import annotations

import base64
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from adapters.catalog import SimulatedLabels
from adapters.catalog.recipes import BUILT_IN_RECIPES
from adapters.store import ArtifactRef, Draft, Manifest, Store
from tasks.judging.evaluated import evaluation_of, panels_of
from tasks.judging.evaluation import (
    Evaluated,
    class_notes,
    read_evaluation,
    score_table,
    short_names,
)
from tasks.priors.identities import required_figure
from tasks.priors.quality import quality_identity, read_quality
from tasks.steps.artifact_task import Made, artifact_task
from tasks.steps.dashboard import (
    only_shown,
    publish_lineage,
    publish_markdown,
    publish_picture,
    publish_table,
    small_jpeg,
)
from tasks.steps.errors import InputError, StaleError
from tasks.steps.identity import Identity, Words, find, make
from tasks.steps.imagery import Imagery
from tasks.steps.logs import log
from tasks.steps.pictures import read_picture
from tasks.steps.plan import Plan
from tasks.training.arms import ARM_NAMES, UNLABELLED_ARMS, arm_name
from tasks.training.trained import TrainedSegmenters

REPORT_VERSION = "3"
PICTURE_BYTES = 600_000
"""A report is mailed around: its pictures are good, not lossless."""


@artifact_task("write report", run_name="report of {city}, seed {seed}")
def write_report(parts: Mapping[str, ArtifactRef], city: str, seed: int, plan: Plan) -> Made:
    """Writes `report.html` from priors, evaluations and what they rest on, by role.

    Args:
        parts: `imagery`, `pairs`, `static_prior`, `prior_figure`, `prior_quality` (of simulated
            cities), and of each arm `evaluation-ARM`, `segmenter-ARM` and `panels-ARM`; of
            "pretrained" the first alone.
        city: The city.
        seed: Of the trainings.
        plan: The run's plan.
    """

    def write(draft: Draft, _key: str) -> None:
        html = _render(plan, city, seed, parts)
        (draft.path / "report.html").write_text(html, encoding="utf-8")
        page = render_credits(city, Imagery(plan.open_store(), parts["imagery"]))
        (draft.path / "credits.html").write_text(page, encoding="utf-8")
        lineage = {role: ref.to_dict() for role, ref in parts.items()}
        (draft.path / "parts.json").write_text(json.dumps(lineage, indent=2), encoding="utf-8")
        table = score_table(_evaluations(parts), plan)
        (draft.path / "table.txt").write_text(table + "\n", encoding="utf-8")

    made = make(plan.open_store(), report_identity(parts, city, seed), write)
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
    for arm, scored in _evaluations(parts).items():
        evaluated = read_evaluation(store, scored)
        by_class = {
            short_names().get(name, name): _rounded(iou)
            for name, iou in evaluated.per_class.items()
        }
        rows.append({"segmenter": arm_name(arm), **by_class, "mIoU": _rounded(evaluated.miou)})
    publish_table(f"scores-{city}", rows, f"IoU by class on {city}, in percent")
    publish_picture(
        f"prior-{city}",
        lambda: read_picture(store, parts["prior_figure"], "prior.png"),
        f"A pair of {city}, its matches, superpixels and static prior",
    )
    shown = _shown_arm(parts)
    if shown is not None:
        publish_picture(
            f"before-after-{city}-{shown}",
            lambda: read_picture(store, parts[f"panels-{shown}"], "panel-0.png"),
            f"{city}: image, labels, before and after ({arm_name(shown)})",
        )


def render_credits(city: str, imagery: Imagery) -> str:
    """The page that names every image's author, licence and original, as licences ask."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = files("tasks.pages").joinpath("credits.html.j2").read_text(encoding="utf-8")
    groups = []
    for licence, attribution, count in imagery.credits():
        terms = (licence, attribution)
        sources = [s for s in imagery.sources() if (s.licence, s.attribution) == terms]
        groups.append(
            {"licence": licence, "attribution": attribution, "count": count, "sources": sources}
        )
    return environment.from_string(template).render(city=city, groups=groups)


def report_path(store: Store, ref: ArtifactRef) -> Path:
    """Where the report lies on this machine."""
    return store.path(ref, "report.html")


def report_identity(parts: Mapping[str, ArtifactRef], city: str, seed: int) -> Identity:
    """What decides a report; arguments as of `write_report`."""
    return Identity(
        "report",
        city,
        inputs=parts,
        parameters={"seed": seed},
        version=REPORT_VERSION,
        words=Words(
            what=f"the report of {city} was",
            absent=f"there is no report of {city} yet",
            verb=f"crosscity report {city} --seed {seed}",
        ),
    )


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
        InputError: Something is missing that every report shows; says what to run.
    """
    plan.city(city)
    store, trained = plan.open_store(), TrainedSegmenters(city, seed, plan)
    harvest = trained.harvest
    parts = {
        "imagery": harvest.imagery,
        "pairs": harvest.pairs,
        "static_prior": trained.static_prior,
        "prior_figure": required_figure(harvest.imagery, harvest.pairs, city, plan),
    }
    quality = find(store, quality_identity(trained.static_prior, city))
    if quality is not None:
        parts["prior_quality"] = quality
    shown = (*ARM_NAMES, *BUILT_IN_RECIPES, *plan.recipes) if arms is None else arms
    for arm in dict.fromkeys(shown):
        try:
            parts |= _parts_of_arm(trained, arm)
        except InputError as error:
            if arm == "pretrained":
                raise
            if isinstance(error, StaleError):
                log(logging.WARNING, f"left out of the report: {error}")
    return parts


def _parts_of_arm(trained: TrainedSegmenters, arm: str) -> dict[str, ArtifactRef]:
    parts = {f"evaluation-{arm}": evaluation_of(trained, arm)}
    if arm != "pretrained":
        parts[f"segmenter-{arm}"] = trained.of_arm(arm)
        panels = panels_of(trained, arm)
        if panels is not None:
            parts[f"panels-{arm}"] = panels
    return parts


def _evaluations(parts: Mapping[str, ArtifactRef]) -> dict[str, ArtifactRef]:
    """By arm, in the order of a table; recipes of the catalog come last."""
    begin = "evaluation-"
    made = [role.removeprefix(begin) for role in parts if role.startswith(begin)]
    arms = dict.fromkeys([*(arm for arm in ARM_NAMES if arm in made), *made])
    return {arm: parts[f"{begin}{arm}"] for arm in arms}


def _shown_arm(parts: Mapping[str, ArtifactRef]) -> str | None:
    """The arm whose before/after is shown: the last of those that saw no label, if any ran."""
    drawn = [arm for arm in UNLABELLED_ARMS if {f"panels-{arm}", f"evaluation-{arm}"} <= set(parts)]
    return drawn[-1] if drawn else None


def _render(plan: Plan, city: str, seed: int, parts: Mapping[str, ArtifactRef]) -> str:
    store = plan.open_store()
    entry = plan.city(city)
    scored = {arm: read_evaluation(store, ref) for arm, ref in _evaluations(parts).items()}
    panel_arm = _shown_arm(parts)
    quality = parts.get("prior_quality")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = files("tasks.pages").joinpath("report.html.j2").read_text(encoding="utf-8")
    prior_summary = store.manifest(parts["static_prior"]).summary
    return environment.from_string(template).render(
        city=city,
        source=plan.segmenter(entry.segmenter).source or "other places",
        seed=seed,
        images=scored["pretrained"].images,
        protocol=scored["pretrained"].protocol,
        headings=[short_names().get(name, name) for name in scored["pretrained"].per_class],
        class_notes=class_notes(scored),
        rows=list(_table(scored)),
        fine_tune_images=(
            entry.labels.fine_tune_places if isinstance(entry.labels, SimulatedLabels) else 0
        ),
        prior_figure=_inline(store, parts["prior_figure"], "prior.png"),
        prior={
            "k": entry.prior.k,
            "coverage": _whole_percent(entry.prior.coverage),
            "weakest": _whole_percent(entry.prior.weakest),
        },
        prior_images=prior_summary["images"],
        static_fraction=_percent(float(str(prior_summary["mean_static_fraction"]))),
        quality=_quality(store, quality) if quality else None,
        panels=list(_panels(store, parts[f"panels-{panel_arm}"], city)) if panel_arm else [],
        panel_arm=ARM_NAMES.get(panel_arm or "", "none"),
        lineage=list(_lineage(store, parts)),
        code_version=store.manifest(parts["static_prior"]).code_version,
        credits=[
            {"licence": licence, "attribution": whom, "count": count}
            for licence, whom, count in Imagery(store, parts["imagery"]).credits()
        ],
    )


def _table(scored: Mapping[str, Evaluated]) -> Iterator[dict[str, Any]]:
    names = list(next(iter(scored.values())).per_class)
    unlabelled = [arm for arm in scored if arm in UNLABELLED_ARMS]
    best = {
        name: max((scored[arm].per_class[name] for arm in unlabelled), key=_or_minus_one)
        for name in names
    }
    for arm, evaluated in scored.items():
        yield {
            "name": arm_name(arm),
            "miou": f"{100 * evaluated.miou:.1f}",
            "cells": [
                {
                    "text": _number(evaluated.per_class[name]),
                    "best": arm in unlabelled
                    and len(unlabelled) > 1
                    and best[name] > 0
                    and evaluated.per_class[name] == best[name],
                }
                for name in names
            ],
        }


def _quality(store: Store, ref: ArtifactRef) -> dict[str, Any]:
    quality = read_quality(store, ref)
    return {
        "images": quality.images,
        "precision": _percent(quality.precision),
        "recall": _percent(quality.recall),
        "moving_flagged": _percent(quality.moving_flagged),
    }


def _panels(store: Store, ref: ArtifactRef, city: str) -> Iterator[dict[str, str]]:
    names = sorted(name for name in store.manifest(ref).files if name.startswith("panel-"))
    for number, name in enumerate(names):
        yield {
            "source": _inline(store, ref, name),
            "text": f"Test image {number} of {city}: image, labels, before and after adaptation",
        }


def _inline(store: Store, ref: ArtifactRef, name: str) -> str:
    data = small_jpeg(read_picture(store, ref, name), PICTURE_BYTES)
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


@dataclass(frozen=True)
class _Known:
    ref: ArtifactRef
    manifest: Manifest
    made_of: Sequence[ArtifactRef | None]


def _lineage(store: Store, parts: Mapping[str, ArtifactRef]) -> Iterator[dict[str, Any]]:
    """Everything the report rests on, inputs before what was made of them; shards together."""
    ordered: dict[str, _Known] = {}

    def visit(ref: ArtifactRef) -> None:
        if ref.digest in ordered:
            return
        made_of = list(store.inputs_of(ref).values())
        for one in made_of:
            if one is not None:
                visit(one)
        ordered[ref.digest] = _Known(ref, store.manifest(ref), made_of)

    for ref in parts.values():
        visit(ref)
    groups: dict[tuple[str, str, str], list[_Known]] = {}
    for known in ordered.values():
        arm = str(known.manifest.parameters.get("arm", known.manifest.parameters.get("split", "")))
        shard = known.ref.kind.endswith("_part") or known.ref.kind == "labelled"
        key = "" if shard else known.ref.key
        groups.setdefault((f"{known.ref.kind} {arm}".strip(), known.ref.city, key), []).append(
            known
        )
    for (kind, city, _), members in groups.items():
        first = members[0].manifest
        yield {
            "name": f"{kind} · {city}" + (f" × {len(members)}" if len(members) > 1 else ""),
            "key": members[0].ref.key[:12],
            "made": first.made_at.strftime("%Y-%m-%d %H:%M UTC"),
            "rows": sum(member.manifest.rows or 0 for member in members) or "",
            "made_of": _kinds(members[0].made_of),
        }


def _kinds(made_of: Sequence[ArtifactRef | None]) -> str:
    kinds = ["?" if ref is None else ref.kind for ref in made_of]
    counted = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    return ", ".join(k if n == 1 else f"{k} × {n}" for k, n in counted.items()) or "the catalog"


def _number(iou: float) -> str:
    return "–" if math.isnan(iou) else f"{100 * iou:.1f}"


def _rounded(iou: float) -> float | None:
    return None if math.isnan(iou) else round(100 * iou, 1)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _whole_percent(share: float) -> str | None:
    return f"{100 * share:.3g} %" if share else None


def _or_minus_one(iou: float) -> float:
    return -1.0 if math.isnan(iou) else iou
