"""Which networks a stored description may name: none but our own and those of the present catalog.

An artifact is data. Its `model.json` says how its network is built, and whoever can write to the
store can write one. So what it says is taken as a choice among what is trusted already:

- an architecture of ours, with options that its schema admits;
- `python:` where a segmenter of the present catalog names the very same function, with the very
  same options: the catalog decides which code is run, and with what;
- `hf` where a segmenter of the present catalog is one of Hugging Face, with a configuration of the
  same type of network that names no code, no other repository and no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

from adapters.catalog import HUB_PREFIX, CatalogError, SegmenterEntry
from adapters.catalog.environment import resolve_folder
from adapters.store import ArtifactRef, Store
from crosscity.named_function import PREFIX, function_of, is_plug_in
from crosscity.segmenters.harmless import keys_that_name
from tasks.steps.errors import InputError

DESCRIPTION: Final = "model.json"
_MOST_BYTES: Final = 4 * 2**20
"""Of a description; the longest configuration known has some 30 kB."""
_ClassName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Statistic = Annotated[list[float], Field(min_length=3, max_length=3)]
_Dropout = Annotated[float, Field(ge=0, lt=1)]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    class_names: list[_ClassName] | None = Field(default=None, min_length=2, max_length=1000)


class _Compact(_Options):
    width: int = Field(default=96, ge=4, le=4096)
    dilations: list[Annotated[int, Field(ge=1, le=512)]] = Field(default=[1], max_length=64)
    dropout: _Dropout = 0.0


class _DilatedVgg16(_Options):
    width: int = Field(default=64, ge=1, le=1024)
    fc_width: int = Field(default=4096, ge=1, le=16384)
    dropout: _Dropout = 0.0
    input_mean: _Statistic | None = None
    input_std: _Statistic | None = None


class _EfficientNetLite0(_Options):
    stages: int = Field(default=5, ge=1, le=7)
    width: int = Field(default=128, ge=1, le=8192)
    dropout: _Dropout = 0.0


class _HuggingFace(_Options):
    config: dict[str, JsonValue]
    input_mean: _Statistic | None = None
    input_std: _Statistic | None = None
    channel_order: Literal["rgb", "bgr"] = "rgb"
    row_classes: list[Annotated[int, Field(ge=0, lt=1000)]] | None = Field(
        default=None, max_length=10_000
    )


_SCHEMAS: Final[Mapping[str, type[_Options]]] = {
    "compact": _Compact,
    "dilated_vgg16": _DilatedVgg16,
    "efficientnet_lite0": _EfficientNetLite0,
    "hf": _HuggingFace,
}
"""What the options of each architecture of `crosscity.segmenters.ARCHITECTURES` may be."""


@dataclass(frozen=True)
class CatalogNetworks:
    """The networks that the present catalog names.

    Attributes:
        entries: Its segmenters.
        root: Folder that relative paths in it start at.
    """

    entries: tuple[SegmenterEntry, ...]
    root: Path

    @classmethod
    def of(cls, entries: Iterable[SegmenterEntry], root: Path) -> CatalogNetworks:
        """The networks of some entries of `segmenters`."""
        return cls(tuple(entries), root)

    def options_of(self, function: str) -> list[dict[str, Any]]:
        """The options that the catalog gives a function of the user's own package."""
        return [one.options for one in self.entries if (one.python or "").strip() == function]

    def hub_references(self) -> list[tuple[str, str | None]]:
        """Folder or name on the hub, and revision, of the networks of Hugging Face.

        A delivered folder (`weights:`) of such a network is one of them.
        """
        of_the_hub = [
            (str(one.architecture).removeprefix(HUB_PREFIX), one.options.get("revision"))
            for one in self.entries
            if one.is_of_hub
        ]
        delivered = [
            self._delivered(one) for one in self.entries if one.architecture in (None, "hf")
        ]
        return of_the_hub + [(str(folder), None) for folder in delivered if folder is not None]

    def _delivered(self, entry: SegmenterEntry) -> Path | None:
        """The delivered folder of a network of Hugging Face that an entry names as weights."""
        if entry.weights is None or entry.architecture not in (None, "hf") or entry.python:
            return None
        try:
            folder = resolve_folder(self.root, entry.weights, key="weights")
        except CatalogError:
            return None  # its variable is not set here
        return folder if (folder / "config.json").is_file() else None


@dataclass(frozen=True)
class Description:
    """A `model.json` whose network may be built.

    Attributes:
        model: Architecture and options, as `build_segmenter` takes them.
        class_names: The label space.
        content: The whole description, of which nothing else is believed yet.
    """

    model: dict[str, Any]
    class_names: tuple[str, ...]
    content: Mapping[str, Any]


def read_description(store: Store, ref: ArtifactRef, networks: CatalogNetworks) -> Description:
    """The description of a `segmenter` or `adaptation` artifact, once it is seen to be harmless.

    Raises:
        InputError: It names code or a place that the catalog does not, or is not a description.
        StoreError: It is damaged.
    """
    content = _read(store, ref)
    architecture = content["architecture"]
    if is_plug_in(architecture):
        _check_function(ref, function_of(architecture).strip(), content, networks)
    else:
        check_options(architecture, content["options"], f"{ref.uri}/{DESCRIPTION}")
    if architecture == "hf":
        _check_hub(ref, content["options"]["config"], networks)
    model = {"architecture": architecture, "options": content["options"]}
    return Description(model, _class_names(ref, content), content)


def read_class_names(store: Store, ref: ArtifactRef) -> tuple[str, ...]:
    """The label space of a `segmenter` or `adaptation` artifact, without building the network."""
    return _class_names(ref, _read(store, ref))


def check_options(architecture: str, options: Mapping[str, Any], where: str) -> None:
    """Checks options of an architecture of ours against its schema.

    Args:
        architecture: Its name.
        options: Of its constructor.
        where: What messages call the place that they stand in.

    Raises:
        InputError: There is no such architecture, or an option is unknown, wrong or names code.
    """
    schema = _SCHEMAS.get(architecture)
    if schema is None:
        raise InputError(
            f"{where}: there is no segmenter {architecture[:80]!r}; there are: "
            f"{', '.join(sorted(_SCHEMAS))}, and {PREFIX}package.module:function"
        )
    try:
        schema.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "options"
        raise InputError(
            f"{where}: the options do not suit the segmenter {architecture!r}: {key}: "
            f"{first['msg']}"
        ) from None
    for key in keys_that_name(options):
        raise InputError(
            f"{where}: the configuration's {key!r} would have transformers fetch or run what it "
            "names, which is refused: take a network whose configuration stands alone"
        )


def _read(store: Store, ref: ArtifactRef) -> dict[str, Any]:
    return read_model_file(store.path(ref, DESCRIPTION), f"{ref.uri}/{DESCRIPTION}")


def read_model_file(path: Path, shown: str) -> dict[str, Any]:
    """The content of a `model.json`, nothing of which is believed yet.

    Args:
        path: The file.
        shown: What messages call it.

    Raises:
        InputError: It is too large, or does not describe a network.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{shown} has more than {_MOST_BYTES} bytes: refused")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        content = None
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("architecture"), str)
        or not isinstance(content.get("options"), dict)
    ):
        raise InputError(
            f"{shown} does not describe a network: architecture and options are needed"
        )
    return content


def _class_names(ref: ArtifactRef, content: Mapping[str, Any]) -> tuple[str, ...]:
    config = content.get("config")
    names = config.get("class_names") if isinstance(config, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{ref.uri}/{DESCRIPTION} does not say its class_names")
    return tuple(names)


def _check_function(
    ref: ArtifactRef, function: str, content: Mapping[str, Any], networks: CatalogNetworks
) -> None:
    admitted = networks.options_of(function)
    if not admitted:
        raise InputError(
            f"{ref.uri} says that its network is built by {function[:80]!r}, which no segmenter of "
            "the catalog names: it is not run; if you trust it, add a segmenter with "
            "`python` to the catalog"
        )
    if content["options"] not in admitted:
        raise InputError(
            f"{ref.uri} was built by {function!r} with other options than the catalog's: it is "
            "not run with them; if you trust them, keep a segmenter with these options in the "
            "catalog"
        )


def _check_hub(
    ref: ArtifactRef, config: Mapping[str, JsonValue], networks: CatalogNetworks
) -> None:
    references = networks.hub_references()
    found = [_model_type(place, revision, networks.root) for place, revision in references]
    # Where the catalog's own is not at hand (another machine, no network), its type is not known.
    if not references or (None not in found and config.get("model_type") not in found):
        raise InputError(
            f"{ref.uri} holds a network of Hugging Face of the type "
            f"{str(config.get('model_type'))[:80]!r}, which no segmenter of the catalog names: it "
            "is not built; if you trust it, add a segmenter with that `architecture: hf:...`"
        )


def _model_type(place: str, revision: str | None, root: Path) -> str | None:
    """The type of a network that the catalog names; nothing is fetched for it."""
    folder = root / place
    path: Path | None = folder / "config.json"
    if not folder.is_dir():
        path = _in_hub_cache(place, revision)
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path else None
    except (OSError, ValueError):
        return None
    found = content.get("model_type") if isinstance(content, dict) else None
    return found if isinstance(found, str) else None


def _in_hub_cache(name: str, revision: str | None) -> Path | None:
    try:
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - comes with an extra
    except ImportError:
        return None
    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except ValueError:  # it is not a name of a repository
        return None
    return Path(found) if isinstance(found, str) else None
