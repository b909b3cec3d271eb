"""Whether a list is whole: services cut long answers, and none of them says so.

Seen: 1935 pictures of a dense box where Mapillary's limit is 2000 (facebookresearch/OrienterNet,
issue 64), so a service cuts first and drops what is private or deleted afterwards.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from adapters.street_view import mapillary, service
from adapters.street_view.accepting import OUT_OF_TIME
from adapters.street_view.base import Rejected
from adapters.street_view.boxes import WHOLE, Found, SearchedByBox, subdivided
from adapters.street_view.listings import NOT_GIVEN, Answered
from adapters.street_view.mapillary import MapillaryStreetView
from adapters.street_view.panoramax import PanoramaxStreetView
from adapters.street_view.service import EVERY_TIME, HarvestPlan
from adapters.street_view.web.addresses import Addresses
from adapters.street_view.web.budget import Budget, Ledger
from adapters.street_view.web.client import Manners, WebClient
from adapters.street_view.web.errors import ServiceError

AREA = (2.29, 48.84, 2.42, 48.93)
KINDS = ["panoramax", "mapillary"]
COUNT = 1000


def provider_of(kind: str, server: Any, limit: int, tile_metres: float = 5000.0) -> SearchedByBox:
    plan = HarvestPlan(bounds=AREA, places=10, seed=3, image_size=(48, 96), tile_metres=tile_metres)
    secret = mapillary.secret(server.token) if kind == "mapillary" else None
    manners = Manners(per_second=1e6, first_wait=0.0)
    client = WebClient("It", Addresses(server.url), Ledger("it", Budget()), manners, secret=secret)
    if kind == "mapillary":
        return MapillaryStreetView(plan, client, limit=limit)
    return PanoramaxStreetView(plan, client, limit=limit)


@pytest.fixture(scope="module")
def town(services: Any) -> Any:
    """A thousand pictures, of 2014 to 2020."""
    return services.made_up_world(COUNT)


@pytest.fixture(scope="module")
def village(services: Any) -> Any:
    return services.made_up_world(240)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [1 / 500, 0.2])
def test_nothing_is_lost_where_a_service_cuts_before_it_drops(services, town, kind, share):
    every = round(1 / share)
    private = frozenset(p.number for p in town.pictures if p.number % every == 0)
    with services.SERVERS[kind](town) as server:
        server.private = private
        found = provider_of(kind, server, limit=100)._list(AREA, EVERY_TIME, lambda _: None)
    assert len(found) == COUNT - len(private)


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_is_checked_against_the_quarters_of_its_densest_box(services, town, kind):
    with services.SERVERS[kind](town) as server:
        listing = provider_of(kind, server, limit=200).list_views()
    found = listing.completeness
    assert found["complete"]
    assert found["missing"] == found["listed_again"] == 0
    assert found["pictures_in_the_box"] == found["pictures_in_its_quarters"]
    assert 50 < found["pictures_in_the_box"] < WHOLE * 200 == found["answers_are_whole_below"]
    assert found["times_are_honoured"] is True
    json.dumps(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cap", [10, 40])
def test_a_service_that_caps_below_what_it_promises_is_listed_again(services, village, kind, cap):
    with services.SERVERS[kind](village) as server:
        whole = provider_of(kind, server, limit=200).list_views()
        server.cap = cap
        listing = provider_of(kind, server, limit=200).list_views()
    assert listing.completeness["listed_again"] > 0
    assert listing.completeness["complete"]
    assert listing.completeness["answers_are_whole_below"] <= cap
    assert listing.pictures == whole.pictures
    assert listing.captures == whole.captures


def test_what_cannot_be_made_whole_is_reported(services, town, monkeypatch):
    with services.SERVERS["panoramax"](town) as server:
        found = server.found
        # Of every answer, all but a tenth are dropped: no box of any size is ever whole.
        monkeypatch.setattr(
            server, "found", lambda box, span, limit: found(box, span, limit)[: 1 + limit // 200]
        )
        listing = provider_of("panoramax", server, limit=200).list_views()
    assert not listing.completeness["complete"]
    assert listing.completeness["missing"] > 0
    assert listing.completeness["listed_again"] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_that_ignores_times_is_noticed(services, town, kind):
    first = min(p.taken for p in town.pictures)
    later = max(p.taken for p in town.pictures) + timedelta(days=2)
    middle = first + (later - first) / 2
    with services.SERVERS[kind](town) as server:
        server.ignores_times = True
        provider = provider_of(kind, server, limit=200)
        assert provider.list_views().completeness["times_are_honoured"] is False
        rejected: list[Rejected] = []
        found = provider._list(AREA, (middle, later), rejected.append)
    late = sum(middle <= p.taken < later for p in town.pictures)
    assert len(found) == late
    assert {r.reason for r in rejected} == {OUT_OF_TIME}
    # Those of the day before are not told: services round.
    assert 0 <= COUNT - late - len(rejected) < 20


def test_a_killed_listing_keeps_what_its_check_needs():
    box = (2.0, 48.0, 2.1, 48.1)
    answered = Answered(box, EVERY_TIME, frozenset({"a", "b"}))
    assert Answered.from_json(json.loads(json.dumps(answered.to_json()))) == answered


def test_an_answer_is_whole_below_three_quarters_of_the_limit():
    for count in (74, 75, 100):
        asked = []

        def ask(box: Any, span: Any, count: int = count, asked: list[Any] = asked) -> Found:
            asked.append((box, span))
            return Found(list(range(count if len(asked) == 1 else 1)))

        list(subdivided(ask, (0.0, 0.0, 1.0, 1.0), EVERY_TIME, limit=100))
        assert len(asked) == (1 if count == 74 else 5)


def listed(server: Any, limit: int = 200) -> set[str]:
    found = provider_of("panoramax", server, limit)._list(AREA, EVERY_TIME, lambda _: None)
    return {shot.source_id for shot in found}


@pytest.mark.parametrize("next_page", ["{page}", "search?{page}"])
def test_next_pages_are_followed_on_the_same_server(services, village, next_page):
    # STAC API, item-search/README.md: `links` with `rel: next`; a relative one is resolved.
    with services.SERVERS["panoramax"](village) as server:
        whole = listed(server)
        server.page = 30
        if next_page != "{page}":
            server.next_page = RelativePage()
        asked = len(server.asked)
        assert listed(server) == whole
        assert any("token" in one.query for one in server.asked[asked:])
        listing = provider_of("panoramax", server, 200).list_views()
    assert listing.completeness["complete"]
    assert listing.completeness["listed_again"] == 0


class RelativePage(str):
    """Keeps of an address what follows its last slash."""

    __slots__ = ()

    def format(self, *_: Any, **fields: Any) -> str:
        return str(fields["page"]).rpartition("/")[2]


@pytest.mark.parametrize(
    "next_page",
    [
        "https://elsewhere.example/api/search?token=5",
        "//elsewhere.example/api/search?token=5",
        "http://127.0.0.1:9/api/search?token=5",
        "http://user@127.0.0.1/api/search",
        "http://[",
        "file:///etc/passwd",
        "",
    ],
)
def test_a_next_page_elsewhere_is_not_asked_for_and_the_box_is_divided(
    services, village, next_page
):
    with services.SERVERS["panoramax"](village) as server:
        whole = listed(server)
        server.page, server.next_page = 40, next_page
        assert listed(server) == whole
        assert not any("token" in one.query for one in server.asked)


def test_a_service_whose_pages_go_round_in_circles_is_divided(services, village):
    with services.SERVERS["panoramax"](village) as server:
        whole = listed(server)
        server.page = 40
        first = server._search
        server._search = lambda query: first({k: v for k, v in query.items() if k != "token"})
        asked = len(server.asked)
        assert listed(server) == whole
        assert len(server.asked) - asked < 1000


def test_an_answer_that_counts_more_than_it_gives_is_divided(services, village):
    """A server that caps at 40 without a link, far below the limit that it is asked for."""
    with services.SERVERS["panoramax"](village) as server:
        whole = listed(server)
        server.cap = 40
        assert len(listed(server)) < len(whole)  # nothing in one answer tells
        server.counts = True
        assert listed(server) == whole
        listing = provider_of("panoramax", server, 200).list_views()
    assert listing.completeness["listed_again"] == 0
    assert NOT_GIVEN not in listing.completeness


def test_what_is_counted_and_private_is_told_and_not_looked_for_without_end(services, village):
    private = frozenset(p.number for p in village.pictures if p.number % 10 == 0)
    with services.SERVERS["panoramax"](village) as server:
        server.private = private
        before = len(server.asked)
        plain = listed(server)
        plainly = len(server.asked) - before
        server.counts = True
        before = len(server.asked)
        assert listed(server) == plain
        assert len(server.asked) - before <= plainly + 4 * 3
        listing = provider_of("panoramax", server, 200).list_views()
    assert listing.completeness["complete"]
    assert listing.completeness[NOT_GIVEN] >= len(private)
    json.dumps(listing.completeness)


@pytest.mark.parametrize("reported", ["12", -5, 1e300, float("nan"), True, None, [], 10**400])
def test_an_odd_count_is_none(services, village, reported):
    with services.SERVERS["panoramax"](village) as server:
        provider = provider_of("panoramax", server, limit=2000)
        asked = provider.client.get_json

        def odd(path: str, query: Any = None, **more: Any) -> Any:
            return {**asked(path, query, **more), "numberMatched": reported, "context": reported}

        provider.client.get_json = odd  # type: ignore[method-assign]
        assert provider._ask(AREA, EVERY_TIME).not_given == 0


def test_a_spot_that_is_never_divided_enough_ends_in_a_sentence(services, town):
    there = [services.moved(p, p.number, lat=48.85, lon=2.3) for p in town.pictures[:40]]
    with services.SERVERS["panoramax"](services.World(there)) as server:
        server.ignores_times = True
        provider = provider_of("panoramax", server, limit=20)
        with pytest.raises(ServiceError, match="or it ignores the times"):
            provider._list(AREA, EVERY_TIME, lambda _: None)
        server.ignores_times = False
        assert len(provider._list(AREA, EVERY_TIME, lambda _: None)) == 40


def test_a_box_that_is_refused_as_too_much_is_divided(services, village):
    with services.SERVERS["mapillary"](village) as server:
        server.too_much = 30
        provider = provider_of("mapillary", server, limit=2000)
        assert len(provider._list(AREA, EVERY_TIME, lambda _: None)) == 240
        assert provider.list_views().completeness["complete"]
        # Not even a spot in an hour is answered: nothing is divided without end.
        server.too_much = 0
        with pytest.raises(ServiceError, match="Please reduce the amount of data"):
            provider._list(AREA, EVERY_TIME, lambda _: None)
        assert len(server.asked) < 1000


def test_only_what_lies_near_points_or_in_polygons_is_listed(services, town, monkeypatch):
    at = [(p.lon, p.lat) for p in town.pictures[:200:40]]
    far = (2.40, 48.92)
    with services.SERVERS["panoramax"](town) as server:

        def cells(**area: Any) -> tuple[set[str], int]:
            asked = len(server.asked)
            plan = HarvestPlan(
                bounds=AREA, places=1000, seed=3, image_size=(48, 96), min_days_apart=1, **area
            )
            manners = Manners(per_second=1e6, first_wait=0.0)
            client = WebClient("It", Addresses(server.url), Ledger("it", Budget()), manners)
            listing = PanoramaxStreetView(plan, client, limit=200).list_views()
            return {c.place_id for c in listing.captures}, len(server.asked) - asked

        everywhere, _ = cells(tile_metres=5000.0)
        near, few = cells(points=(*at, far), point_metres=25.0)
        assert 5 <= len(near) < len(everywhere) / 2
        assert near < everywhere
        # Tiles are of the points, not of the box around them.
        assert few < 100

        def square(x: float, y: float) -> Any:
            ring = ((x, y), (x + 0.002, y), (x + 0.002, y + 0.002), (x, y + 0.002), (x, y))
            return (ring,)

        parts = [square(2.301, 48.8495), square(2.306, 48.8495)]
        both, _ = cells(polygons=tuple(parts))
        one, two = (cells(polygons=(part,))[0] for part in parts)
        assert both == one | two
        assert one
        assert two
        assert not one & two
        # What lies in two polygons that overlap lies in the area, once.
        assert cells(polygons=(parts[0], parts[0]))[0] == one
        # Of an outline nothing is asked that lies beside it.
        slope = (((2.30, 48.849), (2.311, 48.857), (2.30, 48.851), (2.30, 48.849)),)
        within, some = cells(polygons=(slope,), tile_metres=100.0)
        monkeypatch.setattr(service, "tiles_in_polygons", lambda tiles, _: tiles)
        same, all_of_its_box = cells(polygons=(slope,), tile_metres=100.0)
        assert within == same
        assert within
        assert some < all_of_its_box / 2
