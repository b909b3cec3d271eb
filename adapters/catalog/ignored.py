"""Settings that are valid by themselves and that nothing reads where they stand.

Whoever writes such a setting believes that it does something, so it is an error. Only what a file
says counts, not defaults; what is written as null or empty says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from adapters.catalog.datasets import DatasetEntry, FolderSet, ImagesSet, PluggedSet
from adapters.catalog.entry import Entry
from adapters.catalog.masks import MaskEntry
from adapters.catalog.model import Catalog, City, SegmenterEntry, SimulatedLabels, Transfer
from adapters.catalog.providers import (
    FolderProvider,
    GoogleProvider,
    KartaViewProvider,
    ServiceProvider,
    SimulatedProvider,
)
from adapters.catalog.running import StoreEntry
from adapters.catalog.tree import Fault
from crosscity.named_function import is_plug_in

_OF_A_FOLDER: Final = {
    "area": "a folder's images have no positions",
    "places": "all images of a folder are harvested",
    "test_places": "a folder's test images are those in Images/Test",
    "seed": "all images of a folder are harvested, and its Images/Test is the test",
    "min_days_apart": "a folder's images have no dates",
    "max_metres_apart": "a folder's images have no positions",
    "test_margin_metres": "a folder's images have no positions",
}
"""Settings of a city whose images lie in a folder, and why nothing reads them."""
_BILLED: Final = "google"
"""The kind of provider whose requests cost money."""


def ignored_settings(catalog: Catalog) -> Iterator[Fault]:
    """Settings of a catalog that nothing reads, each with its key and what to do."""
    for name, city in catalog.cities.items():
        yield from _with_key_before(("cities", name), _of_city(city))
    for name, segmenter in catalog.segmenters.items():
        yield from _with_key_before(("segmenters", name), _of_segmenter(segmenter))
    for name, dataset in catalog.datasets.items():
        yield from _with_key_before(("datasets", name), _of_set(dataset))
    for name, transfer in catalog.transfers.items():
        yield from _with_key_before(("transfers", name), _of_transfer(transfer, catalog))
    for name, store in catalog.stores.items():
        yield from _with_key_before(("stores", name), _of_store(store))
    yield from _of_accounts(catalog)
    for name, recipe in catalog.recipes.items():
        labels = recipe.labels
        if labels is not None and labels.chosen == "suggested" and "seed" in _given_fields(labels):
            yield (
                ("recipes", name, "labels", "seed"),
                "suggested places are not drawn by a seed: remove seed, or write chosen: random",
            )
    for name, training in catalog.trainings.items():
        if training.safeguard.mode == "off":
            for setting in sorted(_given_fields(training.safeguard) - {"mode"}):
                yield (
                    ("trainings", name, "safeguard", setting),
                    f"with mode off nothing is examined: remove {setting}",
                )


def _given_fields(entry: Entry) -> set[str]:
    """The fields that a file gives a value."""
    given = {field: getattr(entry, field) for field in entry.model_fields_set}
    empty: tuple[object, ...] = (None, {}, [])
    return {field for field, value in given.items() if value not in empty}


def _with_key_before(here: tuple[str, ...], faults: Iterator[Fault]) -> Iterator[Fault]:
    return (((*here, *key), sentence) for key, sentence in faults)


def _of_city(city: City) -> Iterator[Fault]:
    written, provider = _given_fields(city), city.provider
    if isinstance(provider, FolderProvider):
        for setting in _OF_A_FOLDER:
            if setting in written:
                yield (setting,), f"{_OF_A_FOLDER[setting]}: remove {setting}"
    if "lookback_days" in written and not isinstance(provider, ServiceProvider):
        yield (
            ("lookback_days",),
            "watch-city compares all that there is with what it has, except at services: remove "
            "lookback_days",
        )
    if "lights" in written and provider.without_light is not None:
        yield ("lights",), f"{provider.without_light}: remove lights"
    if city.area is not None:
        yield from _with_key_before(("area",), _of_area(city))
    if isinstance(city.labels, SimulatedLabels) and not isinstance(provider, SimulatedProvider):
        yield (
            ("labels", "kind"),
            f"only simulated cities have exact labels, and this one is of {provider.kind}: give "
            "labels of the kind folder or cross_city, or remove them",
        )
    if isinstance(provider, ServiceProvider):
        yield from _with_key_before(("provider",), _of_service(provider))
    if provider.mask is not None and not provider.has_own_sizes:
        yield from _with_key_before(("provider", "mask"), _of_mask(provider.mask, city.view_size))
    prior = _given_fields(city.prior)
    if is_plug_in(city.prior.matcher) and "search_radius" in prior:
        yield (
            ("prior", "search_radius"),
            "a matcher of your own is not given it: set it in your function, and remove it here",
        )
    if city.prior.neighbours == 0 and "tolerance" in prior:
        yield (
            ("prior", "tolerance"),
            "with neighbours 0 no displacements are compared: remove tolerance, or ask for "
            "neighbours",
        )


def _of_mask(mask: MaskEntry, size: tuple[int, int]) -> Iterator[Fault]:
    """Polygons that lie beside images of a (height, width)."""
    for number, polygon in enumerate(mask.polygons, 1):
        across, down = zip(*polygon, strict=True)
        if max(across) <= 0 or max(down) <= 0 or min(across) >= size[1] or min(down) >= size[0]:
            yield (
                (),
                f"polygon {number} lies beside the images, which are {size[0]}×{size[1]} pixels "
                "high and wide: corners are [x, y] from the upper left corner",
            )


def _of_area(city: City) -> Iterator[Fault]:
    area = city.area
    if area is None:
        return
    if "point_metres" in _given_fields(area) and area.points is None:
        yield ("point_metres",), "it is about points, and there are none: remove point_metres"
    if isinstance(city.provider, SimulatedProvider) and area.bbox is None:
        kind = "geojson" if area.geojson is not None else "points"
        yield (kind,), "a simulated city fills a rectangle: give it as bbox"


def _of_service(provider: ServiceProvider) -> Iterator[Fault]:
    written = _given_fields(provider)
    if isinstance(provider, GoogleProvider):
        if "history_url" in written and not provider.unofficial_history:
            yield (
                ("history_url",),
                "it is asked only with unofficial_history: true: remove history_url",
            )
    elif "usd" in _given_fields(provider.budget):
        yield (
            ("budget", "usd"),
            f"{provider.kind} bills nothing: limit requests or megabytes, and remove usd",
        )
    photographs = isinstance(provider, KartaViewProvider) and not provider.panoramas_only
    if "assumed_fov" in written and not photographs:
        yield (
            ("assumed_fov",),
            "it is about photographs, which panoramas_only leaves out: remove assumed_fov",
        )


def _of_accounts(catalog: Catalog) -> Iterator[Fault]:
    """Limits in dollars where none of those who share an account is billed."""
    for name, account in catalog.accounts.items():
        kinds = {
            city.provider.kind
            for city in catalog.cities.values()
            if isinstance(city.provider, ServiceProvider) and city.provider.account == name
        }
        if not kinds or _BILLED in kinds:
            continue
        for period in ("day", "month"):
            if "usd" in _given_fields(getattr(account, period)):
                yield (
                    ("accounts", name, period, "usd"),
                    f"who asks with it bills nothing ({', '.join(sorted(kinds))}): limit requests "
                    "or megabytes, and remove usd",
                )


def _of_segmenter(entry: SegmenterEntry) -> Iterator[Fault]:
    if entry.weights is not None and entry.pretraining:
        yield (
            ("pretraining",),
            "weights are taken as they are, and nothing is pre-trained: remove pretraining, or "
            "give them as backbone_weights",
        )


def _of_transfer(transfer: Transfer, catalog: Catalog) -> Iterator[Fault]:
    """What is about a score where nothing is scored, and splits that pictures do not have."""
    target, written = catalog.datasets.get(transfer.target), _given_fields(transfer)
    if target is None:
        return  # told as such
    if isinstance(target, ImagesSet) and transfer.target_split != "train":
        yield (
            ("target_split",),
            f"all pictures of datasets.{transfer.target} are of the split train: remove "
            "target_split",
        )
    if transfer.scored_on(target) is not None:
        return
    why = "test_split is null" if target.has_labels else f"datasets.{transfer.target} has no labels"
    for setting in ("test_split", "evaluation_size"):
        if setting in written:
            yield (setting,), f"{why}, so nothing is scored: remove {setting}"


def _of_set(entry: DatasetEntry) -> Iterator[Fault]:
    written = _given_fields(entry)
    if isinstance(entry, PluggedSet) and not entry.labelled and "test_split" in written:
        yield (
            ("test_split",),
            "a set without labels is not scored on: remove test_split",
        )
    if isinstance(entry, FolderSet):
        yield from _of_folder_set(entry)


def _of_folder_set(entry: FolderSet) -> Iterator[Fault]:
    if "splits" in _given_fields(entry) and "{split}" not in entry.images:
        yield (
            ("splits",),
            "images has no {split} in its folder, so all of them are of train: remove splits, or "
            "write images: .../{split}",
        )


def _of_store(entry: StoreEntry) -> Iterator[Fault]:
    scheme, separator, _ = entry.url.partition("://")
    if entry.url.startswith("${") or (separator and scheme not in {"file", "local"}):
        return
    reasons: Mapping[str, str] = {
        "options": "a folder is opened without options: remove them",
        "patience_minutes": "it is about a store behind a network, and this is a folder: remove "
        "patience_minutes",
        "pack": "files of a folder cost no requests, so they stay apart there: remove pack",
    }
    for setting, reason in reasons.items():
        if setting in _given_fields(entry):
            yield (setting,), reason
