"""What every task needs to find its way: the catalog, the store and the machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from adapters.catalog import (
    Catalog,
    CatalogError,
    City,
    ComputeProfile,
    DataSet,
    Transfer,
)
from adapters.catalog.environment import (
    resolve_environment,
    resolve_folder,
    resolve_options,
)
from adapters.store import Store
from tasks.steps.errors import InputError
from tasks.steps.settings import open_catalog

DEFAULT_CATALOG = "data_catalog.yaml"
COMPUTE_VARIABLE = "CROSSCITY_COMPUTE"
"""What a machine offers belongs to the machine, so its profile is named in its environment."""


@dataclass(frozen=True)
class Workspace:
    """An opened catalog.

    Attributes:
        catalog: The validated catalog.
        root: Folder of the catalog; relative paths in it start here.
        store: The store that the catalog names.
        compute: The compute profile of this run.
    """

    catalog: Catalog
    root: Path
    store: Store
    compute: ComputeProfile

    def city(self, name: str) -> City:
        """The catalog's entry of a city; `InputError` where there is none."""
        if name not in self.catalog.cities:
            known = ", ".join(sorted(self.catalog.cities)) or "none"
            raise InputError(
                f"the catalog has no city {name!r}; it has {known}: add an entry under `cities`"
            )
        return self.catalog.cities[name]

    def dataset(self, name: str) -> DataSet:
        """The catalog's entry of a labelled set; `InputError` where there is none."""
        if name not in self.catalog.datasets:
            known = ", ".join(sorted(self.catalog.datasets)) or "none"
            raise InputError(f"the catalog has no data set {name!r}; it has {known}")
        return self.catalog.datasets[name]

    def transfer(self, name: str) -> Transfer:
        """The catalog's entry of a transfer between sets; `InputError` where there is none."""
        if name not in self.catalog.transfers:
            known = ", ".join(sorted(self.catalog.transfers)) or "none"
            raise InputError(f"the catalog has no transfer {name!r}; it has {known}")
        return self.catalog.transfers[name]

    def folder(self, value: str, *, key: str) -> Path:
        """A folder that the catalog names, with its environment references resolved."""
        return resolve_folder(self.root, value, key=key)


def open_workspace(catalog: str = DEFAULT_CATALOG) -> Workspace:
    """Opens the catalog at a path, and the store and compute profile that it names.

    Args:
        catalog: Path of the catalog file. The compute profile is the one that the environment
            variable CROSSCITY_COMPUTE names, else the catalog's default.

    Raises:
        CatalogError: The catalog is wrong, or an environment variable is missing.
        InputError: There is no such compute profile.
        StoreError: The store cannot be opened.
    """
    path = Path(catalog).absolute()
    loaded = open_catalog(path)
    profile = os.environ.get(COMPUTE_VARIABLE) or loaded.compute
    if profile not in loaded.computes:
        raise InputError(
            f"the catalog has no compute profile {profile!r}; it has "
            f"{', '.join(sorted(loaded.computes))}"
        )
    entry = loaded.stores[loaded.store]
    url = resolve_environment(entry.url, key=f"stores.{loaded.store}.url")
    if "://" not in url:
        url = str(path.parent / Path(url).expanduser())
    store = Store(url, options=resolve_options(entry.options, key=f"stores.{loaded.store}.options"))
    return Workspace(loaded, path.parent, store, loaded.computes[profile])


__all__ = ["DEFAULT_CATALOG", "CatalogError", "Workspace", "open_workspace"]
