"""What is written to the store last hides nothing of how a piece of work ended."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from adapters.store import StoreAwayError, StoreError
from adapters.store.parting import parting


def failing(error: StoreError) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_last_words_are_said_in_their_order_after_the_work() -> None:
    said: list[str] = []
    with parting("the end", lambda: said.append("first"), lambda: said.append("second")):
        said.append("work")
    assert said == ["work", "first", "second"]


def test_where_the_work_was_right_what_fails_of_them_is_told() -> None:
    with (
        pytest.raises(StoreError, match="the disk is full"),
        parting("the end", failing(StoreError("the disk is full"))),
    ):
        pass


@pytest.mark.parametrize("error", [ValueError("a wrong key"), KeyboardInterrupt()])
def test_where_the_work_went_wrong_that_is_told(
    error: BaseException, logged_here: Callable[[], list[logging.LogRecord]]
) -> None:
    said: list[str] = []
    away = failing(StoreAwayError("it is away"))
    with (
        pytest.raises(type(error)) as caught,
        parting("budget", lambda: said.append("first"), away),
    ):
        raise error
    assert caught.value is error
    assert said == ["first"]
    assert [one.getMessage() for one in logged_here()] == ["budget: it is away"]


def test_a_store_that_is_away_is_not_waited_for_once_more() -> None:
    said: list[str] = []
    with (
        pytest.raises(StoreAwayError, match="for a quarter of an hour"),
        parting("the end", lambda: said.append("asked again")),
    ):
        raise StoreAwayError("it was away for a quarter of an hour")
    assert said == []
