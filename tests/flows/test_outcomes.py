"""How verbs end, quietly or as JSON, in colour or not, and how a shell completes them."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from flows.cli.application import app
from flows.cli.options import OPTIONS
from flows.cli.outcome import tell_failures

COLOUR = re.compile(rb"\x1b\[[0-9;]*(?:3[0-9]|4[0-9]|9[0-7])[0-9;]*m")
"""Codes that choose a colour (ECMA-48, "Select graphic rendition"); not bold and dim."""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "street.png"
    noise = np.random.default_rng(0).integers(0, 255, (8, 12, 3)).astype(np.uint8)
    Image.fromarray(noise).resize((96, 64), Image.Resampling.BICUBIC).save(path)
    return path


def test_a_verb_ends_in_one_json_object_where_it_is_asked_for(
    many_commands: Any, picture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labels.png"
    done = many_commands("superpixels", picture, "-n", 7, "-o", out, "--json")
    assert done["code"] == 0, done
    reported = json.loads(done["out"])
    assert reported["what"] == "superpixels"
    assert reported["where"] == str(out)
    assert reported["superpixels"] == 7
    # The next command of the process does not remember it.
    done = many_commands("superpixels", picture, "-n", 7, "-o", out)
    assert done["out"].strip() == f"7 superpixels in {out}"


def test_a_flow_says_what_is_there_where_and_what_comes_next(
    many_flows: Any, write_catalog: Any, tmp_path: Path
) -> None:
    catalog = write_catalog(tmp_path)
    done = many_flows("harvest", "tokyo", "--catalog", catalog)
    assert done["code"] == 0, done
    assert re.fullmatch(r"pairs: pairs/tokyo/\w+\n", done["out"])
    assert "next: `crosscity priors tokyo`" in done["err"]
    assert "watch it at http" in done["err"]
    quiet = many_flows("harvest", "tokyo", "--catalog", catalog, "--quiet")
    assert quiet["out"] == done["out"]
    assert quiet["err"] == ""
    as_json = many_flows("harvest", "tokyo", "--catalog", catalog, "--json", "--quiet")
    reported = json.loads(as_json["out"])
    assert f"pairs: {reported['where']}\n" == done["out"]
    assert reported["next"] == "`crosscity priors tokyo`"
    assert reported["city"] == "tokyo"


def test_an_error_is_said_quietly_too(many_commands: Any, tmp_path: Path) -> None:
    done = many_commands("priors", "tokyo", "--quiet", "--catalog", tmp_path / "none.yaml")
    assert done["code"] == 2
    assert "there is no catalog at" in done["err"]


def test_what_failed_in_a_step_that_goes_on_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below `failure_limit` nothing but the report said that images or priors are missing."""
    many = {f"fault {number}": number for number in range(1, 5)}
    tell_failures({"images": 90, "failures": many, "left_out": {"too dark": 2}}, "images")
    tell_failures({"images": 90, "failures": {}}, "priors")
    monkeypatch.setattr(OPTIONS, "quiet", True)
    tell_failures({"images": 90, "failures": many}, "priors")
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "remark: 10 of 90 images failed: 4 × fault 4; 3 × fault 3; 2 × fault 2; …",
        "remark: 2 of 90 images are left out: 2 × too dark",
    ]


def verbs() -> dict[str, Any]:
    command: Any = typer.main.get_command(app)
    found = {}
    for name, verb in command.commands.items():
        below = getattr(verb, "commands", None)
        found |= {f"{name} {one}": each for one, each in below.items()} if below else {name: verb}
    return found


def test_options_mean_the_same_in_every_verb() -> None:
    """One name for one thing: what makes files takes -o, what reads a catalog takes --catalog."""
    spelled: dict[str, set[tuple[str, ...]]] = {}
    for verb in verbs().values():
        assert verb.help, verb.name
        for one in verb.params:
            spelled.setdefault(one.name, set()).add(tuple(one.opts))
    assert spelled["output"] == {("--output", "-o")}
    assert spelled["catalog"] == {("--catalog",)}
    assert spelled["compute"] == {("--compute",)}
    assert spelled["seed"] == {("--seed",)}
    assert {*spelled["as_json"], *spelled["_as_json"]} == {("--json",)}


FOREGROUND = {"server", "worker", "dashboard"}
"""What runs until Ctrl-C ends with nothing to tell."""


def test_every_verb_that_ends_takes_json() -> None:
    without = {
        name
        for name, verb in verbs().items()
        if not any("--json" in one.opts for one in verb.params)
    }
    assert without == {*FOREGROUND, "catalog schema"}  # a schema is JSON


def test_verbs_without_a_server_end_in_one_json_object(
    many_commands: Any, write_catalog: Any, tmp_path: Path
) -> None:
    catalog = write_catalog(tmp_path)
    for words in (
        ("catalog", "check"),
        ("catalog", "deployments", "-o", tmp_path / "prefect.yaml"),
        ("store", "verify"),
        ("store", "repair"),
        ("store", "prune"),
        ("store", "quarantine"),
        ("doctor",),
        ("down",),
    ):
        done = many_commands(*words, "--json", "--catalog", catalog)
        assert done["code"] == 0, done
        told = json.loads(done["out"])
        assert {"what", "where", "next"} <= told.keys(), words


def completed(words: str, catalog: Path | None = None) -> list[str]:
    """What bash would offer, by the script that `--show-completion` prints."""
    environment = {
        **os.environ,
        "_CROSSCITY_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    if catalog is not None:
        environment["CROSSCITY_CATALOG"] = str(catalog)
    program = "import sys; sys.argv[0] = 'crosscity'; from flows.cli.main import main; main([])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.stdout.split()


def test_a_shell_completes_verbs_and_cities(write_catalog: Any, tmp_path: Path) -> None:
    assert {"harvest", "priors", "predict", "segmenter"} <= {*completed("crosscity ")}
    assert completed("crosscity sugg") == ["suggest"]
    assert completed("crosscity segmenter ex") == ["export"]
    catalog = write_catalog(tmp_path)
    assert completed("crosscity harvest to", catalog) == ["tokyo"]
    assert completed("crosscity harvest pa", catalog) == []
    (tmp_path / "broken.yaml").write_text("cities: [")
    assert completed("crosscity harvest to", tmp_path / "broken.yaml") == []


def on_a_terminal(*words: object, **environment: str) -> bytes:
    """What a command writes to a terminal."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli.main", *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm-256color", **environment},
    )
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:
        pass  # Linux says so when the other end is closed
    os.close(ours)
    assert process.wait() == 0, written
    return written


def test_no_color_is_heeded_by_help_and_progress(picture: Path, tmp_path: Path) -> None:
    words = ("predict", picture, "--weights", WEIGHTS, "--catalog", tmp_path / "none.yaml")
    assert COLOUR.search(on_a_terminal("--help"))
    assert not COLOUR.search(on_a_terminal("--help", NO_COLOR="1"))
    assert COLOUR.search(on_a_terminal(*words, "-o", tmp_path / "a"))
    assert not COLOUR.search(on_a_terminal(*words, "-o", tmp_path / "b", NO_COLOR="1"))


WEIGHTS = Path(__file__).parents[2] / "crosscity" / "weights" / "street.safetensors"
