"""Log lines as JSON objects, for whatever collects logs."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

FORMATTER: Final = "flows.json_log.JsonLines"
_OF_A_RUN: Final = ("flow_run_id", "flow_run_name", "task_run_id", "task_run_name", "flow_name")


class JsonLines(logging.Formatter):
    """One object a line: `at` (UTC), `level`, `logger`, `message`, the run's ids and names."""

    def __init__(self, *_: object, **__: object) -> None:
        """Takes what a logging configuration hands to any formatter."""
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in _OF_A_RUN:
            value = getattr(record, name, None)
            if value is not None:
                line[name] = str(value)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
