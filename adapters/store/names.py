"""Names that may become parts of paths.

Everything that reaches a path goes through one of these checks, so no name from a catalog, a
provider or a stored file can leave the store's own folders.
"""

from __future__ import annotations

import re

from adapters.store.errors import StoreError

MANIFEST_NAME = "artifact.json"
CURRENT_FOLDER = "current"
QUARANTINE_FOLDER = "quarantine"
PROGRESS_FOLDER = ".progress"
SCRATCH_FOLDER = ".drafts"
LEASES_FOLDER = ".leases"
SHARED_FOLDER = ".shared"
KEPT_FOLDER = ".kept"
LOCKS_FOLDER = ".locks"
SIGNS_FOLDER = ".alive"
NEWEST_FOLDER = ".newest"
"""Hidden, so that releases that do not know it take nothing in it for an artifact."""

_OWN_FOLDERS = {CURRENT_FOLDER: "pointers", QUARANTINE_FOLDER: "damaged artifacts"}

_KIND = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
_CITY = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", re.ASCII)
# A leading "-" is admitted: picture ids of providers begin with one.
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", re.ASCII)


def check_kind(kind: str) -> str:
    """Return `kind` if it is lower case letters, digits and `_`; raise `StoreError` otherwise."""
    if isinstance(kind, str) and kind in _OWN_FOLDERS:
        raise StoreError(f"{kind!r} is the folder of {_OWN_FOLDERS[kind]}: name the kind otherwise")
    return _checked(_KIND, kind, "kind of artifact", "a lower case letter, then a-z 0-9 _")


def check_city(city: str) -> str:
    """Return `city` if it is lower case letters, digits, `_`, `-`; raise `StoreError` otherwise."""
    return _checked(_CITY, city, "city", "a-z 0-9 _ - (the catalog's names)")


def check_key(key: str) -> str:
    """Return `key` if it is letters, digits, `_`, `-`; raise `StoreError` otherwise."""
    return _checked(_KEY, key, "key of an artifact", "letters, digits, _ and -")


def check_name(name: str) -> str:
    """Return `name` if it is one safe file name; raise `StoreError` otherwise."""
    if isinstance(name, str) and ".." in name:
        raise StoreError(f"{name!r} is not a file name of the store: '..' is not admitted")
    return _checked(_PART, name, "file name", "letters, digits, . _ - and no leading dot")


def check_file_name(name: str) -> str:
    """Return `name` if it is `file` or `folder/file` of safe parts; raise `StoreError` otherwise.

    `artifact.json` is the store's own and is refused.
    """
    parts = name.split("/") if isinstance(name, str) else [name]
    if len(parts) > 2:
        raise StoreError(f"{name!r} is too deep for the store: at most one folder, 'images/x.jpg'")
    for part in parts:
        check_name(part)
    if parts[0] == MANIFEST_NAME:
        raise StoreError(
            f"{MANIFEST_NAME!r} is written by the store itself: name the file otherwise"
        )
    return name


def _checked(pattern: re.Pattern[str], name: str, what: str, admitted: str) -> str:
    if not isinstance(name, str) or pattern.fullmatch(name) is None:
        raise StoreError(f"{str(name)[:80]!r} is not a {what}: use {admitted}")
    return name
