"""A folder that transformers loads: `AutoModelForSemanticSegmentation` and `AutoImageProcessor`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adapters.store import artifact_key
from crosscity.evaluation import predict
from crosscity.segmenters import HuggingFaceSegmenter, build_segmenter, load_segmenter
from tasks.judging.runtime_agreement import agreement
from tasks.pages.segmenter_folder import export_segmenter
from tasks.steps.errors import InputError
from tasks.steps.plan import open_plan
from tasks.training.segmenters import starting_segmenter, stored_segmenter, write_segmenter
from tasks.training.transformers_folder import transformers_logits, write_transformers

transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")

SIZE = (64, 64)
"""Which every tiny network takes."""


def _tiny() -> dict[str, dict[str, Any]]:
    """The tiny configuration of every architecture, from the suite of their checkpoints."""
    path = Path(__file__).with_name("test_networks_of_transformers.py")
    spec = importlib.util.spec_from_file_location("networks_of_transformers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, dict[str, Any]] = module.TINY
    return found


TINY = _tiny()
OF_TORCHVISION_ALONE = ("sapiens2", "tipsv2_dpt")
KNOWS_NO_NORMALISATION = ("mobilevit", "mobilevitv2")


def made(model_type: str, **options: Any) -> HuggingFaceSegmenter:
    config = {"model_type": model_type, **TINY[model_type]}
    segmenter = build_segmenter("hf", {"config": config, **options}, seed=1)
    assert isinstance(segmenter, HuggingFaceSegmenter)
    torch.manual_seed(0)  # whatever ran before in this process
    with torch.no_grad():
        for layer in segmenter.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                layer.weight.normal_(0, (2 / layer.weight[0].numel()) ** 0.5)
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = None
        segmenter.train()(torch.rand(4, 3, *SIZE))
    return segmenter.eval()


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("model_type", [name for name in TINY if name not in OF_TORCHVISION_ALONE])
def test_transformers_gives_the_segmenters_own_logits(tmp_path: Path, model_type: str) -> None:
    plain = model_type in KNOWS_NO_NORMALISATION
    statistics = {"input_mean": [0.0] * 3, "input_std": [1.0] * 3} if plain else {}
    order = {"channel_order": "bgr"} if plain else {}
    segmenter = made(model_type, **statistics, **order)
    write_transformers(segmenter, tmp_path)
    found = agreement(segmenter, transformers_logits(tmp_path), [picture()], model_type)
    assert found.largest_difference < 1e-4
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    names = [config["id2label"][str(row)] for row in range(segmenter.n_classes)]
    assert names == list(segmenter.class_names)


def test_merged_logits_keep_their_class_in_every_row(tmp_path: Path) -> None:
    names = ["road", "sky", "car"]
    segmenter = made("segformer", class_names=names, row_classes=[0, 0, 1, 2, 2])
    write_transformers(segmenter, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    rows = [config["id2label"][str(row)] for row in range(5)]
    assert rows == ["road", "road", "sky", "car", "car"]
    logits = transformers_logits(tmp_path)(picture())
    merged = np.stack([logits[:2].max(0), logits[2], logits[3:].max(0)])
    ours = predict(segmenter, picture())
    # The maximum of a class is taken before the logits are enlarged here, and after there.
    assert (merged.argmax(0) == ours).mean() > 0.9


def test_it_goes_round_from_their_checkpoint_to_their_loader_and_back(
    write_catalog: Any, many_flows: Any, tmp_path: Path
) -> None:
    """A checkpoint in the catalog, taken into the store, exported, and named as weights again."""
    write_transformers(made("segformer"), tmp_path / "net")
    entry = {"architecture": "hf:net", "source": "frankfurt"}
    catalog = write_catalog(tmp_path, segmenters={"their": entry})
    plan = open_plan(catalog)
    starting = starting_segmenter(plan, "their", seed=0)
    facts: dict[str, Any] = {"inputs": {}, "parameters": dict(starting.made_of), "version": "1"}
    store = plan.open_store()
    key = artifact_key("segmenter", **facts)
    with store.draft("segmenter", "frankfurt", key, **facts) as draft:
        write_segmenter(draft, starting.segmenter, starting.model)
    harvested = many_flows("harvest", "tokyo", "--catalog", catalog)
    assert harvested["code"] == 0, harvested
    out = tmp_path / "out"
    done = export_segmenter(plan, "tokyo", draft.ref, out)
    assert "have the same class" in done.agreements["model.safetensors"]
    assert {"config.json", "preprocessor_config.json", "model.json", "README.md"} <= {*done.files}
    assert "AutoModelForSemanticSegmentation" in (out / "README.md").read_text(encoding="utf-8")

    there = stored_segmenter(plan, draft.ref)[1].eval()
    expected = predict(there, picture(3))
    assert predict(load_segmenter(out), picture(3)).tobytes() == expected.tobytes()
    again = write_catalog(tmp_path / "other", segmenters={"theirs": {"weights": str(out)}})
    other = open_plan(again)
    segmenter = starting_segmenter(other, "theirs", seed=0).segmenter.eval()
    assert predict(segmenter, picture(3)).tobytes() == expected.tobytes()
    # What was adapted from it may be read where the catalog names the folder.
    with other.open_store().draft("segmenter", "frankfurt", key, **facts) as draft:
        write_segmenter(draft, segmenter, starting.model)
    assert predict(stored_segmenter(other, draft.ref)[1].eval(), picture(3)).tobytes() == (
        expected.tobytes()
    )


@pytest.mark.parametrize(
    ("entry", "changes", "said"),
    [
        ({}, {"architecture": "python:os:system"}, "does not decide which code is run"),
        ({}, {"architecture": "unknown"}, "there is no segmenter 'unknown'"),
        ({}, {"options": {"width": 10**9}}, "options do not suit"),
        ({"architecture": "dilated_vgg16"}, {}, "the catalog says 'dilated_vgg16'"),
        ({"architecture": "compact", "options": {"width": 24}}, {}, "options are not those"),
    ],
)
def test_a_delivered_folder_is_believed_as_far_as_the_catalog(
    write_catalog: Any, tmp_path: Path, entry: Any, changes: Any, said: str
) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    description = {"architecture": "compact", "options": {"width": 16}, **changes}
    (folder / "model.json").write_text(json.dumps(description))
    catalog = write_catalog(tmp_path, segmenters={"theirs": {"weights": "net", **entry}})
    with pytest.raises(InputError, match=said):
        starting_segmenter(open_plan(catalog), "theirs", seed=0)


def test_weights_without_an_architecture_must_be_a_folder(
    write_catalog: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    catalog = write_catalog(tmp_path, segmenters={"theirs": {"weights": "a.safetensors"}})
    with pytest.raises(InputError, match="nothing says their architecture"):
        starting_segmenter(open_plan(catalog), "theirs", seed=0)
    (tmp_path / "net").mkdir()
    catalog = write_catalog(tmp_path, segmenters={"theirs": {"weights": "net"}})
    with pytest.raises(InputError, match=r"has no model\.json"):
        starting_segmenter(open_plan(catalog), "theirs", seed=0)
