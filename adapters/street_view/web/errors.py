"""What a service can answer instead of what was asked for."""

from __future__ import annotations

from adapters.street_view.base import StreetViewError


class ServiceError(StreetViewError):
    """A service did not give what was asked for; the message names it and says what to do.

    Attributes:
        status: The HTTP status of its last answer, ``None`` where there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class GivenUpError(ServiceError):
    """So many attempts met faults that may pass; a later one may well succeed."""


class TooMuchAskedError(ServiceError):
    """What was asked for is too much for one answer; a part of it can be had."""


class HarvestStopped(ServiceError):  # noqa: N818 - it is a state of the harvest, not of an image
    """Nothing more can be fetched now; what is fetched is kept, and the harvest can go on later."""


class BudgetSpent(HarvestStopped):
    """The next request would exceed the budget that the catalog sets."""


class AllowanceSpent(BudgetSpent):
    """What an account may use in a day or a month is used up: the next one has its own."""


class AccessRefused(HarvestStopped):
    """The service refuses the key or token, so every further request would fail as well."""


class ServiceUnavailable(HarvestStopped):
    """The service asks to wait longer than the settings allow, or failed at every attempt."""
