"""Checkpoints of Hugging Face as they are: each gives transformers' own logits, or one sentence.

The networks are tiny ones of random weights of every architecture that
`AutoModelForSemanticSegmentation` maps (transformers, models/auto/modeling_auto.py); the reference
is `AutoImageProcessor` and the model. Two processors exist for torchvision alone
(models/sapiens2/image_processing_sapiens2.py, models/tipsv2_dpt/image_processing_tipsv2_dpt.py);
where it is not installed, transformers' own `PilBackend` does what their classes state, which are
read from their source: it is what the other architectures' processors are of without torchvision.
With torchvision 0.29.1 installed they were compared truly, and agree.
"""

from __future__ import annotations

import ast
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from crosscity.labels import CLASSES
from crosscity.segmenters import image_tensor
from tasks.steps.errors import InputError
from tasks.steps.plan import open_plan
from tasks.training.segmenters import Starting, starting_segmenter

transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")

NAMES = [road_class.name for road_class in CLASSES]
VISION: dict[str, Any] = {
    "image_size": 64,
    "patch_size": 16,
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
BEIT = {**VISION, "out_indices": [1, 2, 3, 4], "auxiliary_channels": 8, "vocab_size": 50}
NECK = {"neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 16}
TINY: dict[str, dict[str, Any]] = {
    "beit": {**BEIT, "use_relative_position_bias": True},
    "data2vec-vision": {**BEIT, "use_absolute_position_embeddings": True},
    "dpt": {**VISION, **NECK, "is_hybrid": False, "backbone_out_indices": [0, 1, 2, 3]},
    "mobilenet_v2": {"depth_multiplier": 0.25, "output_stride": 8, "finegrained_output": False},
    "mobilevit": {
        "hidden_sizes": [16, 16, 16],
        "neck_hidden_sizes": [8, 8, 8, 16, 16, 16, 16],
        "num_attention_heads": 2,
        "aspp_out_channels": 16,
    },
    "mobilevitv2": {
        "width_multiplier": 0.25,
        "aspp_out_channels": 16,
        "n_attn_blocks": [1, 1, 1],
    },
    "sapiens2": {
        **VISION,
        "hidden_size": 32,
        "head_config": {"upsample_out_channels": [16, 16], "conv_out_channels": [16]},
    },
    "segformer": {
        "depths": [1, 1, 1, 1],
        "hidden_sizes": [8, 8, 16, 16],
        "num_attention_heads": [1, 1, 2, 2],
        "decoder_hidden_size": 16,
    },
    "tipsv2_dpt": {
        **NECK,
        "backbone_config": {
            **VISION,
            "model_type": "tipsv2_vision_model",
            "out_indices": [1, 2, 3, 4],
            "apply_layernorm": True,
            "reshape_hidden_states": False,
        },
    },
    "upernet": {
        "backbone_config": {
            "model_type": "convnext",
            "hidden_sizes": [8, 16, 24, 32],
            "depths": [1, 1, 1, 1],
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        },
        "hidden_size": 16,
        "pool_scales": [1, 2],
        "auxiliary_in_channels": 24,
        "auxiliary_channels": 8,
    },
}
OF_TORCHVISION_ALONE: dict[str, dict[str, Any]] = {
    "sapiens2": {
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
    "tipsv2_dpt": {"do_rescale": True, "do_normalize": False},
}
SQUARE = ("data2vec-vision", "dpt")
"""What takes images of its configuration's size only."""


def checkpoint(
    folder: Path,
    model_type: str = "segformer",
    labels: list[str] | None = None,
    processor: dict[str, Any] | None = None,
    **config: Any,
) -> torch.nn.Module:
    """A network of random weights, and of batch statistics that are not the initial ones."""
    names = NAMES if labels is None else labels
    made = transformers.AutoConfig.for_model(
        model_type,
        **{**TINY[model_type], **config},
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    torch.manual_seed(1)
    network = transformers.AutoModelForSemanticSegmentation.from_config(made).eval()
    _alive(network)
    network.save_pretrained(folder)
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return network


def _alive(network: torch.nn.Module) -> None:
    """Weights large enough, and batch statistics measured, so that logits follow the image."""
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                layer.weight.normal_(0, (2 / layer.weight[0].numel()) ** 0.5)
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = None
        network.train()(pixel_values=torch.randn(4, 3, 64, 64))
    network.eval()


def opened(
    write_catalog: Any, root: Path, size: tuple[int, int] = (64, 128), **options: Any
) -> Starting:
    entry = {"architecture": "hf:net", "source": "frankfurt", "options": options}
    catalog = write_catalog(
        root, segmenters={"their": entry}, datasets={"frankfurt": {"image_size": list(size)}}
    )
    return starting_segmenter(open_plan(catalog), "their", seed=0)


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def twin(model_type: str) -> Any:
    """A processor without torchvision, with what the class that needs it states of itself.

    The class cannot be imported, so its attributes are read from its source.
    """
    from transformers import image_utils
    from transformers.image_processing_backends import PilBackend

    root = Path(transformers.__file__).parent / "models" / model_type
    module = ast.parse((root / f"image_processing_{model_type}.py").read_text(encoding="utf-8"))
    (stated,) = (
        node
        for node in module.body
        if isinstance(node, ast.ClassDef) and node.name.endswith("ImageProcessor")
    )
    assert [base.id for base in stated.bases if isinstance(base, ast.Name)] == [
        "TorchvisionBackend"
    ]
    attributes = {
        node.targets[0].id: getattr(image_utils, node.value.id)
        if isinstance(node.value, ast.Name)
        else ast.literal_eval(node.value)
        for node in stated.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id.startswith(("do_", "image_", "rescale_"))
    }
    assert {"do_rescale", "do_normalize"} <= attributes.keys()
    methods = {node.name for node in stated.body if isinstance(node, ast.FunctionDef)}
    assert not methods & {"rescale", "normalize", "rescale_and_normalize", "process_image"}
    return type(f"{stated.name}Twin", (PilBackend,), attributes)


def theirs(network: torch.nn.Module, folder: Path, image: np.ndarray) -> torch.Tensor:
    """Logits of every pixel, by transformers alone."""
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
    except (ImportError, ValueError):
        assert network.config.model_type in OF_TORCHVISION_ALONE
        given = json.loads((folder / "preprocessor_config.json").read_text())
        processor = twin(network.config.model_type)(**given)
    values = processor(
        image, return_tensors="pt", do_resize=False, do_center_crop=False, do_pad=False
    )["pixel_values"].float()
    with torch.no_grad():
        logits = network(pixel_values=values).logits
    return functional.interpolate(logits, size=image.shape[:2], mode="bilinear")


def test_every_architecture_that_transformers_maps_is_compared() -> None:
    known = transformers.models.auto.modeling_auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES
    assert set(known) == set(TINY)


@pytest.mark.parametrize("model_type", TINY)
@pytest.mark.parametrize("has_file", [True, False])
def test_logits_are_those_of_processor_and_model(write_catalog, tmp_path, model_type, has_file):
    given = OF_TORCHVISION_ALONE.get(model_type, {"image_mean": [0.3, 0.4, 0.5]})
    network = checkpoint(tmp_path / "net", model_type, processor=given)
    size = (64, 64) if model_type in SQUARE else (64, 128)
    expected = theirs(network, tmp_path / "net", picture(*size))
    if not has_file:  # then what the type's processor does by default is done, and is said
        if model_type in OF_TORCHVISION_ALONE and find_spec("torchvision") is None:
            (tmp_path / "net" / "preprocessor_config.json").unlink()
            with pytest.raises(InputError, match=r"hf:net: it has no .*install torchvision, or"):
                opened(write_catalog, tmp_path, size)
            return
        (tmp_path / "net" / "preprocessor_config.json").write_text("{}")
        expected = theirs(network, tmp_path / "net", picture(*size))
        (tmp_path / "net" / "preprocessor_config.json").unlink()
    starting = opened(write_catalog, tmp_path, size)
    assert any("no preprocessor_config.json" in one for one in starting.remarks) != has_file
    with torch.no_grad():
        found = starting.segmenter.eval()(image_tensor(picture(*size)[None]))
    assert expected.std(dim=(2, 3)).mean() > 1e-3 * expected.std()  # the image can be seen
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=float(1e-4 * expected.std()))


@pytest.mark.parametrize("model_type", [name for name in TINY if name not in SQUARE])
def test_a_grid_of_whole_cells_at_any_resolution(write_catalog, tmp_path, model_type):
    checkpoint(tmp_path / "net", model_type, processor=OF_TORCHVISION_ALONE.get(model_type, {}))
    segmenter = opened(write_catalog, tmp_path).segmenter.eval()
    for height, width in ((65, 97), (64, 128), (101, 70)):
        with torch.no_grad():
            features = segmenter.features(image_tensor(picture(height, width)[None]))
        grid = (-(-height // segmenter.stride), -(-width // segmenter.stride))
        assert features.shape == (1, segmenter.n_features, *grid)


@pytest.mark.parametrize("model_type", SQUARE)
def test_a_network_of_fixed_size_tells_which(write_catalog, tmp_path, model_type):
    checkpoint(tmp_path / "net", model_type, processor={})
    with pytest.raises(InputError, match=r"their: hf:net: .* 64×64 pixels only.*image_size"):
        opened(write_catalog, tmp_path)
    segmenter = opened(write_catalog, tmp_path, (64, 64)).segmenter
    with pytest.raises(ValueError, match=r"64×64 pixels only, not of 64×96"):
        segmenter(torch.zeros(1, 3, 64, 96))


@pytest.mark.parametrize(
    "processor",
    [
        {"do_normalize": False},
        {"do_rescale": False},
        {"do_rescale": False, "image_mean": [120.0, 110.0, 100.0], "image_std": [60.0, 57.0, 58.0]},
        {"do_rescale": False, "do_normalize": False},
        {"rescale_factor": 1 / 127.5, "image_mean": [1, 1, 1], "image_std": [1, 1, 1]},
        {"image_mean": 0.4, "image_std": 0.2},
        {"do_reduce_labels": True, "feature_extractor_type": "SegformerFeatureExtractor"},
        {"image_processor_type": "MobileViTImageProcessor"},
        {"image_processor_type": "MobileViTImageProcessor", "do_flip_channel_order": False},
        {"do_normalize": False, "image_mean": None, "image_std": None},
        {"do_resize": True, "size": {"height": 32, "width": 32}},
    ],
)
def test_a_whole_processor_configuration_is_followed(write_catalog, tmp_path, processor):
    network = checkpoint(tmp_path / "net", processor=processor)
    expected = theirs(network, tmp_path / "net", picture(64, 96))
    starting = opened(write_catalog, tmp_path)
    with torch.no_grad():
        found = starting.segmenter.eval()(image_tensor(picture(64, 96)[None]))
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=float(1e-3 * expected.std()))
    if "size" in processor:
        assert any("'height': 32" in remark for remark in starting.remarks)


@pytest.mark.parametrize(
    ("processor", "said"),
    [
        ({"image_mean": None}, "image_mean is null although do_normalize is on"),
        ({"image_std": [0.2, 0.0, 0.2]}, "image_std is .*deviations must be above 0"),
        ({"image_mean": [0.5]}, "image_mean has 1 values"),
        ({"image_mean": [0.5, 0.5]}, "image_mean has 2 values"),
        ({"image_mean": "grey"}, "image_mean is 'grey': a number is needed"),
        ({"rescale_factor": 0}, "rescale_factor is 0"),
        ({"rescale_factor": None}, "rescale_factor"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order: True.*remove the keys"),
        ({"do_color_quantize": True}, "asks for do_color_quantize"),
        (
            {"image_processor_type": "MobileViTImageProcessor", "do_normalize": True},
            "MobileViTImageProcessor does not do what its configuration says",
        ),
        ({"image_processor_type": "NoSuchProcessor"}, "no image processor"),
        ({"auto_map": {"AutoImageProcessor": "own.Processor"}}, "code of its own"),
    ],
)
def test_what_cannot_be_represented_is_refused_by_name(write_catalog, tmp_path, processor, said):
    checkpoint(tmp_path / "net", processor=processor)
    with pytest.raises(InputError, match=said) as caught:
        opened(write_catalog, tmp_path)
    assert "segmenters.their: hf:net" in str(caught.value)
    assert "\n" not in str(caught.value)


def lost_part(folder: Path) -> None:
    checkpoint(folder, processor={})
    whole = load_file(folder / "model.safetensors")
    parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    save_file(whole, folder / parts[0], metadata={"format": "pt"})
    where = {name: parts[number % 2] for number, name in enumerate(whole)}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": where})
    )
    (folder / "model.safetensors").unlink()


def pickles_alone(folder: Path) -> None:
    checkpoint(folder, processor={})
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def of_a_classifier(folder: Path) -> None:
    config = transformers.AutoConfig.for_model(
        "segformer", **TINY["segformer"], id2label=dict(enumerate(NAMES))
    )
    transformers.SegformerForImageClassification(config).save_pretrained(folder)


def an_adapter(folder: Path) -> None:
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "adapter_model.safetensors").write_bytes(b"")


def a_label_twice(folder: Path) -> None:
    checkpoint(folder, labels=[*NAMES[:-1], "car"], processor={})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lost_part, "its weights lack model-00002-of-00002.safetensors: fetch it again"),
        (pickles_alone, r"pytorch_model\.bin alone, .* save them as model\.safetensors"),
        (of_a_classifier, "its weights lack decode_head.* trained for something else"),
        (an_adapter, r"an adapter alone \(adapter_config\.json\): merge it into its base"),
        (a_label_twice, "'bicycle' is not among and the class 'car' is more than once"),
    ],
)
def test_checkpoints_of_other_kinds_are_told_in_one_sentence(write_catalog, tmp_path, make, said):
    make(tmp_path / "net")
    with pytest.raises(InputError, match=said) as caught:
        opened(write_catalog, tmp_path)
    assert "segmenters.their: hf:net" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(write_catalog, tmp_path, precision):
    network = checkpoint(tmp_path / "net", processor={}).to(precision)
    network.save_pretrained(tmp_path / "net")
    starting = opened(write_catalog, tmp_path)
    assert all(tensor.dtype != precision for tensor in starting.segmenter.state_dict().values())
    expected = theirs(network.float(), tmp_path / "net", picture(64, 96))
    with torch.no_grad():
        found = starting.segmenter.eval()(image_tensor(picture(64, 96)[None]))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert any("weights are read as float32" in remark for remark in starting.remarks)


def test_ids_that_start_at_one_or_have_a_gap_keep_their_rows(write_catalog, tmp_path):
    network = checkpoint(tmp_path / "net", labels=["?", *NAMES[:5], "??", *NAMES[5:]], processor={})
    names = {str(i): n for i, n in network.config.id2label.items() if "?" not in n}
    edit(tmp_path / "net" / "config.json", id2label=names, label2id={})
    starting = opened(write_catalog, tmp_path)
    expected = theirs(network, tmp_path / "net", picture(64, 96))
    kept = [*range(1, 6), *range(7, 21)]
    with torch.no_grad():
        found = starting.segmenter.eval()(image_tensor(picture(64, 96)[None]))
    torch.testing.assert_close(found, expected[:, kept], rtol=1e-3, atol=1e-4)
    assert any("logits 0, 6 have no name" in remark for remark in starting.remarks)


def test_ids_that_are_not_rows_are_reported(write_catalog, tmp_path):
    checkpoint(tmp_path / "net", processor={})
    config = tmp_path / "net" / "config.json"
    edit(config, id2label={str(i + 1): name for i, name in enumerate(NAMES)}, label2id={})
    with pytest.raises(InputError, match=r"hf:net: .*logits 0 to 19, .* 19 rows 0 to 18"):
        opened(write_catalog, tmp_path)
    edit(config, id2label={"road": 0, "sidewalk": 1})
    with pytest.raises(InputError, match=r"hf:net: .*id2label has the id 'road'"):
        opened(write_catalog, tmp_path)


def test_names_that_are_numbers_are_mapped_like_others(write_catalog, tmp_path):
    checkpoint(tmp_path / "net", processor={})
    edit(
        tmp_path / "net" / "config.json",
        id2label={str(i): i for i in range(19)},
        label2id={},
    )
    with pytest.raises(InputError) as caught:
        opened(write_catalog, tmp_path)
    assert all(repr(name) in str(caught.value) for name in NAMES)  # all that is missing, at once
    starting = opened(write_catalog, tmp_path, labels=dict(enumerate(NAMES)))
    assert starting.segmenter.class_names == tuple(NAMES)


def test_what_to_do_stands_before_a_long_list_of_labels(write_catalog, tmp_path):
    # The command line cuts long messages: with ADE20K's 150 names nothing else was left to read.
    names = [f"a thing of number {i}" for i in range(150)]
    checkpoint(tmp_path / "net", labels=names, processor={})
    with pytest.raises(InputError) as caught:
        opened(write_catalog, tmp_path)
    before, _, listed = str(caught.value).partition("; its labels are ")
    assert "`labels: {theirs: ours}`" in before
    assert "`options:`" in before
    assert len(before) < 800
    assert listed.startswith(names[0])


def by_queries(folder: Path) -> torch.nn.Module:
    """A tiny Mask2Former that knows the 19 classes."""
    backbone = transformers.SwinConfig(
        embed_dim=16,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    sizes = {
        **dict.fromkeys(("hidden_dim", "feature_size", "mask_feature_size"), 32),
        **dict.fromkeys(("dim_feedforward", "encoder_feedforward_dim"), 32),
    }
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone,
        **sizes,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=10,
        id2label=dict(enumerate(NAMES)),
        label2id={name: index for index, name in enumerate(NAMES)},
    )
    torch.manual_seed(1)
    network = transformers.Mask2FormerForUniversalSegmentation(config).eval()
    network.save_pretrained(folder)
    return network


def test_the_network_of_queries_of_the_docs_sees_what_transformers_does(tmp_path):
    text = (Path(__file__).parents[2] / "docs/segmenters.md").read_text(encoding="utf-8")
    code = text.partition("## Networks of queries")[2].partition("```python\n")[2]
    written: dict[str, Any] = {}
    exec(code.partition("```")[0], written)  # noqa: S102 - of this repository's own page
    network = by_queries(tmp_path / "net")
    segmenter = written["build"](str(tmp_path / "net")).eval()
    assert segmenter.class_names == tuple(NAMES)
    image = image_tensor(picture(64, 96)[None])
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
    with torch.no_grad():
        found = segmenter.features(image).exp()[0]
        theirs = network(pixel_values=(image - mean) / std)
    # As post_process_semantic_segmentation of its processor, without its step by way of 384×384.
    of_queries = theirs.class_queries_logits.softmax(-1)[0, :, :-1]
    masks = theirs.masks_queries_logits.sigmoid()[0]
    expected = torch.einsum("qc,qhw->chw", of_queries, masks)
    assert expected.std(dim=(1, 2)).mean() > 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_two_of_their_classes_become_one_of_ours(write_catalog, tmp_path):
    network = checkpoint(tmp_path / "net", labels=[*NAMES, "a", "b"], processor={})
    with torch.no_grad():
        pixels = torch.from_numpy(picture(64, 96).transpose(2, 0, 1)[None] / 255).float()
        # As the processor's class states: ImageNet's statistics.
        mean = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
        winners = network(pixel_values=(pixels - mean) / std).logits.argmax(1)
    hut, mark = winners.flatten().bincount().topk(2).indices.tolist()  # the two most frequent
    rest = iter(NAMES)
    names = {i: {hut: "Hut", mark: "lane marking"}.get(i) or next(rest) for i in range(21)}
    edit(tmp_path / "net" / "config.json", id2label=names, label2id={})
    mapping = {"Hut": "building", "lane-marking": "road"}
    starting = opened(write_catalog, tmp_path, labels=mapping)
    ours = {"Hut": NAMES.index("building"), "lane marking": NAMES.index("road")}
    table = torch.tensor(
        [ours.get(names[i], names[i] in NAMES and NAMES.index(names[i])) for i in range(21)]
    )
    segmenter = starting.segmenter.eval()
    image = image_tensor(picture(64, 96)[None])
    with torch.no_grad():
        found = segmenter.classify(segmenter.features(image)).argmax(1)
    assert torch.equal(found, table[winners])
    rebuilt = type(segmenter)(**segmenter.options())
    rebuilt.load_state_dict(segmenter.state_dict())
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(image), segmenter(image))


def test_a_name_that_it_does_not_have_is_reported_in_the_map(write_catalog, tmp_path):
    checkpoint(tmp_path / "net", processor={})
    with pytest.raises(InputError, match="renames 'hut', which the checkpoint does not have"):
        opened(write_catalog, tmp_path, labels={"hut": "building"})


def test_a_backbone_without_a_trained_head_is_not_a_segmenter(write_catalog, tmp_path):
    checkpoint(tmp_path / "net", processor={})
    path = tmp_path / "net" / "model.safetensors"
    kept = {n: t for n, t in load_file(path).items() if not n.startswith("decode_head")}
    save_file(kept, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"hf:net: .*weights lack decode_head.* more: it is"):
        opened(write_catalog, tmp_path)
    assert not opened(write_catalog, tmp_path, new_classifier=True).is_trained


def test_weights_that_are_not_numbers_are_refused(write_catalog, tmp_path):
    checkpoint(tmp_path / "net", processor={})
    path = tmp_path / "net" / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("weight"))
    tensors[name].view(-1)[0] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"hf:net: .*NaN or infinity"):
        opened(write_catalog, tmp_path)


def test_a_network_of_another_task_is_reported(write_catalog, tmp_path):
    config = transformers.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "net")
    with pytest.raises(InputError, match=r"hf:net: its type 'vit' is none .* segformer"):
        opened(write_catalog, tmp_path)


@pytest.mark.parametrize("model_type", OF_TORCHVISION_ALONE)
@pytest.mark.parametrize("keys", [(), ("do_rescale",), ("do_normalize",)])
def test_defaults_that_torchvision_alone_knows_are_asked_for(
    write_catalog, tmp_path, model_type, keys
):
    if find_spec("torchvision") is not None:
        pytest.skip("torchvision is installed, so nothing is unknown")
    given = dict.fromkeys(keys, True) | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    checkpoint(tmp_path / "net", model_type, processor=given)
    with pytest.raises(InputError, match=r"hf:net: .*need torchvision: add the keys") as caught:
        opened(write_catalog, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_has_no_revisions(write_catalog, tmp_path):
    checkpoint(tmp_path / "net", processor={})
    with pytest.raises(InputError, match=r"options\.revision: .*net is a folder, which has no"):
        opened(write_catalog, tmp_path, revision="main")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"depths": [1, 0, 1, 1]},
            r"no place for .* more of its weights: config\.json and weights",
        ),
        ({"model_type": "mask2former"}, "masks of queries .*whole_network; docs/segmenters.md"),
        ({"model_type": "eomt_dinov3"}, "masks of queries .*whole_network; docs/segmenters.md"),
        ({"model_type": "vit"}, "none that transformers segments classes with"),
        ({"hidden_sizes": [10**9] * 4}, "its weights cannot be read"),
        ({"hidden_sizes": "8,8,16,16"}, r"its config\.json is refused"),
        ({"initializer_range": float("nan")}, "initializer_range|knows no network"),
        ({"auto_map": {"AutoModelForSemanticSegmentation": "own.Net"}}, "is refused"),
        ({"id2label": {"0.0": "road"}}, "ids are the numbers"),
        ({"id2label": {"999999999999": "road"}}, "ids are the numbers"),
        ({"id2label": {str(i): "road" for i in range(19)}}, "'road' is more than once"),
        (
            {"label2id": {name: 18 - index for index, name in enumerate(NAMES)}},
            "its id2label gives 'road' the number 0, and its label2id 18",
        ),
    ],
)
def test_odd_configurations_are_one_sentence(write_catalog, tmp_path, changes, said):
    checkpoint(tmp_path / "net", processor={})
    edit(tmp_path / "net" / "config.json", **changes)
    with pytest.raises(InputError, match=said) as caught:
        opened(write_catalog, tmp_path)
    assert "segmenters.their: hf:net: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "3", '"x"', "<html>", "{"])
def test_a_configuration_that_is_none_is_one_sentence(write_catalog, tmp_path, text):
    checkpoint(tmp_path / "net", processor={})
    (tmp_path / "net" / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"hf:net: .*config") as caught:
        opened(write_catalog, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "processor",
    [
        {"size": 512},
        {
            "size": {"shortest_edge": 32},
            "do_center_crop": True,
            "crop_size": {"height": 32, "width": 32},
        },
        {"image_mean": [0, 0, 0], "image_std": [1, 1, 1]},
        {"image_mean": [123.675, 116.28, 103.53], "image_std": [58.395, 57.12, 57.375]},
        {"rescale_factor": 1.0},
        {"do_normalize": 0},
        {"resample": 99},
        {"data_format": "channels_last"},
    ],
)
def test_odd_processors_do_what_transformers_does(write_catalog, tmp_path, processor):
    network = checkpoint(tmp_path / "net", processor=processor)
    expected = theirs(network, tmp_path / "net", picture(64, 96))
    with torch.no_grad():
        found = opened(write_catalog, tmp_path).segmenter.eval()(
            image_tensor(picture(64, 96)[None])
        )
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=float(1e-3 * expected.std()))


@pytest.mark.parametrize("value", ["false", "no", "", [], 2])
def test_a_step_is_on_or_off(write_catalog, tmp_path, value):
    # Python takes any text for true, so transformers would normalise here.
    checkpoint(tmp_path / "net", processor={"do_normalize": value})
    with pytest.raises(InputError, match=r"do_normalize is .*true or false is needed"):
        opened(write_catalog, tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3\n", "Git LFS"),
        (b"", "is empty: download it again"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"\x10\0\0\0\0\0\0\0{" + bytes(40), "cut short or damaged"),
    ],
)
def test_weights_of_a_folder_that_are_none_are_told_by_what_they_are(
    write_catalog, tmp_path, content, said
):
    checkpoint(tmp_path / "net", processor={})
    (tmp_path / "net" / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=rf"hf:net: its weights cannot be read: .*{said}") as told:
        opened(write_catalog, tmp_path)
    assert "model.safetensors" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_part_of_weights_that_is_not_there_is_named(write_catalog, tmp_path):
    checkpoint(tmp_path / "net", processor={})
    whole = tmp_path / "net" / "model.safetensors"
    whole.rename(whole.with_name("model-00001-of-00002.safetensors"))
    index = {"metadata": {}, "weight_map": {"x": "model-00002-of-00002.safetensors"}}
    whole.with_name("model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"hf:net: .*model-00002-of-00002\.safetensors"):
        opened(write_catalog, tmp_path)
