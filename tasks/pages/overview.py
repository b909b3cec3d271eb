"""An index over the cities and transfers of a catalog, and beside it the pages of their reports."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from adapters.exports.files import UNFINISHED, write_whole
from adapters.store import ArtifactRef, Store, StoreError
from adapters.unwritable import cannot_be_written
from tasks.harvesting.current import HARVEST
from tasks.judging.city_history import CityHistory, city_history
from tasks.judging.promotion import has_labels, limits_now, promoted_segmenter
from tasks.pages.dated_scores import Dated, scores_over_dates
from tasks.pages.page import render_page
from tasks.pages.read_report import read_report
from tasks.pages.report import FIGURES_FILE
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan
from tasks.training.arms import arm_name

OVERVIEW_FORMAT: Final = 1
"""Of index.json; raised when a reader of before would misread it."""
INDEX: Final = "index.json"
PAGE: Final = "index.html"
FILES: Final = ("report.html", FIGURES_FILE, "credits.html")
"""What is copied of a report."""
FIGURES: Final = (
    *("miou_before", "miou", "miou_bound", "gap_closed"),
    *("agreement_before", "agreement"),
)
"""Of the first report, shown in the index."""
_NOTHING: Final[Mapping[str, Any]] = {
    "harvest": {},
    "in_use": None,
    "pinned": None,
    "segmenters": [],
    "changes": [],
}
"""What a city is shown with where there is nothing, and a transfer of which none is in use."""


def check_folder(folder: Path, *, force: bool) -> None:
    """Fails before any work where a folder holds something that is not such an index.

    Raises:
        InputError: It is a file, or holds something else and `force` is not given.
    """
    if not folder.exists() or (force and folder.is_dir()):
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file: name a folder with -o")
    if not _is_index(folder / INDEX) and not _has_pages_alone(folder):
        raise InputError(
            f"{folder} holds something else: name another folder with -o, or write into it all the "
            "same with --force"
        )


def _has_pages_alone(folder: Path) -> bool:
    """Whether there are copies of reports alone: of what was killed before its index was there."""
    return all(
        path.name in FILES or path.name.endswith(UNFINISHED)
        for path in folder.rglob("*")
        if not path.is_dir() or path.is_symlink()
    )


def _is_index(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and isinstance(content.get("overview_format"), int)


def write_overview(
    folder: Path,
    plan: Plan,
    said: Mapping[str, str],
    damaged: Mapping[str, str],
    shown: Mapping[str, ArtifactRef] | None = None,
) -> dict[str, Any]:
    """Writes `index.html`, `index.json` and the pages of all reports into a folder.

    Args:
        folder: Is made where it is not there.
        plan: Of the whole catalog.
        said: Of cities and transfers without a report, the sentence that says what is missing.
        damaged: Of those that could not be reported, the sentence that says why.
        shown: By city or transfer, the report of what there is now, which comes before those that
            were written later; default: none is known.

    Returns:
        What `index.json` holds.

    Raises:
        InputError: The folder cannot be written.
    """
    now = shown or {}

    def entries(owners: Iterable[str]) -> list[dict[str, Any]]:
        return [_entry(folder, plan, one, said, damaged, now.get(one)) for one in sorted(owners)]

    try:
        folder.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {
            "overview_format": OVERVIEW_FORMAT,
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "catalog": Path(plan.catalog).name,
            "cities": entries(plan.cities),
            "transfers": entries(plan.transfers),
        }
        text = json.dumps(content, indent=1, allow_nan=False, default=str) + "\n"
        every = {**content, "transfers": [{**_NOTHING, **one} for one in content["transfers"]]}
        html = render_page(
            "index.html.j2", **every, arm_name=arm_name, charts=_charts(content["cities"])
        )
        write_whole(folder / INDEX, lambda path: path.write_text(text, encoding="utf-8"))
        write_whole(folder / PAGE, lambda path: path.write_text(html, encoding="utf-8"))
    except OSError as error:
        raise InputError(cannot_be_written(folder, error)) from None
    return content


def _charts(cities: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """By city, the scores of its adaptations over their dates, where there are two or more."""
    charts = {}
    for number, city in enumerate(cities):
        scores = [
            Dated(datetime.fromisoformat(one["made_at"]), one["miou"], arm_name(one["arm"]))
            for one in city["segmenters"]
            if one["miou"] is not None
        ]
        if len(scores) > 1:
            charts[city["name"]] = scores_over_dates(scores, f"dates-{number}")
    return charts


def _entry(
    folder: Path,
    plan: Plan,
    owner: str,
    said: Mapping[str, str],
    damaged: Mapping[str, str],
    shown: ArtifactRef | None,
) -> dict[str, Any]:
    """A city or transfer; whatever is damaged of it is told in it."""
    store = plan.open_store()
    problems = [damaged[owner]] if owner in damaged else []
    entry: dict[str, Any] = {"name": owner, "said": said.get(owner), "problems": problems}
    if owner in plan.cities:
        entry |= {"has_labels": has_labels(owner, plan), **_of_city(plan, owner, problems)}
    else:
        entry |= _of_transfer(plan, owner, problems)
    entry["reports"] = _reports(folder, store, owner, problems, shown)
    entry["state"] = _state(entry)
    return entry


def _state(entry: Mapping[str, Any]) -> str:
    if entry["problems"]:
        return "damaged"
    if entry["said"] and entry.get("harvest"):
        return "stale"
    if entry.get("in_use"):
        return "in use"
    if entry.get("segmenters"):
        return "adapted"
    if entry["reports"]:
        return "reported"
    return "harvested" if entry.get("harvest") else "nothing yet"


def _of_transfer(plan: Plan, transfer: str, problems: list[str]) -> dict[str, Any]:
    """The history of a transfer of which a segmenter is in use; nothing of others."""
    try:
        used = promoted_segmenter(plan.open_store(), transfer)
    except StoreError as error:
        problems.append(" ".join(str(error).split()))
        return {}
    return {} if used is None else _of_city(plan, transfer, problems)


def _of_city(plan: Plan, city: str, problems: list[str]) -> dict[str, Any]:
    found, store = dict(_NOTHING), plan.open_store()
    try:
        found["harvest"] = _harvest(store, city)
        history = city_history(store, city, limits_now(city, plan))
    except StoreError as error:
        problems.append(" ".join(str(error).split()))
        return found
    return {**found, **_history(history)}


def _harvest(store: Store, city: str) -> dict[str, Any]:
    """When a city was harvested, and what of it there is."""
    state = store.selected(HARVEST, city)
    refs = {} if state is None else state.refs
    if not {"imagery", "pairs"} <= refs.keys() or not all(map(store.find_ref, refs.values())):
        return {}
    pairs, imagery = store.manifest(refs["pairs"]), store.manifest(refs["imagery"])
    return {
        "made_at": pairs.made_at.isoformat(timespec="seconds"),
        "images": imagery.rows,
        "pairs": pairs.summary.get("train", pairs.rows),
        "pairs_held_out": pairs.summary.get("test", 0),
    }


def _history(history: CityHistory) -> dict[str, Any]:
    used = history.used()
    return {
        "in_use": None if used is None else asdict(used),
        "pinned": history.pinned,
        "segmenters": [asdict(one) for one in history.segmenters],
        "changes": [
            {
                "at": change["at"],
                "action": change["action"],
                "segmenter": change["segmenter"]["uri"],
                "reason": change.get("reason") or "",
                "by": "a run" if change.get("run") else "hand",
            }
            for change in history.changes
        ],
    }


def _reports(
    folder: Path, store: Store, owner: str, problems: list[str], shown: ArtifactRef | None
) -> list[dict[str, Any]]:
    """The reports of a city or transfer, copied beside the index.

    That of what there is now first, as it may have been written before others; then the newest.
    """
    refs = list(store.artifacts("report", owner))
    made = sorted(refs, key=lambda ref: (store.manifest(ref).made_at, ref.key), reverse=True)
    made.sort(key=lambda ref: ref != shown)
    reports = []
    for ref in made:
        try:
            reports.append(_copied(folder, store, owner, ref))
        except (StoreError, InputError) as error:
            problems.append(" ".join(str(error).split()))
    return reports


def _copied(folder: Path, store: Store, owner: str, ref: ArtifactRef) -> dict[str, Any]:
    manifest = store.manifest(ref)
    place = Path(owner) / f"{manifest.made_at:%Y-%m-%d}-{ref.key[:8]}"
    (folder / place).mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if name in manifest.files:
            _copy(store.path(ref, name), folder / place / name)
    content: dict[str, Any] = {}
    if FIGURES_FILE in manifest.files:
        path = store.path(ref, FIGURES_FILE)
        figures = read_report(path, ref.uri).figures
        raw = json.loads(path.read_text(encoding="utf-8"))
        content = {
            "arm": raw.get("arm"),
            "figures": {name: figures[name] for name in FIGURES if name in figures},
            "verdict": raw.get("verdict"),
        }
    return {
        "uri": ref.uri,
        "made_at": manifest.made_at.isoformat(timespec="seconds"),
        "seed": manifest.parameters.get("seed"),
        "page": (place / "report.html").as_posix(),
        "arm": None,
        "figures": {},
        "verdict": None,
        **content,
    }


def _copy(source: Path, target: Path) -> None:
    """A file of an artifact, which never changes: one of the same size is there already."""
    if target.is_file() and target.stat().st_size == source.stat().st_size:
        return
    write_whole(target, lambda path: shutil.copyfile(source, path))


def problems_of(content: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """(city or transfer, sentence) of what could not be shown."""
    entries = [*content["cities"], *content["transfers"]]
    return [(entry["name"], problem) for entry in entries for problem in entry["problems"]]
