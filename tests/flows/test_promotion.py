"""`crosscity promote`, `rollback`, `pin` and `unpin`, and how readapt heeds them."""

from __future__ import annotations

import json

from adapters.store import Store
from tasks.judging.promotion import promoted_segmenter


def test_a_city_is_promoted_rolled_back_pinned_and_readapted(  # noqa: PLR0915 - a single story
    write_catalog, many_flows, tmp_path
):
    catalog = write_catalog(tmp_path, city={"arm": "ga"})
    store = Store(tmp_path / "store")

    def run(*words: object) -> str:
        done = many_flows(words[0], "tokyo", *words[1:], "--catalog", catalog)
        assert done["code"] == 0, done["err"]
        return str(done["out"])

    def in_use() -> str:
        found = promoted_segmenter(store, "tokyo")
        assert found is not None
        return found.key

    refused = many_flows("promote", "tokyo", "--catalog", catalog)
    assert refused["code"] == 2
    assert "crosscity readapt tokyo" in refused["err"]

    run("readapt")
    first = in_use()
    (adapted,) = store.artifacts("adaptation", "tokyo")
    assert store.manifest(adapted).parameters["arm"] == "ga", "the arm of the city's entry"
    run("adapt", "--arm", "bn", "--seed", "0")
    assert in_use() == first, "only readapt promotes by itself"
    (newest,) = [ref for ref in store.artifacts("adaptation", "tokyo") if ref.key != first]
    said = run("promote", newest.key[:10], "--reason", "it is quicker", "--pin")
    assert in_use() == newest.key
    assert "pinned since" in said

    said = run("readapt")
    assert in_use() == newest.key, "a pin is heeded"
    assert f"in use in tokyo: {newest.uri}\npinned since" in said, "and told"
    run("unpin")
    run("readapt")
    assert in_use() == first
    told = json.loads(run("rollback", "--reason", "worse at night", "--json"))
    assert in_use() == told["key"] == newest.key
    assert told["where"] == newest.uri
    assert told["pinned"]["reason"] == "worse at night"
    run("readapt")
    assert in_use() == newest.key, "a rollback sticks"

    unknown = many_flows("promote", "tokyo", "0" * 24, "--catalog", catalog)
    assert unknown["code"] == 2
    assert newest.uri in unknown["err"], "what there is instead"
    assert f"in use in tokyo: {newest.uri}" in run("promote", newest.uri), "a key as it is printed"
    run("unpin")
    again = many_flows("unpin", "tokyo", "--catalog", catalog)
    assert again["code"] == 0
    assert "tokyo was not pinned" in again["err"]

    log = json.loads(run("promotions", "--json"))
    assert [one["action"] for one in log] == [
        "promote",
        "promote",
        "pin",
        "unpin",
        "promote",
        "rollback",
        "unpin",
    ]
    assert log[0]["run"]
    assert not log[1]["run"]
    assert log[0]["miou"] is not None
    assert "worse at night" in run("promotions")

    weights = tmp_path / "store" / "adaptation" / "tokyo" / first / "weights.safetensors"
    weights.chmod(0o600)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    damaged = many_flows("promote", "tokyo", first, "--catalog", catalog)
    assert damaged["code"] == 2
    assert in_use() == newest.key
