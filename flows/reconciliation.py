"""Brings the deployments of a Prefect server to what follows from the catalog.

What an operator set stays: everything about work pools, paused schedules and deployments, further
schedules, parameters and tags, job variables, disabled automations. Each change is a request of its
own that leaves the server in a state from which the same comparison goes on, so a reconciliation
that failed half-way is finished by the next one.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal
from uuid import UUID

from prefect import Flow
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import BlockDocument, ConcurrencyOptions
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import DeploymentTriggerTypes
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker
from pydantic import SecretStr, TypeAdapter

from flows.dead_runs import BLOCK, DEAD_AFTER, server_automations
from flows.deployments import (
    MARK,
    SCHEDULE_SLUG,
    WORK_POOL,
    WORKING_DIRECTORY,
    deployed_from,
    named_parameter,
    pages,
)
from tasks.steps.errors import InputError

Entry = dict[str, Any]
"""A deployment, as `prefect.yaml` writes it or as the server's API gives it."""

_TRIGGERS: TypeAdapter[DeploymentTriggerTypes] = TypeAdapter(DeploymentTriggerTypes)
_ABSENT: Final = 404
_CONFLICT: Final = 409
_WAITS: Final = (0.5, 2.0, 5.0)
"""Seconds before what another deploying has made at the same time is compared again."""
_UNFIT: Final = "Error updating deployment:"
"""Begins the server's answer to parameters that do not fit the flow of a deployment."""
_AUTOMATION_NAMES = re.compile(r"readapt .+ when imagery has landed|.+__automation_\d+")
"""Names of the automations that we make, or that earlier versions had `prefect deploy` make."""


@dataclass(frozen=True)
class Change:
    """One line of the difference.

    Attributes:
        kind: What happens.
        subject: Name of a deployment or automation.
        details: What differs, in words.
    """

    kind: Literal["create", "change", "remove"]
    subject: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        sign = {"create": "+", "change": "~", "remove": "-"}[self.kind]
        return f"{sign} {self.subject}" + (f": {'; '.join(self.details)}" if self.details else "")


@dataclass
class Reconciliation:
    """What was, or on a dry run would be, changed.

    Attributes:
        changes: In the order in which they are made.
        unchanged: Number of deployments that were as they should be.
        others: Number of deployments on the server that are not this catalog's.
    """

    changes: list[Change] = field(default_factory=list)
    unchanged: int = 0
    others: int = 0


@dataclass(frozen=True)
class _Wanted:
    """A deployment that follows from the catalog, with what its flow says of itself."""

    entry: Entry
    flow_name: str
    description: str | None
    schema: Entry
    pull_steps: list[Entry]

    @property
    def full_name(self) -> str:
        return f"{self.flow_name}/{self.entry['name']}"

    @property
    def cron(self) -> str | None:
        schedules = self.entry.get("schedules") or []
        return str(schedules[0]["cron"]) if schedules else None

    @property
    def limit(self) -> int | None:
        limit = self.entry.get("concurrency_limit")
        return int(limit["limit"]) if limit else None

    @property
    def options(self) -> Entry | None:
        limit = self.entry.get("concurrency_limit")
        return {"collision_strategy": limit["collision_strategy"]} if limit else None


class Reconciler:
    """Compares a server with a catalog, and changes it.

    Args:
        client: A client of the server.
        folder: Where the deployments run: the folder of the catalog.
        catalog_name: The catalog's file name.
        name: The name that the catalog gives itself, if it does.
        moved_from: A folder that the catalog stood in before; what was deployed from there is
            this catalog's too.
        dry_run: Whether nothing is changed.
        dead_after: Seconds without a heartbeat after which a run counts as crashed.
        webhook: Address that is told of failures; ``None`` leaves what is there.
    """

    def __init__(
        self,
        client: SyncPrefectClient,
        folder: Path,
        catalog_name: str,
        *,
        name: str | None = None,
        moved_from: Path | None = None,
        dry_run: bool = False,
        dead_after: int = DEAD_AFTER,
        webhook: str | None = None,
    ) -> None:
        self._dead_after = dead_after
        self._webhook = webhook
        self._client = client
        self._catalog_name = catalog_name
        self._name = name
        self._dry_run = dry_run
        self._pull_steps: list[Entry] = [{WORKING_DIRECTORY: {"directory": str(folder)}}]
        self._ours = {os.path.realpath(one) for one in (folder, moved_from) if one is not None}
        self._flow_ids: dict[str, UUID] = {}
        self._done = Reconciliation()
        self._made: list[AutomationCore] = []

    def run(self, entries: Sequence[Entry]) -> Reconciliation:
        """Makes the server's deployments those of the entries.

        Args:
            entries: `flows.deployments.deployment_entries`.

        Raises:
            InputError: Another catalog on the same server has a deployment of the same name.
        """
        for wait in (*_WAITS, None):
            try:
                self._reconcile(entries)
            except (ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError) as error:
                if wait is None or _status_of(error) not in (_ABSENT, _CONFLICT):
                    raise
                time.sleep(wait)  # another deploying has made or removed the same: compare again
                self._done = Reconciliation(self._done.changes)
            else:
                break
        return self._done

    def _reconcile(self, entries: Sequence[Entry]) -> None:
        wanted = {item.full_name: item for item in self._wanted(entries)}
        present = self._present()
        self._check_owners(wanted, present)
        automations = self._owned_automations()
        self._have_pools({str(entry["work_pool"]["name"]) for entry in entries} | {WORK_POOL})
        self._have_server_automations()
        for name, item in wanted.items():
            if name in present:
                owned = automations.get(present[name]["id"], [])
                self._bring_up_to_date(item, present[name], owned)
            else:
                self._create(item)
        self._remove_others_than(wanted, present, automations)
        self._settle()

    def remove(self) -> Reconciliation:
        """Removes all that was deployed from the catalog, and makes nothing.

        Work pools and the automations that a server has once stay: other catalogs need them.
        """
        self._remove_others_than((), self._present(), self._owned_automations())
        return self._done

    def _remove_others_than(
        self,
        wanted: Collection[str],
        present: Mapping[str, Entry],
        automations: Mapping[str, Sequence[Automation]],
    ) -> None:
        """Removes this catalog's deployments that are not wanted; counts those of others."""
        for name, found in present.items():
            if name not in wanted and self._is_ours(found):
                self._remove(name, found, automations.get(found["id"], []))
        known = {found["id"] for found in present.values()}
        for owner, orphans in automations.items():
            if owner not in known and not self._is_there(owner):
                self._remove_orphans(orphans)
        self._done.others = sum(
            name not in wanted and not self._is_ours(found) for name, found in present.items()
        )

    def _wanted(self, entries: Sequence[Entry]) -> Iterator[_Wanted]:
        described: dict[str, tuple[str, str | None, Entry]] = {}
        for entry in entries:
            entrypoint = entry["entrypoint"]
            if entrypoint not in described:
                module, _, attribute = entrypoint.rpartition(".")
                flow: Flow[..., Any] = getattr(import_module(module), attribute)
                schema = parameter_schema(flow.fn).model_dump(mode="json", exclude_unset=True)
                described[entrypoint] = flow.name, flow.description, schema
            yield _Wanted(entry, *described[entrypoint], self._pull_steps)

    def _present(self) -> dict[str, Entry]:
        """All deployments of the server by their full names."""
        flows = {flow["id"]: flow["name"] for flow in pages(self._client, "/flows/filter")}
        self._flow_ids = {name: UUID(id_) for id_, name in flows.items()}
        return {
            f"{flows.get(found['flow_id'], '?')}/{found['name']}": found
            for found in pages(self._client, "/deployments/filter")
        }

    def _owned_automations(self) -> dict[str, list[Automation]]:
        """Our automations, by the id of the deployment that they run.

        The server does not tell the owner of an automation, so they go by their names and events.
        """
        owned: dict[str, list[Automation]] = {}
        for page in pages(self._client, "/automations/filter"):
            found = Automation.model_validate(page)
            runs = {str(getattr(one, "deployment_id", "") or "") for one in found.actions} - {""}
            landed = "imagery.landed" in getattr(found.trigger, "expect", ())
            if landed and runs and _AUTOMATION_NAMES.fullmatch(found.name):
                owned.setdefault(min(runs), []).append(found)
        return owned

    def _is_there(self, deployment: str) -> bool:
        """Asked of one that was not listed: another catalog may have been deployed meanwhile."""
        try:
            self._client.read_deployment(UUID(deployment))
        except ObjectNotFound:
            return False
        return True

    def _is_ours(self, found: Entry) -> bool:
        directory = deployed_from(found)
        return (
            found["parameters"].get("catalog") == self._catalog_name
            and str(found.get("entrypoint") or "").startswith("flows.")
            and directory is not None
            and os.path.realpath(directory) in self._ours
        )

    def _check_owners(self, wanted: Mapping[str, _Wanted], present: Mapping[str, Entry]) -> None:
        theirs = [name for name in wanted if name in present and not self._is_ours(present[name])]
        # A city is what no name of the catalog's can mend, so it is said first.
        for name in sorted(theirs, key=lambda name: "city" not in wanted[name].entry["parameters"]):
            city = wanted[name].entry["parameters"].get("city")
            remedy = (
                f"give this catalog {'another name' if self._name else 'a name of its own'} "
                "(name: ...), which goes into the names of deployments that are of no city"
                if city is None
                else f"two catalogs on one server need cities of different names, so rename {city}"
            )
            raise InputError(
                f"the server has a deployment {name} already, which was not made from this "
                f"catalog but in {deployed_from(present[name]) or 'no folder'} with the catalog "
                f"{present[name]['parameters'].get('catalog')!r}: where the catalog has moved, "
                f"name that folder with --moved-from; else {remedy}"
            )

    def _have_pools(self, wanted: set[str]) -> None:
        """Makes the work pools that are not there; one that is there stays as it is."""
        present = {pool["name"] for pool in pages(self._client, "/work_pools/filter")}
        for name in sorted(wanted - present):
            with suppress(ObjectAlreadyExists):  # a worker came first
                if not self._dry_run:
                    template = ProcessWorker.get_default_base_job_template()
                    made = WorkPoolCreate(name=name, type="process", base_job_template=template)
                    self._client.create_work_pool(made)
                self._note("create", f"work pool {name}")

    def _have_server_automations(self) -> None:
        """One of each for all catalogs of the server; what an operator disabled stays disabled."""
        everything = list(pages(self._client, "/automations/filter"))
        for wanted in server_automations(self._dead_after, self._webhook_block()):
            present = [
                Automation.model_validate(one) for one in everything if one["name"] == wanted.name
            ]
            self._have_once(wanted, present)

    def _have_once(self, wanted: AutomationCore, present: Sequence[Automation]) -> None:
        """Two of one kind would start a crashed run twice and tell of a failure twice.

        There are two after a deploying that broke off between making the new one and removing the
        old one, or when two catalogs were deployed at once.
        """
        subject = f"automation {wanted.name!r}"
        right = [one for one in present if _compared(one) == _compared(wanted)]
        kept = min(right, key=_kept_first, default=None)
        if kept is None:
            self._note("change" if present else "create", subject)
            enabled = all(one.enabled for one in present)
            self._make_automation(wanted.model_copy(update={"enabled": enabled}))
        for surplus in present:
            if surplus is kept:
                continue
            if kept is not None:
                self._note("remove", f"{subject}, which is there more than once")
            self._delete_automation(surplus)

    def _make_automation(self, wanted: AutomationCore) -> None:
        if not self._dry_run:
            self._client.create_automation(wanted)
            self._made.append(wanted)

    def _settle(self) -> None:
        """Of each automation that was made, removes those that other deployings made meanwhile.

        The server takes any number of one name. Every deploying looks after it has made its own,
        and all of them keep the same one: so one is left, in whatever order they come.
        """
        if not self._made:
            return
        there = [
            Automation.model_validate(page) for page in pages(self._client, "/automations/filter")
        ]
        for made in self._made:
            same = [
                one for one in there if one.name == made.name and _compared(one) == _compared(made)
            ]
            for surplus in sorted(same, key=_kept_first)[1:]:
                self._delete_automation(surplus)
        self._made.clear()

    def _webhook_block(self) -> UUID | None:
        """The block of the web hook that is told of failures; made or brought up to date."""
        if self._webhook is None:
            return None
        there = self._present_webhook()
        if there is not None and there.data.get("url") == self._webhook:
            return there.id
        self._note("create" if there is None else "change", f"web-hook block {BLOCK}")
        if self._dry_run:
            return UUID(int=0) if there is None else there.id
        block = Webhook(url=SecretStr(self._webhook), method="POST")
        return UUID(str(block.save(BLOCK, overwrite=True)))

    def _present_webhook(self) -> BlockDocument | None:
        with suppress(ObjectNotFound):
            return self._client.read_block_document_by_name(BLOCK, "webhook", include_secrets=True)
        return None

    def _create(self, item: _Wanted) -> None:
        if self._dry_run:
            self._note("create", item.full_name)
            return
        if item.flow_name not in self._flow_ids:
            self._flow_ids[item.flow_name] = self._client.create_flow_from_name(item.flow_name)
        made = self._client.create_deployment(
            flow_id=self._flow_ids[item.flow_name],
            name=item.entry["name"],
            entrypoint=item.entry["entrypoint"],
            parameters=item.entry["parameters"],
            description=item.description,
            tags=item.entry["tags"],
            work_pool_name=item.entry["work_pool"]["name"],
            pull_steps=item.pull_steps,
            concurrency_limit=item.limit,
            concurrency_options=ConcurrencyOptions(**item.options) if item.options else None,
            schedules=[_schedule(item.cron)] if item.cron else [],
            parameter_openapi_schema=item.schema,
            enforce_parameter_schema=True,
        )
        self._note("create", item.full_name)
        for automation in _automations(item, made):
            self._make_automation(automation)

    def _bring_up_to_date(
        self, item: _Wanted, found: Entry, automations: Sequence[Automation]
    ) -> None:
        # The tag that `_fields` brings comes last: until it is there, schedules that an earlier
        # version made without a slug count as the catalog's.
        before = len(self._done.changes)
        details = [
            *self._schedules(item, found),
            *self._triggers(item, UUID(found["id"]), automations),
            *self._fields(item, found),
        ]
        if details:
            self._done.changes.insert(before, Change("change", item.full_name, tuple(details)))
        elif all(change.subject != item.full_name for change in self._done.changes):
            self._done.unchanged += 1  # nor did we change it before another overtook us

    def _fields(self, item: _Wanted, found: Entry) -> list[str]:
        update, details = _differing_fields(item, found)
        if update and not self._dry_run:
            try:
                self._client.request(
                    "PATCH", "/deployments/{id}", path_params={"id": found["id"]}, json=update
                )
            except PrefectHTTPStatusError as error:
                raise _unfit_parameters(item.full_name, error) or error from None
        return details

    def _schedules(self, item: _Wanted, found: Entry) -> list[str]:
        first, *rest = [*_catalogs_schedules(found), None]
        details = []
        if item.cron and first is None:
            details.append(f"schedule {item.cron!r} added")
            if not self._dry_run:
                self._client.create_deployment_schedules(UUID(found["id"]), [_schedule(item.cron)])
        elif first is not None and item.cron is None:
            details.append(f"schedule {_cron(first)!r} removed")
            self._delete_schedule(found, first)
        elif first is not None and item.cron:
            details += self._same_schedule(item.cron, found, first)
        for surplus in rest:
            if surplus is not None:
                details.append(f"schedule {_cron(surplus)!r} removed")
                self._delete_schedule(found, surplus)
        return details

    def _same_schedule(self, cron: str, found: Entry, schedule: Entry) -> list[str]:
        """Brings the catalog's schedule up to date; a paused one stays paused."""
        if _cron(schedule) == cron and schedule["slug"] == SCHEDULE_SLUG:
            return []
        if not self._dry_run:
            self._client.request(
                "PATCH",
                "/deployments/{id}/schedules/{schedule_id}",
                path_params={"id": found["id"], "schedule_id": schedule["id"]},
                json={
                    "schedule": {"cron": cron, "timezone": "UTC"},
                    "active": schedule["active"],
                    "slug": SCHEDULE_SLUG,
                },
            )
        paused = "" if schedule["active"] else " (stays paused)"
        return [f"schedule {_cron(schedule)!r} → {cron!r}{paused}"]

    def _delete_schedule(self, found: Entry, schedule: Entry) -> None:
        if not self._dry_run:
            self._client.delete_deployment_schedule(UUID(found["id"]), UUID(schedule["id"]))

    def _triggers(
        self, item: _Wanted, deployment: UUID, automations: Sequence[Automation]
    ) -> list[str]:
        details = []
        left = list(automations)
        for wanted in _automations(item, deployment):
            same = next((one for one in left if one.name == wanted.name), None)
            if same is None:
                details.append(f"automation {wanted.name!r} added")
                self._make_automation(wanted)
                continue
            left.remove(same)
            if _compared(same) != _compared(wanted):
                details.append(f"automation {wanted.name!r} changed")
                # The server has no way to change one that has an owner. The new one comes first:
                # whoever breaks off in between leaves two, and the next removes one.
                self._make_automation(wanted.model_copy(update={"enabled": same.enabled}))
                self._delete_automation(same)
        for surplus in left:
            details.append(f"automation {surplus.name!r} removed")
            self._delete_automation(surplus)
        return details

    def _remove(self, name: str, found: Entry, automations: Sequence[Automation]) -> None:
        self._note("remove", name)
        for automation in automations:
            self._delete_automation(automation)
        if not self._dry_run:
            with _also_if_gone():
                self._client.delete_deployment(UUID(found["id"]))

    def _remove_orphans(self, automations: Sequence[Automation]) -> None:
        """Automations whose deployments somebody removed by hand."""
        for automation in automations:
            self._note("remove", f"automation {automation.name!r} of a removed deployment")
            self._delete_automation(automation)

    def _delete_automation(self, automation: Automation) -> None:
        if not self._dry_run:
            with _also_if_gone():
                self._client.delete_automation(automation.id)

    def _note(self, kind: Literal["create", "change", "remove"], subject: str) -> None:
        self._done.changes.append(Change(kind, subject))


def _kept_first(automation: Automation) -> tuple[bool, str]:
    """The order in which one of several alike is kept: what was disabled by hand comes first."""
    return automation.enabled, str(automation.id)


def _status_of(error: Exception) -> int:
    """What the server answered; Prefect's client has errors of its own for some of it only."""
    if isinstance(error, PrefectHTTPStatusError):
        return error.response.status_code
    return _ABSENT if isinstance(error, ObjectNotFound) else _CONFLICT


@contextmanager
def _also_if_gone() -> Iterator[None]:
    """For what removes something: another deploying may have been quicker."""
    try:
        yield
    except (ObjectNotFound, PrefectHTTPStatusError) as error:
        if _status_of(error) != _ABSENT:
            raise


def _unfit_parameters(name: str, error: PrefectHTTPStatusError) -> InputError | None:
    """What to say where a deployment has parameters that its flow does not take.

    The server says so by the same status as of what another deploying has made meanwhile.
    """
    with suppress(ValueError, AttributeError):
        reason = str(error.response.json().get("detail"))
        if error.response.status_code == _CONFLICT and reason.startswith(_UNFIT):
            return InputError(
                f"the server has parameters of {name} that its flow does not take "
                f"({reason.removeprefix(_UNFIT).strip()}): they were set there and not by the "
                "catalog, so set them right on the dashboard, or remove the deployment there, and "
                "deploy again"
            )
    return None


def _catalogs_schedules(found: Entry) -> list[Entry]:
    """Those schedules of a deployment that an earlier deploying took from the catalog."""
    marked = MARK in found["tags"]
    return [
        one
        for one in found["schedules"]
        if one["slug"] == SCHEDULE_SLUG
        or (not marked and one["slug"] is None and _cron(one) is not None)
    ]


def _cron(schedule: Entry) -> str | None:
    cron = schedule["schedule"].get("cron")
    return None if cron is None else str(cron)


def _schedule(cron: str) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(
        schedule=CronSchedule(cron=cron, timezone="UTC"), active=True, slug=SCHEDULE_SLUG
    )


def _automations(item: _Wanted, deployment: UUID) -> list[AutomationCore]:
    made = []
    for number, spec in enumerate(item.entry.get("triggers") or [], start=1):
        named = {"name": f"{item.entry['name']}__automation_{number}", **spec}
        trigger = _TRIGGERS.validate_python(named)
        trigger.set_deployment_id(deployment)
        made.append(trigger.as_automation())
    return made


def _compared(automation: AutomationCore) -> object:
    """What an automation does, without what the server or an operator adds."""
    # Not as JSON: what is a set has another order in every process there.
    core = automation.model_dump(mode="python", include={"trigger", "actions"})
    return _without_ids(core)


def _without_ids(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_ids(item) for key, item in value.items() if key != "id"}
    if not isinstance(value, list):
        return value
    items = [_without_ids(item) for item in value]
    # Names of events are a set, which comes in any order.
    names = [item for item in items if isinstance(item, str)]
    return sorted(names) if len(names) == len(items) else items


def _not_named_any_more(item: _Wanted, found: Entry) -> dict[str, tuple[str, str]]:
    """Tags of a deployment of parameters that an earlier catalog named so, and these."""
    named = {tag: named_parameter(tag) for tag in found["tags"] if tag not in item.entry["tags"]}
    return {tag: parameter for tag, parameter in named.items() if parameter is not None}


def _differing_fields(item: _Wanted, found: Entry) -> tuple[Entry, list[str]]:
    """The fields that the server has to change, and what is said of each."""
    update: Entry = {}
    details: list[str] = []

    def compare(name: str, wanted: object, present: object, *, words: str | None = None) -> None:
        if wanted != present:
            update[name] = wanted
            details.append(words or f"{name.replace('_', ' ')} {present!r} → {wanted!r}")

    entry = item.entry
    compare("entrypoint", entry["entrypoint"], found["entrypoint"])
    gone = _not_named_any_more(item, found)
    kept = {
        name: value
        for name, value in found["parameters"].items()
        if (name, value) not in gone.values()
    }
    compare("parameters", {**kept, **entry["parameters"]}, found["parameters"])
    tags = [tag for tag in found["tags"] if tag not in gone]
    compare("tags", list(dict.fromkeys([*tags, *entry["tags"]])), found["tags"])
    compare("work_pool_name", entry["work_pool"]["name"], found["work_pool_name"])
    folder = deployed_from({"pull_steps": item.pull_steps})
    compare(
        "pull_steps",
        item.pull_steps,
        found["pull_steps"],
        words=f"folder {deployed_from(found)} → {folder}",
    )
    limit = found.get("global_concurrency_limit")
    compare("concurrency_limit", item.limit, limit["limit"] if limit else None)
    options = found.get("concurrency_options")
    strategy = {"collision_strategy": options["collision_strategy"]} if options else None
    compare("concurrency_options", item.options, strategy)
    compare("description", item.description, found["description"], words="description")
    schema = found["parameter_openapi_schema"]
    compare("parameter_openapi_schema", item.schema, schema, words="parameters of the flow")
    compare("enforce_parameter_schema", True, found["enforce_parameter_schema"])
    return update, details
