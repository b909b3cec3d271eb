"""The paper's outputs in one artifact: tables as Parquet and Markdown, and one HTML page."""

from __future__ import annotations

import base64
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import jinja2
import pyarrow as pa

from adapters.store import ArtifactRef, Draft, Store
from adapters.tables import write_table
from crosscity.labels import CLASSES
from crosscity.percentages import percentage
from tasks.judging.evaluation import Evaluated, read_evaluation
from tasks.judging.label_statistics import read_shares
from tasks.pages.paper_numbers import MIOU, SOURCE_MIOU, TABLE_2, TABLE_3
from tasks.steps.artifact_task import Made, artifact_task, make_once
from tasks.steps.dashboard import only_shown, publish_lineage, publish_markdown, small_jpeg
from tasks.steps.pictures import read_picture
from tasks.steps.plan import Plan
from tasks.training.arms import ARM_NAMES, BOUND, START
from tasks.training.identities import segmenter_of, source_of

PAPER_VERSION = "3"
OWNER: Final = "paper"
"""Stands where other artifacts have their city."""
PICTURE_BYTES = 400_000
NUMBERS = pa.schema(
    [
        pa.field("table", pa.string(), nullable=False),
        pa.field("owner", pa.string(), nullable=False),  # city, transfer or data set
        pa.field("segmenter", pa.string()),  # of the catalog; null for label statistics
        pa.field("arm", pa.string(), nullable=False),
        pa.field("quantity", pa.string(), nullable=False),  # a class, "mIoU", or a share
        pa.field("mean", pa.float64()),  # percent; null where the class does not occur
        pa.field("sd", pa.float64()),  # over seeds; null for one seed
        pa.field("seeds", pa.int64(), nullable=False),
        pa.field("paper", pa.float64()),  # the paper's own number, where it has one
        pa.field("protocol", pa.string(), nullable=False),
        pa.field("images", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Figures:
    """What of a city or transfer is not a score.

    Attributes:
        labels: Its `label_statistics`.
        features: Its `illustration` of features.
        panels: Its `illustration` of before and after, by arm.
    """

    labels: ArtifactRef
    features: ArtifactRef
    panels: Mapping[str, ArtifactRef]


@dataclass(frozen=True)
class Number:
    """A quantity over seeds, in percent; `mean` is NaN where it never occurs."""

    mean: float
    sd: float | None
    seeds: int

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "–"
        return f"{self.mean:.1f}" + (f" ± {self.sd:.1f}" if self.sd is not None else "")


@dataclass(frozen=True)
class Scored:
    """The evaluations of an arm over seeds.

    Attributes:
        owner: What it was scored on: a city, a transfer or a data set.
        segmenter: Which segmenter of the catalog was.
        arm: As it was adapted.
        evaluations: One a seed.
    """

    owner: str
    segmenter: str
    arm: str
    evaluations: tuple[Evaluated, ...]

    def quantities(self) -> dict[str, Number]:
        """Every class of the protocol, and the mIoU."""
        names = list(self.evaluations[0].per_class)
        by_class = {
            name: over_seeds([e.per_class[name] for e in self.evaluations]) for name in names
        }
        return {**by_class, MIOU: over_seeds([e.miou for e in self.evaluations])}


@dataclass(frozen=True)
class Table:
    """A table to be shown.

    Attributes:
        title: Above it.
        note: Below it.
        headings: Of the columns; the first is that of the rows' names.
        rows: Cells as text, one a heading.
    """

    title: str
    note: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """As a Markdown section."""
        lines = [f"## {self.title}", "", "| " + " | ".join(self.headings) + " |"]
        lines.append("|" + "---|" * len(self.headings))
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join([*lines, "", self.note, ""])


def over_seeds(values: Sequence[float]) -> Number:
    """Mean and standard deviation of shares, in percent; seeds without the class are left out."""
    known = [100 * value for value in values if not math.isnan(value)]
    if not known:
        return Number(math.nan, None, len(values))
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return Number(statistics.fmean(known), deviation, len(values))


@artifact_task("write the paper's tables", run_name="the paper's tables")
def write_paper_tables(
    at_home: Mapping[str, Sequence[ArtifactRef]],
    evaluations: Mapping[str, Mapping[str, Sequence[ArtifactRef]]],
    figures: Mapping[str, Figures],
    seeds: Sequence[int],
    folds: int,
    plan: Plan,
) -> Made:
    """Writes `numbers.parquet`, `tables.md` and `tables.html`.

    Args:
        at_home: By segmenter: on the test images of its source set, one a seed.
        evaluations: By city or transfer, and arm: one a seed.
        figures: By city or transfer.
        seeds: Of the trainings.
        folds: Of the fine-tuned arm of the cities.
        plan: The run's plan.
    """
    inputs = {
        f"evaluation-{owner}-{arm}-{seed}": ref
        for owner, arms in evaluations.items()
        for arm, refs in arms.items()
        for seed, ref in zip(seeds, refs, strict=True)
    }
    inputs |= {
        f"at_home-{segmenter}-{seed}": ref
        for segmenter, refs in at_home.items()
        for seed, ref in zip(seeds, refs, strict=True)
    }
    for owner, shown in figures.items():
        inputs |= {f"labels-{owner}": shown.labels, f"features-{owner}": shown.features}
        inputs |= {f"panels-{owner}-{arm}": ref for arm, ref in shown.panels.items()}

    def write(draft: Draft, _key: str) -> None:
        store = plan.open_store()
        scored = {
            owner: {
                arm: _scored(store, owner, segmenter_of(owner, plan), arm, refs)
                for arm, refs in arms.items()
            }
            for owner, arms in evaluations.items()
        }
        sources = [
            _scored(store, source_of(name, plan), name, START, refs)
            for name, refs in at_home.items()
        ]
        shares = {owner: read_shares(store, shown.labels) for owner, shown in figures.items()}
        every = [*sources, *(one for arms in scored.values() for one in arms.values())]
        rows = [row for one in every for row in _rows(plan, one)]
        rows += [row for owner in shares for row in _share_rows(owner, shares[owner])]
        table = pa.Table.from_pylist(rows, schema=NUMBERS)
        write_table(draft.path / "numbers.parquet", table, NUMBERS)
        tables = _tables(plan, sources, scored, shares, folds)
        text = "\n".join([_preface(seeds), "", *(table.markdown() for table in tables)])
        (draft.path / "tables.md").write_text(text, encoding="utf-8")
        page = _page(store, tables, figures, seeds)
        (draft.path / "tables.html").write_text(page, encoding="utf-8")
        draft.rows = len(rows)

    made = make_once(
        plan.open_store(),
        "paper_tables",
        OWNER,
        inputs=inputs,
        parameters={"seeds": list(seeds), "folds": folds},
        version=PAPER_VERSION,
        write=write,
    )
    _publish(plan.open_store(), made.ref, seeds)
    return made


@only_shown
def _publish(store: Store, ref: ArtifactRef, seeds: Sequence[int]) -> None:
    markdown = store.path(ref, "tables.md").read_text(encoding="utf-8")
    publish_markdown("paper-tables", markdown, "The paper's tables")
    publish_lineage("paper-tables-lineage", store, ref, f"seeds {', '.join(map(str, seeds))}")


def _scored(
    store: Store, owner: str, segmenter: str, arm: str, refs: Sequence[ArtifactRef]
) -> Scored:
    return Scored(owner, segmenter, arm, tuple(read_evaluation(store, ref) for ref in refs))


def _rows(plan: Plan, scored: Scored) -> list[dict[str, Any]]:
    paper = _papers(plan, scored)
    first = scored.evaluations[0]
    return [
        {
            "table": _table_of(plan, scored.owner),
            "owner": scored.owner,
            "segmenter": scored.segmenter,
            "arm": scored.arm,
            "quantity": quantity,
            "mean": None if math.isnan(number.mean) else number.mean,
            "sd": number.sd,
            "seeds": number.seeds,
            "paper": paper.get(quantity),
            "protocol": first.protocol,
            "images": first.images,
        }
        for quantity, number in scored.quantities().items()
    ]


def _share_rows(owner: str, shares: Mapping[str, float]) -> list[dict[str, Any]]:
    return [
        {
            **dict.fromkeys(NUMBERS.names),
            "table": "labels",
            "owner": owner,
            "arm": "labels",
            "quantity": name,
            "mean": 100 * share,
            "seeds": 0,
            "protocol": "score19",
            "images": 0,
        }
        for name, share in shares.items()
    ]


def _table_of(plan: Plan, owner: str) -> str:
    if owner in plan.transfers:
        return "3"
    return "2" if owner in plan.cities else "1"


def _papers(plan: Plan, scored: Scored) -> dict[str, float]:
    """The paper's numbers for an arm, by quantity; none where it has no such row."""
    if scored.owner in plan.transfers:
        transfer = plan.transfer(scored.owner)
        source = plan.dataset(source_of(transfer.segmenter, plan))
        target = plan.dataset(transfer.target)
        same = (source.kind, target.kind) == ("synthia", "cityscapes")
        return _comparable(TABLE_3.get(scored.arm, {}) if same else {}, scored)
    if scored.owner in plan.cities:
        numbers = TABLE_2.get(scored.owner.partition("-")[0], {}).get(scored.arm, {})
        return _comparable(numbers, scored)
    return {MIOU: SOURCE_MIOU}


def _comparable(numbers: Mapping[str, float], scored: Scored) -> dict[str, float]:
    """The paper's numbers, without its mean where ours is over other classes than its 13."""
    alike = numbers.keys() - {MIOU} == scored.evaluations[0].per_class.keys()
    return {name: value for name, value in numbers.items() if alike or name != MIOU}


def _tables(
    plan: Plan,
    sources: Sequence[Scored],
    scored: Mapping[str, Mapping[str, Scored]],
    shares: Mapping[str, Mapping[str, float]],
    folds: int,
) -> list[Table]:
    cities = [owner for owner in scored if owner in plan.cities]
    transfers = [owner for owner in scored if owner in plan.transfers]
    made = []
    if cities:
        made.append(_table_1(plan, sources, [scored[city][START] for city in cities]))
        made += [_by_class(plan, scored[city], f"Table 2: {city}", folds) for city in cities]
        made.append(_means(plan, scored, cities))
    made += [_by_class(plan, scored[name], f"Table 3: {name}", None) for name in transfers]
    made.append(_shares_table(shares))
    return made


def _table_1(plan: Plan, sources: Sequence[Scored], cities: Sequence[Scored]) -> Table:
    rows = []
    for name in dict.fromkeys(one.segmenter for one in cities):
        for one in (one for one in [*sources, *cities] if one.segmenter == name):
            paper = _papers(plan, one).get(MIOU)
            images = str(one.evaluations[0].images)
            rows.append((name, one.owner, images, str(one.quantities()[MIOU]), _plain(paper)))
    note = (
        "Each segmenter as it was trained, without adaptation: first on the test images of its "
        "source set, where that has some. mIoU in percent over the classes of the protocol."
    )
    headings = ("segmenter", "tested on", "images", "mIoU", "paper")
    return Table("Table 1: a segmenter away from home", note, headings, tuple(rows))


def _by_class(plan: Plan, arms: Mapping[str, Scored], title: str, folds: int | None) -> Table:
    first = next(iter(arms.values())).evaluations[0]
    classes = tuple(first.per_class)
    short = {road_class.name: road_class.short for road_class in CLASSES}
    rows = []
    is_left_out = False
    for arm, one in arms.items():
        numbers = one.quantities()
        rows.append((ARM_NAMES[arm], *(str(numbers[name]) for name in (*classes, MIOU))))
        paper = _papers(plan, one)
        if paper:
            rows.append(("– paper", *(_plain(paper.get(name)) for name in (*classes, MIOU))))
            is_left_out |= MIOU not in paper
    note = (
        f"IoU in percent, protocol `{first.protocol}`, {first.images} test images, labels scored "
        f"at {_written(first.label_size)}. {first.classes_note()}."
    )
    if is_left_out:
        note += (
            " The paper's mIoU is over its 13 classes, and so does not stand beside one over these."
        )
    if folds is not None and BOUND in arms:
        note += (
            f" Fine-tuned: {folds} folds of the labelled test images, each trained on the others; "
            "the counts of all folds are added up."
        )
    headings = ("segmenter", *(short.get(name, name) for name in classes), MIOU)
    return Table(title, note, headings, tuple(rows))


def _means(plan: Plan, scored: Mapping[str, Mapping[str, Scored]], cities: Sequence[str]) -> Table:
    arms = [arm for arm in ARM_NAMES if all(arm in scored[city] for city in cities)]
    rows = []
    for arm in arms:
        of_cities = [scored[city][arm] for city in cities]
        # The mean over cities of each seed first: seeds are what varies.
        seeds = zip(*(one.evaluations for one in of_cities), strict=True)
        mean = over_seeds([statistics.fmean(e.miou for e in together) for together in seeds])
        papers = [_papers(plan, one).get(MIOU) for one in of_cities]
        known = [value for value in papers if value is not None]
        paper = statistics.fmean(known) if len(known) == len(papers) else None
        each = (str(one.quantities()[MIOU]) for one in of_cities)
        rows.append((ARM_NAMES[arm], *each, str(mean), _plain(paper)))
    note = "mIoU in percent. The paper's mean is shown where it has all of these cities."
    headings = ("segmenter", *cities, "mean", "paper's mean")
    return Table("Table 2: all cities", note, headings, tuple(rows))


def _shares_table(shares: Mapping[str, Mapping[str, float]]) -> Table:
    owners = list(shares)
    rows = tuple(
        (road_class.name, *(percentage(shares[owner][road_class.name]) for owner in owners))
        for road_class in CLASSES
    )
    note = "Percent of the labelled pixels of the test images."
    return Table("Label statistics", note, ("class", *owners), rows)


def _preface(seeds: Sequence[int]) -> str:
    return (
        f"# The paper's tables\n\nMean ± standard deviation over the seeds "
        f"{', '.join(map(str, seeds))}. A dash is a class that occurs neither in the labels nor in "
        "the predictions. “Paper” is what Chen et al. (ICCV 2017) report with VGG16 on their real "
        "images: it stands beside numbers of this run, which are comparable with it only where the "
        "catalog names the same network and data."
    )


def _page(
    store: Store, tables: Sequence[Table], figures: Mapping[str, Figures], seeds: Sequence[int]
) -> str:
    shown = []
    for owner, figure in figures.items():
        parted = json.loads(store.path(figure.features, "told_apart.json").read_text())
        panels = [
            {"arm": ARM_NAMES[arm], "source": _inline(store, ref, name)}
            for arm, ref in figure.panels.items()
            for name in sorted(n for n in store.manifest(ref).files if n.startswith("panel-"))[:2]
        ]
        shown.append(
            {
                "owner": owner,
                "features": _inline(store, figure.features, "features.png"),
                "parted": [
                    {"arm": ARM_NAMES[arm], "share": f"{100 * share:.1f} %"}
                    for arm, share in parted.items()
                ],
                "panels": panels,
            }
        )
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = files("tasks.pages").joinpath("paper_tables.html.j2").read_text(encoding="utf-8")
    preface = _preface(seeds).partition("\n\n")[2]
    return environment.from_string(template).render(tables=tables, shown=shown, preface=preface)


def _inline(store: Store, ref: ArtifactRef, name: str) -> str:
    data = small_jpeg(read_picture(store, ref, name), PICTURE_BYTES)
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _written(size: tuple[int, int] | None) -> str:
    return "their own size" if size is None else f"{size[0]}×{size[1]}"
