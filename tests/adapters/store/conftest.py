"""Stores of every kind, and a way to publish small artifacts in them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from adapters.store import ArtifactRef, Store, artifact_key

Publish = Callable[..., ArtifactRef]


@pytest.fixture(params=["folder", "file", "memory", "packed"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """The contract holds for each of these."""
    urls = {
        "folder": tmp_path / "store",
        "file": f"file://{tmp_path}/store",
        "memory": f"memory://{uuid.uuid4().hex}/store",
        "packed": f"memory://{uuid.uuid4().hex}/store",
    }
    return Store(urls[request.param], cache_dir=tmp_path / "cache", pack=request.param == "packed")


@pytest.fixture
def folder_store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def publish() -> Publish:
    """publish(store, files, kind=..., city=..., parameters=...) -> ArtifactRef."""

    def published(
        store: Store,
        files: Mapping[str, bytes],
        kind: str = "imagery",
        city: str = "rome",
        parameters: Mapping[str, object] | None = None,
    ) -> ArtifactRef:
        facts = {"inputs": ["a" * 64], "parameters": parameters or {}, "version": "1"}
        key = artifact_key(kind, **facts)
        with store.draft(kind, city, key, **facts) as draft:
            for name, data in files.items():
                draft.file(name).write_bytes(data)
        return draft.ref

    return published
