"""Entries of a catalog that name others: that these are there, and go together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import get_args

from adapters.catalog.datasets import SimulatedSet
from adapters.catalog.model import Catalog
from adapters.catalog.protocols import BUILT_IN, OF_CITIES
from adapters.catalog.providers import ServiceProvider, SimulatedProvider
from adapters.catalog.recipes import BUILT_IN_RECIPES, WAYS, Arm
from adapters.catalog.running import STAGES, Deployed
from adapters.catalog.styles import is_file, style_names
from adapters.catalog.tree import Fault, Key
from crosscity.labels import CLASSES

Named = tuple[Key, str, str]
"""Where a name stands, the name, and the section that has an entry of it."""


def dangling_references(catalog: Catalog) -> Iterable[Fault]:
    """Names that point to an entry which is not there, or to one that does not go with the rest."""
    yield from _unknown(catalog, [*_of_the_catalog(catalog), *_of_entries(catalog)])
    yield from _hidden_arms(catalog)
    yield from _unknown(catalog, _of_recipes(catalog))
    yield from _styles(catalog)
    yield from _shared_names(catalog)
    yield from _without_labels(catalog)
    yield from _protocols(catalog)
    yield from _arms(catalog)
    yield from _arms_of_transfers(catalog)
    yield from _stages(catalog)


def _unknown(catalog: Catalog, named: Iterable[Named]) -> Iterable[Fault]:
    """Those names of which a section has no entry."""
    for key, name, section in named:
        known: Collection[str] = getattr(catalog, section)
        if name not in known:
            listed = ", ".join(sorted(known)) or "nothing"
            yield key, f"`{section}` has no entry {name!r}; it has {listed}"


def _of_the_catalog(catalog: Catalog) -> Iterable[Named]:
    yield ("store",), catalog.store, "stores"
    yield ("compute",), catalog.compute, "computes"
    for flow, one in catalog.deployments.items():
        if one.compute is not None:
            yield ("deployments", flow, "compute"), one.compute, "computes"


def _of_entries(catalog: Catalog) -> Iterable[Named]:
    for name, entry in catalog.segmenters.items():
        if entry.source is not None:
            yield ("segmenters", name, "source"), entry.source, "datasets"
    for name, transfer in catalog.transfers.items():
        yield ("transfers", name, "segmenter"), transfer.segmenter, "segmenters"
        yield ("transfers", name, "target"), transfer.target, "datasets"
        yield ("transfers", name, "training"), transfer.training, "trainings"
    for name, city in catalog.cities.items():
        yield ("cities", name, "segmenter"), city.segmenter, "segmenters"
        yield ("cities", name, "training"), city.training, "trainings"
        if isinstance(city.provider, ServiceProvider) and city.provider.account is not None:
            yield ("cities", name, "provider", "account"), city.provider.account, "accounts"


def _of_recipes(catalog: Catalog) -> Iterable[Named]:
    for name, recipe in catalog.recipes.items():
        if recipe.teacher is not None:
            yield ("recipes", name, "teacher"), recipe.teacher, "segmenters"
        if recipe.flag_rates_of is not None:
            yield ("recipes", name, "flag_rates_of"), recipe.flag_rates_of, "cities"
        if recipe.labels is not None and recipe.labels.dataset is not None:
            yield ("recipes", name, "labels", "dataset"), recipe.labels.dataset, "datasets"


def _hidden_arms(catalog: Catalog) -> Iterable[Fault]:
    """Recipes of the name of an arm that there is."""
    for name in catalog.recipes:
        if name in WAYS:
            yield ("recipes", name), "there is an arm of this name already: rename it"


def _stages(catalog: Catalog) -> Iterable[Fault]:
    """Runs that start others, where there are none, or where they could wait for their own end."""
    for flow, one in catalog.deployments.items():
        if one.stages == "here":
            continue
        if flow != "readapt-city":
            yield ("deployments", flow, "stages"), "only readapt-city has stages: leave it out"
            continue
        for other in STAGES:
            if catalog.deployments.get(other, Deployed()).pool == one.pool:
                yield (
                    ("deployments", flow, "stages"),
                    f"readapt-city waits for runs of {other} in its own work pool {one.pool!r}: "
                    "where that is full of waiting runs, none could begin; name another pool for "
                    "readapt-city",
                )
                break


def _styles(catalog: Catalog) -> Iterable[Fault]:
    """Styles of simulated cities that do not come with the project."""
    named: list[tuple[Key, str]] = [
        (("cities", name, "provider", "style"), city.provider.style)
        for name, city in catalog.cities.items()
        if isinstance(city.provider, SimulatedProvider)
    ]
    named += [
        (("datasets", name, "style"), entry.style)
        for name, entry in catalog.datasets.items()
        if isinstance(entry, SimulatedSet)
    ]
    for key, style in named:
        if not is_file(style) and style not in style_names():
            known = ", ".join(style_names())
            yield key, f"there is no style {style[:80]!r}; there are {known}, or name a .toml file"


def _arms(catalog: Catalog) -> Iterable[Fault]:
    """Arms of cities that there are not, or that the city cannot be adapted by."""
    for name, city in catalog.cities.items():
        here = ("cities", name, "arm")
        known = dict.fromkeys([*get_args(Arm), *BUILT_IN_RECIPES, *catalog.recipes])
        if city.arm not in known:
            yield (
                here,
                f"there is no arm {city.arm[:80]!r} to adapt by; arms are {', '.join(known)}",
            )
            continue
        asked_for = "arm" in city.model_fields_set or city.schedule or city.watch_schedule
        segmenter = catalog.segmenters.get(city.segmenter)
        way = WAYS.get(city.arm)
        lacks_source = segmenter is not None and segmenter.source is None
        if asked_for and way == "adaptation" and lacks_source:
            yield (
                here,
                f"the arm {city.arm!r} trains on images of the source set, and "
                f"segmenters.{city.segmenter} has no source: name it there, or write arm: "
                "source_free",
            )
        recipe = catalog.recipes.get(city.arm)
        if recipe is not None and recipe.prior == "probability" and not city.prior.is_calibrated:
            yield (
                here,
                f"the arm {city.arm!r} weighs by the probability that a pixel is static, which "
                f"matches of {city.prior.matcher!r} have not: write prior: veto in the recipe, or "
                "matcher: deep_matching in the city",
            )
        if way == "fine_tuning" and not city.labelled_training_places:
            yield (
                here,
                f"no training place of the city has a label, so the arm {city.arm!r} has nothing "
                "to train on: name another arm",
            )


def _arms_of_transfers(catalog: Catalog) -> Iterable[Fault]:
    """Arms of transfers that there are not, or that lack a source or labels."""
    for name, transfer in catalog.transfers.items():
        here, arm = ("transfers", name, "arm"), transfer.arm
        segmenter = catalog.segmenters.get(transfer.segmenter)
        target = catalog.datasets.get(transfer.target)
        if arm is None or segmenter is None or target is None:
            continue
        known = dict.fromkeys([*get_args(Arm), *BUILT_IN_RECIPES, *catalog.recipes])
        if arm not in known or WAYS.get(arm) == "none":
            yield here, f"there is no arm {arm[:80]!r} to adapt by; arms are {', '.join(known)}"
        elif WAYS.get(arm) == "adaptation" and segmenter.source is None:
            yield (
                here,
                f"the arm {arm!r} trains on images of the source set, and "
                f"segmenters.{transfer.segmenter} has no source: name it there, or remove arm",
            )
        elif WAYS.get(arm) == "fine_tuning" and not target.has_labels:
            yield (
                here,
                f"datasets.{transfer.target} has no labels, so the arm {arm!r} has nothing to "
                "train on: name another arm",
            )


def _without_labels(catalog: Catalog) -> Iterable[Fault]:
    """Sets without labels where labels are read."""
    named: list[tuple[Key, str | None, str]] = [
        (("segmenters", name, "source"), one.source, "a segmenter can be pre-trained on")
        for name, one in catalog.segmenters.items()
    ]
    named += [
        (("recipes", name, "labels", "dataset"), one.labels.dataset, "a recipe can learn from")
        for name, one in catalog.recipes.items()
        if one.labels is not None
    ]
    for key, name, what in named:
        entry = catalog.datasets.get(name or "")
        if entry is not None and not entry.has_labels:
            yield key, f"datasets.{name} has no labels that {what}: name a set that has some"


def _protocols(catalog: Catalog) -> Iterable[Fault]:
    """Protocols that are not there, or hide one that is, or count what nobody predicts."""
    named: list[tuple[Key, str, tuple[str, ...]]] = [
        (("cities", name, "labels", "protocol"), city.labels.protocol, OF_CITIES)
        for name, city in catalog.cities.items()
        if city.labels is not None
    ]
    named += [
        (("transfers", name, "protocol"), transfer.protocol, BUILT_IN)
        for name, transfer in catalog.transfers.items()
        if transfer.protocol is not None
    ]
    for key, protocol, built_in in named:
        if protocol not in (*built_in, *catalog.protocols):
            known = ", ".join((*built_in, *catalog.protocols))
            yield key, f"there is no protocol {protocol!r} here; there are {known}"
    predicted = {road_class.name for road_class in CLASSES}
    for segmenter in catalog.segmenters.values():
        names = segmenter.options.get("class_names")
        predicted |= {str(name) for name in names} if isinstance(names, list) else set()
    for name, entry in catalog.protocols.items():
        if name in BUILT_IN:
            yield ("protocols", name), "there is a protocol of this name already: rename it"
        reached = {entry.counted(theirs) for theirs in predicted}
        for lost in (one for one in entry.scored if one not in reached):
            yield (
                ("protocols", name, "prediction"),
                f"no class of a segmenter of the catalog counts as {lost!r}, so its IoU would "
                "always be 0: say in prediction which does, or count its truth as another class",
            )
        for theirs in entry.prediction:
            if theirs not in predicted | set(entry.scored):
                yield (
                    ("protocols", name, "prediction", theirs),
                    "no segmenter of the catalog has such a class (class_names in its options)",
                )


def _shared_names(catalog: Catalog) -> Iterable[Fault]:
    """Names of two entries that the store and the flows could not tell apart."""
    owners: dict[str, Mapping[str, object]] = {
        "datasets": catalog.datasets,
        "cities": catalog.cities,
        "transfers": catalog.transfers,
        # They keep their artifacts under their own name, for want of a source's.
        "segmenters": {n: one for n, one in catalog.segmenters.items() if one.source is None},
    }
    taken: dict[str, str] = {}
    for section, entries in owners.items():
        for name in entries:
            first = taken.setdefault(name, section)
            if first != section:
                yield (
                    (section, name),
                    f"`{first}` has an entry of this name too, and labels and results are kept by "
                    "name: rename one of the two",
                )
