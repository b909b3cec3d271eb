"""Ctrl-C while `crosscity` is still loading: nothing has begun, so nothing is said."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from pydantic import BaseModel, model_serializer

from flows.cli import application
from flows.cli.errors import is_interrupt
from flows.ending import GOES_ON, INTERRUPTED

STANDS_STILL = """
import signal, sys, time
signal.signal(signal.SIGINT, {handler})

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":  # the first of what takes long to import
            print("importing", flush=True)
            time.sleep(100 if {waits} else 0.5)

sys.meta_path.insert(0, Slow())
sys.argv = ["crosscity", "--version"]
from flows.cli.main import main
main()
"""


def _started(handler: str, *, waits: bool) -> subprocess.Popen[str]:
    program = STANDS_STILL.format(handler=handler, waits=waits)
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_it_loads_ends_it_without_a_word(sign: signal.Signals) -> None:
    with _started("signal.default_int_handler", waits=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(sign)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", "")


class Dumped(BaseModel):
    """Stands for what is written as JSON when the interrupt comes."""

    @model_serializer(mode="wrap")
    def _interrupted(self, _handler: object) -> dict[str, object]:
        raise KeyboardInterrupt


@pytest.mark.parametrize("dump", ["model_dump", "model_dump_json"])
def test_an_interrupt_that_a_library_has_wrapped_is_one(
    dump: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(application, "app", lambda *_, **__: getattr(Dumped(), dump)())
    with pytest.raises(SystemExit) as ending:
        application.run(["status"])
    assert ending.value.code == INTERRUPTED
    assert capsys.readouterr().err == f"{GOES_ON}\n"


def test_an_error_of_another_kind_is_no_interrupt() -> None:
    assert not is_interrupt(ValueError("a key of the board"))


def test_who_starts_it_without_interrupts_is_not_interrupted() -> None:
    """As a shell does with what it starts in the background."""
    with _started("signal.SIG_IGN", waits=False) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert out.startswith("crosscity ")
