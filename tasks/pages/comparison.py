"""The page on two segmenters that looked at the same images of a city."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from adapters.store import ArtifactRef, Draft, Store
from tasks.judging.differences import read_difference_rows, read_differences
from tasks.judging.evaluation import Evaluated, class_notes, read_evaluation
from tasks.judging.pair_comparison import read_signals
from tasks.pages.charts import class_shares
from tasks.pages.city_map import LOCATED, map_of_shares
from tasks.pages.lineage import behind, lineage, stages
from tasks.pages.page import inline_jpeg, render_page
from tasks.pages.pieces import known, percent
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


@artifact_task("write comparison", run_name="comparison of two segmenters on {city}")
def write_comparison(
    parts: Mapping[str, ArtifactRef], words: tuple[str, str], city: str, plan: Plan
) -> Made:
    """Writes `comparison.html` and `comparison.json`.

    Args:
        parts: `first`, `second`, `differences`, `pair_comparison` and `imagery`; with labels
            `evaluation-first` and `evaluation-second`.
        words: How the two were named.
        city: Whose images they looked at.
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
    signals = read_signals(store, parts["pair_comparison"])
    scored = _scored(store, parts)
    figures: dict[str, list[float | None]] = {
        name: [signals[name]["before"], signals[name]["after"]] for name in SIGNALS
    }
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
        "pairs": signals["pairs"],
        "points": signals["points"],
        "figures": figures,
        "shares": {name: list(both) for name, both in found.shares.items()},
        "remarks": class_notes(scored) if scored else [],
        "stages": stages(behind(store, parts)),
        "made_of": {role: ref.uri for role, ref in parts.items()},
    }


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
    imagery = read_rows(store, parts["imagery"], "imagery.parquet", IMAGERY, LOCATED)
    changed = {
        row["image_id"]: 100 * row["changed"]
        for row in read_difference_rows(store, parts["differences"])
    }
    return render_page(
        "comparison.html.j2",
        **{name: content[name] for name in ("segmenters", "images", "pairs", "points", "figures")},
        **{name: content[name] for name in ("shares", "remarks", "stages")},
        city=city,
        changed=percent(content["changed"]),
        classes=_class_rows(_scored(store, parts)),
        scored=next(iter(_scored(store, parts).values()), None),
        chart=class_shares(found.shares, CAPTIONS, "shares"),
        map=map_of_shares(
            imagery, changed, plan.city(city).area, "Share of the pixels that differ", "map"
        ),
        pictures=[
            {
                "source": inline_jpeg(store.path(parts["differences"], one.file).read_bytes()),
                "image": one.image_id,
                "why": one.why,
                "changed": percent(one.changed),
            }
            for one in found.pictures
        ],
        lineage=lineage(behind(store, parts)),
        code_version=store.manifest(parts["differences"]).code_version,
    )


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
