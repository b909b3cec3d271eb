"""The folder layout of the public cross-city data set (Chen et al., ICCV 2017).

``<City>/Images/{Train,Test}/pano_<place>_<time>_<heading>.{jpg,png}`` and
``<City>/Labels/Test/pano_<place>_<time>_<heading>_eval.png``. Names come from outside: they are
matched against listings, never joined into paths.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.file_digests import file_digests

SAME_CITY: Final = (frozenset({"rome", "roma"}), frozenset({"rio", "rio de janeiro"}))
"""Names that the public copies of the data set use for one city."""

_IMAGE_NAME: Final = re.compile(
    r"(?P<id>pano_(?P<place>[0-9]{1,9})_(?P<time>[0-9]{1,4})_(?P<heading>[0-9]{1,3}))"
    r"\.(?i:jpg|jpeg|png)"
)


@dataclass(frozen=True)
class ImageName:
    """What the name of an image says.

    Attributes:
        image_id: The name without its ending.
        place_id: Digits of the place, as written.
        time: Index of the capture at that place.
        heading: Degrees, 0 to 359.
    """

    image_id: str
    place_id: str
    time: int
    heading: int


def parse_image_name(name: str) -> ImageName | None:
    """Reads a file name, or ``None`` if it is not one of the layout."""
    match = _IMAGE_NAME.fullmatch(name)
    if match is None or int(match["heading"]) >= 360:
        return None
    return ImageName(match["id"], match["place"], int(match["time"]), int(match["heading"]))


def find_city(root: Path, city: str) -> Path | None:
    """The folder of a city below `root`, whatever its case and spelling (Rome, roma, ...).

    Returns:
        The folder, or ``None``: no such city, or no such root.
    """
    wanted = _spellings(city)
    found = [name for name in city_names(root) if _plain(name) in wanted]
    # Exactly as asked before as asked but for case, before another spelling of it.
    found.sort(key=lambda name: (name != city, _plain(name) != _plain(city), name))
    return root / found[0] if found else None


def city_folder(root: Path, city: str, error_of: Callable[[str], Exception]) -> Path:
    """The folder of a city below `root`, as `find_city`.

    Args:
        root: Holds the cities.
        city: One of them.
        error_of: Makes the error that is raised, from its sentence, where there is none.
    """
    if not root.is_dir():
        raise error_of(f"There is no folder {root}: give the one that holds the cities.")
    folder = find_city(root, city)
    if folder is None:
        known = ", ".join(city_names(root)) or "none"
        raise error_of(
            f"{root} has no folder for the city {city!r}; cities there: {known} (`city:` beside "
            "`root:` names one)"
        )
    return folder


def city_names(root: Path) -> list[str]:
    """Names of the folders below `root` that hold ``Images`` or ``Labels``, sorted."""
    if not root.is_dir():
        return []
    inside = (child.name for child in root.iterdir() if _holds_a_city(child))
    return sorted(inside)


def listed(folder: Path) -> dict[str, Path]:
    """Path of each entry of a folder by its name, sorted; hidden entries are left out."""
    if not folder.is_dir():
        return {}
    return {path.name: path for path in sorted(folder.iterdir()) if not path.name.startswith(".")}


def files_digest(files: Mapping[str, Path]) -> str:
    """SHA-256 of the names and contents of files; one that cannot be read counts as such.

    Contents rather than times of change: a fresh copy of the same data is the same data.
    """
    digest = hashlib.sha256()
    for name, content in file_digests(dict(sorted(files.items()))).items():
        digest.update(f"{name}\n{content or 'unreadable'}\n".encode())
    return digest.hexdigest()


def _holds_a_city(folder: Path) -> bool:
    try:
        return any((folder / part).is_dir() for part in ("Images", "Labels"))
    except PermissionError:  # as the lost+found of a disk, which is none of the cities
        return False


def _plain(name: str) -> str:
    """Lower case, no accents, one space for any of space, dash and underscore."""
    letters = unicodedata.normalize("NFKD", name)
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return re.sub(r"[\s_-]+", " ", plain).strip().casefold()


def _spellings(city: str) -> frozenset[str]:
    plain = _plain(city)
    return next((names for names in SAME_CITY if plain in names), frozenset({plain}))
