"""The HTTP client against a server that misbehaves."""

from __future__ import annotations

import email.utils
import pickle
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from adapters.street_view.base import StreetViewError
from adapters.street_view.web.addresses import AddressError, Addresses
from adapters.street_view.web.budget import Budget, Ledger, Spent
from adapters.street_view.web.client import Manners, Secret, WebClient
from adapters.street_view.web.errors import (
    AccessRefused,
    BudgetSpent,
    HarvestStopped,
    ServiceError,
    ServiceUnavailable,
)

QUICK = {"per_second": 1e6, "first_wait": 0.0, "attempts": 3}


@pytest.fixture
def server(services: Any) -> Iterator[Any]:
    with services.PanoramaxServer(services.made_up_world(8)) as running:
        yield running


def client(
    server: Any, *, budget: Budget | None = None, secret: Secret | None = None,
    sleeps: list[float] | None = None, hosts: tuple[str, ...] = (), **manners: Any,
) -> WebClient:  # fmt: skip
    return WebClient(
        "The service",
        Addresses(server.url, hosts),
        Ledger("the service", budget or Budget()),
        Manners(**(QUICK | manners)),
        secret=secret,
        clock=(time.monotonic if sleeps is None else lambda: sum(sleeps)),
        sleep=(time.sleep if sleeps is None else sleeps.append),
    )


BBOX = {"bbox": "2,48,3,49", "datetime": "2000-01-01T00:00:00Z/2100-01-01T00:00:00Z", "limit": 5}


def ask(made: WebClient) -> Any:
    return made.get_json("api/search", BBOX)


def test_an_answer_is_parsed_and_counted(server):
    made = client(server)
    assert len(ask(made)["features"]) == 5
    spent = made.ledger.spent
    assert spent.requests == 1
    assert spent.bytes > 1000
    assert "crosscity" in server.asked[0].headers["user-agent"]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 509, 522, 524])
def test_what_may_pass_is_tried_again(server, services, status):
    server.faults.append(services.Fault("/api/search", times=2, status=status))
    made = client(server)
    assert ask(made)["features"]
    assert len(server.asked) == 3
    assert made.ledger.spent.requests == 3  # every attempt counts


@pytest.mark.parametrize("kind", ["cut", "slow"])
def test_bodies_that_are_cut_off_or_too_slow_are_tried_again(server, services, kind):
    server.faults.append(services.Fault("/api/search", kind, seconds=0.05))
    # On a full machine, further answers may take as long.
    assert ask(client(server, total_timeout=0.5, attempts=100))["features"]
    assert len(server.asked) >= 2


def test_silence_is_not_waited_out(server, services):
    server.faults.append(services.Fault("/api/search", "late", seconds=10.0))
    assert ask(client(server, read_timeout=0.3, attempts=100))["features"]
    assert len(server.asked) >= 2


def test_what_never_passes_is_given_up_and_said(server, services):
    server.faults.append(services.Fault("/api/search", times=-1, status=503))
    made = client(server, patience=2)
    with pytest.raises(ServiceError, match=r"/api/search in 3 attempts \(status 503") as caught:
        ask(made)
    assert not isinstance(caught.value, HarvestStopped)  # it may be one bad picture
    assert len(server.asked) == 3
    with pytest.raises(ServiceUnavailable, match="failed 2 times in a row") as stopped:
        ask(made)
    assert isinstance(stopped.value, HarvestStopped)


def test_a_service_that_is_not_there_is_said_without_the_query():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"

        class Nobody:
            url = address

        with pytest.raises(ServiceError, match="no connection") as caught:
            client(Nobody(), attempts=2).get_json("api/search", {"key": "secret"})
    assert "secret" not in str(caught.value)


def test_waits_grow_and_differ(server, services):
    sleeps: list[float] = []
    server.faults.append(services.Fault("/api/search", times=5, status=500))
    ask(client(server, sleeps=sleeps, first_wait=1.0, attempts=6))
    waits = [seconds for seconds in sleeps if seconds > 1e-3]
    assert len(waits) == 5
    assert all(0.5 <= wait <= 2 ** (n + 1) for n, wait in enumerate(waits))
    assert len(set(waits)) == 5


def test_retry_after_may_be_a_date(server, services):
    later = email.utils.formatdate(time.time() + 10_000, usegmt=True)
    server.faults.append(services.Fault("/api/search", status=429, headers={"Retry-After": later}))
    sleeps: list[float] = []
    ask(client(server, first_wait=100.0, longest_wait=20_000.0, sleeps=sleeps))
    assert 5_000 < sum(sleeps) <= 10_000


def test_retry_after_holds_every_thread(server, services):
    server.faults.append(services.Fault("/api/search", status=429, headers={"Retry-After": "1"}))
    made = client(server, first_wait=100.0)
    ask(made)
    first, second = (asked.at for asked in server.asked)
    assert second - first > 0.6
    start = time.monotonic()
    made.pace.hold(0.3)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: ask(made), range(3)))
    assert all(asked.at - start > 0.25 for asked in server.asked[2:])


def test_a_long_retry_after_stops_the_harvest(server, services):
    server.faults.append(
        services.Fault("/api/search", status=429, headers={"Retry-After": "86400"})
    )
    with pytest.raises(ServiceUnavailable, match="wait 86400 seconds"):
        ask(client(server, longest_wait=60))
    assert len(server.asked) == 1


def test_requests_are_spaced(server):
    made = client(server, per_second=20.0)
    # From here, and not from when the first one arrives: on a busy machine that is late.
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ask(made), range(6)))
    assert time.monotonic() - started >= 5 / 20
    assert len(server.asked) == 6


def test_requests_at_once_are_limited(server, services):
    server.faults.append(services.Fault("/api/search", "late", times=-1, seconds=0.05))
    made = client(server, concurrency=2)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: ask(made), range(8)))
    assert server.busiest == 2


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_is_not_tried_again_and_tells_no_secret(server, services, status):
    token = "MLY|9|token-of-mine"  # noqa: S105 - nobody's
    body = f'{{"error": {{"message": "Invalid token {token}"}}}}'.encode()
    server.faults.append(services.Fault("/api/search", status=status, times=-1, body=body))
    made = client(server, secret=Secret({"Authorization": f"OAuth {token}"}, {"key": token}))
    with pytest.raises(AccessRefused, match=f"status {status}: Invalid token …") as caught:
        ask(made)
    assert token not in str(caught.value)
    assert token not in repr(made._secret)
    with pytest.raises(AccessRefused):  # nor by the next thread that wants something
        ask(made)
    assert len(server.asked) == 1


def test_another_fault_is_reported_with_the_services_words(server):
    with pytest.raises(ServiceError, match="status 400: Parameters are wrong") as caught:
        client(server).get_json("api/search", {"limit": 0})
    assert not isinstance(caught.value, HarvestStopped)
    assert caught.value.status == 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"<html>maintenance</html>", b"", b"{", b"[" * 100_000, b"\xff\xfe"]
)
def test_what_is_not_json_is_reported(server, services, body):
    server.faults.append(services.Fault("/api/search", "body", body=body))
    with pytest.raises(ServiceError, match="something that is not JSON"):
        ask(client(server))


@pytest.mark.parametrize("kind", ["body", "endless"])
def test_bodies_have_a_limit(server, services, kind):
    server.faults.append(services.Fault("/api/search", kind, body=b"0" * 200_000))
    with pytest.raises(ServiceError, match=r"100000 (bytes )?allowed"):
        ask(client(server, max_json_bytes=100_000))


def test_packed_bombs_have_the_same_limit(server, services):
    import gzip

    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 60_000
    server.faults.append(
        services.Fault("/api/search", "body", body=bomb, headers={"Content-Encoding": "gzip"})
    )
    with pytest.raises(ServiceError, match="more than the 1000000 bytes allowed"):
        ask(client(server, max_json_bytes=1_000_000))


# Budgets


def test_the_budget_of_requests_is_never_exceeded(server):
    made = client(server, budget=Budget(requests=4))
    with ThreadPoolExecutor(4) as pool:
        reported = [pool.submit(ask, made) for _ in range(9)]
    faults = [t.exception() for t in reported if t.exception()]
    assert len(server.asked) == 4
    assert len(faults) == 5
    assert all(isinstance(fault, BudgetSpent) for fault in faults)
    assert "budget of 4 requests" in str(faults[0])


def test_the_budget_of_bytes_stops_before_it_is_exceeded(server):
    probe = client(server)
    ask(probe)
    size = probe.ledger.spent.bytes
    made = client(server, budget=Budget(bytes=2 * size + 10))
    for _ in range(2):
        ask(made)
    with pytest.raises(BudgetSpent, match=f"budget of {2 * size + 10} bytes"):
        ask(made)
    assert made.ledger.spent.bytes == 2 * size


def test_money_is_counted_and_earlier_parts_count(server):
    made = client(server, budget=Budget(usd=0.01))
    made.ledger.before(Spent(usd=0.004))
    for _ in range(3):
        made.get_json("api/search", BBOX, usd=0.002)
    with pytest.raises(BudgetSpent, match=r"budget of 0.01 US dollars"):
        made.get_json("api/search", BBOX, usd=0.002)
    assert made.ledger.spent.usd == pytest.approx(0.006)
    assert len(server.asked) == 3


# Addresses and redirects


def redirect(services: Any, to: str, times: int = 1) -> Any:
    return services.Fault("/api/pictures", status=302, times=times, headers={"Location": to})


def picture_of(server: Any) -> str:
    return f"{server.url}/api/pictures/{server.world.pictures[0].uuid}/hd.jpg"


def test_a_redirect_within_the_service_is_followed(server, services):
    server.world.pictures[0] = services.moved(
        server.world.pictures[0], 0, jpeg=lambda: b"a picture"
    )
    server.world.refresh()
    server.faults.append(redirect(services, picture_of(server)))
    assert client(server).get_bytes("api/pictures/elsewhere") == b"a picture"


@pytest.mark.parametrize(
    "to",
    [
        "https://elsewhere.example/x.jpg",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "ftp://panoramax.ign.fr/x",
        "http://panoramax.ign.fr/x.jpg",
        "https://panoramax.ign.fr.evil.example/x.jpg",
        "https://panoramax.ign.fr:8443/x.jpg",
        "https://user:pass@panoramax.ign.fr/x.jpg",
        "https://evilign.fr/x.jpg",
    ],
)
def test_redirects_to_anywhere_else_are_refused(server, services, to):
    server.faults.append(redirect(services, to))
    made = client(server, hosts=("panoramax.ign.fr", ".sub.ign.fr"))
    with pytest.raises(ServiceError, match="add it to `hosts`") as caught:
        made.get_bytes(picture_of(server))
    assert "pass@" not in str(caught.value)
    assert len(server.asked) == 1


def test_a_ring_of_redirects_ends(server, services):
    server.faults.append(redirect(services, picture_of(server), times=-1))
    with pytest.raises(ServiceError, match="redirected more than 3 times"):
        client(server).get_bytes(picture_of(server))
    assert len(server.asked) == 4


def test_secrets_do_not_follow_to_another_address(server, services):
    with services.PanoramaxServer(server.world) as other:
        made = client(server, secret=Secret({"Authorization": "OAuth x"}, {"key": "y"}))
        made.addresses._hosts = ("127.0.0.1",)
        made.addresses.check = lambda address: address  # as if it were a configured host
        server.faults.append(redirect(services, f"{other.url}/api/nothing"))
        with pytest.raises(ServiceError):
            made.get_bytes("api/pictures/x")
        assert server.asked[0].query["key"] == "y"
        assert server.asked[0].headers["authorization"] == "OAuth x"
        assert "key" not in other.asked[0].query
        assert "authorization" not in other.asked[0].headers
        with pytest.raises(ServiceError):
            made.get_bytes(f"{server.url}/api/from-an-answer")
        assert "key" not in server.asked[-1].query


@pytest.mark.parametrize(
    "base",
    [
        "http://api.panoramax.xyz",
        "ftp://127.0.0.1",
        "https://",
        "api.panoramax.xyz",
        "https://x.example?key=1",
        "http://10.0.0.1:8000",
        "http://localhost.evil.example",
        "https://x.example:port",
    ],
)
def test_a_base_is_https_or_the_loopback(base):
    with pytest.raises(AddressError):
        Addresses(base)


@pytest.mark.parametrize(
    "base", ["https://api.panoramax.xyz/", "http://127.0.0.1:80", "http://[::1]:1"]
)
def test_good_bases(base):
    assert Addresses(base).below("/a/b").endswith("/a/b")


def test_hosts_are_whole_names_or_everything_below():
    made = Addresses("https://a.example", ["b.example", ".c.example"])
    for good in ("https://a.example/x", "https://b.example", "https://x.y.c.example/z"):
        assert made.check(good) == good
    for bad in ("https://c.example", "https://xb.example", "https://b.example.evil", "//a.example"):
        with pytest.raises(AddressError):
            made.check(bad)


def test_a_client_survives_pickling(server):
    made = client(server, budget=Budget(requests=2))
    ask(made)
    copy = pickle.loads(pickle.dumps(made))  # noqa: S301 - our own bytes
    assert ask(copy)["features"]
    with pytest.raises(BudgetSpent):
        ask(copy)


def test_every_fault_is_one_that_callers_of_providers_know():
    for kind in (ServiceError, AccessRefused, BudgetSpent, ServiceUnavailable):
        assert issubclass(kind, StreetViewError)
