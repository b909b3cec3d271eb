"""The log on the terminal: silent by default, from a level on, and a JSON object a line."""

from __future__ import annotations

import json
import os


def test_log_lines_are_json_objects_where_asked(crosscity, prefect_server, write_catalog, tmp_path):
    catalog = write_catalog(tmp_path, city={"places": 3, "test_places": 1})
    # The suite silences Prefect; here it is asked to speak, by a command that a quiet one started.
    environment = {
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_HANDLERS_DEBUG_LEVEL": "CRITICAL",
    }
    words = ("harvest", "tokyo", "--catalog", catalog)
    done = crosscity(
        *("--log-json", "--log-level", "info", *words),
        server=prefect_server,
        environment=environment,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("{")]
    reported = [json.loads(line) for line in lines]
    assert any("Beginning flow run" in one["message"] for one in reported), done.stderr
    assert all({"at", "level", "logger", "message"} <= set(one) for one in reported)
    assert any("flow_run_id" in one for one in reported)
    assert os.environ.get("PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER") is None

    quiet = crosscity(*words, server=prefect_server, environment=environment)
    assert quiet.returncode == 0
    assert "Beginning flow run" not in quiet.stderr


def test_an_unknown_level_is_refused(crosscity):
    done = crosscity("--log-level", "loud", "catalog", "schema")
    assert done.returncode == 2
    assert "loud" in done.stderr
