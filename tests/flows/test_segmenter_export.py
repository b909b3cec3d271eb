"""A segmenter handed on is the same segmenter, wherever it is read."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

import crosscity as package
from adapters.exports import ExportError
from adapters.store import ArtifactRef, Draft, artifact_key
from crosscity.evaluation import predict
from crosscity.resizing import resized_image
from crosscity.segmenters import ComposedSegmenter, build_segmenter
from tasks.harvesting.current import current_harvest
from tasks.judging.evaluated import segmenter_of_arm
from tasks.judging.runtime_agreement import agreement
from tasks.judging.segmenter_facts import segmenter_facts
from tasks.pages.segmenter_card import Delivery, segmenter_card
from tasks.pages.segmenter_folder import _write_onnx, export_segmenter
from tasks.steps.errors import InputError
from tasks.steps.imagery import Imagery
from tasks.steps.plan import Plan, open_plan
from tasks.steps.schemas import IMAGERY, OK, PAIRS, images_of
from tasks.steps.tables import read_rows, write_rows
from tasks.training.segmenters import starting_segmenter, stored_segmenter, write_segmenter


@pytest.fixture(scope="module")
def key(finished_run) -> str:
    """Of an adaptation that the demo scored."""
    return segmenter_of_arm("tokyo", "full", 0, open_plan(finished_run.catalog)).key


@pytest.fixture(scope="module")
def delivered(finished_run, crosscity, key, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("delivered") / "tokyo-segmenter"
    words = ("segmenter", "export", "tokyo", "-o", out, "--segmenter", key, "--onnx")
    done = crosscity(*words, "--catalog", finished_run.catalog)
    assert done.returncode == 0, done.stderr
    assert "model.onnx: on 5 images" in done.stdout
    assert "next: crosscity.load_segmenter(" in done.stderr
    return out


@pytest.fixture(scope="module")
def images(finished_run) -> list[np.ndarray]:
    plan = open_plan(finished_run.catalog)
    imagery = Imagery(plan.open_store(), current_harvest("tokyo", plan).imagery)
    return [imagery.read(each) for each in imagery.ids()[:4]]


def test_all_ways_to_read_it_give_the_same_bytes_of_predictions(
    finished_run, delivered, key, images, tmp_path
) -> None:
    plan = open_plan(finished_run.catalog)
    ref = next(one for one in plan.open_store().artifacts("adaptation") if one.key == key)
    there = stored_segmenter(plan, ref)[1].eval()
    by_python = package.load_segmenter(delivered)
    catalog = yaml.safe_load(finished_run.catalog.read_text(encoding="utf-8"))
    catalog["segmenters"]["theirs"] = {"weights": str(delivered)}
    (tmp_path / "data_catalog.yaml").write_text(yaml.safe_dump(catalog), encoding="utf-8")
    starting = starting_segmenter(open_plan(tmp_path / "data_catalog.yaml"), "theirs", seed=0)
    assert starting.is_trained
    assert by_python.class_names == there.class_names == starting.segmenter.class_names
    for image in images:
        expected = predict(there, image)
        assert predict(by_python, image).tobytes() == expected.tobytes()
        assert predict(starting.segmenter.eval(), image).tobytes() == expected.tobytes()


def test_the_catalogs_folder_predicts_on_the_command_line(
    finished_run, delivered, key, crosscity, tmp_path
) -> None:
    catalog = yaml.safe_load(finished_run.catalog.read_text(encoding="utf-8"))
    catalog["stores"]["local"]["url"] = str(finished_run.store)
    catalog["segmenters"]["theirs"] = {"weights": str(delivered)}
    path = tmp_path / "data_catalog.yaml"
    path.write_text(yaml.safe_dump(catalog), encoding="utf-8")
    for name, word in (("a", "theirs"), ("b", key)):
        words = ("predict", "tokyo", "--segmenter", word, "-o", tmp_path / name, "--no-overlays")
        done = crosscity(*words, "--catalog", path)
        assert done.returncode == 0, done.stderr
    written = sorted((tmp_path / "a" / "labels").rglob("*.png"))
    assert len(written) == 14
    for one in written:
        twin = tmp_path / "b" / one.relative_to(tmp_path / "a")
        assert one.read_bytes() == twin.read_bytes()


def test_the_onnx_model_runs_on_images_of_another_size(delivered, images) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra [onnx] is not installed")
    import onnxruntime

    model = onnx.load(delivered / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [one.version for one in model.opset_import if not one.domain] == [18]
    session = onnxruntime.InferenceSession(
        str(delivered / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    segmenter = package.load_segmenter(delivered)
    for image in (images[0], images[1][:47, :93]):
        batch = np.stack([image, image[::-1]])
        values = (batch.astype(np.float32) / 255).transpose(0, 3, 1, 2)
        (logits,) = session.run(["logits"], {"images": values})
        seen = predict(segmenter, batch, image_size=image.shape[:2])
        assert (logits.argmax(1) == seen).mean() > 0.999


def test_the_card_says_how_onnxruntime_sees_what_we_see(
    delivered, images, tmp_path, monkeypatch
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    code = (delivered / "README.md").read_text(encoding="utf-8").split("```python\n")[2]
    folder = tmp_path / "handed-on"
    shutil.copytree(delivered, folder)
    height, width = images[0].shape[:2]
    picture = resized_image(images[0], (2 * height, 2 * width + 10))
    Image.fromarray(picture).save(folder / "street.png")  # without a loss, unlike JPEG
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(code.split("```")[0].replace("street.jpg", "street.png"), names)  # noqa: S102
    ours = predict(package.load_segmenter(folder), picture)
    # Logits go to the shown size first and from there to the picture's, ours there at once.
    assert (names["classes"] == ours).mean() > 0.97
    assert "some pixels beside\nedges get another class" in code
    assert (names["label_ids"] == np.array(names["ids"])[names["classes"]]).all()


def test_all_may_read_what_is_handed_on(delivered) -> None:
    modes = {path.name: path.stat().st_mode for path in delivered.iterdir()}
    assert set(modes.values()) == {modes["README.md"]}


def test_the_card_is_one_that_the_hub_reads(delivered, finished_run) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the extra [hf] is not installed")
    card = hub.ModelCard.load(delivered / "README.md")
    assert card.data.pipeline_tag == "image-segmentation"
    (result,) = [one for one in card.data.eval_results if one.dataset_type == "tokyo"]
    evaluations = finished_run.store.glob("evaluation/tokyo/*/artifact.json")
    plan = open_plan(finished_run.catalog)
    store = plan.open_store()
    ref = segmenter_of_arm("tokyo", "full", 0, plan)
    manifests = [json.loads(path.read_text()) for path in evaluations]
    scored = [one for one in manifests if one["inputs"].get("segmenter") == ref.digest]
    assert result.metric_value == pytest.approx(scored[0]["summary"]["miou"], abs=1e-4)
    for heading in ("Uses", "Training data", "Licences", "Evaluation", "Provenance"):
        assert f"\n## {heading}\n" in card.text
    harvest = current_harvest("tokyo", plan)
    rows = read_rows(store, harvest.pairs, "pairs.parquet", PAIRS)
    learned = {one for row in rows if row["split"] == "train" for one in images_of(row)}
    ((licence, whom, count),) = Imagery(store, harvest.imagery).credits()
    assert len(learned) < count, "some are tested on"
    assert f"{len(learned)} images of `tokyo`, {licence}, {whom}" in card.text
    assert "the segmenter before" in card.text
    assert "simulated streets (frankfurt)" in card.text
    assert "without labels of the city" in card.text


def test_provenance_names_every_artifact_and_the_bytes_beside_it(delivered) -> None:
    found = json.loads((delivered / "provenance.json").read_text(encoding="utf-8"))
    kinds = {one["kind"] for one in found["segmenter"]["lineage"]}
    assert {"imagery", "pairs", "static_prior", "labelled", "segmenter"} <= kinds
    assert found["segmenter"]["arm"] == "full"
    assert found["agreement"]["model.onnx"]["same_class"] >= 0.999
    files = {path.name for path in delivered.iterdir()} - {"provenance.json"}
    assert found["sha256"].keys() == files
    for name, digest in found["sha256"].items():
        assert hashlib.sha256((delivered / name).read_bytes()).hexdigest() == digest
    labels = json.loads((delivered / "labels.json").read_text(encoding="utf-8"))["classes"]
    assert [one["name"] for one in labels] == list(package.load_segmenter(delivered).class_names)
    assert (labels[0]["label_id"], labels[0]["train_id"]) == (7, 0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--segmenter", "promoted"), "no segmenter is promoted for tokyo yet"),
        (("--segmenter", "compact"), "neither 'promoted', nor a key"),
        (("--onnx-size", "64"), "--onnx-size is HEIGHTxWIDTH"),
        (("--licence", "All Rights"), "write it as the hub does"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(
    finished_run, crosscity, tmp_path, words, sentence
) -> None:
    words = ("segmenter", "export", "tokyo", "-o", tmp_path / "x", *words)
    done = crosscity(*words, "--catalog", finished_run.catalog)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(finished_run, key, tmp_path) -> None:
    plan = open_plan(finished_run.catalog)
    ref = next(one for one in plan.open_store().artifacts("adaptation") if one.key == key)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something already"):
        export_segmenter(plan, "tokyo", ref, tmp_path)


def _segmenter_of_images(plan: Plan, licence: str) -> ArtifactRef:
    """A segmenter in a store, made of one image under a licence."""
    store = plan.open_store()
    row: dict[str, Any] = dict.fromkeys(IMAGERY.names)
    row |= {"image_id": "a", "provider": "p", "place_id": "1", "heading": 0.0, "pitch": 0.0}
    row |= {"fov": 90.0, "licence": licence, "attribution": "a | <b>b</b>", "status": OK}
    options = {"width": 8, "dilations": [1]}
    model = {"architecture": "compact", "options": options}

    def made(
        kind: str, inputs: dict[str, ArtifactRef], write: Callable[[Draft], None]
    ) -> ArtifactRef:
        facts: dict[str, Any] = {
            "inputs": {role: one.digest for role, one in inputs.items()},
            "parameters": {"licence": licence},
            "version": "1",
        }
        key = artifact_key(kind, **facts)
        with store.draft(kind, "tokyo", key, inputs_at=inputs, **facts) as draft:
            write(draft)
        return draft.ref

    imagery = made(
        "imagery", {}, lambda draft: write_rows(draft, "imagery.parquet", [row], IMAGERY)
    )
    network = build_segmenter("compact", options)
    return made(
        "adaptation", {"imagery": imagery}, lambda draft: write_segmenter(draft, network, model)
    )


def test_images_that_must_not_be_passed_on_keep_their_segmenter_here(
    write_catalog, tmp_path
) -> None:
    plan = open_plan(write_catalog(tmp_path))
    closed = _segmenter_of_images(plan, "All rights reserved")
    with pytest.raises(ExportError, match="'All rights reserved', which is not known to let"):
        export_segmenter(plan, "tokyo", closed, tmp_path / "out")
    # With a reason it goes on to where the city's images are needed.
    with pytest.raises(InputError, match="no harvested pairs"):
        export_segmenter(plan, "tokyo", closed, tmp_path / "out", allowed="they are mine")
    assert not (tmp_path / "out").exists()


def test_a_runtime_that_disagrees_is_reported_with_its_numbers() -> None:
    segmenter = build_segmenter("compact", {"width": 8, "dilations": [1]}, seed=1)
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)

    def right(given: np.ndarray) -> np.ndarray:
        import torch

        from crosscity.segmenters import evaluating, image_tensor

        with evaluating(segmenter), torch.no_grad():
            return segmenter(image_tensor(given[None]))[0].numpy()

    assert agreement(segmenter, right, [image], "it").same_class == 1.0

    def but_for(pixels: int) -> Any:
        def nearly(given: np.ndarray) -> np.ndarray:
            logits = right(given).copy()
            surest = logits.argmax(0)[0, :pixels]
            logits[surest, 0, np.arange(pixels)] += 3.0  # of the same class, and surer
            return logits

        return nearly

    # Of 48×64 pixels three are 0.1 %: what rounding does where equal values are compared.
    few = agreement(segmenter, but_for(3), [image], "it")
    assert few.differing == 3 / (48 * 64)
    assert "(in 0.098 % of them by more than 0.01)" in few.sentence()
    with pytest.raises(InputError, match="it disagrees"):
        agreement(segmenter, but_for(4), [image], "it")
    with pytest.raises(
        InputError, match=r"it disagrees .* nothing is written: on 1 images \(48×64\)"
    ):
        agreement(segmenter, lambda given: right(given)[::-1], [image], "it")
    with pytest.raises(InputError, match="disagrees"):
        agreement(segmenter, lambda given: right(given) * np.nan, [image], "it")
    with pytest.raises(InputError, match="where \\(19, 48, 64\\) are expected"):
        agreement(segmenter, lambda given: right(given)[:, :9], [image], "it")
    with pytest.raises(InputError, match="it does not take an image of 48×64: no"):
        agreement(segmenter, lambda _given: _fail(), [image], "it")


class LooksFar(nn.Module):
    """Reads a column of large images that small ones lack, as the exporter does not see."""

    def forward(self, images: Tensor) -> Tensor:
        column = 70 if images.shape[-1] > 90 else 0
        return functional.avg_pool2d(images + images[..., [column]], 8, ceil_mode=True)


def test_a_model_that_fails_at_another_size_is_one_sentence(tmp_path, capfd) -> None:
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    network = nn.Conv2d(3, 19, 1)
    segmenter = ComposedSegmenter(LooksFar(), network, n_features=3, stride=8).eval()
    image = np.zeros((96, 96, 3), np.uint8)
    capfd.readouterr()
    with pytest.raises(InputError, match=r"does not take an image of 65×65.*--onnx-size"):
        _write_onnx(tmp_path / "model.onnx", segmenter, [image], None)
    assert capfd.readouterr().err == ""


def _fail() -> np.ndarray:
    raise RuntimeError("no\nreally")


def test_the_card_of_a_network_of_ones_own_says_what_builds_it(finished_run, key) -> None:
    """A folder names no code, so the call that a card shows must name it, or it is refused."""
    plan = open_plan(finished_run.catalog)
    ref = next(one for one in plan.open_store().artifacts("adaptation") if one.key == key)
    _, segmenter = stored_segmenter(plan, ref)
    facts = segmenter_facts(plan, ref)
    ours = segmenter_card(segmenter, facts, Delivery("out"))
    assert 'import crosscity\n\nsegmenter = crosscity.load_segmenter("out")\nclasses = ' in ours
    theirs = segmenter_card(segmenter, facts, Delivery("out", function="my.nets:build"))
    assert "import crosscity\nfrom my.nets import build  # " in theirs
    assert 'load_segmenter("out", build=build)\nclasses = ' in theirs
    assert "`segmenters: {mine: {weights: out}}`" in ours
    options = json.dumps(segmenter.options())
    assert f"{{mine: {{python: my.nets:build, options: {options}, weights: out}}}}" in theirs
