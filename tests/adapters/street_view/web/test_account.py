"""Budgets and pace that several processes share, on one clock that the test moves."""

from __future__ import annotations

from itertools import pairwise

import pytest

from adapters.store import Store
from adapters.store.living import Census, Watch
from adapters.street_view.web.account import (
    FORGOTTEN_SECONDS,
    SYNC_SECONDS,
    Crowd,
    Limit,
    SharedLedger,
)
from adapters.street_view.web.budget import Budget, Ledger, Spent
from adapters.street_view.web.errors import BudgetSpent
from adapters.street_view.web.pace import Pace


class World:
    """A store, a clock, and whoever asks the service."""

    def __init__(self, folder) -> None:
        self.store = Store(folder)
        self.now = 1000.0
        self.day = "2026-11-28"

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def ledger(self, *, block: int = 1, before: Spent | None = None, **budget) -> SharedLedger:
        limit = Limit(Budget(**budget), lambda: self.day, "a day", "wait")
        record = self.store.shared("accounts", "ours")
        return SharedLedger("ours", record, (limit,), block=block, before=before)

    def pace(self, per_second: float) -> tuple[Pace, Crowd, list[float]]:
        """A process with a clock of its own that waits into the future by itself."""
        waits: list[float] = []
        offset = 1e6 * len(waits)

        def clock() -> float:
            return self.now + offset + sum(waits)

        watch = Watch(FORGOTTEN_SECONDS, longest_gap=float("inf"), clock=clock)
        crowd = Crowd(
            self.store.shared("accounts", "ours"),
            Census(self.store._place.on_this_machine, watch),
            "",
            clock=clock,
            sleep=waits.append,
        )
        pace = Pace(per_second, clock=clock, sleep=waits.append)
        pace.share(crowd)
        return pace, crowd, waits


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def spend_all(ledgers: list[SharedLedger], more: Spent) -> int:
    """How often they may spend in turn before each was refused."""
    count, left = 0, list(ledgers)
    while left:
        for ledger in list(left):
            try:
                ledger.spend(more)
                count += 1
            except BudgetSpent:
                left.remove(ledger)
    return count


@pytest.mark.parametrize("block", [1, 10, 1000])
@pytest.mark.parametrize("most", [1, 14, 500])
def test_together_they_use_a_budget_up_and_no_more(world, block, most):
    ledgers = [world.ledger(block=block, requests=most) for _ in range(3)]
    count = spend_all(ledgers, Spent(requests=1))
    assert count <= most
    for ledger in ledgers:
        ledger.close()
    count += spend_all([world.ledger(requests=most)], Spent(requests=1))
    assert count == most


def test_bytes_and_money_are_shared_as_well(world):
    assert spend_all([world.ledger(bytes=10_000) for _ in range(2)], Spent(bytes=1000)) == 10
    world.day = "2026-11-29"
    ledgers = [world.ledger(usd=0.1, block=10) for _ in range(2)]
    count = spend_all(ledgers, Spent(requests=1, usd=0.002))
    for ledger in ledgers:
        ledger.close()
    assert count + spend_all([world.ledger(usd=0.1)], Spent(requests=1, usd=0.002)) == 50


def test_a_new_day_has_a_budget_of_its_own_and_the_old_one_stays_used(world):
    assert spend_all([world.ledger(requests=5)], Spent(requests=1)) == 5
    world.day = "2026-11-29"
    assert spend_all([world.ledger(requests=5)], Spent(requests=1)) == 5
    world.day = "2026-11-28"
    assert spend_all([world.ledger(requests=5)], Spent(requests=1)) == 0


def test_a_budget_of_a_month_counts_all_of_its_days(world):
    """Of a month and its days one note is kept, in which no day pushes out the month."""
    record, days = world.store.shared("accounts", "ours"), 0
    limits = (
        Limit(Budget(requests=10), lambda: world.day, "a day", "wait"),
        Limit(Budget(requests=95), lambda: world.day[:7], "a month", "wait"),
    )
    for day in range(1, 31):
        world.day = f"2026-11-{day:02d}"
        days += spend_all([SharedLedger("ours", record, limits)], Spent(requests=7))
    assert days == 95 // 7
    world.day = "2026-12-01"
    assert spend_all([SharedLedger("ours", record, limits)], Spent(requests=7)) == 1


def test_a_month_that_an_earlier_release_has_dropped_begins_with_its_days(world):
    record, day = world.store.shared("accounts", "ours"), Spent(requests=10).to_dict()
    days = {f"2026-{month}-{number}": day for month in (10, 11) for number in range(20, 24)}
    record.change(lambda _: {"spent": days})
    month = Limit(Budget(requests=50), lambda: world.day[:7], "a month", "wait")
    assert spend_all([SharedLedger("ours", record, (month,))], Spent(requests=1)) == 10


def test_what_was_reserved_yesterday_is_not_used_or_given_back_today(world):
    over_midnight, other = world.ledger(block=10, requests=80), world.ledger(requests=80)
    over_midnight.spend(Spent(requests=1))  # and has nine more
    world.day = "2026-11-29"
    used = spend_all([other], Spent(requests=1))
    with pytest.raises(BudgetSpent):
        over_midnight.spend(Spent(requests=1))
    over_midnight.close()
    assert used + spend_all([other], Spent(requests=1)) == 80
    world.day = "2026-11-28"
    assert spend_all([other], Spent(requests=1)) == 79


def test_what_a_killed_process_had_reserved_counts_as_used(world):
    killed = world.ledger(block=10, requests=100)
    killed.spend(Spent(requests=1))
    left = spend_all([world.ledger(requests=100)], Spent(requests=1))
    assert 100 - 1 - 100 // 8 <= left <= 99


def test_what_an_earlier_release_noted_counts_once(world):
    ledgers = [world.ledger(before=Spent(requests=4), requests=10) for _ in range(2)]
    assert spend_all(ledgers, Spent(requests=1)) == 6


def test_a_refused_request_is_not_counted_by_the_process_either(world):
    ledger = Ledger("it", Budget())
    ledger.share(world.ledger(requests=1))
    ledger.request(0.0)
    with pytest.raises(BudgetSpent, match=r"1 requests a day for ours .* all runs and machines"):
        ledger.request(0.0)
    assert ledger.spent == Spent(requests=1)


def asked(world: World, paces: list[tuple[Pace, Crowd, list[float]]], until: float) -> list[float]:
    """Moments at which several processes ask, each as soon as its pace lets it."""
    began, found = world.now, []
    ready = [began] * len(paces)
    while min(ready) < until:
        number = ready.index(min(ready))
        pace, _, waits = paces[number]
        world.now = ready[number] - sum(waits)  # this process's clock shows its own moment
        pace.wait()
        moment = world.now + sum(waits)
        found.append(moment)
        ready[number] = moment + 1e-6
    return sorted(found)


@pytest.mark.parametrize("many", [1, 2, 3])
def test_several_processes_together_keep_the_pace(world, many):
    moments = asked(world, [world.pace(5.0) for _ in range(many)], world.now + 60)
    settled = [moment for moment in moments if moment > moments[0] + 10]
    seconds = settled[-1] - settled[0]
    assert len(settled) - 1 <= 5.0 * seconds + many
    assert len(settled) >= 0.8 * 5.0 * seconds  # and use it


def test_one_alone_asks_at_once_and_who_comes_second_waits_until_it_is_known(world):
    alone = world.pace(5.0)
    alone[0].wait()
    assert alone[2] == []
    second = world.pace(5.0)
    second[0].wait()
    assert second[2][0] == SYNC_SECONDS


def test_who_left_or_died_makes_room(world):
    staying, leaving, dead = (world.pace(1.0) for _ in range(3))
    for pace, _, _ in (staying, leaving, dead):
        pace.wait()
    leaving[1].close()
    world.now += 7
    assert staying[1].count()[0] == 2
    for _ in range(10):
        world.now += 5
        many = staying[1].count()[0]
    assert many == 1


def test_all_wait_where_a_service_asks_one_to_wait(world):
    one, other = world.pace(10.0), world.pace(10.0)
    one[0].wait()
    other[0].wait()
    one[0].hold(30.0)
    world.now += SYNC_SECONDS + 1
    before = world.now + sum(other[2])
    other[0].wait()
    assert world.now + sum(other[2]) - before >= 30.0
    world.now += 40
    one[0].wait()  # it is over: who comes later need not wait
    late = world.pace(10.0)
    late[0].wait()
    assert sum(late[2]) < 5


def test_a_pace_of_moments_is_even_for_one(world):
    moments = asked(world, [world.pace(4.0)], world.now + 5)
    assert all(abs(b - a - 0.25) < 1e-6 for a, b in pairwise(moments))


def test_a_shared_ledger_stays_in_its_process(world):
    import pickle

    ledger = Ledger("it", Budget())
    ledger.share(world.ledger(requests=1))
    with pytest.raises(TypeError, match="belongs to its process"):
        pickle.dumps(ledger)
