"""The catalog's YAML files as one tree whose every key knows its file and line."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from adapters.catalog.errors import CatalogError

MAX_CATALOG_BYTES: Final = 4 * 1024 * 1024
"""A catalog is written by hand, with all its files; anything larger is a mistaken path."""
SECTIONS: Final = (
    "stores",
    "computes",
    "datasets",
    "segmenters",
    "trainings",
    "cities",
    "recipes",
    "transfers",
    "protocols",
    "accounts",
)
"""What an included file may hold: whole sections, entries of which are added to the catalog's."""
INCLUDE: Final = "include"

Key = tuple[str | int, ...]
"""The way to a value of the catalog: `("cities", "tokyo", "places")`."""
Fault = tuple[Key, str]
"""Where the catalog is wrong, and how, as a sentence."""

_TEMPLATE: Final = (
    '`{{ NAME }}`, as templates write it, is not read here: write "${NAME}", which is taken from '
    "the environment"
)
_TAG: Final = (
    "tags are not read here: other files are added by `include:` at the top, and "
    '"${NAME}" is taken from the environment'
)
_BLANKS: Final = re.compile("[\u00a0\u2000-\u200b\u3000\ufeff]")
"""Blanks that look like spaces and are not to YAML; they come with text from web pages."""
_COLOUR: Final = re.compile(r"[{,]\s*#[0-9A-Fa-f]{6}\b")
"""A colour without quotes where a mapping is in braces."""
_OTHER_BASE: Final = re.compile(
    r"[-+]?(?:0[0-7_]+|0b[01_]+|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)"
)
"""Numbers that YAML 1.1 reads by another base than ten: 010 is 8, and 1:30 is 90."""
_REFERENCE_LIKE: Final = (
    re.compile(r"\$\{(?![A-Za-z_][A-Za-z0-9_]*\})[^}]*\}?"),
    re.compile(r"\$\$\{[^}]*\}?"),
    re.compile(r"^\$[A-Z_][A-Z0-9_]*(?=/|\\|$)"),
    re.compile(r"^\$\([A-Z_][A-Z0-9_]*\)"),
    re.compile(r"%[A-Z_][A-Z0-9_]*%"),
)
"""How other programs write references to the environment; here they would stay what they are."""
_YAML_TAG: Final = "tag:yaml.org,2002:"
_DEEPEST: Final = 50
_MOST_NODES: Final = 1_000_000

# libyaml's parser, ten times as fast, where PyYAML was built with it; both make the same tree.
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _NamedText(io.StringIO):
    """Text whose name the marks of its nodes carry."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name


@dataclass(frozen=True)
class Source:
    """A file of a catalog as it was read.

    Attributes:
        path: The file.
        content: Its bytes.
    """

    path: Path
    content: bytes = field(repr=False)

    def text(self) -> str:
        """The content as text.

        Raises:
            CatalogError: It is not UTF-8.
        """
        try:
            return self.content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CatalogError(
                f"the catalog {self.path} cannot be read: {error}; save it as UTF-8"
            ) from None


@dataclass(frozen=True)
class Tree:
    """One catalog, of one file or several.

    Attributes:
        root: The mapping; entries of included files stand in its sections.
        path: The catalog's own file.
    """

    root: yaml.MappingNode
    path: Path

    def data(self) -> dict[str, Any]:
        """The values, as Python has them."""
        loader = _LOADER("")
        try:
            constructed: dict[str, Any] = loader.construct_document(self.root)
        except yaml.YAMLError as error:
            raise _unreadable(self.path, error) from None
        return constructed

    def fault_line(self, location: Key, sentence: str) -> str:
        """A fault as people read it: file, line, dotted key, sentence."""
        if not location:
            return f"{self.path}: {sentence}"
        mark = _mark_of(self.root, location)
        dotted = ".".join(str(part) for part in location)
        return f"{mark.name}:{mark.line + 1}: {dotted}: {sentence}"


def read_source(path: Path, *, read_before: int = 0) -> Source:
    """Reads a file of a catalog.

    Args:
        path: The file.
        read_before: Bytes of the catalog's other files; all together have a limit.

    Raises:
        CatalogError: There is no such file, it cannot be read, or it is too large.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise CatalogError(f"the catalog {path} cannot be read: it is not a file")
        if read_before + path.stat().st_size > MAX_CATALOG_BYTES:
            what = "with what it includes " if read_before else ""
            raise CatalogError(f"{path} is {what}larger than 4 MiB: this is not a catalog")
        return Source(path, path.read_bytes())
    except FileNotFoundError:
        raise CatalogError(
            f"there is no catalog at {path}: name one with --catalog or CROSSCITY_CATALOG"
        ) from None
    except OSError as error:
        raise CatalogError(f"the catalog {path} cannot be read: {error}") from None


def included_patterns(own: Source) -> tuple[str, ...]:
    """The names of files that a catalog's own file includes.

    Raises:
        CatalogError: The file is not YAML, or `include` is not a list of names.
    """
    if INCLUDE.encode() not in own.content:  # most have none, and are not parsed twice
        return ()
    for key, value in _compose(own).value:
        if key.value == INCLUDE:
            return _patterns(own.path, value)
    return ()


def included_sources(own: Source, patterns: tuple[str, ...]) -> tuple[Source, ...]:
    """The files that patterns name, each once, in the order of the patterns and then by name.

    Raises:
        CatalogError: A pattern matches nothing, or leads out of the catalog's folder.
    """
    folder = own.path.parent
    inside = folder.resolve()
    seen = {own.path.resolve()}
    size = len(own.content)
    sources: list[Source] = []
    for pattern in patterns:
        for path in _matching(own.path, folder, pattern):
            resolved = path.resolve()
            if not resolved.is_relative_to(inside):
                raise CatalogError(
                    f"{own.path}: include: {path} leads to {resolved}, outside the catalog's folder"
                )
            if resolved not in seen:
                seen.add(resolved)
                sources.append(read_source(path, read_before=size))
                size += len(sources[-1].content)
    return tuple(sources)


def _matching(catalog: Path, folder: Path, pattern: str) -> list[Path]:
    parts = Path(pattern).parts
    if not parts or Path(pattern).is_absolute() or ".." in parts or "://" in pattern:
        raise CatalogError(
            f"{catalog}: include: {pattern!r} must be a path below the catalog's folder, as "
            "cities/*.yaml"
        )
    found = [path for path in sorted(folder.glob(pattern)) if path.is_file()]
    if not found:
        raise CatalogError(
            f"{catalog}: include: {pattern!r} matches no file in {folder.absolute()}"
        )
    return found


def compose_tree(own: Source, included: Sequence[Source]) -> tuple[Tree, list[Fault]]:
    """One tree of all files, and the keys that stand in it twice.

    Raises:
        CatalogError: A file is not YAML, an included one holds other things than sections, or two
            files define the same entry.
    """
    root = _compose(own)
    for source in included:
        other = _compose(source)
        _check_sections(other, source.path)
        _add_sections(root, other)
    return Tree(root, own.path), list(_duplicate_keys(root, ()))


def _compose(source: Source) -> yaml.MappingNode:
    try:
        root = yaml.compose(_NamedText(source.text(), str(source.path)), Loader=_LOADER)
    except yaml.YAMLError as error:
        raise _unreadable(source.path, error, source) from None
    except RecursionError:
        raise CatalogError(f"{source.path}: its values are nested too deeply") from None
    if root is not None:
        _check_nodes(root)
    if not isinstance(root, yaml.MappingNode):
        raise CatalogError(
            f"{source.path}: the catalog must be a mapping that starts with `version: 1`, a file "
            "that it includes a mapping that starts with a section, as `cities:`"
        )
    return root


def _unreadable(path: Path, error: yaml.YAMLError, source: Source | None = None) -> CatalogError:
    if isinstance(error, yaml.reader.ReaderError):
        return CatalogError(_unadmitted(path, source))
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark is not None else ""
    problem = getattr(error, "problem", None) or "not valid YAML"
    if "could not determine a constructor for the tag" in str(problem):
        problem = f"{problem}; {_TAG}"
    if "found another document" in str(problem):
        problem = "--- begins a second catalog here: keep one of them, or name the other in include"
    lines = source.text().splitlines() if source is not None else []
    if mark is not None and "found undefined alias" in str(problem):
        name = lines[mark.line][mark.column :].split(",")[0].split()[0] if lines else "*"
        problem = f"{name} repeats an entry that no &{name[1:]} above it marks"
    near = "".join(lines[max(0, mark.line - 1) : mark.line + 1]) if mark is not None else ""
    if mark is not None and any(_COLOUR.search(one) for one in lines[: mark.line + 1]):
        problem = f"{problem}; # begins a comment: quote colours, as '#804080'"
    elif _BLANKS.search(near):
        problem = f"{problem}; a blank there is no space (no-break or wide): type it anew"
    elif "\t" in near:
        problem = f"{problem}; YAML is indented by spaces, not by tabs"
    if mark is not None and any("{{" in one or "{%" in one for one in lines[: mark.line + 1][-2:]):
        problem = f"{problem}; {_TEMPLATE}"
    return CatalogError(f"{path}{line}: {problem}")


def _unadmitted(path: Path, source: Source | None) -> str:
    """Where a text has a character that YAML does not admit."""
    text = "" if source is None else source.text()
    found = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if found is None:
        return f"{path}: it has bytes that YAML does not admit: save it as UTF-8"
    line = text.count("\n", 0, found.start()) + 1
    return (
        f"{path}:{line}: the character U+{ord(found[0]):04X} stands there, which YAML does not "
        "admit: remove it"
    )


def _check_nodes(root: yaml.Node) -> None:
    """Refuses what YAML admits and no catalog means, before anything walks through it.

    Raises:
        CatalogError: A key that is not text, an anchor that holds itself, or anchors that make a
            small file large.
    """
    sizes: dict[int, int] = {}
    above: set[int] = set()

    def size_of(node: yaml.Node, depth: int) -> int:
        """Nodes below one, each as often as anchors repeat it."""
        known = sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in above:
            raise _fault(node, "the anchor holds itself: repeat what is meant, without the anchor")
        if depth > _DEEPEST:
            raise _fault(node, "values are nested too deeply")
        above.add(id(node))
        size = 1
        if isinstance(node, yaml.ScalarNode):
            _check_value(node)
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                _check_key(key, depth)
                size += size_of(value, depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            size += sum(size_of(one, depth + 1) for one in node.value)
        if size > _MOST_NODES:
            raise _fault(node, "its anchors make it larger than any catalog: repeat less")
        above.discard(id(node))
        sizes[id(node)] = size
        return size

    size_of(root, 0)


def _check_key(key: yaml.Node, depth: int) -> None:
    if not isinstance(key, yaml.ScalarNode):
        raise _fault(key, f"a key must be a word; {_TEMPLATE}")
    kind = str(key.tag).removeprefix(_YAML_TAG)
    if kind == "bool":
        read = key.value.lower() in ("yes", "on", "true", "y")
        raise _fault(key, f"quote it: YAML reads {key.value} as {str(read).lower()}", key.value)
    if kind == "null":
        raise _fault(key, "quote it: YAML reads ~, null and an empty key as nothing", key.value)
    _check_value(key)
    # Below the names of entries, numbers are keys of label maps.
    if kind in ("timestamp", "float", "binary") or (kind == "int" and depth <= 1):
        raise _fault(key, f"quote it: YAML reads {key.value} as a {kind}", key.value)


def _check_value(node: yaml.ScalarNode) -> None:
    """Refuses words that are read here in another way than whoever wrote them meant."""
    kind, text = str(node.tag).removeprefix(_YAML_TAG), str(node.value)
    if kind == "float" and not math.isfinite(_LOADER("").construct_object(node)):
        raise _fault(
            node,
            f"YAML reads {text} as no finite number, and no setting is one: write a number, or "
            "leave the setting out",
        )
    if kind == "binary":
        raise _fault(node, "it is written as bytes in base 64: write the text itself")
    if kind in ("int", "float") and _OTHER_BASE.fullmatch(text):
        read = _LOADER("").construct_object(node)
        raise _fault(
            node,
            f"YAML reads {text} as the number {read:g}: write {read:g}, or quote it as a text",
        )
    if kind == "str":
        found = next((m for p in _REFERENCE_LIKE if (m := p.search(text)) is not None), None)
        if found is not None:
            raise _fault(
                node,
                f"{found[0]} is not a reference to the environment here: write "
                '"${NAME}", the bare name in braces',
            )


def _fault(node: yaml.Node, sentence: str, key: str = "") -> CatalogError:
    mark = node.start_mark
    named = f"{key}: " if key else ""
    return CatalogError(f"{mark.name}:{mark.line + 1}: {named}{sentence}")


def _patterns(path: Path, node: yaml.Node) -> tuple[str, ...]:
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if not all(isinstance(one, yaml.ScalarNode) for one in nodes):
        raise CatalogError(
            f"{path}:{node.start_mark.line + 1}: include: must be a name of files, as "
            "cities/*.yaml, or a list of such names"
        )
    return tuple(str(one.value) for one in nodes)


def _check_sections(root: yaml.MappingNode, path: Path) -> None:
    """Refuses what only the catalog's own file may hold, `include` among it."""
    seen: set[str] = set()
    for key, value in root.value:
        where = f"{path}:{key.start_mark.line + 1}: {key.value}"
        if key.value not in SECTIONS:
            raise CatalogError(
                f"{where}: does not belong into an included file, which has sections alone: "
                f"{', '.join(SECTIONS)}"
            )
        if key.value in seen:
            raise CatalogError(f"{where}: stands here twice; YAML would silently keep the last")
        if not isinstance(value, yaml.MappingNode):
            raise CatalogError(f"{where}: must be a mapping of names to entries")
        seen.add(key.value)


def _add_sections(root: yaml.MappingNode, other: yaml.MappingNode) -> None:
    """Adds the entries of an included file to the sections of the catalog."""
    for key, added in other.value:
        index = next((i for i, (known, _) in enumerate(root.value) if known.value == key.value), -1)
        section = root.value[index][1] if index >= 0 else None
        if not isinstance(section, yaml.MappingNode):  # not there, or `cities:` without anything
            section = yaml.MappingNode(added.tag, [], added.start_mark, added.end_mark)
        else:  # an anchor may name it elsewhere too
            section = yaml.MappingNode(
                section.tag, list(section.value), section.start_mark, section.end_mark
            )
        there = {entry.value: entry.start_mark for entry, _ in section.value}
        for entry, content in added.value:
            first = there.get(entry.value)
            if first is not None and entry.value != "<<":
                mark = entry.start_mark
                raise CatalogError(
                    f"{mark.name}:{mark.line + 1}: {key.value}.{entry.value}: is defined in "
                    f"{first.name}:{first.line + 1} already: remove one of the two"
                )
            there[entry.value] = entry.start_mark
            section.value.append((entry, content))
        if index >= 0:
            root.value[index] = (root.value[index][0], section)
        else:
            root.value.append((key, section))


def _duplicate_keys(node: yaml.Node, location: Key) -> Iterator[Fault]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            here = (*location, str(key.value))
            if key.value in seen and key.value != "<<":
                yield here, "stands here twice; YAML would silently keep the last"
            seen.add(key.value)
            yield from _duplicate_keys(value, here)


def _mark_of(node: yaml.Node, location: Key) -> yaml.Mark:
    """Where the deepest part of the key stands that the files have."""
    mark = node.start_mark
    for part in location:
        child: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    mark, child = key.start_mark, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            child = node.value[part] if part < len(node.value) else None
            mark = child.start_mark if child is not None else mark
        if child is None:
            break
        node = child
    return mark
