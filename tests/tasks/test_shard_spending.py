"""What the shards of a harvest use of a budget: one note for all, whatever dies in between."""

from __future__ import annotations

import pytest

from adapters.store import Store
from adapters.street_view.web.budget import Budget, Ledger, Spent
from adapters.street_view.web.errors import BudgetSpent
from tasks.harvesting.spending import ShardSpending, begin_spending


@pytest.fixture
def world(tmp_path):
    """A store and a list that took three requests."""
    store = Store(tmp_path / "store")
    with store.draft("captures", "rome", "k", inputs=[], parameters={}, version="1") as draft:
        draft.file("captures.parquet").write_bytes(b"x")
        draft.summary = {"spent": Spent(requests=3).to_dict()}
    return store, draft.ref


def shard(world, part: int, requests: int, *, most: int = 100) -> ShardSpending:
    """A shard that makes some requests and notes them."""
    store, captures = world
    spending = ShardSpending(store, "rome", captures, part)
    ledger = Ledger("x", Budget(requests=most))
    spending.open(ledger)
    for _ in range(requests):
        ledger.request(0.0)
    spending.note_at_once()
    return spending


def left(world, part: int, most: int) -> int:
    """Requests that a shard may still make under a budget."""
    store, captures = world
    ledger = Ledger("x", Budget(requests=most))
    ShardSpending(store, "rome", captures, part).open(ledger)
    for count in range(most + 1):
        try:
            ledger.request(0.0)
        except BudgetSpent:
            return count
    return most


def test_a_shard_counts_on_top_of_the_list_and_all_other_shards(world):
    begin_spending(*_of(world), lambda: [])
    for part in range(4):
        shard(world, part, 5).finish()
    assert left(world, 4, 100) == 100 - 3 - 20


def test_a_killed_shard_counts_and_goes_on_from_what_it_used(world):
    begin_spending(*_of(world), lambda: [])
    shard(world, 0, 5).finish()
    shard(world, 1, 7)  # killed: never finished
    assert left(world, 2, 100) == 100 - 3 - 5 - 7
    again = shard(world, 1, 2)
    assert again.total.requests == 9
    again.finish()
    again.finish()
    assert left(world, 2, 100) == 100 - 3 - 5 - 9


def test_a_shard_that_was_killed_before_it_was_counted_as_finished_is_counted_once(world):
    begin_spending(*_of(world), lambda: [])
    shard(world, 0, 5)
    found = ShardSpending(*_of(world), 0)  # the next run finds its artifact, and asks nothing
    found.finish()
    assert left(world, 1, 100) == 100 - 3 - 5
    assert found.total.requests == 5


def test_shards_of_an_earlier_release_are_counted_once_when_the_note_begins(world):
    store, _ = world
    with store.draft("imagery_part", "rome", "p", inputs=[], parameters={}, version="1") as draft:
        draft.file("x").write_bytes(b"x")
        draft.summary = {"spent": Spent(requests=11).to_dict()}
    begin_spending(*_of(world), lambda: [draft.ref])
    begin_spending(*_of(world), lambda: [draft.ref])
    assert left(world, 1, 100) == 100 - 3 - 11


def _of(world):
    store, captures = world
    return store, "rome", captures
