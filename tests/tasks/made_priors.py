"""Static priors of rows that a test makes up, without any image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adapters.store import ArtifactRef, Store, artifact_key
from tasks.steps.schemas import STATIC_PRIOR
from tasks.steps.tables import part_name, write_rows


def stored_priors(store: Store, shards: Iterable[Sequence[Mapping[str, Any]]]) -> ArtifactRef:
    """A new `static_prior` artifact of these shards of rows."""
    number = len(list(store.artifacts("static_prior")))
    facts: dict[str, Any] = {"inputs": {}, "parameters": {"number": number}, "version": "1"}
    key = artifact_key("static_prior", **facts)
    with store.draft("static_prior", "tokyo", key, **facts) as draft:
        for number, rows in enumerate(shards):
            write_rows(draft, part_name(number), rows, STATIC_PRIOR)
    return draft.ref
