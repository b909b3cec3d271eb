"""Images of sets: labelled source sets to train on, test places of a city to score on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from adapters.catalog import DatasetSite, FolderLabels, SimulatedLabels, SimulatedProvider
from adapters.datasets.base import DatasetError, LabelledDataset
from adapters.datasets.cross_city import CrossCityDataset
from adapters.datasets.files import FileDataset
from adapters.datasets.labelled_folder import LabelledFolder
from adapters.datasets.simulated import SimulatedDataset
from adapters.file_digests import UnreadableFileError
from adapters.file_names import as_text
from adapters.image_masks import ImageMask
from adapters.images import (
    ImageError,
    encode_label_png,
    encode_png,
)
from adapters.store import ArtifactRef, Draft, Store
from crosscity.labels import VOID
from crosscity.resizing import resized_image, resized_map
from simcity import ALGORITHM_VERSION as SIMULATION_VERSION
from tasks.priors.identities import city_mask, mask_parameters
from tasks.steps import progress
from tasks.steps.artifact_task import Made, artifact_task
from tasks.steps.counted import counted
from tasks.steps.errors import InputError, StaleError, check_failures
from tasks.steps.identity import Identity, Words, find, make, missing, newest
from tasks.steps.logs import warn_user
from tasks.steps.parallel import in_parallel
from tasks.steps.plan import Plan
from tasks.steps.schemas import FAILED, LABELLED, OK, PAIRS
from tasks.steps.tables import Row, failures, part_name, read_rows, write_rows
from tasks.steps.unreadable import check_stays_unreadable
from tasks.training.label_ids import remark_on_ids

LABELLED_VERSION = f"2-simulation.{SIMULATION_VERSION}"
Kind = Literal["labelled", "unlabelled"]
_NameOfSet = tuple[object, ...]
"""What a set is listed by."""
PART_SIZE = 100
"""Images a shard: what a kill can lose."""
FAILURE_LIMIT = 0.05
"""Of a labelled set; a set with more broken images than that is not the set that was meant."""
_SPOKEN_OF: Final = {"labelled": "labelled images", "unlabelled": "images"}
_LIMIT_OF_A_SET: Final = "of a data set (mend these files, or take them out)"
_OF_SPLIT: Final = "of_split"
"""Key of a shard's summary: how many images its split had when it was read."""


def labelled_parts(owner: str, split: str, pairs: ArtifactRef | None, plan: Plan) -> list[int]:
    """The shards in which a split is read.

    Args:
        owner: A data set or a city of the catalog.
        split: "train", "val" or "test"; of a city, "train" is what fine-tuning may use.
        pairs: The city's pairs, which say where its test places are; ``None`` for a data set.
        plan: The run's plan.
    """
    samples = _LISTED.found(plan, owner, pairs).samples(split)
    if not samples:
        raise InputError(f"{owner} has no labelled images in its split {split!r}")
    return _parts_of(samples)


def check_tested(city: str, plan: Plan) -> None:
    """Fails before any work where the labels that a city is scored on are not there.

    Those of a simulated city are where its places are.

    Raises:
        InputError: There is none.
        DatasetError: Their folders are not there, or hold none.
    """
    labels = plan.city(city).labels
    if labels is not None and not isinstance(labels, SimulatedLabels):
        labelled_parts(city, "test", None, plan)


def check_apart(learned: tuple[str, str], scored: tuple[str, str], plan: Plan) -> None:
    """Fails where images whose labels are learned from are among those that are scored on.

    Args:
        learned: A data set and its split.
        scored: A data set or a city, and its split.
        plan: The run's plan.

    Raises:
        InputError: An image is in both, by what is in its file.
    """
    sets = [labelled_set(plan, owner, None) for owner, _ in (learned, scored)]
    if not all(isinstance(one, FileDataset) for one in sets):
        return
    ours, theirs = (
        one.images_by_content(split)
        for one, (_, split) in zip(sets, (learned, scored), strict=True)
        if isinstance(one, FileDataset)
    )
    both = sorted(ours[digest] for digest in ours.keys() & theirs.keys())
    if both:
        where = f"cities.{scored[0]}.labels" if scored[0] in plan.cities else "the test images"
        raise InputError(
            f"{counted(len(both), 'image')} of datasets.{learned[0]}, whose labels are learned "
            f"from, would be scored on too, as of {where}: take {both[0]} out of one of them"
        )


def home_split(owner: str, plan: Plan) -> str | None:
    """The validation split of a data set, which a pre-training looks at; ``None``: it has none."""
    try:
        found = labelled_set(plan, owner, None).samples("val")
    except DatasetError:
        return None
    return "val" if found else None


@artifact_task("read labelled images", run_name="labelled images of {owner}, {split}, part {part}")
def labelled_part(owner: str, split: str, pairs: ArtifactRef | None, part: int, plan: Plan) -> Made:
    """Reads (or renders) one shard of labelled images into the store.

    Images of a data set with an `image_size` are stored at that size, and so are the labels of
    "train". Labels of other splits keep their own size: they are what is scored on.
    """
    source = _LISTED.found(plan, owner, pairs)
    size = _stored_size(plan, owner)
    mask = _mask_of_labels(plan, owner)
    seen: set[int] = set()

    def read(sample: str) -> Row:
        found = source.read(sample)
        train_ids = found.train_ids
        if part == 0:  # enough to be told of, once a split
            seen.update(np.unique(train_ids).tolist())
        if mask is not None:
            left_out = mask.pixels((train_ids.shape[0], train_ids.shape[1]))
            train_ids = np.where(left_out, np.uint8(VOID), train_ids)
        labels = resized_map(train_ids, size if split == "train" else None)
        return {
            "image": encode_png(resized_image(found.image, size)),
            "labels": encode_label_png(labels),
        }

    made = _make_part(_labelled_split(owner, split, source, plan), part, read)
    remark = remark_on_ids(source, seen)
    if remark:
        warn_user(f"{owner}, {split}: {remark}")
    return made


def unlabelled_parts(owner: str, split: str, plan: Plan) -> list[int]:
    """The shards in which the images of a data set's split are read for adapting to them."""
    samples = _LISTED.found(plan, owner, None).unlabelled(split)
    if not samples:
        raise InputError(f"{owner} has no images in its split {split!r} to adapt to")
    return _parts_of(samples)


@artifact_task("read target images", run_name="images of {owner}, {split}, part {part}")
def unlabelled_part(owner: str, split: str, part: int, plan: Plan) -> Made:
    """Reads one shard of images into the store; no label file is opened."""
    source = _LISTED.found(plan, owner, None)
    size = _stored_size(plan, owner)

    def read(sample: str) -> Row:
        image = encode_png(resized_image(source.read_image(sample), size))
        return {"image": image, "labels": None}

    return _make_part(_unlabelled_split(owner, split, source, plan), part, read)


@dataclass(frozen=True)
class Missing:
    """What is said where shards are missing that something else is made of.

    Attributes:
        absent: That there is none of what they are for: "there is no segmenter … yet".
        verb: The command that makes both.
    """

    absent: str
    verb: str


def find_labelled(
    owner: str, split: str, pairs: ArtifactRef | None, plan: Plan, said: Missing
) -> list[ArtifactRef]:
    """The shards that `labelled_part` made of a split as it is now.

    Args:
        owner: See `labelled_parts`.
        split: See `labelled_parts`.
        pairs: See `labelled_parts`.
        plan: The run's plan.
        said: What the error says.

    Raises:
        InputError: One is not there; the sentence says why, and what to run. Or the set itself is
            not there: without it nothing tells whether what is in the store is of it.
    """
    try:
        source = _LISTED.found(plan, owner, pairs)
        return _find_shards(_labelled_split(owner, split, source, plan), said)
    except DatasetError as error:
        raise InputError(str(error)) from error


def find_unlabelled(owner: str, split: str, plan: Plan, said: Missing) -> list[ArtifactRef]:
    """The shards that `unlabelled_part` made of a split as it is now; see `find_labelled`."""
    try:
        source = _LISTED.found(plan, owner, None)
        return _find_shards(_unlabelled_split(owner, split, source, plan), said)
    except DatasetError as error:
        raise InputError(str(error)) from error


def _find_shards(images: _Split, said: Missing) -> list[ArtifactRef]:
    store, found = images.plan.open_store(), []
    for part in _parts_of(images.samples):
        identity = images.shard(part, said)
        there = find(store, identity)
        if there is None:
            fewer_or_more = _fewer_or_more(store, identity, len(images.samples), images.plan)
            raise fewer_or_more or missing(store, identity)
        found.append(there)
    return found


def _fewer_or_more(store: Store, identity: Identity, now: int, plan: Plan) -> StaleError | None:
    """The error where a split has another number of images than when it was read last."""
    last = newest(store, identity)
    before = None if last is None else last.summary.get(_OF_SPLIT)
    if not isinstance(before, int) or before == now:
        return None
    words, split = identity.words, str(identity.parameters["split"])
    entry = plan.datasets.get(identity.owner)
    if isinstance(getattr(entry, split, None), int):  # the catalog itself gives the number
        difference = f"made with {words.section}{split} {before}, the catalog says {now}"
    else:
        difference = f"{before} when they were read, and are {now} now"
    return StaleError(f"{words.what} {difference}: run `{words.verb}`")


@dataclass(frozen=True)
class _Split:
    """Images of a split, all that its shards are made of.

    Attributes:
        kind: Of the shards.
        owner: A data set or a city of the catalog.
        split: Its name.
        source: The set.
        samples: Those of the split.
        plan: The run's plan.
    """

    kind: Kind
    owner: str
    split: str
    source: LabelledDataset
    samples: Sequence[str]
    plan: Plan

    def wanted(self, part: int) -> Sequence[str]:
        """The samples of a shard."""
        return self.samples[part * PART_SIZE : (part + 1) * PART_SIZE]

    def shard(self, part: int, said: Missing | None = None) -> Identity:
        """What decides a shard; `said` where it is looked for and not made."""
        owner, wanted = self.owner, self.wanted(part)
        here = f"{'datasets' if owner in self.plan.datasets else 'cities'}.{owner}"
        what = f"the {self.kind} images of {owner} ({self.split})"
        return Identity(
            self.kind,
            owner,
            inputs={},
            parameters={
                "split": self.split,
                "part": part,
                "samples": list(wanted),
                **_identity(self.plan, owner, self.source, wanted),
            },
            version=LABELLED_VERSION,
            words=Words(
                f"{what} were",
                said.absent if said else f"{what} were not read yet",
                said.verb if said else "crosscity pretrain",
                section=f"{here}.",
                keys={"entry": here, "mask": f"{here}.provider.mask"},
                inputs={"files": "other files", "samples": "other samples"},
                ignored=("part",),
            ),
            producer=self.split,
            marks=("split",),
        )


def _labelled_split(owner: str, split: str, source: LabelledDataset, plan: Plan) -> _Split:
    return _Split("labelled", owner, split, source, source.samples(split), plan)


def _unlabelled_split(owner: str, split: str, source: LabelledDataset, plan: Plan) -> _Split:
    return _Split("unlabelled", owner, split, source, source.unlabelled(split), plan)


def _parts_of(samples: Sequence[str]) -> list[int]:
    return list(range(-(-len(samples) // PART_SIZE)))


def _make_part(images: _Split, part: int, read: Callable[[str], Row]) -> Made:
    plan, total = images.plan, len(images.samples)
    identity = images.shard(part)
    wanted = images.wanted(part)
    stage = f"{images.kind} {images.owner} {images.split}"

    def is_same_key() -> bool:
        return images.shard(part).parameters == identity.parameters

    def write(draft: Draft, _key: str) -> None:
        def row(sample: str) -> Row:
            made = _row(sample, read, is_same_key)
            progress.advance(stage, 1, total)
            return made

        rows = in_parallel(row, wanted, workers=plan.compute.workers)
        failed = failures(rows)
        check_failures(_SPOKEN_OF[images.kind], failed, len(rows), FAILURE_LIMIT, _LIMIT_OF_A_SET)
        write_rows(draft, part_name(part), rows, LABELLED)
        draft.summary = {"failures": failed, _OF_SPLIT: total}

    made = make(plan.open_store(), identity, write)
    if made.cached:
        progress.advance(stage, len(wanted), total)
    return made


def labelled_set(plan: Plan, owner: str, pairs: ArtifactRef | None) -> LabelledDataset:
    """The labelled set of a data set or a city of the catalog."""
    if owner in plan.datasets:
        return plan.dataset(owner).open(DatasetSite(owner, plan.root))
    city = plan.city(owner)
    if city.labels is None:
        raise InputError(
            f"cities.{owner} has no labels in the catalog, so nothing can be scored there"
        )
    if isinstance(city.labels, FolderLabels):
        given = city.labels
        return LabelledFolder(
            plan.folder(given.root, key=f"cities.{owner}.labels.root"),
            label_map=given.label_map,
            images=given.images,
            labels=given.labels,
            image_ending=given.image_ending,
            label_ending=given.label_ending,
            splits={"test": "test"},
            undivided="test",
        )
    if not isinstance(city.labels, SimulatedLabels):
        root = plan.folder(city.labels.root, key=f"cities.{owner}.labels.root")
        return CrossCityDataset(root, city.labels.city or owner)
    if not isinstance(city.provider, SimulatedProvider) or pairs is None:
        raise InputError(f"cities.{owner}: simulated labels need the simulated provider")
    places = _places_by_split(plan.open_store(), pairs)
    return SimulatedDataset(
        city.provider.city_style(city.site(owner, plan.root)),
        seed=city.seed,
        image_size=city.view_size,
        lights=city.lights,
        splits={
            "test": places["test"],
            "train": places["train"][: city.labels.fine_tune_places],
        },
    )


class _Listed:
    """Sets as they were when they were first listed, as long as anybody holds them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holding = 0
        self._held: dict[_NameOfSet, LabelledDataset] = {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, every set is as it was when it was first listed."""
        with self._lock:
            self._holding += 1
        try:
            yield
        finally:
            with self._lock:
                self._holding -= 1
                if not self._holding:
                    self._held = {}

    def found(self, plan: Plan, owner: str, pairs: ArtifactRef | None) -> LabelledDataset:
        """The set that is held, or as it is now."""
        name = _name_of_set(plan, owner, pairs)
        with self._lock:
            there = self._held.get(name)
        if there is not None:
            return there
        found = labelled_set(plan, owner, pairs)
        with self._lock:
            return self._held.setdefault(name, found) if self._holding else found


_LISTED: Final = _Listed()


def sets_as_first_listed() -> AbstractContextManager[None]:
    """Inside, a set is listed once, and files that come or go count from the next run on.

    Listing a large set for each of its shards may take longer than reading them. And pictures that
    land during an adaptation would leave it without judgement and page, which are looked for by the
    images that there are; a folder into which cameras write would never have either.
    """
    return _LISTED.held()


def _name_of_set(plan: Plan, owner: str, pairs: ArtifactRef | None) -> _NameOfSet:
    """What `labelled_set` goes by."""
    entry = plan.datasets.get(owner) or plan.city(owner)
    return str(plan.root), repr(plan.store), owner, entry.model_dump_json(), pairs


def _stored_size(plan: Plan, owner: str) -> tuple[int, int] | None:
    entry = plan.datasets.get(owner)
    return None if entry is None else entry.stored_size


def _mask_of_labels(plan: Plan, owner: str) -> ImageMask | None:
    """Pixels of labelled images that show a city's provider, and so are void.

    Images of a `folder` of labels are others than the provider's.
    """
    if owner in plan.datasets or isinstance(plan.city(owner).labels, FolderLabels):
        return None
    return city_mask(plan, owner)


def _identity(
    plan: Plan, owner: str, source: LabelledDataset, samples: Sequence[str]
) -> dict[str, object]:
    """What, beside its id, determines a sample's pixels."""
    if owner in plan.datasets:
        return plan.dataset(owner).identity(source, samples)
    city = plan.city(owner)
    provider = city.provider
    named = isinstance(provider, SimulatedProvider) and not provider.own_style
    files: dict[str, object] = {} if named else {"files": source.revision(samples)}
    if isinstance(city.labels, FolderLabels):
        hidden = {"root", "protocol", "evaluation_size"}
        files["labels"] = city.labels.model_dump(mode="json", exclude=hidden)
    # Of a style in a file counts what is in it, which is in the revision, not where it lies.
    telling = {"kind", "style", "city"} if named else {"kind", "city"}
    # As drawn in; of other images it is in what the files hold.
    light = {"lights": list(city.lights)} if named and city.lights is not None else {}
    return {
        "provider": provider.model_dump(include=telling),
        "seed": city.seed,
        "image_size": list(city.view_size),
        **light,
        **files,
        **mask_parameters(_mask_of_labels(plan, owner)),
    }


def _places_by_split(store: Store, pairs: ArtifactRef) -> dict[str, list[str]]:
    # As keys, of which each is there once: a list would be gone through for each of 100 000 pairs.
    places: dict[str, dict[str, None]] = {"train": {}, "test": {}}
    for row in read_rows(store, pairs, "pairs.parquet", PAIRS, ("split", "place_id")):
        places[row["split"]][row["place_id"]] = None
    return {split: list(found) for split, found in places.items()}


def _row(sample: str, read: Callable[[str], Row], is_same_key: Callable[[], bool]) -> Row:
    try:
        return {"sample": sample, **read(sample), "status": OK, "reason": None}
    except (DatasetError, ImageError) as error:
        if isinstance(error, UnreadableFileError):
            check_stays_unreadable(error, is_same_key)
        return {
            **dict.fromkeys(LABELLED.names),
            "sample": sample,
            "status": FAILED,
            "reason": as_text(" ".join(str(error).split())),
        }
