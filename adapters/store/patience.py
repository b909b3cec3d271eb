"""A store that is away for a while is waited for.

Every operation of a place can be done again: reading changes nothing, a file is written whole or
not at all, what is removed may be gone already, of two that publish the same the first counts, and
a swap that was made already is told from one that somebody else made, as no two write the same.
"""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, TypeVar

from adapters.store.errors import StoreAwayError, StoreError
from adapters.store.places import Place, StoredFile
from adapters.store.records import FileEntry, Manifest

Result = TypeVar("Result")

FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 30.0

_PASSING_NUMBERS: Final = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.EIO,  # s3fs' translation of InternalError
        errno.EPIPE,
        errno.ETIMEDOUT,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
    }
)
# The clients of object stores have no common ground but the names of their errors.
_CLIENTS: Final = frozenset({"botocore", "aiohttp", "aiobotocore", "requests", "urllib3", "httpx"})
_PASSING_NAMES: Final = frozenset(
    {
        "ClientConnectionError",
        "ClientPayloadError",
        "ConnectionError",
        "HTTPClientError",
        "IncompleteReadError",
        "ResponseStreamingError",
        "TransportError",
    }
)
_PASSING_STATUS: Final = frozenset({408, 425, 429})
_log = logging.getLogger(__name__)


def is_passing(error: BaseException) -> bool:
    """Whether a fault of a store's client goes by itself: network, overload, restart."""
    seen: list[BaseException] = []
    left: BaseException | None = error
    while left is not None and left not in seen:
        if _is_passing(left):
            return True
        seen.append(left)
        left = left.__cause__ or left.__context__
    return False


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        return True
    if isinstance(error, OSError) and error.errno in _PASSING_NUMBERS:
        return True
    for kind in type(error).__mro__:
        if kind.__module__.partition(".")[0] in _CLIENTS and kind.__name__ in _PASSING_NAMES:
            return True
    status = _http_status(error)
    return status is not None and (status >= 500 or status in _PASSING_STATUS)


def _http_status(error: BaseException) -> int | None:
    """The HTTP status of an answer that botocore or aiohttp made an error of."""
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):  # botocore's ClientError
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


class PatientPlace:
    """A `Place` whose operations are tried again while it is away.

    Args:
        place: The place.
        seconds: How long it may be away.
        sleep: Waits for so many seconds.

    Raises:
        StoreError: A package that it needs is not installed.
    """

    def __init__(
        self, place: Place, seconds: float, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        try:  # only who keeps artifacts behind a network needs it
            from tenacity import (  # noqa: PLC0415
                Retrying,
                retry_if_exception_type,
                stop_after_delay,
                wait_random_exponential,
            )
        except ImportError:
            raise StoreError(
                f"the store at {place.label} is waited for by a package that is not installed: pip "
                "install tenacity (it is a part of 'crosscity[s3]'), or set patience_minutes: 0"
            ) from None

        self._place = place
        self._seconds = seconds
        self._retrying = Retrying(
            retry=retry_if_exception_type(StoreAwayError),
            stop=stop_after_delay(seconds),
            wait=wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT),
            before_sleep=lambda state: self._warn_of_waiting(state.attempt_number, state.outcome),
            sleep=sleep,
            reraise=True,
        )
        self.label = place.label
        self.publishes_by_rename = place.publishes_by_rename
        self.is_far = place.is_far
        self.on_this_machine = place.on_this_machine

    def describe(self, path: str) -> str:
        """See `Place`."""
        return self._place.describe(path)

    def read(self, path: str) -> bytes | None:
        """See `Place`."""
        return self._with_retries(lambda: self._place.read(path))

    def read_lasting(self, path: str) -> bytes | None:
        """See `Place`."""
        return self._with_retries(lambda: self._place.read_lasting(path))

    def recall(self, path: str) -> bytes | None:
        """See `Place`."""
        return self._place.recall(path)

    def forget(self, path: str) -> None:
        """See `Place`."""
        self._place.forget(path)

    def files(self, path: str) -> Iterator[StoredFile]:
        """See `Place`."""
        return iter(self._with_retries(lambda: list(self._place.files(path))))

    def now(self) -> float:
        """See `Place`."""
        return self._with_retries(self._place.now)

    def unfinished(self) -> Iterator[StoredFile]:
        """See `Place`."""
        return iter(self._with_retries(lambda: list(self._place.unfinished())))

    def abandon(self, file: StoredFile) -> None:
        """See `Place`."""
        self._with_retries(lambda: self._place.abandon(file))

    def replace(self, path: str, data: bytes) -> None:
        """See `Place`."""
        self._with_retries(lambda: self._place.replace(path, data))

    def swap(self, path: str, before: bytes | None, after: bytes | None) -> bool:
        """See `Place`."""
        return self._with_retries(lambda: self._place.swap(path, before, after))

    def replace_from(self, path: str, source: Path) -> None:
        """See `Place`."""
        self._with_retries(lambda: self._place.replace_from(path, source))

    def remove(self, path: str) -> None:
        """See `Place`."""
        self._with_retries(lambda: self._place.remove(path))

    def move(self, path: str, target: str) -> bool:
        """See `Place`."""
        return self._with_retries(lambda: self._place.move(path, target))

    def children(self, path: str) -> list[str]:
        """See `Place`."""
        return self._with_retries(lambda: self._place.children(path))

    def scratch(self) -> AbstractContextManager[Path]:
        """See `Place`."""
        return self._place.scratch()

    def check_writable(self) -> None:
        """See `Place`."""
        self._with_retries(self._place.check_writable)

    def publish(
        self, source: Path, manifest: Manifest, linked: Mapping[str, str] | None = None
    ) -> bool:
        """See `Place`."""
        return self._with_retries(lambda: self._place.publish(source, manifest, linked))

    def file_folders(self, manifest: Manifest) -> Sequence[str]:
        """See `Place`."""
        return self._place.file_folders(manifest)

    def local_path(
        self, path: str, entry: FileEntry, *, afresh: bool = False, packed: Manifest | None = None
    ) -> Path:
        """See `Place`."""
        return self._with_retries(
            lambda: self._place.local_path(path, entry, afresh=afresh, packed=packed)
        )

    def local_copy(self, path: str, entry: FileEntry, data: bytes) -> Path:
        """See `Place`."""
        return self._place.local_copy(path, entry, data)

    def _with_retries(self, work: Callable[[], Result]) -> Result:
        return self._retrying.copy()(work)

    def _warn_of_waiting(self, attempt: int, outcome: object) -> None:
        if attempt == 1:
            exception = getattr(outcome, "exception", lambda: None)()
            _log.warning(
                "%s; it is tried again for up to %.0f minutes", exception, self._seconds / 60
            )
