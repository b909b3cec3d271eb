"""How 19 predicted classes are scored against the classes of a labelled set: named protocols.

The 13 classes of Chen et al. leave out wall, fence, pole, terrain, truck and train of the 19. What
a pixel counts whose truth or whose prediction is one of these six is a choice that moves the mIoU,
so it has a name and is stored with every figure. So with the 16 of SYNTHIA and the 11 of CamVid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from crosscity.labels import CLASSES, CROSS_CITY_CLASSES

ProtocolName = Literal["drop", "merge", "score13", "score19", "synthia16", "synthia13", "camvid11"]

MISSED: Final = "missed"
"""A prediction that no scored class gains from, but that the true class loses."""
IGNORED: Final = "ignored"
"""A truth or a prediction that takes its pixel out of the score, like void."""
NOT_SCORED: Final = "not scored"
"""The group of `predicted_groups` that no scored class gains from."""


@dataclass(frozen=True)
class ScoringProtocol:
    """What each class counts as.

    Attributes:
        name: Stored with the scores.
        classes: Names of the scored classes, in the order of the table.
        truth: For each class of the label space, the scored class that it counts as where it is
            the truth, or `IGNORED`.
        prediction: The same where it is predicted; a scored class, `IGNORED`, or `MISSED`.
    """

    name: str
    classes: tuple[str, ...]
    truth: Mapping[str, str]
    prediction: Mapping[str, str]


@dataclass(frozen=True)
class ClassGroups:
    """Classes of a label space that count as one.

    Attributes:
        names: Of the G groups.
        places: (C,) int64, the group of each class.
    """

    names: tuple[str, ...]
    places: npt.NDArray[np.int64]


def predicted_groups(rules: ScoringProtocol, class_names: Sequence[str]) -> ClassGroups:
    """What predicted classes count as: the scored classes, and one group of all that score nothing.

    Args:
        rules: The protocol.
        class_names: The label space of the predictions.
    """
    names = (*rules.classes, NOT_SCORED)
    counted = [rules.prediction.get(name, MISSED) for name in class_names]
    place = {name: index for index, name in enumerate(rules.classes)}
    return ClassGroups(names, np.array([place.get(name, len(place)) for name in counted]))


_SCORED: Final = tuple(road_class.name for road_class in CROSS_CITY_CLASSES)
_OTHERS: Final = tuple(c.name for c in CLASSES if c.cross_city_id is None)
_KEPT: Final = {name: name for name in _SCORED}
_MERGED: Final = {
    "wall": "building",
    "fence": "building",
    "pole": "building",
    "terrain": "vegetation",
    "truck": "bus",
    "train": "bus",
}

_ALL: Final = tuple(road_class.name for road_class in CLASSES)
_NOT_IN_SYNTHIA: Final = ("terrain", "truck", "train")
_RARE_IN_SYNTHIA: Final = ("wall", "fence", "pole")
_CAMVID: Final = {
    "sky": "sky",
    "building": "building",
    "wall": "building",
    "pole": "pole",
    "road": "road",
    "sidewalk": "sidewalk",
    "vegetation": "vegetation",
    "terrain": "vegetation",
    "traffic sign": "traffic sign",
    "traffic light": "traffic sign",
    "fence": "fence",
    "car": "car",
    "truck": "car",
    "bus": "car",
    "train": "car",
    "person": "person",
    "rider": "bicyclist",
    "bicycle": "bicyclist",
    "motorcycle": "bicyclist",
}


def _all_classes_but(name: ProtocolName, others: tuple[str, ...]) -> ScoringProtocol:
    """Scores the 19 classes but a few, which are void as truth and a miss as prediction."""
    kept = {scored: scored for scored in _ALL if scored not in others}
    return ScoringProtocol(
        name=name,
        classes=tuple(kept),
        truth={**kept, **dict.fromkeys(others, IGNORED)},
        prediction={**kept, **dict.fromkeys(others, MISSED)},
    )


def own_protocol(
    name: str, classes: Sequence[str], truth: Mapping[str, str], prediction: Mapping[str, str]
) -> ScoringProtocol:
    """A protocol of the user's own.

    Args:
        name: Stored with the scores.
        classes: The scored classes, in the order of the table.
        truth: What each class counts as where it is the truth: a scored class, or `IGNORED`.
            Classes that are not here are ignored.
        prediction: The same where it is predicted, or `MISSED`. What is not here counts as the
            scored class of its truth, a scored class as itself, and everything else is a miss, also
            a class whose truth is ignored.

    Raises:
        ValueError: A class counts as something that is not scored, or nothing counts as a class.
    """
    scored = tuple(classes)
    for map_name, given, admitted in (
        ("truth", truth, {*scored, IGNORED}),
        ("prediction", prediction, {*scored, IGNORED, MISSED}),
    ):
        for theirs, ours in given.items():
            if ours not in admitted:
                raise ValueError(
                    f"{map_name} counts {theirs!r} as {ours!r}, which is none of "
                    f"{', '.join(sorted(admitted))}"
                )
    lost = [one for one in scored if one not in truth.values()]
    if lost:
        raise ValueError(f"no truth counts as {lost[0]!r}: its IoU would always be 0")
    counted = {name: as_ for name, as_ in truth.items() if as_ != IGNORED}
    return ScoringProtocol(
        name, scored, dict(truth), {**{one: one for one in scored}, **counted, **prediction}
    )


PROTOCOLS: Final[dict[ProtocolName, ScoringProtocol]] = {
    "drop": ScoringProtocol(
        name="drop",
        classes=_SCORED,
        truth={**_KEPT, **dict.fromkeys(_OTHERS, IGNORED)},
        prediction={**_KEPT, **dict.fromkeys(_OTHERS, IGNORED)},
    ),
    "merge": ScoringProtocol(
        name="merge",
        classes=_SCORED,
        truth={**_KEPT, **_MERGED},
        prediction={**_KEPT, **_MERGED},
    ),
    "score13": ScoringProtocol(
        name="score13",
        classes=_SCORED,
        truth={**_KEPT, **dict.fromkeys(_OTHERS, IGNORED)},
        prediction={**_KEPT, **dict.fromkeys(_OTHERS, MISSED)},
    ),
    "score19": _all_classes_but("score19", ()),
    "synthia16": _all_classes_but("synthia16", _NOT_IN_SYNTHIA),
    "synthia13": _all_classes_but("synthia13", _NOT_IN_SYNTHIA + _RARE_IN_SYNTHIA),
    "camvid11": ScoringProtocol(
        name="camvid11",
        classes=tuple(dict.fromkeys(_CAMVID.values())),
        truth=_CAMVID,
        prediction=_CAMVID,
    ),
}
"""The protocols by name.

Of the 13 classes of the cross-city set:

| protocol | truth is one of the six | one of the six is predicted, truth is scored |
|---|---|---|
| `drop` | pixel ignored | pixel ignored: it counts against nobody |
| `merge` | wall, fence, pole → building; terrain → vegetation; truck, train → bus | the same |
| `score13` | pixel ignored | a miss: the true class loses it, no scored class is blamed |

`score13` is the paper's (predict 19, score 13). `merge` is the authors' lab's. `drop` is how later
papers see the labels; they train networks that know only the 13, which never predict one of the
six. For a network of 19 classes `drop` is the most lenient of the three.

The others treat classes that they do not score as `score13` does:

| protocol | scores |
|---|---|
| `score19` | the 19 classes of Cityscapes, as its own evaluation does |
| `synthia16` | without terrain, truck and train, which SYNTHIA has no pixels of |
| `synthia13` | also without wall, fence and pole |
| `camvid11` | CamVid's: lights count as signs, vehicles as cars, walls as buildings, terrain as \
vegetation; rider, bicycle and motorcycle are one class "bicyclist" |
"""
