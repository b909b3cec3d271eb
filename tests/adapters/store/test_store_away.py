"""A store that does not answer for a while: waited for, and told apart from one that is wrong."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from adapters.store import Store, StoreAwayError, StoreError, artifact_key
from adapters.store.local import LocalPlace
from adapters.store.patience import PatientPlace, is_passing

pytest.importorskip("s3fs", reason="crosscity[s3] is not installed")
pytest.importorskip("moto", reason="moto is not installed")

CREDENTIALS = {"key": "a-key-of-nobody", "secret": "a-secret-of-nobody"}


class Moody(LocalPlace):
    """Is away the first times that it is read."""

    def __init__(self, root: Path, away: int, error: type[StoreError] = StoreAwayError) -> None:
        super().__init__(root, root / "cache")
        self.left, self.error, self.asked = away, error, 0

    def read(self, path: str) -> bytes | None:
        self.asked += 1
        if self.left:
            self.left -= 1
            raise self.error("the store does not answer")
        return super().read(path)


def test_an_operation_is_tried_again_until_it_works(tmp_path):
    waits: list[float] = []
    place = Moody(tmp_path, away=4)
    place.replace("note", b"text")
    patient = PatientPlace(place, 60, sleep=waits.append)
    assert patient.read("note") == b"text"
    assert place.asked == 5
    assert len(waits) == 4
    assert all(0 <= wait <= 30 for wait in waits)
    assert patient.read("note") == b"text"
    assert len(waits) == 4


def test_what_does_not_pass_is_not_waited_for(tmp_path):
    place = Moody(tmp_path, away=9, error=StoreError)
    with pytest.raises(StoreError):
        PatientPlace(place, 60, sleep=lambda _: None).read("note")
    assert place.asked == 1


def test_patience_has_an_end(tmp_path):
    place = Moody(tmp_path, away=10**6)
    with pytest.raises(StoreAwayError):
        PatientPlace(place, 0.5).read("note")
    assert place.asked > 1


def test_faults_that_pass_are_told_from_those_that_stay():
    import aiohttp
    import botocore.exceptions as boto

    def answered(status: int, code: str) -> Exception:
        return boto.ClientError(
            {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject"
        )

    passing = [
        boto.EndpointConnectionError(endpoint_url="http://x"),
        boto.ReadTimeoutError(endpoint_url="http://x"),
        boto.ConnectionClosedError(endpoint_url="http://x"),
        answered(503, "SlowDown"),
        answered(500, "InternalError"),
        answered(429, "TooManyRequests"),
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientPayloadError(),
        ConnectionResetError(),
        TimeoutError(),
        socket.gaierror(socket.EAI_AGAIN, "try again"),
    ]
    wrapped = OSError(5, "wrapped")
    wrapped.__cause__ = answered(503, "SlowDown")
    staying = [
        answered(403, "AccessDenied"),
        answered(404, "NoSuchBucket"),
        boto.NoCredentialsError(),
        PermissionError("AccessDenied"),
        ValueError("wrong"),
        FileNotFoundError(),
    ]
    assert [error for error in [*passing, wrapped] if not is_passing(error)] == []
    assert [error for error in staying if is_passing(error)] == []


@pytest.fixture(scope="module")
def object_store(gates):
    """A real S3 server (moto), a bucket in it, and a door that can be shut."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=CREDENTIALS["key"],
        aws_secret_access_key=CREDENTIALS["secret"],
    ).create_bucket(Bucket="store-away")  # moto keeps buckets for the whole process
    gate = gates.Gate(port)
    yield gate
    gate.shut()
    server.stop()


def opened(gate, folder: Path, patience: float) -> Store:
    options = {
        **CREDENTIALS,
        "client_kwargs": {
            "endpoint_url": f"http://127.0.0.1:{gate.port}",
            "region_name": "us-east-1",
        },
        "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 60},
        "skip_instance_cache": True,
    }
    return Store(
        "s3://store-away/store", options=options, cache_dir=folder / "cache", patience=patience
    )


def publish(store: Store, number: int) -> object:
    parameters = {"number": number}
    key = artifact_key("imagery", inputs={}, parameters=parameters, version="1")
    with store.draft(
        "imagery", "rome", key, inputs={}, parameters=parameters, version="1"
    ) as draft:
        (draft.path / "a.bin").write_bytes(bytes([number]) * 1000)
    return draft.ref


def test_an_artifact_is_published_once_the_store_is_back(object_store, tmp_path):
    store = opened(object_store, tmp_path, patience=120)
    first = publish(store, 1)
    object_store.shut()
    made: list[object] = []
    worker = threading.Thread(target=lambda: made.append(publish(store, 2)))
    worker.start()
    time.sleep(2)
    assert not made
    object_store.open()
    worker.join()
    assert made
    afresh = opened(object_store, tmp_path / "other", patience=0)
    assert sorted(ref.key for ref in afresh.artifacts()) == sorted([first.key, made[0].key])
    afresh.verify(made[0])


def test_a_store_that_stays_away_is_reported_in_a_sentence(object_store, tmp_path):
    store = opened(object_store, tmp_path, patience=1)
    object_store.shut()
    try:
        with pytest.raises(StoreAwayError, match="does not answer") as caught:
            publish(store, 3)
    finally:
        object_store.open()
    assert "\n" not in str(caught.value)
    assert CREDENTIALS["secret"] not in str(caught.value)
    assert not [ref for ref in store.artifacts() if ref.key.startswith("nothing")]
