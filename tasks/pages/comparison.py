"""The page on two segmenters that looked at the same images of a city, or of a transfer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from adapters.store import ArtifactRef, Draft, Store
from crosscity.second_looks import LOOKS
from tasks.judging.copy_comparison import read_looks
from tasks.judging.differences import read_difference_rows, read_differences
from tasks.judging.evaluation import Evaluated, class_notes, read_evaluation
from tasks.judging.image_scores import read_image_scores
from tasks.judging.pair_comparison import read_signals
from tasks.judging.set_differences import SHOWN
from tasks.pages.charts import class_shares
from tasks.pages.city_map import LOCATED, map_of_shares
from tasks.pages.lineage import behind, lineage, stages
from tasks.pages.page import inline_jpeg, render_page
from tasks.pages.pieces import FileNames, known, percent
from tasks.pages.scores import number
from tasks.steps.artifact_task import Made, artifact_task
from tasks.steps.counted import counted
from tasks.steps.identity import Identity, Words, make
from tasks.steps.plan import Plan
from tasks.steps.schemas import IMAGERY
from tasks.steps.tables import read_rows
from tasks.training.arms import arm_name

COMPARISON_VERSION: Final = "2"
COMPARISON_FORMAT: Final = 1
"""Of comparison.json; raised when a reader of before would misread it."""
PAGE: Final = "comparison.html"
FIGURES: Final = "comparison.json"
CAPTIONS: Final = ("A", "B")
SIGNALS: Final = ("agreement", "kappa", "entropy", "information")
_MEASURES: Final = {
    "agreement": "agreement of the two times on static points",
    "kappa": "the same beyond chance (kappa)",
    **{
        f"kappa.{look}": f"agreement of {said.name} beyond chance (kappa)"
        for look, (_, said) in LOOKS.items()
    },
    "confidence": "confidence (mean probability of the predicted class)",
    "entropy": "entropy of the predictions, bits",
    "information": "mutual information of pixel and class, bits",
}
"""What is seen without labels, by figure, in the order of the page."""
_Figures = dict[str, list[float | None]]
"""Each figure of A and B."""


@artifact_task("write comparison", run_name="comparison of two segmenters on {city}")
def write_comparison(
    parts: Mapping[str, ArtifactRef], words: tuple[str, str], city: str, plan: Plan
) -> Made:
    """Writes `comparison.html` and `comparison.json`.

    Args:
        parts: `first`, `second`, `differences` and `pair_comparison`; of a city `imagery`, of a
            transfer the shards of images, by `shown_images`; with labels `evaluation-first` and
            `evaluation-second`.
        words: How the two were named.
        city: The city or transfer whose images they looked at.
        plan: The run's plan.
    """

    def write(draft: Draft, _key: str) -> None:
        content = comparison_content(plan, city, words, parts)
        text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        (draft.path / FIGURES).write_text(text, encoding="utf-8")
        (draft.path / PAGE).write_text(_render(plan, city, parts, content), encoding="utf-8")
        (draft.path / "table.txt").write_text(_table(content) + "\n", encoding="utf-8")

    return make(plan.open_store(), comparison_identity(parts, words, city), write)


def comparison_identity(
    parts: Mapping[str, ArtifactRef], words: tuple[str, str], city: str
) -> Identity:
    """What decides a comparison; arguments as of `write_comparison`."""
    return Identity(
        "comparison",
        city,
        inputs=parts,
        parameters={"words": list(words)},
        version=COMPARISON_VERSION,
        words=Words(
            what=f"the comparison of {words[0]} and {words[1]} on {city} was",
            absent=f"{words[0]} and {words[1]} were not compared on {city} yet",
            verb=f"crosscity compare {words[0]} {words[1]} --on {city}",
        ),
    )


def comparison_path(store: Store, ref: ArtifactRef) -> Path:
    """Where the page lies on this machine."""
    return store.path(ref, PAGE)


def comparison_content(
    plan: Plan, city: str, words: tuple[str, str], parts: Mapping[str, ArtifactRef]
) -> dict[str, Any]:
    """What `comparison.json` holds; each figure has the values of A and B."""
    store = plan.open_store()
    found = read_differences(store, parts["differences"])
    looked = _on_copies if city in plan.transfers else _on_pairs
    counts, figures = looked(store, parts)
    scored = _scored(store, parts)
    figures["confidence"] = list(found.confidence)
    if scored:
        figures["miou"] = [known(each.miou) for each in scored.values()]
        for name in next(iter(scored.values())).per_class:
            figures[f"iou.{name}"] = [known(each.per_class[name]) for each in scored.values()]
    return {
        "format": COMPARISON_FORMAT,
        "city": city,
        "segmenters": {
            caption: {"word": word, **_told(store, parts[role])}
            for caption, word, role in zip(CAPTIONS, words, ("first", "second"), strict=True)
        },
        "images": found.images,
        "changed": found.changed,
        **counts,
        "figures": figures,
        "shares": {name: list(both) for name, both in found.shares.items()},
        "remarks": class_notes(scored) if scored else [],
        "stages": stages(behind(store, parts)),
        "made_of": {role: ref.uri for role, ref in parts.items()},
    }


def _on_pairs(store: Store, parts: Mapping[str, ArtifactRef]) -> tuple[dict[str, Any], _Figures]:
    """How much was looked at of a city's pairs, and what of A and B is seen there."""
    signals = read_signals(store, parts["pair_comparison"])
    counts = {"pairs": signals["pairs"], "points": signals["points"]}
    return counts, {name: _of_both(signals, name) for name in SIGNALS}


def _on_copies(store: Store, parts: Mapping[str, ArtifactRef]) -> tuple[dict[str, Any], _Figures]:
    """So too of images of a transfer and copies of them; and why images were left out."""
    looks = read_looks(store, parts["pair_comparison"])
    shards = [ref for role, ref in parts.items() if role.startswith(SHOWN)]
    failed: Counter[str] = Counter()
    for ref in shards:
        counted_there: Any = store.manifest(ref).summary.get("failures", {})
        failed.update(counted_there)
    first = read_signals(store, parts["pair_comparison"])
    counts = {"copied": first["pairs"], "failed_images": dict(failed.most_common())}
    figures = {f"kappa.{look}": _of_both(signals, "kappa") for look, signals in looks.items()}
    return counts, figures | {name: _of_both(first, name) for name in ("entropy", "information")}


def _of_both(signals: Mapping[str, Any], name: str) -> list[float | None]:
    return [signals[name]["before"], signals[name]["after"]]


def _scored(store: Store, parts: Mapping[str, ArtifactRef]) -> dict[str, Evaluated]:
    roles = zip(CAPTIONS, ("evaluation-first", "evaluation-second"), strict=True)
    return {
        caption: read_evaluation(store, parts[role]) for caption, role in roles if role in parts
    }


def _told(store: Store, ref: ArtifactRef) -> dict[str, Any]:
    manifest = store.manifest(ref)
    arm = str(manifest.parameters.get("arm", "pretrained"))
    return {
        "uri": ref.uri,
        "key": ref.key,
        "of": ref.city,
        "arm": arm,
        "arm_name": arm_name(arm),
        "made_at": manifest.made_at.isoformat(timespec="seconds"),
    }


def _table(content: Mapping[str, Any]) -> str:
    """The figures as text, for the terminal."""
    lines = [
        f"{caption}: {one['word']} ({one['arm_name']}, {one['uri']})"
        for caption, one in content["segmenters"].items()
    ]
    width = max(len(name) for name in content["figures"])
    lines.append(f"{'':<{width}}{'A':>10}{'B':>10}{'B - A':>10}")
    for name, (first, second) in content["figures"].items():
        change = "" if first is None or second is None else f"{round(second - first, 3) + 0.0:+.3f}"
        lines.append(f"{name:<{width}}{_text(first):>10}{_text(second):>10}{change:>10}")
    changed = percent(content["changed"])
    lines.append(
        f"{changed} of the pixels of {counted(content['images'], 'image')} get another class"
    )
    return "\n".join(lines)


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _render(
    plan: Plan, city: str, parts: Mapping[str, ArtifactRef], content: Mapping[str, Any]
) -> str:
    store = plan.open_store()
    found = read_differences(store, parts["differences"])
    transfer = plan.transfer(city) if city in plan.transfers else None
    names = None if transfer is None else FileNames(plan, transfer.target)
    rights = {} if transfer is None else _rights(store, parts)
    return render_page(
        "comparison.html.j2",
        **{name: content[name] for name in ("segmenters", "images", "figures")},
        **{name: content[name] for name in ("shares", "remarks", "stages")},
        **{name: content.get(name) for name in ("pairs", "points", "copied", "failed_images")},
        city=city,
        target=None if transfer is None else transfer.target,
        split=None if transfer is None else plan.scored_split(city) or transfer.target_split,
        measures={name: said for name, said in _MEASURES.items() if name in content["figures"]},
        changed=percent(content["changed"]),
        classes=_class_rows(_scored(store, parts)),
        scored=next(iter(_scored(store, parts).values()), None),
        chart=class_shares(found.shares, CAPTIONS, "shares"),
        map=_map(plan, city, parts) if transfer is None else None,
        pictures=[
            {
                "source": inline_jpeg(store.path(parts["differences"], one.file).read_bytes()),
                "image": one.image_id if names is None else names.of(one.image_id),
                "why": one.why,
                "changed": percent(one.changed),
                "right": rights.get(one.image_id),
            }
            for one in found.pictures
        ],
        lineage=lineage(behind(store, parts)),
        code_version=store.manifest(parts["differences"]).code_version,
    )


def _map(plan: Plan, city: str, parts: Mapping[str, ArtifactRef]) -> str | None:
    """Where in a city the two differ, as SVG."""
    store = plan.open_store()
    imagery = read_rows(store, parts["imagery"], "imagery.parquet", IMAGERY, LOCATED)
    changed = {
        row["image_id"]: 100 * row["changed"]
        for row in read_difference_rows(store, parts["differences"])
    }
    area = plan.city(city).area
    return map_of_shares(imagery, changed, area, "Share of the pixels that differ", "map")


def _rights(store: Store, parts: Mapping[str, ArtifactRef]) -> dict[str, list[str]]:
    """By labelled image, the share of its scored pixels that A and B get right.

    Empty without scores; an image without a scored pixel is left out.
    """
    roles = [role for role in ("evaluation-first", "evaluation-second") if role in parts]
    found: dict[str, list[str]] = {}
    for role in roles:
        for row in read_image_scores(store, parts[role]):
            if row["pixels"]:
                share = percent(row["right"] / row["pixels"])
                found.setdefault(row["sample"], []).append(share)
    return found


def _class_rows(scored: Mapping[str, Evaluated]) -> list[dict[str, Any]]:
    """IoU by class of both, and by how much B is better, in percent."""
    if not scored:
        return []
    first, second = scored.values()
    pairs = {name: (first.per_class[name], second.per_class[name]) for name in first.per_class}
    pairs["mIoU"] = (first.miou, second.miou)
    return [
        {
            "name": name,
            "values": [number(a), number(b)],
            "change": "–" if known(b - a) is None else f"{round(100 * (b - a), 1) + 0.0:+.1f}",
            "better": round(100 * (b - a), 1) > 0,  # by what is shown
            "total": name == "mIoU",
        }
        for name, (a, b) in pairs.items()
    ]
