"""`prefect.yaml` follows from the catalog: one deployment per city and flow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import yaml

from adapters.catalog import Catalog, Deployed, FlowName

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

WORK_POOL = "crosscity"
"""Where flows run for which the catalog's `deployments` names no other pool."""
CITY_FLOWS: Final[dict[FlowName, str]] = {
    "harvest-city": "flows.harvest_city.harvest_city",
    "watch-city": "flows.watch_city.watch_city",
    "extract-priors": "flows.extract_priors.extract_priors",
    "adapt-city": "flows.adapt_city.adapt_city",
    "evaluate-city": "flows.evaluate_city.evaluate_city",
    "readapt-city": "flows.readapt_city.readapt_city",
    "predict-city": "flows.predict_city.predict_city",
}
SCHEDULE_SLUG = "catalog"
"""Marks the schedule that follows from the catalog; others are an operator's own."""
MARK = "crosscity"
"""Tag of every deployment, so that the dashboard can show these alone."""
_NAMED: Final = "catalog:"
"""Begins a tag that says which parameter the catalog's `deployments` names, and how."""
WORKING_DIRECTORY: Final = "prefect.deployments.steps.set_working_directory"
"""The pull step that says in which folder a deployment runs: that of its catalog."""
Listing = Literal[
    "/flows/filter", "/deployments/filter", "/automations/filter", "/work_pools/filter"
]
_PAGE: Final = 200

_HEADER = """\
# Follows from the catalog; do not edit. After a change of the cities:
#   crosscity catalog deployments   writes this file
#   crosscity deploy                brings the server to it; `prefect deploy --all` only adds
"""


def deployment_entries(catalog: Catalog, catalog_name: str) -> list[dict[str, Any]]:
    """The deployments that follow from a catalog, as `prefect.yaml` writes them.

    Args:
        catalog: The catalog.
        catalog_name: Its file name, relative to where the deployments run.
    """
    entries = [
        *(_pretraining(name, catalog, catalog_name) for name in catalog.segmenters),
        *(_transfer(name, catalog, catalog_name) for name in catalog.transfers),
        _paper_tables(catalog, catalog_name),
        *(
            _deployment(flow, entrypoint, city, catalog, catalog_name)
            for flow, entrypoint in CITY_FLOWS.items()
            for city in catalog.cities
        ),
    ]
    for entry in entries:
        entry["tags"] = [MARK, *entry.get("tags", [])]
    return entries


def deployments_yaml(catalog: Catalog, catalog_name: str) -> str:
    """The text of `prefect.yaml`; for the arguments see `deployment_entries`."""
    document = {
        "name": "crosscity",
        # The code is where the worker runs: nothing is built, pushed or pulled. `prefect deploy`
        # notes the folder it runs in, so deploy from the folder (or image) of the worker.
        "build": None,
        "push": None,
        "pull": None,
        "deployments": deployment_entries(catalog, catalog_name),
    }
    return _HEADER + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def pages(
    client: SyncPrefectClient, path: Listing, among: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """All that a server lists, or of it what a filter of its API lets through."""
    offset = 0
    while True:
        answer = client.request(
            "POST", path, json={**(among or {}), "limit": _PAGE, "offset": offset}
        )
        page: list[dict[str, Any]] = answer.json()
        yield from page
        if len(page) < _PAGE:
            return
        offset += _PAGE


def deployed_from(found: Mapping[str, Any]) -> str | None:
    """The folder that a deployment, as the server's API gives it, runs in."""
    for step in found.get("pull_steps") or []:
        if WORKING_DIRECTORY in step:
            return str(step[WORKING_DIRECTORY]["directory"])
    return None


def _schedule(catalog: Catalog, city: str, flow: str) -> str | None:
    if flow == "watch-city":
        return catalog.cities[city].watch_schedule
    return catalog.cities[city].schedule if flow == "readapt-city" else None


def work_pools(catalog: Catalog) -> list[str]:
    """The work pools that the deployments of a catalog run in, sorted; the usual one first."""
    others = {one.pool for one in catalog.deployments.values()} - {WORK_POOL}
    return [WORK_POOL, *sorted(others)]


def _where(flow: FlowName, catalog: Catalog, parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters, tags and work pool of a deployment of a flow.

    The tags say which parameters to take away again once the catalog does not name them any more.
    """
    place = catalog.deployments.get(flow, Deployed())
    named = {} if place.compute is None else {"compute": place.compute}
    if place.stages != "here":
        named["stages"] = place.stages
    return {
        "parameters": {**parameters, **named},
        "work_pool": {"name": place.pool},
        "tags": [f"{_NAMED}{name}={value}" for name, value in named.items()],
    }


def named_parameter(tag: str) -> tuple[str, str] | None:
    """Name and value of the parameter that the catalog names, as a deployment's tag says."""
    if not tag.startswith(_NAMED):
        return None
    name, _, value = tag.removeprefix(_NAMED).partition("=")
    return name, value


def _of_no_city(name: str, catalog: Catalog) -> str:
    """A deployment's name that another catalog of the server, if it has a name, does not have."""
    return f"{catalog.name}-{name}" if catalog.name else name


def _pretraining(segmenter: str, catalog: Catalog, catalog_name: str) -> dict[str, Any]:
    parameters = {"segmenter": segmenter, "catalog": catalog_name}
    return {
        "name": _of_no_city(segmenter, catalog),
        "entrypoint": "flows.pretrain_segmenter.pretrain_segmenter",
        **_where("pretrain-segmenter", catalog, parameters),
    }


def _transfer(transfer: str, catalog: Catalog, catalog_name: str) -> dict[str, Any]:
    parameters = {"transfer": transfer, "catalog": catalog_name}
    return {
        "name": _of_no_city(transfer, catalog),
        "entrypoint": "flows.adapt_transfer.adapt_transfer",
        **_where("adapt-transfer", catalog, parameters),
    }


def _paper_tables(catalog: Catalog, catalog_name: str) -> dict[str, Any]:
    return {
        "name": catalog.name or "all",
        "entrypoint": "flows.paper_tables.paper_tables",
        **_where("paper-tables", catalog, {"catalog": catalog_name}),
    }


def _deployment(
    flow: FlowName, entrypoint: str, city: str, catalog: Catalog, catalog_name: str
) -> dict[str, Any]:
    schedule = _schedule(catalog, city, flow)
    where = _where(flow, catalog, {"city": city, "catalog": catalog_name})
    made: dict[str, Any] = {
        "name": city,
        "entrypoint": entrypoint,
        "parameters": where["parameters"],
        "tags": [city, *where["tags"]],
        "work_pool": where["work_pool"],
        # Two runs that make the same artifacts would do the same work twice.
        "concurrency_limit": {"limit": 1, "collision_strategy": "ENQUEUE"},
    }
    if flow == "readapt-city":
        made["triggers"] = [_when_imagery_landed(city)]
    if schedule:
        made["schedules"] = [
            {"cron": schedule, "timezone": "UTC", "active": True, "slug": SCHEDULE_SLUG}
        ]
    return made


_LANDED: Final = (
    "{% if event.payload.artifacts is mapping %}{{ event.payload.artifacts.imagery }}{% endif %}"
)
"""Key of the imagery in an event; empty where whoever sent it says none."""


def _when_imagery_landed(city: str) -> dict[str, Any]:
    """Adapts to what watch-city has added; it is there already, so nothing is harvested.

    An event goes by the city's name, which another catalog's city may have too: the run looks
    whether its own store has what landed.
    """
    return {
        "name": f"readapt {city} when imagery has landed",
        "type": "event",
        "enabled": True,
        "match": {"prefect.resource.id": f"crosscity.city.{city}"},
        "expect": ["imagery.landed"],
        "parameters": {
            "harvest": False,
            "landed": {"__prefect_kind": "jinja", "template": _LANDED},
        },
    }
