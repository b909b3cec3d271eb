"""What may be on disk after a loss of power: recorded operations, replayed in part.

Not a test: the tests beside it import it. After Pillai et al., "All File Systems Are Not Created
Equal" (OSDI 2014): what was not synced may be there or not, in any order.

- The bytes of a file are there from its fsync on. Before, it may be empty, zeros, cut short or
  whole.
- A name that was made, renamed, linked or removed is so from the fsync of its folder on. Before,
  any of these may have happened and any not, whatever their order. A rename is one step: it takes
  both names or none. A fsync of a file says nothing about its name.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import pytest

Node = int
"""A file or folder, whatever its names are; 0 is the root."""
Entry = tuple[Node, str]
"""A name in a folder."""
Files = dict[str, bytes]
"""A state: the bytes of each file by its path; an empty folder ends in a slash."""


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        gone: A name that it takes away.
        made: A name that it gives, and to what.
        synced: What it syncs, instead of both.
        data: The bytes of a synced file.
    """

    gone: Entry | None = None
    made: tuple[Entry, Node] | None = None
    synced: Node | None = None
    data: bytes | None = None


@dataclass
class Recording:
    """What was there before, and what was done to it since.

    Attributes:
        names: What the names below each folder led to before.
        before: Bytes of the files that were there before.
        folders: Which nodes are folders.
        steps: What was done.
        last: Bytes of the files as they were written in the end.
    """

    root: Path
    names: dict[Entry, Node] = field(default_factory=dict)
    before: dict[Node, bytes] = field(default_factory=dict)
    folders: set[Node] = field(default_factory=lambda: {0})
    steps: list[Step] = field(default_factory=list)
    last: dict[Node, bytes] = field(default_factory=dict)
    _now: dict[Entry, Node] = field(default_factory=dict)
    _next: int = 1

    def __post_init__(self) -> None:
        """Takes what is there as safely on disk."""
        for folder, folders, names in os.walk(self.root):
            at = self._node(Path(folder))
            for name in [*sorted(folders), *sorted(names)]:
                node = self._new(is_folder=name in folders)
                self._now[at, name] = node
                if name in names:
                    self.before[node] = (Path(folder) / name).read_bytes()
        self.names = dict(self._now)

    def finish(self) -> None:
        """Reads the files as they are now."""
        for (folder, name), node in self._now.items():
            if node not in self.folders:
                path = self._path(folder) / name
                self.last[node] = path.read_bytes()

    def create(self, path: Path, *, is_folder: bool = False) -> None:
        """A file or folder is about to be made."""
        entry = self._entry(path)
        if entry is None:
            return
        if entry in self._now:
            if self.before.get(self._now[entry]):
                raise AssertionError(f"{path} is written in place: a crash would leave part of it")
            return
        node = self._new(is_folder=is_folder)
        self._now[entry] = node
        self.steps.append(Step(made=(entry, node)))

    def link(self, source: Path, target: Path) -> None:
        """A second name is about to be given."""
        entry = self._entry(target)
        if entry is None or entry in self._now:
            return
        node = self._now[self._known(source)]
        self._now[entry] = node
        self.steps.append(Step(made=(entry, node)))

    def rename(self, source: Path, target: Path) -> None:
        """A name was changed."""
        before, after = self._known(source), self._known(target)
        node = self._now.pop(before)
        self._keep(node, target)
        self._now[after] = node
        self.steps.append(Step(gone=before, made=(after, node)))

    def remove(self, path: Path) -> None:
        """A name is about to be taken away."""
        entry = self._entry(path)
        if entry is None or entry not in self._now:
            return
        self._keep(self._now.pop(entry), path)
        self.steps.append(Step(gone=entry))

    def sync(self, path: Path) -> None:
        """A file or folder was synced."""
        if path != self.root and self._entry(path) is None:
            return
        node = self._node(path)
        data = None if node in self.folders else path.read_bytes()
        self.steps.append(Step(synced=node, data=data))

    def states(self, subsets: Callable[[int], Iterator[tuple[int, ...]]]) -> Iterator[Files]:
        """What may be there after a loss of power, at any moment of the recording.

        Args:
            subsets: Of so many steps that are not safe, those that have happened all the same.
        """
        # Between two syncs nothing becomes safe: the longest of these moments has all their states.
        ends = [number for number, step in enumerate(self.steps) if step.synced is not None]
        for end in [*ends, len(self.steps)]:
            yield from self._states_at(end, subsets)

    def least(self) -> Iterator[Files]:
        """What may be there after the end, where nothing happened that was not made safe."""
        yield from self._states_at(len(self.steps), lambda _: iter([()]))

    def _states_at(
        self, end: int, subsets: Callable[[int], Iterator[tuple[int, ...]]]
    ) -> Iterator[Files]:
        done = self.steps[:end]
        safe = self._safe(done)
        naming = [number for number, step in enumerate(done) if step.synced is None]
        loose = [number for number in naming if number not in safe]
        data: dict[Node, bytes] = dict(self.before)
        data |= {s.synced: s.data for s in done if s.synced is not None and s.data is not None}
        for chosen in subsets(len(loose)):
            happened = safe | {loose[index] for index in chosen}
            names = dict(self.names)
            for number in naming:
                if number in happened:
                    step = done[number]
                    if step.gone is not None:
                        names.pop(step.gone, None)
                    if step.made is not None:
                        names[step.made[0]] = step.made[1]
            written = {n for n in names.values() if n not in self.folders and n not in data}
            for more in _contents(written, self.last):
                yield _as_files(names, {**data, **more}, self.folders)

    def _safe(self, done: list[Step]) -> set[int]:
        """The steps whose folder was synced after them."""
        found: set[int] = set()
        for number, step in enumerate(done):
            touched = {entry[0] for entry in (step.gone, step.made and step.made[0]) if entry}
            later = {one.synced for one in done[number + 1 :]}
            if step.synced is None and touched & later:
                found.add(number)
        return found

    def _new(self, *, is_folder: bool) -> Node:
        node, self._next = self._next, self._next + 1
        if is_folder:
            self.folders.add(node)
        return node

    def _entry(self, path: Path) -> Entry | None:
        """The name of a path; ``None`` outside of the recorded folder."""
        if path == self.root or not path.is_relative_to(self.root):
            return None
        return self._node(path.parent), path.name

    def _known(self, path: Path) -> Entry:
        entry = self._entry(path)
        assert entry is not None, f"{path} comes from elsewhere"
        return entry

    def _node(self, path: Path) -> Node:
        node = 0
        for name in path.relative_to(self.root).parts:
            node = self._now[node, name]
        return node

    def _path(self, node: Node) -> Path:
        if node == 0:
            return self.root
        folder, name = next(entry for entry, one in self._now.items() if one == node)
        return self._path(folder) / name

    def _keep(self, node: Node, path: Path) -> None:
        if node not in self.folders:
            self.last[node] = path.read_bytes()


def _contents(nodes: set[Node], last: Mapping[Node, bytes]) -> Iterator[dict[Node, bytes]]:
    """What files may hold that were not synced: all of them alike, and each one as no other."""
    kinds: list[Callable[[bytes], bytes]] = [
        lambda data: data,
        lambda _: b"",
        lambda data: bytes(len(data)),
        lambda data: data[: len(data) // 2],
    ]
    whole = {node: last.get(node, b"") for node in nodes}
    yield whole
    for kind in kinds[1:]:
        if whole:
            yield {node: kind(data) for node, data in whole.items()}
        if len(whole) > 1:
            for node, data in whole.items():
                yield {**whole, node: kind(data)}


def _as_files(names: Mapping[Entry, Node], data: Mapping[Node, bytes], folders: set[Node]) -> Files:
    """The files that can be reached from the root."""
    below: dict[Node, list[tuple[str, Node]]] = {}
    for (folder, name), node in names.items():
        below.setdefault(folder, []).append((name, node))
    found: Files = {}
    pending: list[tuple[Node, str]] = [(0, "")]
    while pending:
        folder, path = pending.pop()
        if folder and folder not in below:
            found[path] = b""
        for name, node in below.get(folder, []):
            if node in folders:
                pending.append((node, f"{path}{name}/"))
            else:
                found[f"{path}{name}"] = data[node]
    return found


def few(seed: int, most: int = 40) -> Callable[[int], Iterator[tuple[int, ...]]]:
    """None, all, each alone, all but each, the first so many, and some at random."""

    def chosen(count: int) -> Iterator[tuple[int, ...]]:
        everything = tuple(range(count))
        yield from {
            (),
            everything,
            *((one,) for one in everything),
            *(tuple(x for x in everything if x != one) for one in everything),
            *(everything[:end] for end in everything),
        }
        random = Random(seed)  # noqa: S311 - a sample
        for _ in range(most):
            yield tuple(one for one in everything if random.random() < 0.5)

    return chosen


def every(count: int) -> Iterator[tuple[int, ...]]:
    """Every subset."""
    for size in range(count + 1):
        yield from combinations(range(count), size)


@contextmanager
def recorded(root: Path, patch: pytest.MonkeyPatch) -> Iterator[Recording]:
    """Records what is done below a folder in the block, by the functions of `os` and `io.open`."""
    recording = Recording(root)

    def at(path: Any, folder: int | None = None) -> Path:
        given = Path(os.fsdecode(path))
        return given.absolute() if folder is None or folder < 0 else opened_at(folder) / given

    def opened_at(descriptor: int) -> Path:
        return Path(f"/proc/self/fd/{descriptor}").readlink()

    def around(name: str, note: Callable[..., None], *, first: bool = True) -> None:
        original = getattr(os, name)

        def call(*arguments: Any, **named: Any) -> Any:
            if first:
                note(*arguments, **named)
            given = original(*arguments, **named)
            if not first:
                note(*arguments, **named)
            return given

        inner.setattr(os, name, call)

    def opened(path: Any, flags: int, *_: Any, dir_fd: int | None = None, **__: Any) -> None:
        if flags & os.O_CREAT:
            recording.create(at(path, dir_fd))

    def moved(source: Any, target: Any, **_: Any) -> None:
        recording.rename(at(source), at(target))

    def removed(path: Any, *_: Any, dir_fd: int | None = None, **__: Any) -> None:
        recording.remove(at(path, dir_fd))

    def made(path: Any, *_: Any, **__: Any) -> None:
        if not at(path).is_dir():
            recording.create(at(path), is_folder=True)

    def synced(descriptor: int) -> None:
        recording.sync(opened_at(descriptor))

    with patch.context() as inner:
        around("open", opened)
        around("rename", moved, first=False)  # it fails where there is an artifact already
        around("replace", moved, first=False)
        around("unlink", removed)
        around("remove", removed)
        around("rmdir", removed)
        around("mkdir", made)
        around("link", lambda source, target, **_: recording.link(at(source), at(target)))
        around("fsync", synced)
        open_file = io.open

        def open_noted(path: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
            if not isinstance(path, int) and set(mode) & set("wax+"):
                recording.create(at(path))
            return open_file(path, mode, *rest, **named)

        inner.setattr(io, "open", open_noted)
        yield recording
        recording.finish()
