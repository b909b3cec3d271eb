"""The adaptation as a whole, against a second, plain writing of its step."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from crosscity.adaptation import (
    ARMS,
    PRESETS,
    Adaptation,
    AdaptationSettings,
    CollapsedError,
    DivergedError,
    LabelledArrays,
    TargetArrays,
)
from crosscity.adaptation.objectives.global_alignment import GlobalAlignment
from crosscity.adaptation.training import batch_norms
from crosscity.labels import STATIC_TRAIN_IDS
from crosscity.segmenters import Segmenter, build_segmenter, image_tensor

H, W, CLASSES = 16, 24, 19
RANDOM = np.random.default_rng(21)
LABELS = RANDOM.integers(0, CLASSES, (4, H // 4, W // 4), dtype=np.uint8)
LABELS = LABELS.repeat(4, 1).repeat(4, 2)
SOURCE = LabelledArrays(RANDOM.integers(0, 256, (4, H, W, 3), dtype=np.uint8), LABELS)
TARGET = TargetArrays(
    RANDOM.integers(0, 256, (6, H, W, 3), dtype=np.uint8), RANDOM.random((6, H, W)) < 0.6
)
ABSENT = sorted(set(range(CLASSES)) - set(np.unique(LABELS).tolist()))
SETTINGS = AdaptationSettings(
    steps=5,
    batch_size=2,
    learning_rate=1e-3,
    phi_floor=0.04,
    discriminator_hidden=(6,),
    discriminator_dropout=0.0,
    lambda_global=0.7,
    lambda_class=0.9,
)


def pretrained(width: int = 8) -> Segmenter:
    options = {"width": width, "dilations": [1], "dropout": 0.0}
    segmenter = build_segmenter("compact", options, seed=2)
    segmenter.train()
    for _ in range(20):  # statistics that fit, as after a pre-training
        segmenter(image_tensor(SOURCE.all_images))
    # Predictions that are not uniform, so that the floor cuts some of them.
    torch.nn.init.normal_(segmenter.classifier.weight, std=1.0, generator=torch.manual_seed(0))
    return segmenter


def adapt(**changes: object) -> Adaptation:
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return Adaptation(pretrained(), SOURCE, TARGET, settings, seed=9)


class Recording:
    """A set that remembers what was asked for."""

    def __init__(self, images: LabelledArrays | TargetArrays) -> None:
        self.images_of = images
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.images_of)

    def images(self, indices: Sequence[int]) -> np.ndarray:
        self.asked += indices
        return self.images_of.images(indices)

    def labels(self, indices: Sequence[int]) -> np.ndarray:
        return self.images_of.labels(indices)

    def priors(self, indices: Sequence[int]) -> np.ndarray:
        return self.images_of.priors(indices)


def grid_weights(values: Tensor) -> Tensor:
    """Eq. 6 or 7 and 8 of B×C×H×W values, with stride 8, in plain loops."""
    images, classes, height, width = values.shape
    grid = torch.zeros(images, classes, height // 8, width // 8)
    for i in range(height // 8):
        for j in range(width // 8):
            cell = values[:, :, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8]
            grid[:, :, i, j] = cell.sum((2, 3)) / 64
    for image in range(images):
        for c in range(classes):
            mass = grid[image, c].sum()
            if mass > 0:
                grid[image, c] /= mass
    return grid


def pseudo_labels(net: Segmenter, images: Tensor, prior: Tensor, arm: str) -> Tensor:
    """φ, eq. 12 where the arm has it, and the floor."""
    phi = torch.softmax(net(images), 1).detach()
    if arm == "full":
        for b, i, j in prior.nonzero().tolist():
            static = phi[b, list(STATIC_TRAIN_IDS), i, j].clone()
            phi[b, :, i, j] = 0
            phi[b, list(STATIC_TRAIN_IDS), i, j] = static / static.sum()
    phi[phi < SETTINGS.phi_floor] = 0
    return phi


def plain_adaptation(arm: str, steps: int) -> Segmenter:
    """The same training, written down once more from the equations, without options."""
    source, target = Recording(SOURCE), Recording(TARGET)
    # Sampling order and the discriminators' first weights are taken over; nothing else is.
    twin = Adaptation(pretrained(), source, target, replace(SETTINGS, arm=arm), seed=9)  # type: ignore[arg-type]
    networks = copy.deepcopy(twin._modules())
    twin.advance(steps)
    M_G, M_c = networks["global_discriminator"], networks.get("class_discriminators")
    net = pretrained().eval()
    of_net = torch.optim.Adam(net.parameters(), lr=1e-3)
    of_discriminators = torch.optim.Adam(
        [p for M in (M_G, M_c) if M is not None for p in M.parameters()], lr=1e-3
    )
    for step in range(steps):
        rise = 2 / (1 + np.exp(-10 * step / SETTINGS.steps)) - 1
        S, T = (chosen.asked[2 * step : 2 * step + 2] for chosen in (source, target))
        I_S, I_T = image_tensor(SOURCE.images(S)), image_tensor(TARGET.images(T))
        y = torch.from_numpy(SOURCE.labels(S)).long()
        F_S, F_T = net.features(I_S), net.features(I_T)
        W_S = grid_weights(torch.stack([(y == c).float() for c in range(CLASSES)], 1))
        W_T = grid_weights(pseudo_labels(net, I_T, torch.from_numpy(TARGET.priors(T)), arm))
        W_T[:, ABSENT] = 0  # nothing to align it with

        # Eq. 4 and 9.
        p_S, p_T = torch.sigmoid(M_G(F_S.detach())), torch.sigmoid(M_G(F_T.detach()))
        loss = -p_S.log().mean() - (1 - p_T).log().mean()
        if M_c is not None:
            p_S, p_T = torch.sigmoid(M_c(F_S.detach())), torch.sigmoid(M_c(F_T.detach()))
            loss = loss - (W_S * p_S.log() + W_T * (1 - p_T).log()).sum() / 2 / CLASSES
        of_discriminators.zero_grad()
        loss.backward()
        of_discriminators.step()

        # Eq. 1, 5 and 10.
        logits = net.upsample(net.classify(F_S), (H, W))
        loss = -torch.log_softmax(logits, 1).gather(1, y[:, None]).mean()
        p_S, p_T = torch.sigmoid(M_G(F_S)), torch.sigmoid(M_G(F_T))
        inverse = -(1 - p_S).log().mean() - p_T.log().mean()
        loss = loss + SETTINGS.lambda_global * rise * inverse
        if M_c is not None:
            p_S, p_T = torch.sigmoid(M_c(F_S)), torch.sigmoid(M_c(F_T))
            inverse = -(W_S * (1 - p_S).log() + W_T * p_T.log()).sum() / 2 / CLASSES
            loss = loss + SETTINGS.lambda_class * rise * inverse
        of_net.zero_grad()
        loss.backward()
        of_net.step()
    return net


@pytest.mark.parametrize("arm", ["ga", "ga_ca", "full"])
def test_agrees_with_a_plain_writing_of_the_equations(arm: str) -> None:
    ours = adapt(arm=arm)
    ours.advance(4)
    before = pretrained().state_dict()
    for name, tensor in plain_adaptation(arm, 4).state_dict().items():
        found = ours.segmenter.state_dict()[name]
        torch.testing.assert_close(found, tensor, rtol=1e-3, atol=2e-5, msg=name)
        if name.endswith("weight"):
            assert not torch.equal(found, before[name]), name


def test_all_arms_read_the_same_images_in_the_same_order() -> None:
    asked = []
    for arm in ARMS:
        source, target = Recording(SOURCE), Recording(TARGET)
        Adaptation(pretrained(), source, target, replace(SETTINGS, arm=arm), seed=9).advance(5)
        asked.append((source.asked, target.asked))
    assert all(pair == asked[0] for pair in asked)
    assert len(asked[0][0]) == len(asked[0][1]) == 10


def test_at_lambda_zero_every_arm_is_the_control() -> None:
    weights = []
    for arm in ("control", "ga", "ga_ca", "full", "self_training"):
        training = adapt(arm=arm)
        training.advance(1)  # λ is 0 in the first step
        weights.append(training.segmenter.state_dict())
    for other in weights[1:]:
        for name, tensor in weights[0].items():
            assert torch.equal(tensor, other[name]), name


def test_lambda_is_a_real_weight() -> None:
    moves = []
    for factor in (0.0, 1.0, 4.0):
        training = adapt(arm="ga", lambda_global=factor)
        training.advance(5)
        moves.append(torch.cat([p.detach().flatten() for p in training.segmenter.parameters()]))
    assert (moves[1] - moves[0]).norm() > 0
    assert (moves[2] - moves[0]).norm() > (moves[1] - moves[0]).norm()


@pytest.mark.parametrize("arm", ["control", "ga", "ga_ca", "full", "self_training"])
def test_batch_norm_statistics_stay_frozen(arm: str) -> None:
    training = adapt(arm=arm)
    before = {n: b.clone() for n, b in training.segmenter.named_buffers()}
    training.advance(5)
    for name, buffer in training.segmenter.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_bn_changes_statistics_only_and_mixes_the_domains_half_and_half() -> None:
    training = adapt(arm="bn")
    before = {n: p.clone() for n, p in training.segmenter.named_parameters()}
    source, target = Recording(SOURCE), Recording(TARGET)
    Adaptation(pretrained(), source, target, replace(SETTINGS, arm="bn"), seed=9).advance(5)
    training.advance(5)
    for name, parameter in training.segmenter.named_parameters():
        assert torch.equal(parameter, before[name]), name
    # The first batch norm sees the convolved images: its mean is the mean over both domains.
    shown = [SOURCE.images(source.asked), TARGET.images(target.asked)]
    images = torch.cat([image_tensor(pixels) for pixels in shown])
    first = training.segmenter.layers[0]
    expected = first[0](training.segmenter.normalise(images)).mean((0, 2, 3))
    torch.testing.assert_close(first[1].running_mean, expected, rtol=1e-4, atol=1e-5)


def test_discriminators_learn_by_their_own_loss_only() -> None:
    training = adapt(arm="full", lambda_global=0.0, lambda_class=0.0)
    before = training.state().tensors
    training.advance(3)
    after = training.state().tensors
    for name in before:
        if "discriminator" in name:
            assert not torch.equal(before[name], after[name]), name
    # Their step does not depend on λ: same features, same discriminators after the first step.
    one, other = adapt(arm="full"), adapt(arm="full", lambda_global=5.0, lambda_class=5.0)
    one.advance(1)
    other.advance(1)
    for name, tensor in one.state().tensors.items():
        assert torch.equal(tensor, other.state().tensors[name]), name


def test_discriminators_can_be_trained_after_a_feature_step() -> None:
    training = adapt(arm="full")
    training.advance(1)
    for name, module in training._modules().items():
        assert all(p.requires_grad for p in module.parameters()), name


def test_class_alignment_waits_for_its_start() -> None:
    training = adapt(arm="full", ca_start=0.6)
    before = {n: t for n, t in training.state().tensors.items() if n.startswith("class_")}
    rows = training.advance(3)
    assert [row["lambda_class"] for row in rows] == [0, 0, 0]
    assert all(row["class_inverse_loss"] is None for row in rows)
    for name, tensor in before.items():
        assert torch.equal(training.state().tensors[name], tensor)
    rows = training.advance(2)
    assert rows[0]["class_discriminator_loss"] > 0
    assert rows[1]["lambda_class"] > 0
    assert not all(torch.equal(training.state().tensors[n], t) for n, t in before.items())


def test_accumulated_batches_are_one_large_batch() -> None:
    large, accumulated = adapt(batch_size=2), adapt(batch_size=1, accumulation=2)
    rows, other_rows = large.advance(5), accumulated.advance(5)
    for row, other in zip(rows, other_rows, strict=True):
        for name, value in row.items():
            if isinstance(value, float) and "accuracy" not in name:
                assert other[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name


def test_prior_counts_in_the_full_arm_only() -> None:
    everything = TargetArrays(TARGET.all_images, np.ones((6, H, W), dtype=np.bool_))
    nothing = TargetArrays(TARGET.all_images)
    for arm, same in (("ga_ca", True), ("full", False)):
        rows = [
            Adaptation(pretrained(), SOURCE, t, replace(SETTINGS, arm=arm), seed=9).advance(3)
            for t in (everything, nothing)
        ]
        assert (rows[0] == rows[1]) == same


def test_without_priors_full_is_ga_ca() -> None:
    nothing = TargetArrays(TARGET.all_images)
    rows = [
        Adaptation(pretrained(), SOURCE, nothing, replace(SETTINGS, arm=arm), seed=9).advance(3)
        for arm in ("ga_ca", "full")
    ]
    assert rows[0] == rows[1]


def test_self_training_follows_the_teachers_refined_labels() -> None:
    """λ_self alone: the segmenter moves towards labels that the prior allows."""
    everything = TargetArrays(TARGET.all_images, np.ones((6, H, W), dtype=np.bool_))
    changes = {"lambda_global": 0.0, "lambda_class": 0.0, "lambda_self": 3.0, "steps": 40}
    settings = replace(SETTINGS, arm="self_training", teacher_momentum=0.9, **changes)  # type: ignore[arg-type]
    images = image_tensor(TARGET.all_images)
    before = pretrained().eval()(images).softmax(1)[:, list(STATIC_TRAIN_IDS)].sum(1).mean()
    training = Adaptation(pretrained(), SOURCE, everything, settings, seed=9)
    rows = training.advance(40)
    after = training.segmenter.eval()(images).softmax(1)[:, list(STATIC_TRAIN_IDS)].sum(1).mean()
    assert after > before + 0.05
    assert rows[0]["lambda_self"] == 0
    assert rows[-1]["lambda_self"] == pytest.approx(3.0, rel=0.01)
    assert rows[-1]["self_training_loss"] < rows[0]["self_training_loss"]


def test_the_teacher_lies_between_where_the_segmenter_was_and_is() -> None:
    first = {n: p.detach().clone() for n, p in pretrained().named_parameters()}
    training = adapt(arm="full", teacher_momentum=0.75)
    training.advance(1)
    now = dict(training.segmenter.named_parameters())
    teacher = dict(training._modules()["teacher"].named_parameters())
    for name, parameter in teacher.items():
        expected = 0.75 * first[name] + 0.25 * now[name].detach()
        torch.testing.assert_close(parameter.detach(), expected)
        assert not parameter.requires_grad
    assert "teacher" not in adapt(arm="full")._modules()
    assert "teacher" not in adapt(arm="ga", teacher_momentum=0.75)._modules()


def test_label_shift_weighs_source_cells_by_predicted_shares() -> None:
    """The weights come from the first segmenter's predictions, refined where there are priors."""
    net = pretrained().eval()
    for arm in ("ga", "full"):
        phi = net(image_tensor(TARGET.all_images)).softmax(1).detach()
        if arm == "full":
            for b, i, j in torch.from_numpy(TARGET.all_priors).nonzero().tolist():
                kept = torch.zeros(CLASSES)
                kept[list(STATIC_TRAIN_IDS)] = phi[b, list(STATIC_TRAIN_IDS), i, j]
                phi[b, :, i, j] = kept / kept.sum()
        target = np.bincount(phi.argmax(1).flatten(), minlength=CLASSES) / phi[:, 0].numel()
        source = np.bincount(LABELS.ravel(), minlength=CLASSES) / LABELS.size
        expected = np.clip((target + 1e-4) / (source + 1e-4), 0.1, 10)
        training = adapt(arm=arm, label_shift=True)
        alignment = training._objectives["global_alignment"]
        assert isinstance(alignment, GlobalAlignment)
        assert alignment.class_ratios is not None
        np.testing.assert_allclose(alignment.class_ratios.numpy(), expected, rtol=1e-4)
    row, plain = adapt(arm="ga", label_shift=True).advance(1)[0], adapt(arm="ga").advance(1)[0]
    assert row["global_discriminator_loss"] != plain["global_discriminator_loss"]
    assert row["task_loss"] == plain["task_loss"]


def test_separate_means_shift_the_source_and_stay_in_the_segmenter() -> None:
    training = adapt(domain_means=True, arm="ga")
    means = [each.all_images.reshape(-1, 3).mean(0) / 255 for each in (SOURCE, TARGET)]
    # The network's own constant is not its source's mean: what moves is the sets' difference.
    expected = pretrained().input_mean.flatten().numpy() + means[1] - means[0]
    mean = training.segmenter.input_mean.flatten()
    np.testing.assert_allclose(mean.numpy(), expected, atol=1e-5)
    # Source images are centred by the mean they were always centred by.
    plain = adapt(arm="ga").advance(1)[0]["task_loss"]
    assert training.advance(1)[0]["task_loss"] == pytest.approx(plain, rel=1e-4)


def test_images_of_source_and_target_may_differ_in_size() -> None:
    target = TargetArrays(np.zeros((2, 21, 35, 3), dtype=np.uint8), np.ones((2, 21, 35), np.bool_))
    for arm in ARMS:
        training = Adaptation(pretrained(), SOURCE, target, replace(SETTINGS, arm=arm), seed=1)
        assert len(training.advance(2)) == 2


def test_empty_sets_are_refused() -> None:
    no_source = LabelledArrays(SOURCE.all_images[:0], SOURCE.all_labels[:0])
    no_target = TargetArrays(TARGET.all_images[:0])
    with pytest.raises(ValueError, match="source set is empty"):
        Adaptation(pretrained(), no_source, TARGET, SETTINGS, seed=0)
    with pytest.raises(ValueError, match="target set is empty: harvest"):
        Adaptation(pretrained(), SOURCE, no_target, SETTINGS, seed=0)


def test_priors_of_another_size_are_refused() -> None:
    class WrongPriors(Recording):
        def priors(self, indices: Sequence[int]) -> np.ndarray:
            return np.zeros((len(indices), H, W + 1), dtype=np.bool_)

    with pytest.raises(ValueError, match="static priors of the images"):
        Adaptation(pretrained(), SOURCE, WrongPriors(TARGET), SETTINGS, seed=0).advance(1)


def test_labels_outside_the_map_are_refused() -> None:
    labels = SOURCE.all_labels.copy()
    labels[:, 0, 0] = 33
    source = LabelledArrays(SOURCE.all_images, labels)
    with pytest.raises(ValueError, match="have the value 33"):
        Adaptation(pretrained(), source, TARGET, SETTINGS, seed=0).advance(1)


def test_bn_needs_batch_norm() -> None:
    segmenter = pretrained()
    for layer in segmenter.modules():
        for name, child in list(layer.named_children()):
            if child in batch_norms(segmenter):
                setattr(layer, name, torch.nn.Identity())
    with pytest.raises(ValueError, match="has no batch norm"):
        Adaptation(segmenter, SOURCE, TARGET, replace(SETTINGS, arm="bn"), seed=0)


def test_losses_that_are_not_numbers_stop_the_training_and_spare_the_weights() -> None:
    training = adapt(arm="full")
    training.advance(2)
    with torch.no_grad():
        training.segmenter.classifier.bias.fill_(float("nan"))
    before = {n: t.clone() for n, t in training.segmenter.state_dict().items()}
    with pytest.raises(DivergedError, match="loss of step 2 is nan: lower the learning rate"):
        training.advance(3)
    assert training.step == 2
    for name, tensor in training.segmenter.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed must be at least 0"):
        Adaptation(pretrained(), SOURCE, TARGET, SETTINGS, seed=-1)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_run(preset: str) -> None:
    settings = replace(PRESETS[preset], batch_size=2, steps=3, discriminator_hidden=(8,))
    rows = Adaptation(pretrained(), SOURCE, TARGET, settings, seed=0).advance(3)
    assert all(np.isfinite(row["total_loss"]) for row in rows)


def test_a_class_that_the_source_never_shows_is_reported_and_not_aligned() -> None:
    assert ABSENT
    training = adapt(arm="ga_ca")
    name = training.segmenter.class_names[ABSENT[0]]
    (said,) = training.remarks
    assert f"the source set has no pixel of {name}" in said
    discriminators = training._modules()["class_discriminators"]
    before = [weight.detach().clone() for weight in discriminators.weights]
    training.advance(3)
    for weight, was in zip(discriminators.weights, before, strict=True):
        assert torch.equal(weight[ABSENT[0]], was[ABSENT[0]])
        assert not torch.equal(weight[0], was[0])


def test_a_collapsed_discriminator_ends_the_training() -> None:
    dark = TargetArrays(np.zeros((2, H, W, 3), dtype=np.uint8))
    settings = replace(
        SETTINGS,
        steps=120,
        arm="ga",
        lambda_global=0.0,
        global_discriminator_rate=50.0,
        discriminator_hidden=(16,),
    )
    with pytest.raises(CollapsedError, match=r"collapsed by step \d+: the global discriminator"):
        Adaptation(pretrained(), SOURCE, dark, settings, seed=0).advance(120)
    warned = replace(settings, on_collapse="warn")
    rows = Adaptation(pretrained(), SOURCE, dark, warned, seed=0).advance(120)
    assert len(rows) == 120
    assert "discriminator is right in" in rows[-1]["warning"]
