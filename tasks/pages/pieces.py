"""Pieces that pages on a city and on a transfer share, of the artifacts that they show by role."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from adapters.datasets.base import DatasetError
from adapters.datasets.files import FileDataset
from adapters.store import ArtifactRef, Store
from adapters.tables import read_table
from crosscity.safeguard import TIMES
from crosscity.second_looks import LOOKS
from tasks.judging.differences import read_differences
from tasks.judging.evaluation import Evaluated, class_notes, short_names
from tasks.judging.worst_images import WorstImage, read_worst
from tasks.pages.charts import class_shares, thinned, training_curves
from tasks.pages.lineage import Known
from tasks.pages.page import inline_jpeg, inline_picture
from tasks.pages.scores import confusion_rows, read_confusion, score_rows
from tasks.steps.plan import Plan
from tasks.steps.schemas import HISTORY
from tasks.training.arms import ARM_NAMES, BOUND, arm_name, saw_labels
from tasks.training.at_home import protocol_named
from tasks.training.labelled import labelled_set


def evaluations_of(parts: Mapping[str, ArtifactRef]) -> dict[str, ArtifactRef]:
    """By arm, in the order of a table; recipes of the catalog come last."""
    begin = "evaluation-"
    made = [role.removeprefix(begin) for role in parts if role.startswith(begin)]
    arms = dict.fromkeys([*(arm for arm in ARM_NAMES if arm in made), *made])
    return {arm: parts[f"{begin}{arm}"] for arm in arms}


def arms_of(parts: Mapping[str, ArtifactRef]) -> list[str]:
    """The arms whose segmenters are among the parts of a report."""
    begin = "segmenter-"
    return [role.removeprefix(begin) for role in parts if role.startswith(begin)]


def last_blind(arms: Sequence[str], owner: str, plan: Plan) -> str | None:
    """The last arm that saw no label of the target, else the last; ``None`` of none."""
    blind = [arm for arm in arms if not saw_labels(arm, owner, plan)]
    known = [arm for arm in ARM_NAMES if arm in blind]
    found = known or blind or arms
    return found[-1] if found else None


def scores_as_json(scored: Mapping[str, Evaluated]) -> dict[str, Any]:
    """IoU by class and their mean of each arm, for `report.json`; ``None`` where there is none."""
    return {
        name: {"miou": known(one.miou), "iou": {c: known(v) for c, v in one.per_class.items()}}
        for name, one in scored.items()
    }


def remarks_of(behind: Sequence[Known]) -> list[str]:
    """What trainings and scores remarked on their data, and what was warned of last, each once."""
    remarks: dict[str, None] = {}
    for each in behind:
        if each.ref.kind not in ("segmenter", "adaptation", "evaluation"):
            continue
        summary: dict[str, Any] = dict(each.manifest.summary)
        name = arm_name(str(each.manifest.parameters.get("arm", "pretrained")))
        if each.ref.kind == "evaluation":  # of all arms the same
            name = "Scored images"
        warnings = summary.get("warnings") or {}
        for remark in [*summary.get("remarks", []), *warnings.get("last", [])]:
            remarks[f"{name}: {remark}"] = None
    return list(remarks)


def judged_classes(store: Store, parts: Mapping[str, ArtifactRef]) -> dict[str, Any] | None:
    """What a judgement saw of each class, as `parts.html.j2` shows it; ``None`` without one.

    Returns:
        What was compared, by column; and of each class that was seen its share of the pixels and,
        by column, the IoU of the class between the two looks, each before and after. The class on
        which looks agree less than before, by the most, comes first.
    """
    if "safeguard" not in parts:
        return None
    summary: dict[str, Any] = dict(store.manifest(parts["safeguard"]).summary)
    looks = {
        LOOKS[name][1].name if name in LOOKS else TIMES.name: signals
        for name, signals in summary.get("looks", {"times": summary["signals"]}).items()
    }
    rows = [
        {
            "name": name,
            "share": (share["before"], share["after"]),
            "agreed": [
                (agreed["before"], agreed["after"])
                for agreed in (signals["agreed"][name] for signals in looks.values())
            ],
        }
        for name, share in summary["signals"]["shares"].items()
        if share["before"] or share["after"]
    ]
    return {"looks": list(looks), "rows": sorted(rows, key=_fall, reverse=True)}


def _fall(row: Mapping[str, Any]) -> float:
    """By how much looks agree less on a class, in their mean; on one that is gone they do not."""
    known = [before - (after or 0.0) for before, after in row["agreed"] if before is not None]
    return sum(known) / len(known) if known else -math.inf


def worst_as_json(store: Store, parts: Mapping[str, ArtifactRef]) -> list[dict[str, Any]]:
    """The images of which least is right, for `report.json`."""
    return [asdict(one) for one in _worst(store, parts)]


def _worst(store: Store, parts: Mapping[str, ArtifactRef]) -> list[WorstImage]:
    return read_worst(store, parts["worst_images"]) if "worst_images" in parts else []


def score_tables(
    store: Store,
    scored: Mapping[str, Evaluated],
    parts: Mapping[str, ArtifactRef],
    arm: str | None,
    missing: Sequence[str],
    owner: str,
    plan: Plan,
) -> dict[str, Any]:
    """The tables of the scores, as `parts.html.j2` shows them.

    Args:
        store: The store.
        scored: The evaluations by arm.
        parts: Of the report, by role.
        arm: Whose confusion matrix is shown.
        missing: Sentences about lines that the table should have.
        owner: The city or transfer.
        plan: Of the run; it has the catalog's own protocols.
    """
    first = next(iter(scored.values()))
    matrix = None
    if arm in scored:
        rules = protocol_named(plan, first.protocol)
        confusion = read_confusion(store, parts[f"evaluation-{arm}"], rules)
        matrix = {"names": confusion.predicted, "rows": confusion_rows(confusion)}
    blind = [name for name in scored if not saw_labels(name, owner, plan)]
    return {
        "images": first.images,
        "protocol": first.protocol,
        "headings": [short_names().get(name, name) for name in first.per_class],
        "notes": class_notes(scored),
        "rows": score_rows(scored, blind),
        "marked": len(blind) > 1,
        "missing": missing,
        "confusion": matrix,
    }


def labels_tuned_on(known: Sequence[Known], parts: Mapping[str, ArtifactRef]) -> int:
    """How many labelled images the fine-tuned segmenter that is scored has learned from; 0: none.

    Args:
        known: What is behind the parts.
        parts: Of the report, by role.
    """
    tuned = parts.get(f"segmenter-{BOUND}")
    if tuned is None or f"evaluation-{BOUND}" not in parts:
        return 0
    of = {one.ref.digest: one for one in known}
    shards = [of.get(ref.digest) for ref in of[tuned.digest].made_of if ref is not None]
    labelled = [one for one in shards if one is not None and one.ref.kind == "labelled"]
    return sum(one.manifest.rows or 0 for one in labelled)


class FileNames:
    """What the images of a set are called where they lie; ids are spelt otherwise.

    Args:
        plan: Of the catalog.
        owner: Name of the set; of one without files, and of a city, an image is called by its id.
    """

    def __init__(self, plan: Plan, owner: str) -> None:
        self._source = labelled_set(plan, owner, None) if owner in plan.datasets else None

    def of(self, sample: str) -> str:
        """The path of an image below the root of its set, or its id."""
        if not isinstance(self._source, FileDataset):
            return sample
        try:
            return self._source.file_name(sample)
        except DatasetError:  # it was taken away meanwhile
            return sample


def worst_pictures(
    store: Store, parts: Mapping[str, ArtifactRef], names: FileNames | None = None
) -> list[dict[str, Any]]:
    """The images of which least is right, as `parts.html.j2` shows them."""
    return [
        {
            "source": inline_jpeg(store.path(parts["worst_images"], one.file).read_bytes()),
            "sample": one.sample if names is None else names.of(one.sample),
            "right": percent(one.right),
            "truth": one.truth,
            "taken_for": one.taken_for,
            "mistaken": percent(one.mistaken),
        }
        for one in _worst(store, parts)
    ]


def shown_differences(
    store: Store, parts: Mapping[str, ArtifactRef], names: FileNames | None = None
) -> dict[str, Any] | None:
    """What two segmenters see in the same images, as `parts.html.j2` shows it, if it is there."""
    if "differences" not in parts:
        return None
    ref = parts["differences"]
    found = read_differences(store, ref)
    return {
        "images": found.images,
        "shares": found.shares,
        "chart": class_shares(found.shares, ("before", "after"), "shares"),
        "pictures": [
            {
                "source": inline_jpeg(store.path(ref, one.file).read_bytes()),
                "image": one.image_id if names is None else names.of(one.image_id),
                "why": one.why,
                "changed": percent(one.changed),
            }
            for one in found.pictures
        ],
    }


def curves_of(
    store: Store, parts: Mapping[str, ArtifactRef], arm: str | None
) -> list[tuple[str, str]]:
    """Title and SVG of the quantities of an arm's training."""
    ref = parts.get(f"segmenter-{arm}")
    if ref is None or "history.parquet" not in store.manifest(ref).files:
        return []
    table = read_table(store.path(ref, "history.parquet"), HISTORY)
    return training_curves(thinned(table), "training")


def labelled_panels(store: Store, ref: ArtifactRef | None, owner: str) -> list[dict[str, str]]:
    """Evenly spaced test images with their labels, before and after."""
    if ref is None:
        return []
    names = sorted(name for name in store.manifest(ref).files if name.startswith("panel-"))
    return [
        {
            "source": inline_picture(store, ref, name),
            "text": f"Test image {number} of {owner}: image, labels, before and after adaptation",
        }
        for number, name in enumerate(names)
    ]


def known(value: float) -> float | None:
    """A value as JSON has it, which has no NaN."""
    return None if math.isnan(value) else value


def percent(share: float) -> str:
    """A share in [0, 1] as people read it."""
    return f"{100 * share:.1f} %"
