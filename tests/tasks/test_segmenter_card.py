"""The code that a model card shows, whatever its folder is called."""

from __future__ import annotations

import ast
import re

import pytest
import yaml

from crosscity.segmenters import build_segmenter
from tasks.judging.segmenter_facts import SegmenterFacts
from tasks.pages.segmenter_card import Delivery, segmenter_card, yaml_word

FACTS = SegmenterFacts(
    artifact="adaptation/tokyo/0",
    digest="0",
    city="tokyo",
    arm="source_free",
    saw_labels=False,
    trained_on=(),
    made_at="2026-01-01T00:00:00+00:00",
    version="1",
    code_version="1",
    parameters={},
    images=(),
    sets=(),
    scores=(),
    verdict=None,
    remarks=(),
    lineage=(),
)


@pytest.mark.parametrize("name", ["out", 'the "best" #1', "lisbon: 2", "2024", "straße"])
def test_code_and_catalog_entry_of_a_card_name_its_folder(name: str) -> None:
    """`#` begins a comment in YAML, and a quote ends the string in Python."""
    said = segmenter_card(build_segmenter("compact", seed=0), FACTS, Delivery(name))
    (call,) = re.findall(r"load_segmenter\((.*)\)", said)
    assert ast.literal_eval(call) == name
    (entry,) = re.findall(r"`(segmenters: .*)`", said)
    assert yaml.safe_load(entry) == {"segmenters": {"mine": {"weights": name}}}


def test_what_yaml_reads_as_it_stands_needs_no_quotes() -> None:
    assert yaml_word("out/lisbon-2") == "out/lisbon-2"
    assert yaml_word("yes") == '"yes"'
