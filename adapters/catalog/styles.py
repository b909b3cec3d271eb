"""Styles of simulated cities as the catalog names them."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.catalog.environment import resolve_folder
from adapters.catalog.errors import CatalogError

if TYPE_CHECKING:
    from simcity import CityStyle

STYLE = "a style that comes with the project, as tokyo, or a file of your own, as styles/lima.toml"


@cache
def style_names() -> tuple[str, ...]:
    """The styles that come with the project; found without loading what draws them."""
    package = find_spec("simcity")
    folders = [] if package is None else package.submodule_search_locations or []
    return tuple(
        sorted(path.stem for one in folders for path in Path(one, "styles").glob("*.toml"))
    )


def is_file(style: str) -> bool:
    """Whether a style is named by its file."""
    return style.endswith(".toml")


def style_of(style: str, folder: Path, *, key: str) -> CityStyle | str:
    """The style of a file; a name is returned as it is, for whoever knows the names.

    Args:
        style: A name, or the path of a TOML file; a relative one starts at `folder`.
        folder: The catalog's folder.
        key: The dotted key, for errors.

    Raises:
        CatalogError: The file cannot be read, or a field of it is wrong.
    """
    if not is_file(style):
        return style
    from simcity import read_style  # noqa: PLC0415 - compiled code loads late

    try:
        return read_style(resolve_folder(folder, style, key=key))
    except CatalogError:
        raise
    except ValueError as error:
        raise CatalogError(f"{key}: {error}") from None
