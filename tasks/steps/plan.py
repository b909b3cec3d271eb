"""The plan of a run: what the catalog says, read once at the door and never again."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.catalog import (
    Account,
    Catalog,
    City,
    ComputeProfile,
    DataSet,
    ProtocolEntry,
    RecipeEntry,
    SegmenterEntry,
    StoreEntry,
    Tracking,
    Training,
    Transfer,
)
from adapters.catalog.environment import resolve_environment, resolve_folder, resolve_options
from adapters.catalog.recipes import BUILT_IN_RECIPES
from adapters.store import Store
from tasks.steps.defaults import COMPUTE_VARIABLE, DEFAULT_CATALOG
from tasks.steps.errors import InputError
from tasks.steps.settings import open_catalog

PLAN_VERSION: Final = 2
"""Raised when a plan of this program could be misread by another release."""

Entry = TypeVar("Entry")
_Asked = tuple[Path, str | None, str | None, str | None, str | None]
_HANDED_ON: ContextVar[tuple[_Asked, Plan] | None] = ContextVar("handed_on", default=None)


class Plan(BaseModel):
    """Everything that the steps of a run need of the catalog, frozen when the run began.

    A catalog that is saved meanwhile changes nothing. A plan can be pickled, and written as JSON
    and read again; it holds no secret that the catalog does not hold itself, as `${NAME}`
    references are resolved where they are used.

    Attributes:
        version: `PLAN_VERSION` of the program that made it.
        catalog: Absolute path of the file that it was made of: to be shown, never to be opened.
        root: Absolute path of that file's folder; relative paths of entries start there.
        store_name: Which entry of `stores` artifacts go to.
        store: That entry; its folder is absolute, unless it hangs on the environment.
        compute: The compute profile of the run.
        cities: The entries that the run needs, by name; so below.
        datasets: Labelled sets.
        segmenters: Segmenters.
        trainings: Presets and what differs from them.
        transfers: Transfers between sets.
        recipes: Recipes of the user's own; all of them.
        protocols: Protocols of the user's own.
        tracking: Where trainings are watched, if anywhere.
        accounts: Accounts at services, all of the catalog's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = PLAN_VERSION
    catalog: str
    root: Path
    store_name: str
    store: StoreEntry
    compute: ComputeProfile
    cities: dict[str, City] = Field(default_factory=dict)
    datasets: dict[str, DataSet] = Field(default_factory=dict)
    segmenters: dict[str, SegmenterEntry] = Field(default_factory=dict)
    trainings: dict[str, Training] = Field(default_factory=dict)
    transfers: dict[str, Transfer] = Field(default_factory=dict)
    recipes: dict[str, RecipeEntry] = Field(default_factory=dict)
    protocols: dict[str, ProtocolEntry] = Field(default_factory=dict)
    tracking: Tracking | None = None
    accounts: dict[str, Account] = Field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The plan that `to_json` wrote.

        Raises:
            InputError: In one sentence: it is of another version, or is not a plan.
        """
        try:
            version = _Versioned.model_validate_json(text).version
            _check_version(version)
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "the plan"
            raise InputError(f"this is not a plan of a run: {key}: {first['msg']}") from None

    def to_json(self) -> str:
        """The plan as JSON, which `from_json` reads."""
        # Not pydantic's own: it writes an infinite limit as null.
        return json.dumps(self.model_dump(mode="json"))

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Takes what was pickled; `InputError` where another version of the program wrote it."""
        _check_version(state["__dict__"].get("version"))
        super().__setstate__(state)

    def city(self, name: str) -> City:
        """The entry of a city; `InputError` where there is none."""
        if name not in self.cities:
            raise InputError(_no_city(name, self.cities))
        return self.cities[name]

    def dataset(self, name: str) -> DataSet:
        """The entry of a labelled set; `InputError` where there is none."""
        return _entry("data set", name, self.datasets)

    def transfer(self, name: str) -> Transfer:
        """The entry of a transfer between sets; `InputError` where there is none."""
        return _entry("transfer", name, self.transfers)

    def scored_split(self, transfer: str) -> str | None:
        """The split of its target that a transfer is scored on; ``None``: it is not scored."""
        entry = self.transfer(transfer)
        return entry.scored_on(self.dataset(entry.target))

    def segmenter(self, name: str) -> SegmenterEntry:
        """The entry of a segmenter; `InputError` where there is none."""
        return _entry("segmenter", name, self.segmenters)

    def recipe(self, name: str) -> RecipeEntry | None:
        """The recipe of a name: the catalog's, else one that every catalog has, else ``None``."""
        return self.recipes.get(name) or BUILT_IN_RECIPES.get(name)

    def training(self, name: str) -> Training:
        """The entry of a training; `InputError` where there is none."""
        return _entry("training", name, self.trainings)

    def folder(self, value: str, *, key: str) -> Path:
        """A folder that an entry names, absolute, with its environment references resolved.

        Raises:
            CatalogError: An environment variable is missing.
        """
        return resolve_folder(self.root, value, key=key)

    def store_url(self) -> str:
        """The run's store, a folder absolute, with environment references resolved.

        Raises:
            CatalogError: An environment variable is missing.
        """
        url = resolve_environment(self.store.url, key=f"stores.{self.store_name}.url")
        return url if "://" in url else str(self.root / Path(url).expanduser())

    def open_store(self) -> Store:
        """The run's store; opened once in a process.

        Raises:
            CatalogError: An environment variable is missing.
            StoreError: The store cannot be opened.
        """
        url = self.store_url()
        options = resolve_options(self.store.options, key=f"stores.{self.store_name}.options")
        room = 1e9 * self.store.cache_gigabytes
        patience = 60.0 * self.store.patience_minutes
        return _STORES.open(url, options, patience, room, pack=self.store.pack)


def open_plan_of(owner: str, catalog: Path, compute: str | None = None) -> Plan:
    """`open_plan` about a city or a transfer; a name that is neither is told as a city."""
    if owner in open_catalog(catalog).transfers:
        return open_plan(catalog, compute, transfer=owner)
    return open_plan(catalog, compute, city=owner)


def open_plan(
    catalog: str | Path = DEFAULT_CATALOG,
    compute: str | None = None,
    *,
    city: str | None = None,
    transfer: str | None = None,
    segmenter: str | None = None,
) -> Plan:
    """Reads the catalog at a path into the plan of a run.

    Args:
        catalog: Path of the catalog file.
        compute: The compute profile; default: the one that the environment variable
            CROSSCITY_COMPUTE names, else the catalog's default.
        city: The one city that the run is about: of the other entries, only those that it needs
            are part of the plan.
        transfer: The one transfer that the run is about.
        segmenter: The one segmenter that the run is about.

    Raises:
        CatalogError: The catalog is wrong.
        InputError: There is no such compute profile, city, transfer or segmenter.
    """
    path = Path(catalog).absolute()
    given = _HANDED_ON.get()
    if given is not None and given[0] == (path, compute, city, transfer, segmenter):
        return given[1]
    loaded = open_catalog(path)
    profile = compute or os.environ.get(COMPUTE_VARIABLE) or loaded.compute
    store = loaded.stores[loaded.store]
    if "://" not in store.url and "${" not in store.url:
        here = str(path.parent / Path(store.url).expanduser())
        store = store.model_copy(update={"url": here})
    return Plan(
        catalog=str(path),
        root=path.parent,
        store_name=loaded.store,
        store=store,
        compute=_entry("compute profile", profile, loaded.computes),
        **_needed(loaded, city, transfer, segmenter),
        protocols=loaded.protocols,
        tracking=loaded.tracking,
        accounts=loaded.accounts,
    )


@contextmanager
def handed_on(
    plan: Plan,
    compute: str | None = None,
    *,
    city: str | None = None,
    transfer: str | None = None,
    segmenter: str | None = None,
) -> Iterator[None]:
    """Inside, `open_plan` of the same catalog with the same arguments gives this plan.

    A verb of the command line reads the catalog at its door, and hands its plan on to the flow
    that it runs: what is saved in between changes nothing.
    """
    key = (Path(plan.catalog), compute, city, transfer, segmenter)
    token = _HANDED_ON.set((key, plan))
    try:
        yield
    finally:
        _HANDED_ON.reset(token)


class _Versioned(BaseModel):
    version: int


class _OpenStores:
    """The stores of this process: opening one anew would forget what it has read and checked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stores: dict[tuple[str, str, float, float, bool], Store] = {}

    def open(
        self, url: str, options: Mapping[str, Any], patience: float, room: float, *, pack: bool
    ) -> Store:
        # Options may hold what has no hash; two that are written alike are alike.
        key = (url, repr(sorted(options.items())), patience, room, pack)
        with self._lock:
            if key not in self._stores:
                self._stores[key] = Store(
                    url, options=options, patience=patience, cache_bytes=room, pack=pack
                )
            return self._stores[key]


_STORES: Final = _OpenStores()


def _check_version(version: object) -> None:
    if version != PLAN_VERSION:
        raise InputError(
            f"this plan is of version {version}, and this program works by version "
            f"{PLAN_VERSION}: run both ends of the work with one release of crosscity"
        )


def _entry(what: str, name: str, entries: Mapping[str, Entry]) -> Entry:
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none"
        raise InputError(f"the catalog has no {what} {name!r}; it has {known}")
    return entries[name]


def _no_city(name: str, cities: Iterable[str]) -> str:
    known = ", ".join(sorted(cities)) or "none"
    return f"the catalog has no city {name!r}; it has {known}: add an entry under `cities`"


def _needed(
    catalog: Catalog, city: str | None, transfer: str | None, segmenter: str | None
) -> dict[str, Any]:
    """The catalog's entries: all of them, or those that one run needs."""
    everything: dict[str, Mapping[str, Any]] = {
        "cities": catalog.cities,
        "datasets": catalog.datasets,
        "segmenters": catalog.segmenters,
        "trainings": catalog.trainings,
        "transfers": catalog.transfers,
        "recipes": catalog.recipes,
    }
    if city is None and transfer is None and segmenter is None:
        return everything
    wanted: dict[str, set[str]] = {section: set() for section in everything}
    if city is not None:
        if city not in catalog.cities:
            raise InputError(_no_city(city, catalog.cities))
        entry = catalog.cities[city]
        wanted["cities"].add(city)
        wanted["segmenters"].add(entry.segmenter)
        wanted["trainings"].add(entry.training)
    if transfer is not None:
        between = _entry("transfer", transfer, catalog.transfers)
        wanted["transfers"].add(transfer)
        wanted["segmenters"].add(between.segmenter)
        wanted["trainings"].add(between.training)
        wanted["datasets"].add(between.target)
    if segmenter is not None:
        _entry("segmenter", segmenter, catalog.segmenters)
        wanted["segmenters"].add(segmenter)
    wanted["recipes"] = set(catalog.recipes)
    for recipe in catalog.recipes.values():
        if recipe.teacher is not None:
            wanted["segmenters"].add(recipe.teacher)
        if recipe.flag_rates_of is not None:
            measured = catalog.cities[recipe.flag_rates_of]
            wanted["cities"].add(recipe.flag_rates_of)
            wanted["segmenters"].add(measured.segmenter)
            wanted["trainings"].add(measured.training)
        if recipe.labels is not None and recipe.labels.dataset is not None:
            wanted["datasets"].add(recipe.labels.dataset)
    sources = (catalog.segmenters[name].source for name in wanted["segmenters"])
    wanted["datasets"] |= {source for source in sources if source is not None}
    return {
        section: {name: entry for name, entry in entries.items() if name in wanted[section]}
        for section, entries in everything.items()
    }
