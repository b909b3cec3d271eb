"""Protocols of the catalog: which classes are scored, and what the others count as."""

from __future__ import annotations

from typing import Final, Literal, Self, get_args

from pydantic import Field, model_validator

from adapters.catalog.entry import Entry
from crosscity.labels import CLASSES

Protocol = Literal["score13", "merge", "drop", "score19", "synthia16", "synthia13", "camvid11"]
"""How classes may be scored: a name in crosscity.evaluation.PROTOCOLS."""
BUILT_IN: Final[tuple[str, ...]] = get_args(Protocol)
OF_CITIES: Final = ("score13", "merge", "drop")
"""Those of the thirteen classes that cities are scored on."""
IGNORED: Final = "ignored"
MISSED: Final = "missed"
_NO_CLASS: Final = (IGNORED, MISSED)
"""As of crosscity.evaluation.protocols, which loads PyTorch."""


class ProtocolEntry(Entry):
    """Classes of one's own that truth and predictions are reduced to (docs/datasets.md)."""

    truth: dict[str, str] = Field(
        min_length=1,
        description="for classes of the labels (Cityscapes names) the scored class that they count "
        "as, or ignored; what is not here is ignored",
    )
    prediction: dict[str, str] = Field(
        default_factory=dict,
        description="for classes of a segmenter the scored class that they count as, ignored or "
        "missed; default: the scored class of its truth, a scored class as itself, all else missed",
    )
    classes: list[str] | None = Field(
        default=None, min_length=1, description="order of the scored classes; default: truth's"
    )

    @property
    def scored(self) -> tuple[str, ...]:
        """The scored classes, in the order of the table."""
        found = tuple(dict.fromkeys(one for one in self.truth.values() if one not in _NO_CLASS))
        return found if self.classes is None else tuple(self.classes)

    def counted(self, predicted: str) -> str:
        """What a class counts as where it is predicted: a scored class, ignored or missed."""
        if predicted in self.prediction:
            return self.prediction[predicted]
        of_truth = self.truth.get(predicted, IGNORED)
        if of_truth != IGNORED:
            return of_truth
        return predicted if predicted in self.scored else MISSED

    @model_validator(mode="after")
    def _names_are_told_apart(self) -> Self:
        scored = tuple(dict.fromkeys(self.scored))
        for one in scored:
            if not one.strip() or one != one.strip():
                raise ValueError(f"a class is called {one!r}: names begin and end with a letter")
            if one.casefold() in (*_NO_CLASS, "void"):
                raise ValueError(
                    f"a class cannot be called {one!r}: write ignored for what does not count, "
                    "and missed, in prediction, for what only the true class loses"
                )
        alike = {one.casefold(): one for one in scored}
        if len(alike) < len(scored):
            other = next(one for one in scored if alike[one.casefold()] != one)
            raise ValueError(f"the classes {other!r} and {alike[other.casefold()]!r} are too alike")
        return self

    @model_validator(mode="after")
    def _maps_meet(self) -> Self:
        known = [road_class.name for road_class in CLASSES]
        unknown = [name for name in self.truth if name not in known]
        if unknown:
            raise ValueError(
                f"truth has the class {unknown[0]!r}, which no label is read as: labels are read "
                f"as {', '.join(known)}"
            )
        reached = {one for one in self.truth.values() if one != "ignored"}
        if not reached or "missed" in reached:
            raise ValueError("truth counts as a scored class or as ignored, and some as a class")
        if self.classes is not None and (
            set(self.classes) != reached or len(set(self.classes)) < len(self.classes)
        ):
            raise ValueError(
                f"classes are {', '.join(self.classes)}, but truth counts as "
                f"{', '.join(sorted(reached))}: they must be the same, each once"
            )
        for theirs, ours in self.prediction.items():
            if ours not in (*reached, *_NO_CLASS):
                raise ValueError(
                    f"prediction counts {theirs!r} as {ours!r}, which is not scored: "
                    f"{', '.join([*self.scored, *_NO_CLASS])}"
                )
        return self
