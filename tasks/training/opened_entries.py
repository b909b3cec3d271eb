"""`crosscity catalog check --deep`: all that the catalog names is opened, and nothing trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import cv2
import numpy as np

from adapters.catalog import CatalogError, PriorSettings, ServiceProvider, SimulatedLabels
from adapters.datasets.base import DatasetError, LabelledDataset
from adapters.datasets.files import FileDataset
from adapters.datasets.image_folder import ImageFolder
from adapters.file_names import as_text
from adapters.images import ImageError, image_size
from adapters.street_view.base import StreetViewError
from adapters.street_view.folder import FolderStreetView
from crosscity.labels import VOID
from crosscity.named_function import is_plug_in
from crosscity.prior_parts import MatcherSettings, build_matcher
from crosscity.segmenters import HuggingFaceSegmenter, Segmenter
from crosscity.segmenters.plug_in import check_shapes
from tasks.steps.counted import counted
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan
from tasks.training.label_ids import remark_on_ids
from tasks.training.labelled import labelled_set
from tasks.training.segmenters import starting_segmenter

_SPLITS: Final = ("train", "val", "test")
_READ: Final = 3
"""Samples of a split that are read, spread over it."""
_REAL_SIZE: Final = (360, 480)
_FAULTS: Final = (CatalogError, DatasetError, ImageError, InputError, StreetViewError, ValueError)


@dataclass(frozen=True)
class Finding:
    """What opening one entry of the catalog showed.

    Attributes:
        key: The dotted key of the entry.
        said: What was found, in a sentence.
        is_fault: Whether work with it would end.
    """

    key: str
    said: str
    is_fault: bool = False


def opened_entries(plan: Plan) -> Iterator[Finding]:
    """Opens each data set, city and segmenter of a plan; services are not asked."""
    for name in plan.datasets:
        yield _finding(f"datasets.{name}", partial(_data_set, plan, name))
    for name in plan.segmenters:
        yield _finding(f"segmenters.{name}", partial(_segmenter, plan, name))
    for name in plan.cities:
        yield _finding(f"cities.{name}", partial(_city, plan, name))


def _finding(key: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(key, look())
    except _FAULTS as error:
        said = " ".join(str(error).split()).removeprefix(f"{key}: ")
        return Finding(key, said, is_fault=True)


def _data_set(plan: Plan, name: str) -> str:
    source = labelled_set(plan, name, None)
    if not plan.dataset(name).has_labels:
        return _describe_pictures(source)
    return _describe_splits(source, [split for split in _SPLITS if _has_split(source, split)])


def _city(plan: Plan, name: str) -> str:
    city = plan.city(name)
    parts = []
    if isinstance(city.provider, ServiceProvider):
        parts.append("a service, which is not asked here")
    else:
        provider = city.provider.open(city.site(name, plan.root))
        if isinstance(provider, FolderStreetView):
            captures = provider.captures()
            rejected = len(provider.rejected())
            parts.append(f"{len(captures)} images, {rejected} files of other names")
            if city.provider.mask is not None:
                mask = city.provider.mask.open(plan.root, f"cities.{name}.provider.mask")
                for capture in captures[:: max(1, len(captures) // _READ)][:_READ]:
                    mask.pixels(image_size(provider.fetch(capture), capture.image_id))
                parts.append("its mask fits those that were examined")
        else:
            parts.append(f"its provider {provider.name} opens")
    if is_plug_in(city.prior.matcher):
        parts.append(_tried_matcher(city.prior))
    if city.labels is None:
        parts.append("no labels")
    elif isinstance(city.labels, SimulatedLabels):
        parts.append("exact labels")
    else:
        parts.append(_describe_splits(labelled_set(plan, name, None), ["test"]))
    return "; ".join(parts)


def _tried_matcher(settings: PriorSettings) -> str:
    """What a matcher of the user's own finds between a picture and itself, moved by two pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (*_REAL_SIZE, 3), dtype=np.uint8)
    picture = np.asarray(cv2.GaussianBlur(noise, (0, 0), 2.0), dtype=np.uint8)
    asked = MatcherSettings(settings.downscale, settings.search_radius)
    matches = build_matcher(settings.matcher, asked)(picture, np.roll(picture, 2, axis=1))
    return f"its matcher finds {counted(len(matches), 'match', 'matches')} where all is moved"


def _has_split(source: LabelledDataset, split: str) -> bool:
    try:
        return bool(source.samples(split))
    except DatasetError:
        return False


def _describe_splits(source: LabelledDataset, splits: list[str]) -> str:
    """Pairs of each split, what has no partner, and whether some samples can be read."""
    said, void = [], False
    for split in splits:
        if isinstance(source, FileDataset):
            matching = source.matching(split)
            counted = f"{split} {matching.pairs} pairs of image and label"
            rest = matching.unmatched()
            said.append(f"{counted}, {rest}" if rest else counted)
        else:
            said.append(f"{split} {len(source.samples(split))} samples")
        seen = _classes_seen(source, split)
        remark = remark_on_ids(source, seen or ())
        if remark:
            said[-1] += f" ({remark})"
        if seen is not None and not seen:
            if split != "test":
                raise InputError(f"the labels of {split} that were examined are all void")
            # As Cityscapes hands out its own: to be looked at, and not to be scored on.
            said[-1] += " (the labels that were examined are all void: nothing is scored on it)"
            void = True
    if void and len(said) == 1:
        raise InputError("the labels of test that were examined are all void")
    if not said:
        raise InputError("it has no samples in train, val or test")
    return "; ".join(said)


def _describe_pictures(source: LabelledDataset) -> str:
    """How many pictures each split has, how large some are, and what is left out."""
    said = []
    for split in _SPLITS:
        try:
            pictures = source.unlabelled(split)
        except DatasetError:
            continue
        step = max(1, len(pictures) // _READ)
        shapes = [source.read_image(one).shape for one in pictures[::step][:_READ]]
        sizes = dict.fromkeys(f"{height}×{width}" for height, width, _ in shapes)
        said.append(f"{split} {len(pictures)} images without labels ({', '.join(sizes)})")
    if not said:
        raise InputError("it has no images in train, val or test")
    if isinstance(source, ImageFolder) and source.left_out:
        types = ", ".join(sorted({path.suffix.lower() for path in source.left_out}))
        said.append(f"{len(source.left_out)} more are left out, as {types} is not read")
    if isinstance(source, ImageFolder) and source.unreadable:
        said.append(
            f"what is in {as_text(str(source.unreadable[0]))} is left out, as it cannot be read"
        )
    return "; ".join(said)


def _classes_seen(source: LabelledDataset, split: str) -> set[int] | None:
    """TrainIds in a few whole samples, where the set is in files of those that have both.

    Returns:
        ``None`` where there is no sample; nothing where all are void.
    """
    samples = list(source.samples(split))
    if isinstance(source, FileDataset):
        samples = source.pairs(split)
    step = max(1, len(samples) // _READ)
    chosen = samples[::step][:_READ]
    if not chosen:
        return None
    found = (np.unique(source.read(sample).train_ids) for sample in chosen)
    return {int(each) for train_ids in found for each in train_ids} - {VOID}


def _segmenter(plan: Plan, name: str) -> str:
    starting = starting_segmenter(plan, name, seed=0)
    segmenter = starting.segmenter
    sizes = sorted(_sizes(plan, name, segmenter))
    check_shapes(segmenter, sizes)
    shown = ", ".join(f"{height}×{width}" for height, width in sizes)
    state = "trained" if starting.is_trained else "to be pre-trained"
    remarks = "".join(f"; {remark}" for remark in starting.remarks)
    return f"{segmenter.n_classes} classes, {state}, takes images of {shown}{remarks}"


def _sizes(plan: Plan, name: str, segmenter: Segmenter) -> set[tuple[int, int]]:
    """The sizes of images that the catalog gives a segmenter, where it names them."""
    source = plan.segmenter(name).source
    found = [getattr(plan.datasets.get(source or ""), "image_size", None)]
    trainings = [one.training for one in plan.cities.values() if one.segmenter == name]
    trainings += [one.training for one in plan.transfers.values() if one.segmenter == name]
    found += [plan.training(training).image_size for training in trainings]
    sizes = {(int(size[0]), int(size[1])) for size in found if size not in (None, "auto")}
    fixed = segmenter.fixed_size if isinstance(segmenter, HuggingFaceSegmenter) else None
    return sizes or {fixed or _REAL_SIZE}
