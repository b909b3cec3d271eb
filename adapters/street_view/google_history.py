"""Other dates of a Google panorama, from an interface that Google does not document.

It may change or end on any day, and Google's terms do not offer it: it is asked only where the
catalog opts for it and names an agreement. What it says is used for names alone; what is known of
a panorama comes from the official interface.
"""

from __future__ import annotations

import json
from typing import Final

from adapters.street_view.base import StreetViewError
from adapters.street_view.records import field
from adapters.street_view.web.client import Parameters, WebClient

BASE_URL: Final = "https://www.google.com"

_PATH: Final = "maps/photometa/v1"
_GUARD: Final = ")]}'"
_REQUEST: Final = (
    "!1m4!1smaps_sv.tactile!11m2!2m1!1b1!2m2!1sen!2sus!3m3!1m2!1e2!2s{name}"
    "!4m6!1e1!1e2!1e3!1e4!1e8!1e6"
)


class GoogleHistory:
    """Asks which panoramas of other dates lie where one lies."""

    def __init__(self, client: WebClient) -> None:
        """Nothing is asked yet.

        Args:
            client: How the service is asked; without a key, which is not its.
        """
        self._client = client

    def other_dates(self, name: str) -> list[str]:
        """Names of the panoramas of other dates at the place of a panorama.

        Raises:
            StreetViewError: The answer is of another form than the one that is known.
        """
        request = _REQUEST.format(name=name)
        query: Parameters = {"authuser": 0, "hl": "en", "gl": "us", "pb": request}
        answer = self._client.get_text(self._client.addresses.below(_PATH), query)
        return dated_panoramas(answer)


def dated_panoramas(answer: str) -> list[str]:
    """The names in an answer: neighbours that the list of dates points at.

    Raises:
        StreetViewError: The answer is of another form than the one that is known.
    """
    try:
        content = json.loads(answer.removeprefix(_GUARD))
    except (ValueError, RecursionError):
        raise StreetViewError(
            "The undocumented list of other dates has another form than it had: set "
            "`unofficial_history: false`."
        ) from None
    place = field(content, 1, 0, 5, 0)
    neighbours, dates = field(place, 3, 0), field(place, 8)
    if not isinstance(neighbours, list) or not isinstance(dates, list):
        return []
    found = []
    for entry in dates:
        index = field(entry, 0)
        name = field(neighbours, index, 0, 1) if isinstance(index, int) else None
        if isinstance(name, str) and 1 <= len(name) <= 128 and name.isascii():
            found.append(name)
    return found
