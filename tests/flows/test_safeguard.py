"""readapt-city on a real server: it promotes what shows no harm, and keeps what was there else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from adapters.store import ArtifactRef, Store
from tasks.judging.promotion import promoted_segmenter
from tasks.steps.schemas import SAFEGUARD

GENTLE = {"learning_rate": 1e-7}
"""So small that the network stays what it was."""
RUINOUS = {"learning_rate": 1.0}
"""So large that nothing of the network is left after a step."""


def trained(adaptation: dict[str, Any], **safeguard: Any) -> dict[str, Any]:
    return {"trainings": {"demo": {"adaptation": adaptation, "safeguard": safeguard}}}


def promoted(folder: Path) -> ArtifactRef:
    found = promoted_segmenter(Store(folder / "store"), "tokyo")
    assert found is not None
    return found


def judged(folder: Path, said: str) -> dict[str, Any]:
    """The summary of the judgement that a run told of."""
    store = Store(folder / "store")
    (found,) = (
        ref
        for ref in store.artifacts("safeguard", "tokyo")
        if str(store.manifest(ref).summary["sentence"]) in said
    )
    table = pq.read_table(folder / "store" / "safeguard" / "tokyo" / found.key / "pairs.parquet")
    assert table.schema.equals(SAFEGUARD)
    assert table.num_rows == 5
    return dict(store.manifest(found).summary)


@pytest.fixture
def rejected(prefect_server):
    """Events about rejected adaptations since the test began, the newest first."""

    def events() -> list[dict[str, Any]]:
        body = {"filter": {"event": {"name": ["adaptation.rejected"]}}}
        found: list[dict[str, Any]] = prefect_server.post("/events/filter", body)["events"]
        return found

    before = {event["id"] for event in events()}
    return lambda: [event for event in events() if event["id"] not in before]


@pytest.mark.slow
def test_a_ruined_segmenter_is_not_promoted_and_a_sound_one_is(
    write_catalog, many_flows, rejected, waiting, tmp_path
):
    def readapted(**changes: Any) -> str:
        catalog = write_catalog(tmp_path, **changes)
        done = many_flows("readapt", "tokyo", "--arm", "ga", "--catalog", catalog)
        assert done["code"] == 0, done["err"]
        return str(done["out"])

    said = readapted(**trained(RUINOUS))
    assert "The adaptation looks harmful without any label, compared with the pre-trained" in said
    first = promoted(tmp_path)
    assert first.kind == "segmenter"  # nothing was promoted before: the pre-trained one now is
    summary = judged(tmp_path, said)
    assert summary["keep"] == "before"
    assert summary["reasons"]
    assert all(reason in said for reason in summary["reasons"])
    waiting(lambda: bool(rejected()), "the event arrives")
    (event,) = rejected()
    assert event["resource"]["prefect.resource.id"] == "crosscity.city.tokyo"
    assert event["payload"]["reasons"] == summary["reasons"]
    assert event["payload"]["artifacts"]["promoted"] == first.key

    said = readapted(**trained(GENTLE))
    assert "The adaptation shows no harm on 5 pairs" in said
    sound = promoted(tmp_path)
    assert sound.kind == "adaptation"
    assert judged(tmp_path, said)["keep"] == "after"

    said = readapted(**trained(RUINOUS))  # against the promoted one this time
    assert promoted(tmp_path) == sound
    assert judged(tmp_path, said)["keep"] == "before"

    said = readapted(**trained(RUINOUS, mode="report"))
    assert "looks harmful" in said
    assert promoted(tmp_path) not in {first, sound}

    said = readapted(**trained(GENTLE, mode="off"))
    assert "harm" not in said
    assert promoted(tmp_path) == sound
