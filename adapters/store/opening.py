"""From a store's URL to the place behind it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapters.store.errors import StoreError
from adapters.store.local import LocalPlace
from adapters.store.patience import PatientPlace
from adapters.store.places import Place
from adapters.store.remote import RemotePlace

_ONE_SLASH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:", re.ASCII)


def open_place(
    url: str | Path,
    options: Mapping[str, Any],
    cache_dir: Path | None,
    patience: float = 0.0,
    cache_bytes: float = float("inf"),
) -> Place:
    """The place behind a folder or an fsspec URL; one behind a network may be away so many seconds.

    Args:
        url: The folder or URL.
        options: Of its protocol.
        cache_dir: For local copies of a remote place's files, and of packed ones on a disk that
            cannot be written to.
        patience: Seconds for which a remote place may be away.
        cache_bytes: What the local copies may take together.

    Raises:
        StoreError: if the URL is empty or misspelt, or its protocol or package is not there.
    """
    if not str(url):
        raise StoreError("the store's url is empty: give a folder or an fsspec URL")
    cache = cache_dir or cache_folder() / "store"
    scheme, separator, _ = str(url).partition("://")
    if isinstance(url, str) and not separator and _ONE_SLASH.match(url):
        raise StoreError(
            f"the store's url {url!r} lacks slashes: write {scheme.split(':')[0]}://..."
        )
    folder = local_folder(url)
    if folder is not None:
        return LocalPlace(folder, cache)
    place = RemotePlace(str(url), options, cache, cache_bytes)
    return PatientPlace(place, patience) if patience > 0 else place


def local_folder(url: str | Path) -> Path | None:
    """The folder of this machine that a store's URL names; ``None`` of one behind a network."""
    scheme, separator, rest = str(url).partition("://")
    if isinstance(url, Path) or not separator:
        return Path(url).expanduser().absolute()
    return Path(rest).absolute() if scheme in {"file", "local"} else None


def cache_folder() -> Path:
    """Where this user keeps what can be made again: `$XDG_CACHE_HOME/crosscity`."""
    configured = os.environ.get("XDG_CACHE_HOME")
    return (Path(configured) if configured else Path.home() / ".cache") / "crosscity"
