"""Noticing that an adversarial training has stopped being one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

_WINDOW: Final = 20
"""Steps that are averaged before anything is said."""
_TOO_SURE: Final = 0.99
_GROWN: Final = 2.0


class CollapseWatch:
    """Looks at the means of the last 20 steps, and says in a sentence what is wrong.

    - A discriminator that tells the domains apart in over 99 % of the cells: the features no longer
      follow, and its gradient says nothing about what they should change.
    - A task loss twice as high as at the beginning: the source is no longer segmented.
    """

    def __init__(self) -> None:
        self._recent: dict[str, list[float]] = {}
        self._first_task_loss: float | None = None

    def look(self, row: Mapping[str, Any]) -> str:
        """The warning of a history row; "" if there is none."""
        for name in ("global_accuracy", "class_accuracy", "task_loss"):
            if row.get(name) is not None:
                self._recent[name] = [*self._recent.get(name, []), row[name]][-_WINDOW:]
        means = {
            name: math.fsum(values) / _WINDOW
            for name, values in self._recent.items()
            if len(values) == _WINDOW
        }
        if self._first_task_loss is None:
            self._first_task_loss = means.get("task_loss")
        found = [
            f"the {name.split('_')[0]} discriminator is right in {means[name]:.1%} of the cells"
            for name in ("global_accuracy", "class_accuracy")
            if means.get(name, 0.0) > _TOO_SURE
        ]
        first, now = self._first_task_loss, means.get("task_loss")
        if first is not None and now is not None and now > _GROWN * first:
            found.append(f"the task loss has grown from {first:.3g} to {now:.3g}")
        return "; ".join(found)

    def notes(self) -> dict[str, Any]:
        """What the next look depends on; JSON-able."""
        return {
            "recent": {name: list(values) for name, values in self._recent.items()},
            "first_task_loss": self._first_task_loss,
        }

    def restore(self, notes: Mapping[str, Any]) -> None:
        """Goes to what `notes` returned."""
        self._recent = {name: list(values) for name, values in notes["recent"].items()}
        self._first_task_loss = notes["first_task_loss"]
