"""Stores of every kind, and a way to publish small artifacts in them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

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


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A bucket of a real S3 server (moto)."""
    pytest.importorskip("s3fs", reason="crosscity[s3] is not installed")
    boto3 = pytest.importorskip("boto3", reason="moto is not installed")
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    answers = pytest.importorskip("moto.s3.responses", reason="moto is not installed").S3Response
    put, one_at_a_time = answers.put_object, threading.Lock()

    def put_alone(answer: Any) -> Any:
        # moto compares the tag and writes in two steps: two threads with one tag would both write.
        with one_at_a_time:
            return put(answer)

    monkeypatch.setattr(answers, "put_object", put_alone)
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = {"endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1"}
    boto3.client(
        "s3",
        aws_access_key_id="a-key",
        aws_secret_access_key="a-secret",  # noqa: S106
        **client,
    ).create_bucket(Bucket="turns")
    yield {
        "url": f"s3://turns/{uuid.uuid4().hex}",  # moto keeps buckets for the whole process
        "options": {"key": "a-key", "secret": "a-secret", "client_kwargs": client},
        "cache": str(tmp_path / "cache"),
    }
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """What a process needs to open a store of each kind."""
    if request.param == "folder":
        return {"url": str(tmp_path / "store")}
    found: dict[str, Any] = request.getfixturevalue("s3")
    return found
