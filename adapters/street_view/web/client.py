"""One HTTP client for all services: paced, budgeted, bounded, patient, and wary.

- Requests are spaced, counted against the budget before they are made, and limited in number at
  once.
- What may pass (408, 425, 429, 5xx, a lost connection, a body that is cut off or too slow) is tried
  again after an exponentially growing, random time, or after what `Retry-After` says.
- Bodies are read in small steps with a limit on size and a limit on time in all.
- Only the addresses of the settings are asked, redirects included, and secrets go to the service's
  own address only. Messages never hold a query, a header or a body longer than a line.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from adapters.street_view.web.addresses import AddressError, Addresses
from adapters.street_view.web.budget import Ledger
from adapters.street_view.web.errors import (
    AccessRefused,
    GivenUpError,
    HarvestStopped,
    ServiceError,
    ServiceUnavailable,
    TooMuchAskedError,
)
from adapters.street_view.web.pace import Pace

USER_AGENT: Final = "crosscity-harvest/1"
MAX_REDIRECTS: Final = 3
_RETRIED: Final = frozenset({408, 425, 429})
_OF_THE_SERVER: Final = 500
"""From here on a status says that the other side failed; 520 to 530 are those of Cloudflare."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_REFUSED: Final = frozenset({401, 403})
_STEP: Final = 1 << 16
_ERROR_BYTES: Final = 1 << 14
_MOST_DIGITS: Final = 1000
_A_PICTURE: Final = "a picture"
"""What it is called that was asked for, where all have paths of their own: equal faults are one."""
_TOO_MUCH: Final = "reduce the amount of data"
"""In what Meta's Graph API answers, with status 500, to a search that takes it too long."""
_TOO_MUCH_ATTEMPTS: Final = 2
"""As it says so of a search that it answers a moment later, too."""

Parameters = Mapping[str, str | int | float]
Body = dict[str, Any] | None


@dataclass(frozen=True)
class Manners:
    """How a service is asked.

    Attributes:
        per_second: Requests a second at most.
        concurrency: Requests at once at most.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds without a byte.
        total_timeout: Seconds for a whole answer.
        attempts: How often a request is made before it is given up.
        first_wait: Seconds; the n-th repetition waits up to 2^n times as long, at random.
        longest_wait: Seconds; a service that asks for more stops the harvest.
        patience: So many requests in a row that were given up stop the harvest.
        max_json_bytes: Largest list or record, unpacked.
        max_image_bytes: Largest picture.
    """

    per_second: float = 5.0
    concurrency: int = 4
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    total_timeout: float = 180.0
    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 300.0
    patience: int = 10
    max_json_bytes: int = 1 << 26
    max_image_bytes: int = 1 << 26


@dataclass(frozen=True)
class Secret:
    """What lets a service know its user; it goes to the service's own address only.

    Attributes:
        headers: Sent with every request.
        query: Added to the query of every request.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class _Request:
    """What is asked for.

    Attributes:
        method: GET or POST.
        address: Where.
        limit: Bytes of the answer at most.
        query: Parameters.
        body: Of a POST, as JSON.
        usd: What it costs.
        own: Whether the secret is for it, where it leads to the service's own address.
        what: What it is called in messages; default: its path.
        passing: What an answer with status 200 says of a fault that may pass; ``None`` of others.
    """

    method: str
    address: str
    limit: int
    query: Parameters | None = None
    body: Body = None
    usd: float = 0.0
    own: bool = True
    what: str | None = None
    passing: Callable[[bytes], str | None] | None = None

    @property
    def shown(self) -> str:
        """What messages call it."""
        return self.what or _path_of(self.address)


class _PassingError(Exception):
    """A fault that may pass; holds what `Retry-After` said, seconds."""

    def __init__(self, what: str, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(what)
        self.status, self.wait = status, wait

    @property
    def is_of_the_search(self) -> bool:
        """Whether the service is well, and too much was asked of it."""
        return _TOO_MUCH in str(self).casefold()


class WebClient:
    """The client of one service; for any number of threads, and it survives pickling."""

    def __init__(
        self,
        service: str,
        addresses: Addresses,
        ledger: Ledger,
        manners: Manners | None = None,
        *,
        secret: Secret | None = None,
        advice: str = "check the settings of the provider in the catalog",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Makes a client; nothing is asked yet.

        Args:
            service: Its name in messages.
            addresses: What may be asked.
            ledger: Counts against the budget.
            manners: How it is asked.
            secret: A key or token.
            advice: What to do where the service refuses it.
            clock: Seconds that only grow.
            sleep: Waits for so many seconds.
        """
        self.service, self.addresses, self.ledger = service, addresses, ledger
        self.manners = manners or Manners()
        self._secret = secret or Secret()
        self._advice = advice
        self._clock = clock
        self.pace = Pace(self.manners.per_second, clock=clock, sleep=sleep)
        self._open_connections()

    def get_json(
        self,
        path: str,
        query: Parameters | None = None,
        *,
        usd: float = 0.0,
        passing: Callable[[object], str | None] | None = None,
    ) -> Any:  # noqa: ANN401
        """The JSON at a path below the base address.

        Args:
            path: Below the base address.
            query: Parameters.
            usd: What the request costs.
            passing: Of services that tell faults in answers with status 200: what one says of a
                fault that may pass, ``None`` where it says of none.

        Raises:
            ServiceError: The service gives no JSON; `HarvestStopped` where nothing more can be had,
                `TooMuchAskedError` where a part of it can.
        """
        said = None if passing is None else lambda data: passing(self._parsed(data, path))
        address = self.addresses.below(path)
        data = self._ask(_Request("GET", address, self._json_limit, query, usd=usd, passing=said))
        return self._parsed(data, path)

    def follow(self, path: str, link: str) -> Any:  # noqa: ANN401
        """The JSON where an answer's link leads; ``None``, unasked, if not to the same server.

        Args:
            path: What answered, below the base address; a relative link starts there.
            link: A link of that answer.
        """
        try:
            address = urljoin(self.addresses.below(path), link)
            if not link or not self.addresses.same_origin(address):
                return None
        except (AddressError, ValueError):
            return None
        return self._parsed(self._ask(_Request("GET", address, self._json_limit)), path)

    def post_json(
        self, path: str, body: Body, query: Parameters | None = None, *, usd: float = 0.0
    ) -> Any:  # noqa: ANN401
        """Posts JSON to a path below the base address, and gives the JSON that is answered."""
        address = self.addresses.below(path)
        data = self._ask(_Request("POST", address, self._json_limit, query, body, usd))
        return self._parsed(data, path)

    def get_text(self, address: str, query: Parameters | None = None, *, usd: float = 0.0) -> str:
        """The UTF-8 text at a whole address, which is not shown the secret."""
        request = _Request("GET", address, self._json_limit, query, usd=usd, own=False)
        return self._ask(request).decode("utf-8", "replace")

    def get_bytes(
        self, address: str, query: Parameters | None = None, *, usd: float = 0.0
    ) -> bytes:
        """A picture, not yet decoded, at a path below the base or at a whole address.

        Whole addresses come from the service's answers; they are not shown the secret.
        """
        own = "://" not in address
        if own:
            address = self.addresses.below(address)
        limit = self.manners.max_image_bytes
        return self._ask(_Request("GET", address, limit, query, usd=usd, own=own, what=_A_PICTURE))

    def __getstate__(self) -> dict[str, Any]:
        live = {"_slots", "_local", "_random", "_given_up", "_stopped"}
        return {name: value for name, value in self.__dict__.items() if name not in live}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open_connections()

    def _open_connections(self) -> None:
        self._slots = threading.BoundedSemaphore(self.manners.concurrency)
        self._local = threading.local()
        self._given_up = 0
        self._stopped: HarvestStopped | None = None
        self._random = random.Random()  # noqa: S311 - it spreads waits, it guards nothing

    @property
    def _json_limit(self) -> int:
        return self.manners.max_json_bytes

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers["User-Agent"] = USER_AGENT
            # A proxy of the environment is for the outside, not for this machine.
            session.trust_env = not self.addresses.loopback
            self._local.session = session
        return session

    def _ask(self, request: _Request) -> bytes:
        """Asks until there is an answer, or no more use in asking."""
        if self._stopped is not None:  # other threads must not go on asking
            raise self._stopped
        for attempt in range(1, self.manners.attempts + 1):
            try:
                with self._slots:
                    data = self._follow_redirect(request)
                _check_passed(request, data)
                self._given_up = 0  # two threads may miscount by one, which harms nothing
            except AddressError as error:
                raise ServiceError(
                    f"{self.service} cannot be asked for {request.shown}: {error}; if you trust "
                    "that host, add it to `hosts` of the provider in the catalog."
                ) from None
            except _PassingError as fault:
                self._wait_after(fault, attempt, request.shown)
            except HarvestStopped as stop:
                self._stopped = stop
                raise
            else:
                return data
        raise AssertionError("the last attempt either answers or raises")

    def _wait_after(self, fault: _PassingError, attempt: int, shown: str) -> None:
        manners = self.manners
        if fault.wait is not None and fault.wait > manners.longest_wait:
            self._stopped = ServiceUnavailable(
                f"{self.service} asks to wait {fault.wait:.0f} seconds ({fault}): run again then; "
                "what was fetched so far is kept.",
                fault.status,
            )
            raise self._stopped
        if fault.is_of_the_search and attempt >= _TOO_MUCH_ATTEMPTS:
            raise TooMuchAskedError(
                f"{self.service} did not give {shown} in {attempt} attempts ({fault}).",
                fault.status,
            )
        if attempt == manners.attempts:
            self._given_up += 1
            if self._given_up >= manners.patience:
                self._stopped = ServiceUnavailable(
                    f"{self.service} failed {self._given_up} times in a row ({fault}): run again "
                    "later; what was fetched so far is kept.",
                    fault.status,
                )
                raise self._stopped
            raise GivenUpError(
                f"{self.service} did not give {shown} in {attempt} attempts ({fault}).",
                fault.status,
            )
        if fault.wait is not None:
            self.pace.hold(fault.wait)
            return
        longest = min(manners.longest_wait, manners.first_wait * 2.0**attempt)
        self.pace.pause(self._random.uniform(manners.first_wait / 2, longest))

    def _follow_redirect(self, request: _Request) -> bytes:
        """Asks once, and goes where redirects lead."""
        address = request.address
        for hop in range(MAX_REDIRECTS + 1):
            self.addresses.check(address)
            self.pace.wait()
            self.ledger.request(request.usd if hop == 0 else 0.0)
            deadline = self._clock() + self.manners.total_timeout
            try:
                trusted = request.own and self.addresses.same_origin(address)
                query = request.query if hop == 0 else None
                with self._send(
                    request.method, address, query, request.body, trusted=trusted
                ) as answer:
                    location = answer.headers.get("Location")
                    redirected = answer.status_code in _REDIRECTS and request.method == "GET"
                    if redirected and location:
                        address = urljoin(address, location)
                        continue
                    if answer.status_code == requests.codes.ok:
                        return self._read(answer, request.limit, deadline)
                    shown = request.what or _path_of(address)
                    raise self._fault(answer, shown, deadline, trusted=trusted)
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                raise _PassingError(_connection_fault(error)) from None
        raise ServiceError(f"{self.service} redirected more than {MAX_REDIRECTS} times.")

    def _send(
        self,
        method: str,
        address: str,
        query: Parameters | None,
        body: Body,
        *,
        trusted: bool,
    ) -> requests.Response:
        parameters = {**(query or {}), **(self._secret.query if trusted else {})}
        return self._session().request(
            method,
            address,
            params=parameters,
            json=body,
            headers=dict(self._secret.headers) if trusted else {},
            timeout=(self.manners.connect_timeout, self.manners.read_timeout),
            allow_redirects=False,
            stream=True,
        )

    def _read(self, answer: requests.Response, limit: int, deadline: float) -> bytes:
        """The body, read in small steps: a slow or endless one must not hold the harvest."""
        declared = answer.headers.get("Content-Length", "")
        if declared.isdigit() and int(declared) > limit:
            raise ServiceError(
                f"{self.service} sent {int(declared)} bytes, more than the {limit} allowed."
            )
        ahead = int(declared) if declared.isdigit() else 0
        self.ledger.receive(ahead)
        parts: list[bytes] = []
        total = 0
        while True:
            part = answer.raw.read1(_STEP, decode_content=True)
            if not part:
                return b"".join(parts)
            total += len(part)
            if total > limit:
                raise ServiceError(f"{self.service} sent more than the {limit} bytes allowed.")
            if total > ahead:  # unpacked, or without a declared length
                self.ledger.receive(min(len(part), total - ahead))
            if self._clock() > deadline:
                raise _PassingError(f"it took more than {self.manners.total_timeout:g} seconds")
            parts.append(part)

    def _fault(
        self, answer: requests.Response, shown: str, deadline: float, *, trusted: bool
    ) -> Exception:
        status = answer.status_code
        said = self._error_text(answer, deadline)
        if status in _RETRIED or status >= _OF_THE_SERVER:
            return _PassingError(f"status {status}{said}", status, _retry_after(answer))
        if status in _REFUSED and trusted and (self._secret.headers or self._secret.query):
            return AccessRefused(
                f"{self.service} refused access to {shown} (status {status}{said}): "
                f"{self._advice}.",
                status,
            )
        kind = TooMuchAskedError if _TOO_MUCH in said.casefold() else ServiceError
        return kind(f"{self.service} answered status {status}{said} for {shown}.", status)

    def _error_text(self, answer: requests.Response, deadline: float) -> str:
        """What the body says went wrong, one short printable line."""
        try:
            data = self._read(answer, _ERROR_BYTES, deadline)
        except (ServiceError, _PassingError, requests.RequestException, OSError):
            return ""
        except urllib3.exceptions.HTTPError:
            return ""
        text = _error_message(data)
        for secret in (*self._secret.headers.values(), *self._secret.query.values()):
            text = text.replace(secret, "…").replace(secret.rpartition(" ")[2] or secret, "…")
        return f": {text}" if text else ""

    def _parsed(self, data: bytes, path: str) -> Any:  # noqa: ANN401
        try:
            return json.loads(data, parse_int=_whole_number)
        except (ValueError, RecursionError):
            start = _one_line(data[:60].decode("utf-8", "replace"))
            raise ServiceError(
                f"{self.service} answered {_one_line(path)} with something that is not JSON "
                f"({start or 'nothing'})."
            ) from None


def _check_passed(request: _Request, data: bytes) -> None:
    """Whether it is an answer; `_PassingError` where it tells of a fault that may pass."""
    said = request.passing(data) if request.passing is not None else None
    if said is not None:
        raise _PassingError(said)


def _whole_number(digits: str) -> float:
    """An integer of JSON; one that Python would refuse to read does not spoil the answer."""
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)


def _path_of(address: str) -> str:
    return _one_line(urlsplit(address).path) or "/"


def _one_line(text: str, most: int = 100) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _error_message(data: bytes) -> str:
    """The message in the error bodies of the services: {"message"} or {"error": {"message"}}."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return _one_line(data.decode("utf-8", "replace")) if not data.startswith(b"<") else ""
    if isinstance(content, dict):
        inner = content.get("error", content)
        message = inner.get("message") if isinstance(inner, dict) else inner
        if isinstance(message, str):
            return _one_line(message, 160)
    return ""


def _retry_after(answer: requests.Response) -> float | None:
    """Seconds that the service asks to wait: a number or a date (RFC 9110, 10.2.3)."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(min(int(value), 10**9))
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _connection_fault(error: Exception) -> str:
    """What happened, without the address, whose query may hold a key."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.exceptions.Timeout | urllib3.exceptions.TimeoutError):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not accepted"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "no connection"
    if isinstance(error, urllib3.exceptions.ProtocolError | urllib3.exceptions.IncompleteRead):
        return "the answer was cut off"
    return type(error).__name__
