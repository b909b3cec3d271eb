"""What harvests share with all others that ask the same service: budgets and pace."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from adapters.catalog import ServiceProvider
from adapters.store import SharedRecord, Store
from adapters.store.parting import parting
from adapters.street_view.service import ServiceStreetView
from adapters.street_view.web.account import (
    FORGOTTEN_SECONDS,
    SYNC_SECONDS,
    Crowd,
    Limit,
    SharedLedger,
    this_day,
    this_month,
)
from adapters.street_view.web.budget import Budget, Spent
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan

HARVEST = "harvest"
"""The one period of a harvest's own budget."""


def account_name(provider: ServiceProvider) -> str:
    """The account that an entry asks with: its own, or that of its kind and address."""
    if provider.account is not None:
        return provider.account
    address = hashlib.sha256(provider.base_url.encode()).hexdigest()[:12]
    return f"{provider.kind}-{address}"


@contextmanager
def shared_account(
    plan: Plan,
    city: str,
    provider: ServiceStreetView,
    harvest: str,
    before: Spent | None = None,
) -> Iterator[None]:
    """Inside, a service is asked within the budgets and the pace of all who ask it.

    Args:
        plan: The run's plan.
        city: The city.
        provider: Its provider.
        harvest: Key of the `captures` artifact that the harvest begins with.
        before: What it has used so far, for a harvest that an earlier release began.

    Raises:
        BudgetSpent: A budget is used up.
    """
    entry = plan.city(city).provider
    if not isinstance(entry, ServiceProvider):
        raise InputError(f"{city} is not harvested from a service")
    store, client, name = plan.open_store(), provider.client, account_name(entry)
    settings = plan.accounts.get(name) if entry.account is not None else None
    rate = entry.requests_per_second
    if settings is not None and settings.requests_per_second is not None:
        rate = settings.requests_per_second
    record, block = store.shared("accounts", name), int(SYNC_SECONDS * rate)
    ledgers = []
    if settings is not None:
        key = f"accounts.{name}"
        day = f"run again tomorrow (UTC), or raise {key}.day"
        month = f"run again next month (UTC), or raise {key}.month"
        limits = (
            Limit(settings.day.limits(), this_day, "a day", day, passes=True),
            Limit(settings.month.limits(), this_month, "a month", month, passes=True),
        )
        ledgers.append(
            SharedLedger(f"the account {name} ({client.service})", record, limits, block=block)
        )
    if entry.budget.limits() != Budget():
        advice = "raise `budget` in the catalog and run again"
        own = Limit(entry.budget.limits(), lambda: HARVEST, "a harvest", advice)
        noted = _noted(store, city, harvest)
        ledgers.append(SharedLedger(client.service, noted, (own,), before=before, block=block))
    crowd = Crowd(record, store.census(FORGOTTEN_SECONDS), store.sign_of_life())
    client.ledger.share(*ledgers)
    client.pace.share(crowd, rate)
    closings = [*(ledger.close for ledger in ledgers), crowd.close]
    with parting(f"{client.service}: what was reserved could not be given back", *closings):
        yield


def forget_spent(store: Store, city: str, harvest: str) -> None:
    """Has a harvest's own budget begin anew; arguments as of `shared_account`."""
    _noted(store, city, harvest).change(lambda _: {})


def _noted(store: Store, city: str, harvest: str) -> SharedRecord:
    """Where it stands what a harvest has used of its own budget."""
    return store.shared("harvests", f"{city}-{harvest}")
