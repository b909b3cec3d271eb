"""No setting of the catalog is ignored where it stands: it decides something, or it is refused.

Every field of every entry is set to another value in a catalog of each kind that may have it. Then
either the catalog is refused with that field's line, or what the product makes of the catalog is
another: the provider, data set, matcher or store that it opens, or the parameters of its steps.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any, Final

import numpy as np
import pytest
import yaml
from PIL import Image
from pydantic import BaseModel

from adapters.catalog import CatalogError
from adapters.catalog.areas import Area
from adapters.catalog.model import City, Predictions, PriorSettings, QualitySettings
from adapters.catalog.providers import (
    BudgetEntry,
    FolderProvider,
    GoogleProvider,
    KartaViewProvider,
    MapillaryProvider,
    PanoramaxProvider,
    ServiceProvider,
    SimulatedProvider,
)
from crosscity.prior_parts import MatcherSettings, build_matcher
from flows.deployments import deployment_entries
from tasks.harvesting.accounts import account_name
from tasks.harvesting.fetching import alignment_of
from tasks.harvesting.harvest import _part_parameters
from tasks.harvesting.listing import listing_parameters
from tasks.harvesting.pair_table import pair_parameters
from tasks.harvesting.providers import street_view
from tasks.harvesting.quality import quality_limits, quality_parameters
from tasks.priors.identities import prior_parameters
from tasks.steps.plan import open_plan
from tasks.steps.settings import open_catalog
from tasks.training.identities import adaptation_parameters

QUICK_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
QUICK_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
BBOX = {"bbox": [139.7, 35.6, 139.8, 35.7]}
SERVICES = ("panoramax", "mapillary", "kartaview", "google")
OTHER: Final[dict[type[BaseModel], dict[str, Any]]] = {
    City: {
        "area": {"bbox": [139.7, 35.6, 139.75, 35.7]},
        "places": 9,
        "test_places": 3,
        "seed": 8,
        "min_days_apart": 77.0,
        "max_metres_apart": 3.5,
        "times": 3,
        "lights": ["day", "night"],
        "image_size": [96, 128],
        "pairs_per_part": 3,
        "failure_limit": 0.5,
        "schedule": "0 3 * * 1",
        "watch_schedule": "0 4 * * 2",
        "lookback_days": 5.0,
        "test_margin_metres": 12.5,
        "training_seed": 4,
        "priority": 3,
        "arm": "ga",
        "training": "other",
        "segmenter": "other",
    },
    SimulatedProvider: {"style": "rome", "mask": [[0, 0], [9, 0], [9, 9]]},
    FolderProvider: {
        "root": "elsewhere",
        "city": "Rome",
        "licence": "CC-BY-4.0",
        "attribution": "somebody",
        "mask": [[0, 0], [9, 0], [9, 9]],
    },
    PanoramaxProvider: {"licences": ["CC0-1.0"]},
    MapillaryProvider: {"token": "MLY|1|a"},
    KartaViewProvider: {"assumed_fov": 65.0},
    GoogleProvider: {
        "key": "another",
        "agreement": "another contract",
        "unofficial_history": True,
        "history_url": "https://example.org",
        "usd_per_request": 0.5,
    },
    Predictions: {
        "segmenter": "promoted:tokyo",
        "ids": "trainIds",
        "overlays": True,
        "confidence": True,
    },
    BudgetEntry: {"requests": 7, "megabytes": 8.5, "usd": 9.5},
    PriorSettings: {
        "preset": "paper",
        "matcher": "dis",
        "superpixel_method": "slic",
        "downscale": 2,
        "search_radius": 33,
        "superpixels": 11,
        "superpixel_downscale": 2,
        "k": 4,
        "coverage": 0.5,
        "weakest": 0.5,
        "neighbours": 3,
        "tolerance": 2.5,
    },
    QualitySettings: {
        "night": 9.0,
        "blur": 0.3,
        "overexposed": 0.5,
        "obstructed": 0.5,
        "turned": 9.0,
    },
    Area: {
        "bbox": [139.7, 35.6, 139.75, 35.7],
        "geojson": {
            "type": "Polygon",
            "coordinates": [[[139.7, 35.6], [139.8, 35.6], [139.8, 35.7], [139.7, 35.6]]],
        },
        "points": [[139.75, 35.65]],
        "point_metres": 44.0,
    },
}
OF_SERVICES: Final[dict[str, Any]] = {
    "base_url": "https://example.org",
    "hosts": ["pictures.example.org"],
    "requests_per_second": 3.5,
    "concurrency": 3,
    "account": "shared",
    "captured_after": "2019-01-01",
    "captured_before": "2020-01-01",
    "panoramas_only": True,
    "headings": [90.0],
    "pitch": 5.0,
    "fov": 80.0,
    "place_metres": 33.0,
    "tile_metres": 333.0,
    "search_degrees": 11.0,
    "min_overlap": 0.5,
    "mask": [[0, 0], [9, 0], [9, 9]],
}
SHOWN_ELSEWHERE: Final = {
    "failure_limit": "tests/flows/test_bad_input.py",
    "lookback_days": "tests/tasks/test_watch.py",
    "priority": "tests/adapters/store/test_turns.py",
    "training_seed": "tests/flows/test_promotion.py",
    "arm": "tests/flows/test_promotion.py",
}
"""Settings of a city that are read while a flow runs, and the tests that show what they do."""


def made_with(value: object, depth: int = 0) -> Any:  # noqa: PLR0911 - one for each type
    """What an object was built with, without where in memory it lies."""
    if depth > 12:
        return type(value).__name__
    if value is None or isinstance(value, str | bytes | int | float | complex):
        return repr(value)
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, Mapping):
        return sorted((repr(k), repr(made_with(v, depth + 1))) for k, v in value.items())
    if isinstance(value, set | frozenset):
        return sorted(repr(made_with(v, depth + 1)) for v in value)
    if isinstance(value, Sequence):
        return [made_with(v, depth + 1) for v in value]
    if isinstance(value, functools.partial):
        inner = (value.func, value.args, value.keywords)
        return [made_with(v, depth + 1) for v in inner]
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return [value.__qualname__, made_with(cells, depth + 1)]
    if isinstance(value, BaseModel):
        return made_with(value.model_dump(), depth + 1)
    inside = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = getattr(kind, "__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            if hasattr(value, name):
                inside[name] = getattr(value, name)
    return [type(value).__name__, made_with(inside, depth + 1)]


def streets(city: Path) -> None:
    for side, place in (("Train", 1), ("Test", 2)):
        (city / "Images" / side).mkdir(parents=True, exist_ok=True)
        for time in (0, 1):
            name = f"pano_{place:05d}_{time}_090.png"
            Image.new("RGB", (64, 48), "grey").save(city / "Images" / side / name)


@pytest.fixture
def entries(write_catalog, tmp_path, monkeypatch) -> Any:
    """Gives the document of a catalog whose city is of that kind, and the folder it lies in."""
    monkeypatch.setenv("MAPILLARY_TOKEN", "MLY|123|abc")
    monkeypatch.setenv("GOOGLE_MAPS_API_KEY", "key")

    def made(kind: str) -> dict[str, Any]:
        provider: dict[str, Any] = {"kind": kind}
        city: dict[str, Any] = {"provider": provider, "area": BBOX}
        if kind == "folder":
            for root, name in itertools.product(("streets", "elsewhere"), ("tokyo", "rome")):
                streets(tmp_path / root / name)
            provider |= {"root": "streets", "licence": "CC0-1.0", "attribution": "x"}
            del city["area"]
        if kind == "google":
            provider["agreement"] = "contract"
        path = write_catalog(
            tmp_path,
            city=city,
            segmenters={
                "other": {"architecture": "compact", "source": "frankfurt"},
            },
            trainings={"other": {"preset": "demo", "checkpoint_every": 9}},
            accounts={"shared": {"requests_per_second": 2}},
        )
        document: dict[str, Any] = yaml.load(path.read_text(), QUICK_LOADER)  # noqa: S506 - a safe one
        return document

    return made


def of_city(path: Path) -> Any:
    """All that decides what is made of the city of a catalog."""
    plan = open_plan(path, city="tokyo")
    city = plan.city("tokyo")
    provider = street_view(plan, "tokyo")
    found: list[Any] = [
        made_with(provider),
        provider.captures() if city.provider.kind in ("simulated", "folder") else None,
        listing_parameters(city, provider) if city.provider.kind in SERVICES else None,
        pair_parameters(city),
        prior_parameters("tokyo", plan),
        quality_parameters(quality_limits(city)),
        alignment_of(city),
        account_name(city.provider) if isinstance(city.provider, ServiceProvider) else None,
        _part_parameters(city, 0),
        deployment_entries(open_catalog(path), "c"),
        city.segmenter,
        adaptation_parameters("tokyo", "full", 0, plan),
        plan.training(city.training).checkpoint_every,
        city.predictions,
        made_with(build_matcher(city.prior.matcher, MatcherSettings())),
    ]
    return repr(made_with(found))


def changed(document: dict[str, Any], key: Sequence[str], value: object) -> dict[str, Any]:
    other = copy.deepcopy(document)
    inside = other
    for part in key[:-1]:
        inside = inside.setdefault(part, {})
    inside[key[-1]] = value
    return other


def cases() -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """(kind of provider, key below the city, another value)."""
    providers = {
        "simulated": SimulatedProvider,
        "folder": FolderProvider,
        "panoramax": PanoramaxProvider,
        "mapillary": MapillaryProvider,
        "kartaview": KartaViewProvider,
        "google": GoogleProvider,
    }
    for kind, provider in providers.items():
        for field, value in OTHER[City].items():
            yield kind, (field,), value
        own = {**(OF_SERVICES if kind in SERVICES else {}), **OTHER[provider]}
        for field, value in own.items():
            yield kind, ("provider", field), value
        for field, value in OTHER[PriorSettings].items():
            yield kind, ("prior", field), value
        for field, value in OTHER[QualitySettings].items():
            yield kind, ("quality", field), value
        for field, value in OTHER[Predictions].items():
            yield kind, ("predictions", field), value
        for field, value in OTHER[Area].items():
            yield kind, ("area", field), value
        if kind in SERVICES:
            for field, value in OTHER[BudgetEntry].items():
                yield kind, ("provider", "budget", field), value


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    list(cases()),
    ids=lambda v: ".".join(v) if isinstance(v, tuple) else None,
)
def test_a_setting_of_a_city_decides_something_or_is_refused(
    entries, tmp_path, kind, key, value
) -> None:
    if key[-1] in SHOWN_ELSEWHERE and kind in SERVICES:
        return
    path = tmp_path / "data_catalog.yaml"
    document = entries(kind)
    path.write_text(yaml.dump(document, Dumper=QUICK_DUMPER))
    before = of_city(path)
    assert of_city(path) == before
    if key[0] == "area" and key[-1] != "point_metres":
        document["cities"]["tokyo"].pop("area", None)
    path.write_text(
        yaml.dump(changed(document, ("cities", "tokyo", *key), value), Dumper=QUICK_DUMPER)
    )
    try:
        after = of_city(path)
    except CatalogError as error:
        text = str(error)
        assert "\n" not in text
        assert f"{path}:" in text
        assert f"cities.tokyo.{key[0]}" in text
        assert any(word in text for word in ("remove", "give it as", "either", key[-1]))
        return
    if key[-1] in SHOWN_ELSEWHERE and key[-1] != "lookback_days":
        return
    assert after != before, f"{'.'.join(key)} does nothing for a city of {kind}"


def test_every_setting_of_a_city_is_tried() -> None:
    """A field that is added to an entry is added here too, or this fails."""
    entries = ("provider", "labels", "prior", "quality", "predictions")
    tried = {**OTHER[City], **dict.fromkeys(entries)}
    assert set(City.model_fields) == set(tried)
    for model in (PriorSettings, QualitySettings, Predictions, BudgetEntry, Area):
        assert set(model.model_fields) == set(OTHER[model])
    for model in (PanoramaxProvider, MapillaryProvider, KartaViewProvider, GoogleProvider):
        assert set(model.model_fields) == {*OF_SERVICES, *OTHER[model], "kind", "budget"}
    for model in (SimulatedProvider, FolderProvider):
        assert set(model.model_fields) == {*OTHER[model], "kind"}


def refused(path: Path, document: dict[str, Any]) -> str:
    path.write_text(yaml.dump(document, Dumper=QUICK_DUMPER, sort_keys=False))
    with pytest.raises(CatalogError) as error:
        open_catalog(path)
    text = str(error.value)
    assert "\n" not in text
    number = int(text.removeprefix(f"{path}:").partition(":")[0])
    named = text.split(": ")[1].rpartition(".")[2]
    assert path.read_text().splitlines()[number - 1].strip(" -").startswith(f"{named}:")
    return text


FRANKFURT = {"architecture": "compact", "source": "frankfurt"}
IGNORED: Final[list[tuple[tuple[str, ...], Any, str]]] = [
    (("segmenters", "s"), {**FRANKFURT, "weights": "w.pth", "pretraining": {"steps": 3}},
     "segmenters.s.pretraining: weights are taken as they are"),
    (("segmenters", "s"), {**FRANKFURT, "pretraining": {"momentum": 0.5}},
     "segmenters.s.pretraining.momentum: it is of sgd, and the optimiser is adam"),
    (("segmenters", "s"),
     {**FRANKFURT, "pretraining": {"class_balance": 0, "balanced_predictions": True}},
     "balanced_predictions: it keeps class weights, and class_balance is 0"),
    (("segmenters", "s"), {**FRANKFURT, "pretraining": {"patience": 2}},
     "segmenters.s.pretraining.patience: it is of until: plateau"),
    (("segmenters", "s"), {**FRANKFURT, "pretraining": {"until": "plateau", "schedule": "poly"}},
     "segmenters.s.pretraining.schedule: until: plateau has a course"),
    (("trainings", "t"), {"preset": "demo", "fine_tuning": {"momentum": 0.5}},
     "trainings.t.fine_tuning.momentum: it is of sgd"),
    (("trainings", "t"), {"preset": "lab", "adaptation": {"balanced_predictions": True}},
     "trainings.t.adaptation.balanced_predictions: it keeps class weights"),
    (("trainings", "t"),
     {"preset": "demo", "adaptation": {"discriminator_hidden": [], "discriminator_dropout": 0.5}},
     "discriminator_dropout: it follows hidden layers, and none is"),
    (("trainings", "t"),
     {"preset": "demo", "source_free": {"statistics": 0, "statistics_images": 9}},
     "statistics_images: they are measured"),
    (("trainings", "t"), {"preset": "demo", "source_free": {"batch_size": 1, "mix": True}},
     "mix: it puts one image"),
    (("trainings", "t"), {"preset": "demo", "safeguard": {"mode": "off", "drift": 0.2}},
     "trainings.t.safeguard.drift: with mode off nothing is examined: remove drift"),
    (("stores", "here"), {"url": "folder", "options": {"key": "x"}},
     "stores.here.options: a folder is opened without options"),
    (("stores", "here"), {"url": "folder", "pack": True},
     "stores.here.pack: files of a folder cost no requests"),
    (("stores", "here"), {"url": "file:///folder", "patience_minutes": 3},
     "stores.here.patience_minutes: it is about a store behind a network"),
    (("datasets", "d"),
     {"kind": "folder", "root": "x", "label_map": "labelIds", "images": "i", "labels": "l",
      "splits": {"val": "v"}},
     "datasets.d.splits: images has no {split}"),
    (("cities", "tokyo", "prior"), {"matcher": "python:a.b:c", "search_radius": 9},
     "prior.search_radius: a matcher of your own is not given it"),
    (("cities", "tokyo", "prior"), {"neighbours": 0, "tolerance": 2},
     "prior.tolerance: with neighbours 0"),
    (("accounts", "shared", "month"), {"usd": 3},
     "accounts.shared.month.usd: who asks with it bills nothing"),
    (("recipes", "r"),
     {"objectives": [{"objective": "self_training"}, {"objective": "few_labels"}],
      "labels": {"places": 4, "seed": 3}},
     "recipes.r.labels.seed: suggested places are not drawn by a seed"),
    (("cities", "tokyo", "lookback_days"), 3, "lookback_days: watch-city compares all"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "said"), IGNORED)
def test_what_would_be_ignored_is_refused_with_its_line(entries, tmp_path, key, value, said):
    document = changed(entries("panoramax" if key[0] == "accounts" else "simulated"), key, value)
    if key[0] == "accounts":
        document["cities"]["tokyo"]["provider"]["account"] = key[1]
    assert said in refused(tmp_path / "data_catalog.yaml", document)


def test_what_is_written_as_nothing_is_not_a_setting(entries, tmp_path):
    document = entries("folder")
    document["cities"]["tokyo"] |= {"area": None, "labels": None}
    document["segmenters"]["other"] |= {"pretraining": {}, "rename": {}, "weights": "w.pth"}
    document["stores"]["local"] |= {"options": {}}
    document["stores"]["away"] = {"url": "s3://b", "options": {"key": "k"}, "patience_minutes": 1}
    document["stores"]["somewhere"] = {"url": "${PLACE}", "patience_minutes": 1}
    path = tmp_path / "data_catalog.yaml"
    path.write_text(yaml.dump(document, Dumper=QUICK_DUMPER))
    plan = open_plan(path)
    assert type(plan).from_json(plan.to_json()) == plan


def test_labels_of_simulated_cities_alone_are_exact(entries, tmp_path):
    document = entries("panoramax")
    document["cities"]["tokyo"]["labels"] = {"kind": "simulated"}
    said = refused(tmp_path / "data_catalog.yaml", document)
    assert "cities.tokyo.labels.kind: only simulated cities have exact labels" in said


def test_a_plan_of_a_safeguard_that_is_off_survives_json(write_catalog, tmp_path):
    """What a file does not say is written into a plan, and is not what somebody set."""
    off = {"demo": {"safeguard": {"mode": "off"}}}
    plan = open_plan(write_catalog(tmp_path, trainings=off))
    assert type(plan).from_json(plan.to_json()) == plan
