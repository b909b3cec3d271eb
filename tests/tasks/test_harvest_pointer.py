"""What `harvest.json` names together must belong together."""

from __future__ import annotations

import logging

import pytest

from adapters.store import ArtifactRef, Selection, Store, artifact_key
from tasks.harvesting.current import HARVEST, Harvest, _named


def made(store: Store, kind: str, number: int, **inputs: ArtifactRef) -> ArtifactRef:
    digests = {role: ref.digest for role, ref in inputs.items()}
    facts = {"inputs": digests, "parameters": {"number": number}, "version": "1"}
    with store.draft(kind, "rome", artifact_key(kind, **facts), **facts) as draft:
        draft.file("x").write_bytes(bytes([number]))
    return draft.ref


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def test_pairs_of_other_images_are_not_a_harvest(store, caplog) -> None:
    one, other = made(store, "imagery", 1), made(store, "imagery", 2)
    pairs = made(store, "pairs", 1, imagery=one)
    grown = made(store, "pairs", 2, imagery=other, before=pairs)
    for imagery, of_it in ((one, pairs), (other, grown)):
        state = Selection({"imagery": imagery, "pairs": of_it})
        store.switch(HARVEST, "rome", state)
        assert _named(store, "rome", store.selected(HARVEST, "rome")) == Harvest(imagery, of_it)
    mixed = Selection({"imagery": other, "pairs": pairs})
    with caplog.at_level(logging.WARNING):
        assert _named(store, "rome", mixed) is None
    assert "was made of other images" in caplog.text
