"""What a service has in an area, and how far a list of it is, so that a kill does not repeat it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import datetime
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from adapters.street_view.base import Capture, Rejected
from adapters.street_view.records import Interval, Shot, digest_of
from crosscity.areas import Bounds
from crosscity.lights import LIGHTS
from crosscity.places import PlaceSample, Shots

NOT_GIVEN: Final = "counted_and_not_given"
"""Key of `Listing.completeness`: pictures that answers count and do not hold."""
LIGHT_NAMES: Final = (*LIGHTS, "unknown")
"""Keys of `Listing.lights`; the last is that of `UNKNOWN`, -1."""
_EXAMPLES: Final = 100


class ListingRecord(Protocol):
    """Where a listing under way notes how far it is, so that a kill does not repeat it."""

    def load(self) -> bytes | None:
        """The last note, ``None`` if there is none."""

    def save(self, note: Callable[[], bytes]) -> None:
        """May replace the note by a new one; may also leave it, if it is young."""

    def advance(self, done: int, total: int) -> None:
        """Reports how many tiles are listed."""


@dataclass(frozen=True)
class Listing:
    """What an area has.

    Attributes:
        captures: Views of the sampled places, grouped by place, two or more captures of each.
        pictures: Usable pictures of the area.
        candidates: Places that have a pair.
        rejected: Pictures that cannot be used, by reason.
        examples: Some of them.
        recent: Digests (`digest_of`) of the pictures of the last days that were listed,
            sorted: what a later look back must not take for new.
        completeness: What the check of the densest answer found (`ServiceStreetView.check`), and
            how many pictures the service counts in its answers and does not give.
        lights: Pictures of the area by light (`LIGHT_NAMES`), those of which there are any.
    """

    captures: tuple[Capture, ...]
    pictures: int
    candidates: int
    rejected: Mapping[str, int]
    examples: tuple[Rejected, ...]
    recent: tuple[str, ...] = ()
    completeness: Mapping[str, Any] = dataclass_field(default_factory=dict)
    lights: Mapping[str, int] = dataclass_field(default_factory=dict)


@dataclass(frozen=True)
class Answered:
    """One answer to a search that was taken to be whole.

    Attributes:
        box: West, south, east, north that were asked for.
        span: Times that were asked for.
        names: Of the pictures, as the service calls them.
        not_given: How many more the service counts than it gives.
    """

    box: Bounds
    span: Interval
    names: frozenset[str]
    not_given: int = 0

    def to_json(self) -> list[Any]:
        """As JSON values, without what is not given, which is summed up elsewhere."""
        return [list(self.box), [t.isoformat() for t in self.span], sorted(self.names)]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> Answered:
        """From what `to_json` gave."""
        (west, south, east, north), (start, end), names = values
        span = (datetime.fromisoformat(start), datetime.fromisoformat(end))
        return cls((west, south, east, north), span, frozenset(names))


@dataclass(frozen=True)
class ShotPair:
    """Two pictures of a place, and the view that both are asked for.

    Attributes:
        earlier: The picture that views are aligned to.
        later: That of the other time.
        heading: Degrees clockwise from north of the view.
        fov: Its horizontal field of view in degrees.
        others: Pictures of further times.
    """

    earlier: Shot
    later: Shot
    heading: float
    fov: float
    others: tuple[Shot, ...] = ()


class ListingState:
    """How far a listing is; its size does not grow with the area."""

    def __init__(self, sample: PlaceSample[ShotPair], recent_from: datetime | None) -> None:
        self.sample = sample
        self.recent: set[str] = set()
        self._recent_from = recent_from
        self.tiles = 0
        self.pictures = 0
        self.rejected: Counter[str] = Counter()
        self.lights: Counter[str] = Counter()
        self.examples: list[Rejected] = []
        self.densest: Answered | None = None
        self.not_given = 0

    def answered(self, answer: Answered) -> None:
        """Keeps the densest answer, and counts what is not given."""
        self.not_given += answer.not_given
        if not answer.names:
            return
        if self.densest is None or len(answer.names) > len(self.densest.names):
            self.densest = answer

    def look_at(self, shots: Sequence[Shot]) -> None:
        """Notes those that are recent."""
        if self._recent_from is not None:
            since = self._recent_from
            self.recent |= {digest_of(s.source_id) for s in shots if s.captured_at >= since}

    def see_lights(self, shots: Shots, own: npt.NDArray[np.bool_]) -> None:
        """Counts those of a tile, which `own` marks, by light."""
        if shots.light is None:
            return
        self.lights += Counter(LIGHT_NAMES[code] for code in shots.light[own].tolist())

    def reject(self, item: Rejected) -> None:
        """Counts a picture that cannot be used, and keeps the first of them as examples."""
        self.rejected[item.reason] += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(item)

    def note(self, total: int) -> bytes:
        """Everything, as JSON."""
        kept = [
            [
                *cell,
                pair.earlier.to_dict(),
                pair.later.to_dict(),
                pair.heading,
                pair.fov,
                *(shot.to_dict() for shot in pair.others),
            ]
            for cell, pair in self.sample.kept()
        ]
        content = {
            "tiles": self.tiles,
            "total": total,
            "pictures": self.pictures,
            "seen": self.sample.seen,
            "rejected": dict(self.rejected),
            "lights": dict(self.lights),
            "examples": [[item.name, item.reason] for item in self.examples],
            "recent": sorted(self.recent),
            "kept": kept,
            "densest": None if self.densest is None else self.densest.to_json(),
            "not_given": self.not_given,
        }
        return json.dumps(content).encode()

    def restore(self, note: bytes | None, total: int) -> None:
        """Goes on from a note; from the start if it is of another listing."""
        content = json.loads(note) if note else {}
        if content.get("total") != total:
            return
        self.tiles, self.pictures = content["tiles"], content["pictures"]
        self.rejected = Counter(content["rejected"])
        self.lights = Counter(content.get("lights", {}))
        self.examples = [Rejected(*item) for item in content["examples"]]
        for row, column, earlier, later, heading, fov, *others in content["kept"]:
            pair = ShotPair(
                Shot.from_dict(earlier),
                Shot.from_dict(later),
                heading,
                fov,
                tuple(Shot.from_dict(other) for other in others),
            )
            self.sample.offer((row, column), pair)
        self.sample.seen = content["seen"]
        self.recent = set(content["recent"])
        densest = content["densest"]
        self.densest = None if densest is None else Answered.from_json(densest)
        self.not_given = int(content.get("not_given", 0))
