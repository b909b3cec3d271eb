"""Descriptions of networks that somebody planted in the store: data, never code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from crosscity.segmenters import ARCHITECTURES, build_segmenter
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan, open_plan
from tasks.training.segmenters import (
    WEIGHTS,
    fresh_segmenter,
    starting_segmenter,
    stored_segmenter,
    write_segmenter,
)
from tasks.training.stored_networks import _SCHEMAS, check_options, read_class_names

SMALL = {"architecture": "compact", "options": {"width": 8}}
PLUG_IN = """
from pathlib import Path
from crosscity.segmenters import CompactSegmenter, ComposedSegmenter

with (Path(__file__).with_name("imported")).open("a") as note:
    note.write("x")

def build(width=8):
    own = CompactSegmenter(width=width)
    return ComposedSegmenter(own.layers, own.classifier, n_features=width, stride=8)

def other(width=8):
    raise SystemExit("another function of the same module was run")
"""


@pytest.fixture
def opened(write_catalog, tmp_path, monkeypatch):
    """opened(**segmenters) -> Plan; `planted_plug_in` can be imported, and notes it."""
    (tmp_path / "planted_plug_in.py").write_text(PLUG_IN)
    monkeypatch.syspath_prepend(tmp_path)

    def with_segmenters(**segmenters) -> Plan:
        return open_plan(write_catalog(tmp_path, segmenters=segmenters))

    yield with_segmenters
    sys.modules.pop("planted_plug_in", None)


def planted(plan: Plan, architecture: object, options: object, key: str = "planted"):
    """An artifact whose manifest fits its files, with a description that somebody made up."""
    network = fresh_segmenter(SMALL, 0)
    with plan.open_store().draft(
        "segmenter", "frankfurt", key, inputs={}, parameters={}, version="1"
    ) as draft:
        write_segmenter(draft, network, SMALL)
        content = {"architecture": architecture, "options": options, "config": network.config()}
        (draft.path / "model.json").write_text(json.dumps(content))
    return draft.ref


def test_an_adaptation_is_shown_the_size_that_its_settings_say(opened) -> None:
    """Several processes once left the size of the segmenter before in its description."""
    plan = opened()
    network = fresh_segmenter(SMALL, 0)
    network.trained_size = (256, 512)
    for kind, given, size in (
        ("adaptation", {"image_size": [64, 128]}, (64, 128)),
        ("adaptation", {"image_size": "auto"}, (256, 512)),
        ("adaptation", {}, (256, 512)),
        ("segmenter", {"image_size": [64, 128]}, (256, 512)),
    ):
        key = f"{kind}-{len(given)}-{given.get('image_size') == 'auto'}".encode().hex()[:40]
        with plan.open_store().draft(
            kind, "tokyo", key, inputs={}, parameters=given, version="1"
        ) as draft:
            write_segmenter(draft, network, SMALL)
        assert stored_segmenter(plan, draft.ref)[1].trained_size == size, (kind, given)


def named(**options) -> dict[str, object]:
    return {"python": "planted_plug_in:build", "source": "frankfurt", "options": options}


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("python: subprocess:check_output", {"args": ["touch", "TRACE"]}),
        ("python:subprocess:check_output", {"args": "touch TRACE", "shell": True}),
        ("python: planted_plug_in:build", {}),
        ("python:planted_plug_in:other", {}),
        ("python:", {}),
        ("pickle:load", {}),
        ("hf", {"config": {"model_type": "segformer"}, "class_names": ["a", "b"]}),
        (3, {}),
        ("compact", []),
        ("compact", {"width": 10**9}),
        ("compact", {"width": 8, "dilations": [1] * 10_000}),
        ("dilated_vgg16", {"fc_width": 10**9}),
        ("efficientnet_lite0", {"width": 10**9}),
        ("compact", {"hook": "os.system"}),
    ],
)
def test_a_planted_description_imports_and_runs_nothing(opened, tmp_path, architecture, options):
    trace = tmp_path / "trace"
    text = json.dumps(options).replace("TRACE", str(trace))
    plan = opened()
    ref = planted(plan, architecture, json.loads(text))
    before = set(sys.modules)
    with pytest.raises(InputError) as caught:
        stored_segmenter(plan, ref)
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    assert not (tmp_path / "imported").exists()
    assert set(sys.modules) - before <= {"huggingface_hub"}


@pytest.mark.parametrize("way", ["python", "architecture"])
def test_a_function_that_the_catalog_names_is_built_with_the_catalogs_options(opened, way):
    entry = named(width=12)
    if way == "architecture":  # as --architecture of `crosscity init` and manifests have it
        entry["architecture"] = f"python: {entry.pop('python')}"
    plan = opened(mine=entry)
    starting = starting_segmenter(plan, "mine", 0)
    with plan.open_store().draft(
        "segmenter", "frankfurt", "akey", inputs={}, parameters={}, version="1"
    ) as draft:
        write_segmenter(draft, starting.segmenter, starting.model)
    _, network = stored_segmenter(plan, draft.ref)
    for name, tensor in starting.segmenter.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])
    with pytest.raises(InputError, match="no segmenter of the catalog names"):
        stored_segmenter(opened(), draft.ref)
    with pytest.raises(InputError, match="other options than the catalog's"):
        stored_segmenter(opened(mine=named(width=16)), draft.ref)
    other = planted(plan, "python:planted_plug_in:other", {"width": 12}, "other")
    with pytest.raises(InputError, match="no segmenter of the catalog names"):
        stored_segmenter(plan, other)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("auto_map", {"AutoConfig": "somebody/repo--configuration.Evil"}),
        ("_name_or_path", "somebody/repo"),
        ("attn_implementation", "somebody/kernel"),
        ("_attn_implementation", "somebody/kernel"),
        ("backbone", "somebody/repo"),
        ("use_pretrained_backbone", True),
        ("use_timm_backbone", True),
        ("quantization_config", {"quant_method": "custom"}),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_configuration_that_names_code_or_places_is_refused(opened, key, value, nested):
    pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    plan = opened(hub={"architecture": "hf:somebody/segformer", "source": "frankfurt"})
    config = {"model_type": "upernet", **({} if nested else {key: value})}
    if nested:
        config["backbone_config"] = {"model_type": "convnext", "more": [{key: value}]}
    ref = planted(plan, "hf", {"config": config, "class_names": ["a", "b"]})
    with pytest.raises(InputError, match=f"{key}.*refused"):
        stored_segmenter(plan, ref)


def test_a_network_of_another_type_than_the_catalogs_is_not_built(opened, tmp_path):
    pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "config.json").write_text(json.dumps({"model_type": "segformer"}))
    plan = opened(hub={"architecture": "hf:near", "source": "frankfurt"})
    options = {"config": {"model_type": "upernet"}, "class_names": ["a", "b"]}
    with pytest.raises(InputError, match="type 'upernet', which no segmenter of the catalog"):
        stored_segmenter(plan, planted(plan, "hf", options))


def test_a_description_of_gigabytes_or_of_brackets_is_refused(opened):
    plan = opened()
    for number, text in enumerate(("[" * 100_000, '{"a": "' + "x" * (4 * 2**20) + '"}', "", "[]")):
        with plan.open_store().draft(
            "segmenter", "frankfurt", f"k{number}", inputs={}, parameters={}, version="1"
        ) as draft:
            (draft.path / "model.json").write_text(text)
            save_file({"a": torch.zeros(1)}, draft.path / WEIGHTS)
        for read in (
            lambda ref=draft.ref: stored_segmenter(plan, ref),
            lambda ref=draft.ref: read_class_names(plan.open_store(), ref),
        ):
            with pytest.raises(InputError, match=r"model\.json"):
                read()


def test_every_architecture_of_ours_has_a_schema_that_admits_what_it_writes() -> None:
    assert set(_SCHEMAS) == set(ARCHITECTURES)
    small = {
        "compact": {"width": 8},
        "dilated_vgg16": {"width": 4, "fc_width": 16},
        "efficientnet_lite0": {"stages": 4, "width": 16},
    }
    for architecture, options in small.items():
        segmenter = build_segmenter(architecture, options)
        check_options(architecture, segmenter.options(), "here")
        check_options(architecture, options, "here")


def test_a_flipped_byte_of_the_weights_is_found_before_they_are_read(opened, tmp_path):
    plan = opened()
    ref = planted(plan, "compact", {"width": 8})
    path: Path = tmp_path / "store" / ref.uri / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Exception, match=r"weights\.safetensors has SHA-256"):
        stored_segmenter(plan, ref)
    assert plan.open_store().find(ref.kind, ref.city, ref.key) is None
