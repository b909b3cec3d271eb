"""What a page rests on: every artifact behind it, and what each stage took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.store import ArtifactRef, Manifest, Store

_STAGES: Final = {
    "listing": ("captures", "captures_slice", "pairs_slice"),
    "fetching images": ("imagery_part", "imagery"),
    "choosing pairs": ("pairs",),
    "static priors": ("static_prior_part", "static_prior"),
    "reading images of a set": ("labelled", "unlabelled"),
    "pre-training": ("segmenter",),
    "adaptation": ("adaptation",),
    "scoring": ("evaluation",),
    "safeguard": ("safeguard",),
    "comparing on images": ("differences",),
    "drawing": ("illustration", "worst_images", "prior_quality"),
}
"""Which kinds of artifacts make up a stage, in the order of the work."""

_SHARDS: Final = ("labelled", "unlabelled")
"""Kinds of which a set has as many artifacts as hundreds of images."""


@dataclass(frozen=True)
class Known:
    """An artifact behind a page, with its manifest and what it was made of (`None`: gone)."""

    ref: ArtifactRef
    manifest: Manifest
    made_of: Sequence[ArtifactRef | None]


def behind(store: Store, parts: Mapping[str, ArtifactRef]) -> list[Known]:
    """Everything that artifacts rest on, inputs before what was made of them."""
    ordered: dict[str, Known] = {}
    # A stack of its own: a watched city's imagery rests on as many artifacts as it was extended.
    pending: list[tuple[ArtifactRef, Sequence[ArtifactRef | None] | None]] = [
        (ref, None) for ref in reversed(list(parts.values()))
    ]
    while pending:
        ref, made_of = pending.pop()
        if ref.digest in ordered:
            continue
        if made_of is not None:
            ordered[ref.digest] = Known(ref, store.manifest(ref), made_of)
            continue
        made_of = list(store.inputs_of(ref).values())
        pending.append((ref, made_of))
        pending += [(one, None) for one in reversed(made_of) if one is not None]
    return list(ordered.values())


def lineage(known: Sequence[Known]) -> list[dict[str, Any]]:
    """Rows of a table of artifacts; shards stand together."""
    groups: dict[tuple[str, str, str], list[Known]] = {}
    for each in known:
        arm = str(each.manifest.parameters.get("arm", each.manifest.parameters.get("split", "")))
        shard = each.ref.kind.endswith(("_part", "_slice")) or each.ref.kind in _SHARDS
        key = "" if shard else each.ref.key
        name = f"{each.ref.kind} {arm}".strip()
        groups.setdefault((name, each.ref.city, key), []).append(each)
    return [
        {
            "name": f"{kind} · {city}" + (f" × {len(members)}" if len(members) > 1 else ""),
            "key": members[0].ref.key[:12],
            "made": members[0].manifest.made_at.strftime("%Y-%m-%d %H:%M UTC"),
            "rows": sum(member.manifest.rows or 0 for member in members) or "",
            "made_of": _kinds(members[0].made_of),
        }
        for (kind, city, _), members in groups.items()
    ]


def stages(known: Sequence[Known]) -> list[dict[str, Any]]:
    """What each stage took: artifacts, seconds (`None`: not noted), and what a service was asked.

    Seconds are those that the steps themselves took. Steps of earlier releases noted none, and of
    a training that was resumed only the last process counts.
    """
    found = []
    for name, kinds in _STAGES.items():
        members = [each for each in known if each.ref.kind in kinds]
        if not members:
            continue
        seconds = [_number(each.manifest.summary.get("seconds")) for each in members]
        noted = [value for value in seconds if value is not None]
        found.append(
            {
                "stage": name,
                "artifacts": len(members),
                "seconds": round(sum(noted), 1) if noted else None,
                "cost": _cost(members),
            }
        )
    return found


def _cost(members: Sequence[Known]) -> dict[str, float]:
    """Requests, bytes and dollars of a harvest; speed and memory of a training."""
    cost: dict[str, float] = {}
    for each in members:
        summary: dict[str, Any] = dict(each.manifest.summary)
        spent, speed = summary.get("spent"), summary.get("speed")
        # A shard's is counted in what was joined of it.
        if isinstance(spent, dict) and each.ref.kind == "imagery":
            for what in ("requests", "bytes", "usd"):
                value = _number(spent.get(what))
                if value:
                    cost[what] = cost.get(what, 0) + value
        if isinstance(speed, dict):
            for what in ("images_per_second", "peak_memory_bytes"):
                value = _number(speed.get(what))
                if value is not None:
                    cost[what] = max(cost.get(what, 0), value)
    return cost


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and value is not None else None  # type: ignore[arg-type]


def _kinds(made_of: Sequence[ArtifactRef | None]) -> str:
    kinds = ["?" if ref is None else ref.kind for ref in made_of]
    counted = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    return ", ".join(k if n == 1 else f"{k} × {n}" for k, n in counted.items()) or "the catalog"
