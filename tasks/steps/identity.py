"""What decides an artifact, its key, and why the artifact of that key is not there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from adapters.store import ArtifactRef, Draft, Manifest, Store, artifact_key
from tasks.steps.artifact_task import Made, make_once
from tasks.steps.errors import InputError, StaleError
from tasks.steps.freshness import Difference, as_words, differences

_MOST_LOOKED_AT: Final = 64
"""Manifests of an older release, which noted no newest one, that are read for a sentence."""


@dataclass(frozen=True)
class Words:
    """How an artifact is spoken of.

    Attributes:
        what: Its name with its verb: "the static priors of tokyo were".
        absent: That there is none: "tokyo has no static priors yet".
        verb: The command that makes it.
        section: What stands before a parameter's name in the catalog, such as "prior.".
        keys: Where the catalog has a parameter that is not in that section, by the name of the
            parameter or its first part.
        inputs: What an input is called, "another imagery", by its role without a number; so too a
            parameter that no catalog holds, such as a digest of files.
        ignored: Parameters that only number the parts of a whole.
    """

    what: str
    absent: str
    verb: str
    section: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    ignored: Sequence[str] = ()


@dataclass(frozen=True)
class Identity:
    """Everything that decides the content of an artifact; making and finding go by the same.

    Attributes:
        kind: Kind of the artifact.
        owner: City, data set or transfer that it belongs to.
        inputs: The artifacts that it is made of, by role.
        parameters: Everything else that its content depends on, JSON-able.
        version: Version of the algorithm.
        words: How it is spoken of.
        producer: What tells it from others of its kind and owner that are not earlier versions of
            it, such as an arm and a seed; a file name. Empty for shards, whose newest is not noted.
        marks: Parameters, and roles of inputs, that tell the same where none was noted; ``None``
            where nothing does.
    """

    kind: str
    owner: str
    inputs: Mapping[str, ArtifactRef]
    parameters: Mapping[str, Any]
    version: str
    words: Words
    producer: str = ""
    marks: Sequence[str] | None = None

    @property
    def key(self) -> str:
        """The key that the artifact has, or would have, in the store."""
        made_of = {role: ref.digest for role, ref in self.inputs.items()}
        return artifact_key(
            self.kind, inputs=made_of, parameters=self.parameters, version=self.version
        )


def make(store: Store, identity: Identity, write: Callable[[Draft, str], None]) -> Made:
    """`make_once` of what an identity determines; notes it for the sentences of `missing`."""
    made = make_once(
        store,
        identity.kind,
        identity.owner,
        inputs=identity.inputs,
        parameters=identity.parameters,
        version=identity.version,
        write=write,
    )
    if not made.cached and identity.producer:
        store.note_newest(identity.producer, made.ref)
    return made


def find(store: Store, identity: Identity) -> ArtifactRef | None:
    """The artifact that an identity determines, if it is there."""
    return store.find(identity.kind, identity.owner, identity.key)


def required(store: Store, identity: Identity) -> ArtifactRef:
    """The artifact that an identity determines.

    Raises:
        InputError: It is not there; the sentence says what differs in what is, and what to run.
    """
    found = find(store, identity)
    if found is None:
        raise missing(store, identity)
    return found


def missing(store: Store, identity: Identity, last: Manifest | None = None) -> InputError:
    """The error about an artifact that is not there: `StaleError` where another one is.

    Args:
        store: The store.
        identity: Of the artifact.
        last: What is there instead; default: `newest`.
    """
    words = identity.words
    last = newest(store, identity) if last is None else last
    if last is None:
        return InputError(f"{words.absent}: run `{words.verb}` first")
    return StaleError(f"{words.what} {_how_it_differs(store, last, identity)}: run `{words.verb}`")


def newest(store: Store, identity: Identity) -> Manifest | None:
    """What the producer of an artifact made last. It explains, and is never taken instead."""
    if identity.producer:
        noted = store.newest(identity.kind, identity.owner, identity.producer)
        if noted is not None:
            return store.manifest(noted)
    if identity.marks is None:
        return None
    looked_at = islice(store.artifacts(identity.kind, identity.owner), _MOST_LOOKED_AT)
    made_of = {role: ref.digest for role, ref in identity.inputs.items()}
    wanted = [{**made_of, **identity.parameters}.get(name) for name in identity.marks]
    alike = [
        manifest
        for manifest in map(store.manifest, looked_at)
        if [_all_of(manifest).get(name) for name in identity.marks] == wanted
    ]
    return max(alike, key=lambda manifest: manifest.made_at, default=None)


def _all_of(made: Manifest) -> dict[str, Any]:
    """Parameters, and digests of inputs by role."""
    return {**(made.inputs if isinstance(made.inputs, dict) else {}), **made.parameters}


def _how_it_differs(store: Store, last: Manifest, identity: Identity) -> str:
    """In what an artifact differs from the one that is wanted: settings, version, or inputs."""
    words = identity.words
    changed = differences(last.parameters, identity.parameters, leave_out=words.ignored)
    settings = [one for one in changed if _first_part(one.key) not in words.inputs]
    if settings:
        return as_words([_in_the_catalog(one, words) for one in settings])
    if last.version != identity.version:
        return (
            f"made by version {last.version} of the algorithm, this program has {identity.version}"
        )
    before = last.inputs if isinstance(last.inputs, dict) else {}
    now = {role: ref.digest for role, ref in identity.inputs.items()}
    roles = [role for role in {**now, **before} if before.get(role) != now.get(role)]
    named = dict.fromkeys(
        words.inputs.get(role, f"another {role}") + _other_row_counts(store, last, identity, role)
        for role in map(_group, roles)
    )
    named |= dict.fromkeys(words.inputs[_first_part(one.key)] for one in changed)
    return f"made of {' and '.join(named)}" if named else "made of the same and cannot be found"


def _other_row_counts(store: Store, last: Manifest, identity: Identity, group: str) -> str:
    """How many rows the shards of a role had then and have now, where that differs."""
    before = {role: ref for role, ref in store.inputs_of(last.ref).items() if _group(role) == group}
    now = [ref for role, ref in identity.inputs.items() if _group(role) == group]
    if group in before or None in before.values():  # it is one artifact, or one is gone
        return ""
    counts = [
        sum(store.manifest(ref).rows or 0 for ref in refs if ref is not None)
        for refs in (before.values(), now)
    ]
    return "" if counts[0] == counts[1] else f" ({counts[0]} then, {counts[1]} now)"


def _group(role: str) -> str:
    """The role of shards without the number of one."""
    return role.rstrip("0123456789").rstrip("-")


def _in_the_catalog(one: Difference, words: Words) -> Difference:
    """The difference under the key that its setting has in the catalog."""
    first = _first_part(one.key)
    for name in (one.key, first):
        if name in words.keys:
            return Difference(words.keys[name] + one.key.removeprefix(name), one.was, one.now)
    return Difference(f"{words.section}{one.key}", one.was, one.now)


def _first_part(key: str) -> str:
    return key.partition(".")[0]
