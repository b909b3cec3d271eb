"""Stores and servers that are away for a while, and signals: how runs go on, or how they end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from flows.ending import GOES_ON

PASSING, INTERRUPTED = 75, 130
STOP_AT = Path(__file__).with_name("stop_at.py")
SOON = 120.0
"""Seconds until a process that is told to end has ended; by itself each goes on for longer."""


@pytest.fixture(scope="module")
def bucket(gates):
    """A real S3 server (moto) with a bucket, behind a door that can be shut."""
    boto3 = pytest.importorskip("boto3", reason="moto is not installed")
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="crosscity[s3] is not installed")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="a-key",
        aws_secret_access_key="a-secret",  # noqa: S106
    ).create_bucket(Bucket="bucket")
    gate = gates.Gate(port)
    yield gate
    gate.shut()
    server.stop()


def in_bucket(gate: Any, **entry: Any) -> dict[str, Any]:
    client = {"endpoint_url": f"http://127.0.0.1:{gate.port}", "region_name": "us-east-1"}
    options = {
        "key": "a-key",
        "secret": "a-secret",
        "client_kwargs": client,
        "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 60},
    }
    return {"stores": {"local": {"url": "s3://bucket/store", "options": options, **entry}}}


def command(*words: object) -> list[object]:
    return [sys.executable, "-m", "flows.cli.main", *words]


def started(launcher: Any, log: Path, environment: dict[str, str], *words: object) -> Any:
    with log.open("w") as output:
        return launcher.start(words, stdout=output, stderr=subprocess.STDOUT, env=environment)


class Harvest:
    """A harvest that stands in the middle, its first shard made, until it is told to go on.

    So it is in the middle still when the test acts, however late that has its turn.
    """

    def __init__(
        self, launcher: Any, folder: Path, environment: dict[str, str], catalog: Path
    ) -> None:
        self.log, self._marker = folder / "run.log", folder / "marker"
        words = ["harvest", self._marker, "harvest", "tokyo", "--catalog", catalog]
        self.process = started(launcher, self.log, environment, sys.executable, STOP_AT, *words)

    def stands(self) -> bool:
        """Whether the moment has come; an error where the harvest has ended."""
        assert self.process.poll() is None, self.log.read_text()
        return self._marker.exists()

    def go_on(self) -> None:
        """Lets it."""
        self._marker.with_name(f"{self._marker.name}.go").touch()


def digests(store: Any) -> dict[str, str]:
    """Contents of all artifacts by their places; what is measured (speed) may differ."""
    return {f"{ref.kind}/{ref.city}/{ref.key}": ref.digest for ref in store.artifacts()}


def test_a_harvest_waits_for_its_store_and_ends_with_the_same_bytes(
    bucket, prefect_server, write_catalog, crosscity, launcher, waiting, tmp_path
):
    from adapters.store import Store

    far = write_catalog(tmp_path / "far", **in_bucket(bucket))
    near = write_catalog(tmp_path / "near")
    environment = {**prefect_server.environment, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    harvest = Harvest(launcher, tmp_path, environment, far)
    waiting(harvest.stands, "the harvest has begun")
    bucket.shut()
    harvest.go_on()
    time.sleep(6)
    assert harvest.process.poll() is None, harvest.log.read_text()
    bucket.open()
    assert harvest.process.wait() == 0, harvest.log.read_text()

    done = crosscity("harvest", "tokyo", "--catalog", near, server=prefect_server)
    assert done.returncode == 0, done.stderr
    options = in_bucket(bucket)["stores"]["local"]["options"]
    remote = Store("s3://bucket/store", options=options, cache_dir=tmp_path / "check")
    wanted = digests(Store(tmp_path / "near" / "store"))
    assert wanted
    assert digests(remote) == wanted


def test_a_store_that_stays_away_ends_with_75_and_a_sentence(
    bucket, write_catalog, crosscity, tmp_path
):
    catalog = write_catalog(tmp_path, **in_bucket(bucket, patience_minutes=0.02))
    bucket.shut()
    try:
        done = crosscity("harvest", "tokyo", "--catalog", catalog)
    finally:
        bucket.open()
    assert done.returncode == PASSING, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("crosscity: the store at s3://bucket/store does not answer")
    assert "a-secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_is_not_there_ends_with_75_and_a_sentence(write_catalog, crosscity, tmp_path):
    catalog = write_catalog(tmp_path)
    with socket.socket() as taken:  # bound, and does not listen
        taken.bind(("127.0.0.1", 0))
        environment = {"PREFECT_API_URL": f"http://127.0.0.1:{taken.getsockname()[1]}/api"}
        for words in (["harvest", "tokyo"], ["deploy"]):
            done = crosscity(*words, "--catalog", catalog, environment=environment)
            assert done.returncode == PASSING, done.stderr
            assert "does not answer" in done.stderr.strip().splitlines()[-1]
            assert "Traceback" not in done.stderr


@pytest.mark.parametrize("away", [6, pytest.param(150, marks=pytest.mark.slow)])
def test_a_server_that_is_away_does_not_stop_the_work(
    gates, prefect_server, write_catalog, launcher, waiting, tmp_path, away
):
    catalog = write_catalog(tmp_path, city={"places": 40, "test_places": 2})
    gate = gates.Gate(int(prefect_server.address.rpartition(":")[2]))
    environment = {
        **prefect_server.environment,
        "PREFECT_API_URL": f"http://127.0.0.1:{gate.port}/api",
    }
    harvest = Harvest(launcher, tmp_path, environment, catalog)
    waiting(harvest.stands, "the harvest has begun")
    gate.shut()

    def shards() -> int:
        return len(list(tmp_path.glob("store/imagery_part/tokyo/*")))

    before = shards()
    harvest.go_on()
    waiting(lambda: shards() > before, "the work goes on without the server")
    time.sleep(away)
    gate.open()
    assert harvest.process.wait() == 0, harvest.log.read_text()
    (run,) = prefect_server.flow_runs(catalog)
    waiting(
        lambda: prefect_server.flow_runs(catalog)[0]["state_type"] == "COMPLETED",
        "the server knows that the run ended",
    )
    assert run["parameters"]["city"] == "tokyo"


@pytest.mark.parametrize("reader", ["reads", "is gone", "does not read"])
def test_a_signal_ends_a_process_whose_threads_do_not_listen(reader):
    script = """
        import os, signal, sys, threading, time
        from flows.ending import end_promptly
        end_promptly()
        end_promptly()
        signal.signal(signal.SIGTERM, lambda *_: None)
        threading.Thread(target=time.sleep, args=(10000,)).start()
        if sys.argv[1] == "does not read":
            os.set_blocking(2, False)
            try:
                while True:
                    os.write(2, b"x" * 4096)
            except BlockingIOError:
                os.set_blocking(2, True)
        print("ready", flush=True)
        while True:
            time.sleep(1)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), reader],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert process.stderr is not None
    if reader == "is gone":
        process.stderr.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=SOON) == INTERRUPTED
    if reader == "reads":
        assert process.stderr.read().strip() == GOES_ON
    process.stdout.close()
    process.stderr.close()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_verb_says_that_it_goes_on_and_does_not_wait_for_pythons_end(sign):
    """Python takes seconds to take PyTorch down, where no thread of it can end the process."""
    script = """
        import sys, time
        from flows.cli import application, main

        class Slow:
            def __del__(self, sleep=time.sleep):
                sleep(10000)

        slow = Slow()

        @application.app.command("wait")
        def wait():
            print("ready", flush=True)
            time.sleep(10000)

        sys.argv = ["crosscity", "wait"]
        main.main()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(sign)
            assert process.wait(timeout=SOON) == INTERRUPTED
            assert process.stderr.read().strip() == GOES_ON
        finally:
            process.kill()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_harvest_whose_service_does_not_answer_is_ended_by_a_signal(
    prefect_server, write_catalog, launcher, waiting, tmp_path, sign
):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)  # takes connections, and never says a word
        provider = {
            "kind": "panoramax",
            "base_url": f"http://127.0.0.1:{silent.getsockname()[1]}",
        }
        catalog = write_catalog(tmp_path, city={"provider": provider, "labels": None})
        log = tmp_path / "run.log"
        words = command("harvest", "tokyo", "--catalog", catalog)
        process = started(launcher, log, prefect_server.environment, *words)
        waiting(lambda: "watch it at" in log.read_text() or process.poll() is not None, "it runs")
        silent.settimeout(900)
        connection, _ = silent.accept()
        os.kill(process.pid, sign)
        assert process.wait(timeout=SOON) == INTERRUPTED, log.read_text()
        connection.close()
    assert "Traceback" not in log.read_text()
    assert not list(tmp_path.glob("store/imagery/*"))


def test_what_a_signal_ended_goes_on(
    prefect_server, write_catalog, crosscity, launcher, waiting, tmp_path
):
    catalog = write_catalog(tmp_path, city={"places": 40, "test_places": 2})
    harvest = Harvest(launcher, tmp_path, prefect_server.environment, catalog)
    waiting(harvest.stands, "a shard is there")
    os.kill(harvest.process.pid, signal.SIGTERM)
    harvest.go_on()
    assert harvest.process.wait(timeout=SOON) == INTERRUPTED, harvest.log.read_text()
    shards = {path.name for path in tmp_path.glob("store/imagery_part/tokyo/*")}
    done = crosscity("harvest", "tokyo", "--catalog", catalog, server=prefect_server)
    assert done.returncode == 0, done.stderr
    manifests = list(tmp_path.glob("store/imagery_part/tokyo/*/artifact.json"))
    assert shards <= {path.parent.name for path in manifests}
    assert all(json.loads(path.read_bytes())["files"] for path in manifests)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_run_has_begun_ends_a_command_as_later_ones_do(
    write_catalog, tmp_path, sign
):
    catalog = write_catalog(tmp_path)
    script = """
        import os, signal, sys
        from flows.cli import application, main

        def opened(event, args):  # while the verb still imports what it needs
            if event == "import" and args[0] == "prefect":
                os.kill(os.getpid(), int(sys.argv.pop()))

        sys.addaudithook(opened)
        main.main(sys.argv[1:-1])
    """
    words = ["harvest", "tokyo", "--catalog", catalog, int(sign)]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == INTERRUPTED, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("store/imagery/*"))


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", ["its threads end", "it takes itself down"])
def test_a_signal_after_the_end_of_a_verb_does_not_change_its_code(sign, moment):
    script = """
        import atexit, os, signal, sys, threading, time

        moment, sign = sys.argv.pop(), int(sys.argv.pop())

        def strike(*_):
            os.kill(os.getpid(), sign)
            time.sleep(0.1)

        from flows.cli import application, main

        def strike_once_settled():
            threading.main_thread().join()
            strike()

        if moment == "its threads end":
            threading.Thread(target=strike_once_settled).start()
        else:
            original = application.app
            def app(*words, **options):
                atexit.register(strike)
                original(*words, **options)
            application.app = app
        sys.argv = ["crosscity", "--version"]
        main.main()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(int(sign)), moment],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert done.stdout.startswith("crosscity ")


def test_what_hangs_after_its_verb_is_ended_by_a_signal_with_the_code_of_the_verb():
    script = """
        import sys, threading, time
        from flows.cli import application, main
        from flows.ending import end_promptly

        def hang():
            threading.main_thread().join()
            print("its verb has ended", flush=True)
            time.sleep(10000)

        end_promptly()
        threading.Thread(target=hang).start()
        sys.argv = ["crosscity", "--no-such-option"]
        main.main()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "its verb has ended\n"
    assert "no-such-option" in "".join(process.stderr.readline() for _ in range(4))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=SOON) == 2
    process.stdout.close()
    process.stderr.close()
