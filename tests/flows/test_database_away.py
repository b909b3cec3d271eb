"""A server whose database is away answers with 500: what a run cannot do without is asked again."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_CLIENT_RETRY_EXTRA_CODES,
    temporary_settings,
)

from flows.cli.server import QUIET


class _WithoutDatabase(BaseHTTPRequestHandler):
    """Answers to the first request for a page as Prefect's server does without its database."""

    def do_GET(self) -> None:
        asked = self.server.asked  # type: ignore[attr-defined]
        asked.append(self.path)
        body = b'"there again"'
        self.send_response(500 if asked.count(self.path) == 1 else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_what_a_server_without_its_database_refuses_is_asked_again() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _WithoutDatabase)
    server.asked = []  # type: ignore[attr-defined]
    Thread(target=server.serve_forever, daemon=True).start()
    as_ours = {
        PREFECT_API_URL: f"http://127.0.0.1:{server.server_port}/api",
        PREFECT_CLIENT_MAX_RETRIES: QUIET["PREFECT_CLIENT_MAX_RETRIES"],
        PREFECT_CLIENT_RETRY_EXTRA_CODES: QUIET["PREFECT_CLIENT_RETRY_EXTRA_CODES"],
    }
    with temporary_settings(as_ours), get_client(sync_client=True) as client:
        answer = client.hello()
    assert answer.json() == "there again"
    assert server.asked.count("/api/hello") == 2  # type: ignore[attr-defined]
    server.shutdown()
