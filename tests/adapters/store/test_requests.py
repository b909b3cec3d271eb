"""What the store asks of an S3 server (moto): requests are what an object store bills."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.store import Store, artifact_key

pytest.importorskip("s3fs", reason="crosscity[s3] is not installed")
pytest.importorskip("moto", reason="moto is not installed")

CREDENTIALS = {"key": "a-key-of-nobody", "secret": "a-secret-of-nobody"}


class Asked(list[str]):
    """The method and path of each request, in their order."""


@pytest.fixture
def asked() -> Iterator[tuple[Asked, dict[str, Any]]]:
    """A real S3 server with a bucket; what it is asked, and the options to reach it."""
    from threading import Thread

    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    heard = Asked()
    backends = DomainDispatcherApplication(create_backend_app)

    def listening(environ: dict[str, Any], start_response: Any) -> Any:
        heard.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        return backends(environ, start_response)

    server = make_server("127.0.0.1", 0, listening, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    where = {"endpoint_url": f"http://127.0.0.1:{server.port}", "region_name": "us-east-1"}
    boto3.client(
        "s3",
        **where,
        aws_access_key_id=CREDENTIALS["key"],
        aws_secret_access_key=CREDENTIALS["secret"],
    ).create_bucket(Bucket="requests")
    heard.clear()
    yield heard, {**CREDENTIALS, "client_kwargs": where}
    server.shutdown()
    thread.join()


FACTS: dict[str, Any] = {"inputs": ["a" * 64], "parameters": {}, "version": "1"}


@pytest.mark.parametrize("count", [1, 40])
def test_publishing_asks_two_more_than_there_are_files_and_a_second_epoch_nothing(
    asked, tmp_path: Path, count: int
):
    heard, options = asked
    url = f"s3://requests/of-{count}"  # moto keeps buckets for the whole process
    store = Store(url, options=options, cache_dir=tmp_path / "cache")
    with store.draft("imagery", "rome", artifact_key("imagery", **FACTS), **FACTS) as draft:
        for number in range(count):
            draft.file(f"{number}.jpg").write_bytes(bytes([number]) * 1000)
    ours = [one for one in heard if one.endswith((".jpg", "artifact.json"))]
    assert ours == heard
    assert len(heard) <= count + 2, heard
    assert heard[-1].startswith("PUT")
    assert heard[-1].endswith("artifact.json")  # after the files

    heard.clear()
    reader = Store(url, options=options, cache_dir=tmp_path / "another cache")
    for number in range(count):
        read = reader.path(draft.ref, f"{number}.jpg").read_bytes()
        assert read == bytes([number]) * 1000
    first_epoch = len(heard)
    assert first_epoch >= count  # so that the next line means something
    heard.clear()
    for number in range(count):
        reader.path(draft.ref, f"{number}.jpg").read_bytes()
    assert heard == []
