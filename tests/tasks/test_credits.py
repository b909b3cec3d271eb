"""The page of credits of a city whose images are by many people."""

from __future__ import annotations

from typing import cast

from tasks.pages.report import render_credits
from tasks.steps.imagery import Imagery, ImageSource

PEOPLE = 40


class ByMany:
    """Images of an artifact, three a person; counts how often all of them are gone through."""

    def __init__(self) -> None:
        self.gone_through = 0

    def credits(self) -> list[tuple[str, str, int]]:
        return [("CC-BY-SA-4.0", f"user {one:02}", 3) for one in range(PEOPLE)]

    def sources(self) -> list[ImageSource]:
        self.gone_through += 1
        return [
            ImageSource(f"{one}-{n}", "CC-BY-SA-4.0", f"user {one:02}", None, None)
            for one in range(PEOPLE)
            for n in range(3)
        ]


def test_images_are_gone_through_once_and_not_for_each_person() -> None:
    imagery = ByMany()
    page = render_credits("tokyo", cast(Imagery, imagery))
    assert imagery.gone_through == 1
    for one in range(PEOPLE):
        assert page.index(f"user {one:02}") < page.index(f"<code>{one}-0</code>")
        assert page.count(f"<code>{one}-2</code>") == 1
