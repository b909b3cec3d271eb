"""Which addresses may be asked: https at the configured hosts, and nothing else.

A service's answers hold addresses of images, and redirects lead on; none of them is followed
without passing here. Plain http is for the loopback interface, and only where the setting of the
base address itself says so (a local mirror, or the servers of the tests).
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class AddressError(ValueError):
    """An address may not be asked; the message is one sentence."""


class Addresses:
    """The addresses of one service."""

    def __init__(self, base: str, hosts: Sequence[str] = ()) -> None:
        """Reads the settings.

        Args:
            base: The service's base address, without a query; https, or http on the loopback.
            hosts: Further hosts; one that starts with a dot means every host below it.

        Raises:
            AddressError: The base is not such an address.
        """
        parts = _split(base)
        host = parts.hostname or ""
        loopback = parts.scheme == "http" and host in _LOOPBACK
        if not (parts.scheme == "https" or loopback) or not host:
            raise AddressError(
                f"The base_url {base!r} must start with https:// and a host; plain http is only "
                "for the loopback interface."
            )
        if parts.query or parts.fragment:
            raise AddressError(f"The base_url {base!r} must not have a query.")
        self.base = base.rstrip("/")
        self.loopback = loopback
        self._origin = (parts.scheme, host, _port(parts))
        self._hosts = tuple(name.lower() for name in hosts)

    def below(self, path: str) -> str:
        """The address of a path below the base."""
        return f"{self.base}/{path.lstrip('/')}"

    def check(self, address: str) -> str:
        """The address, if it may be asked.

        Raises:
            AddressError: It may not.
        """
        parts = _split(address)
        host = (parts.hostname or "").lower()
        if (parts.scheme, host, _port(parts)) == self._origin:
            return address
        if parts.scheme != "https":
            raise AddressError(f"it leads to {_shown(parts)}, which is not https")
        if _port(parts) != 443 or not any(_matches(host, name) for name in self._hosts):
            raise AddressError(
                f"it leads to {_shown(parts)}, which is none of the hosts of the settings"
            )
        return address

    def same_origin(self, address: str) -> bool:
        """Whether an address is at the base's scheme, host and port, where secrets may go."""
        parts = _split(address)
        return (parts.scheme, (parts.hostname or "").lower(), _port(parts)) == self._origin


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _port(parts)
    except ValueError:
        raise AddressError("it leads to something that is not an address") from None
    if parts.username is not None or parts.password is not None:
        raise AddressError(f"it leads to {_shown(parts)} with a user name, which is refused")
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _matches(host: str, name: str) -> bool:
    return host.endswith(name) if name.startswith(".") else host == name


def _shown(parts: SplitResult) -> str:
    """Scheme and host only: queries hold keys."""
    host = (parts.hostname or "")[:80]
    printable = "".join(c for c in host if c.isascii() and c.isprintable())
    return f"{parts.scheme[:10]}://{printable}"
