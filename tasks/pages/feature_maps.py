"""t-SNE of the features of source and target cells, before and after adaptation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from adapters.store import ArtifactRef, Draft
from adapters.tables import write_table
from crosscity.evaluation.feature_samples import sampled_features
from crosscity.scatter import scatter_panels
from tasks.judging.scoring_rules import rules_of
from tasks.steps.artifact_task import Made, artifact_task, digests, make_once
from tasks.steps.dashboard import publish_picture
from tasks.steps.device import using_device
from tasks.steps.pictures import read_picture, write_png
from tasks.steps.plan import Plan
from tasks.training.arms import arm_name
from tasks.training.segmenters import stored_segmenter
from tasks.training.stored_images import StoredLabelled
from tasks.training.trainings import on_device

FEATURE_MAP_VERSION = "1"
CELLS: Final = 400
"""Of each domain; more make t-SNE slow and the picture black."""
_COMPONENTS: Final = 50
"""Principal components that t-SNE works on, as its authors advise."""

POINTS = pa.schema(
    [
        pa.field("arm", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
    ]
)


@artifact_task("draw features", run_name="t-SNE of features, {owner}")
def draw_features(
    segmenters: Mapping[str, ArtifactRef],
    source: Sequence[ArtifactRef],
    target: Sequence[ArtifactRef],
    seed: int,
    owner: str,
    plan: Plan,
) -> Made:
    """Embeds features of cells of both domains for every arm, and tells how well they part.

    Args:
        segmenters: By arm.
        source: Labelled shards of the source set.
        target: Labelled shards of the target; their labels are not read.
        seed: Fixes the cells and the embedding.
        owner: The city or transfer.
        plan: The run's plan.
    """
    torch.set_num_threads(plan.compute.threads)
    size = rules_of(plan, owner).image_size

    def write(draft: Draft, _key: str) -> None:
        domains = [StoredLabelled(plan.open_store(), parts) for parts in (source, target)]
        panels, rows, parted = {}, [], {}
        for arm, ref in segmenters.items():
            with using_device(plan.compute.device, owner):
                network = on_device(stored_segmenter(plan, ref)[1], plan)
                features = [
                    sampled_features(
                        network, images, CELLS, seed=seed, image_size=size or network.trained_size
                    )
                    for images in domains
                ]
            is_source = np.repeat([True, False], [len(part) for part in features])
            reduced = _principal(np.concatenate(features))
            parted[arm] = told_apart(reduced, is_source, seed)
            points = embedded(reduced, seed)
            panels[arm_name(arm)] = (points, is_source)
            rows += _point_rows(arm, points, is_source)
        write_png(draft, "features.png", scatter_panels(panels))
        table = pa.Table.from_pylist(rows, schema=POINTS)
        write_table(draft.path / "features.parquet", table, POINTS)
        (draft.path / "told_apart.json").write_text(
            json.dumps(parted, indent=2) + "\n", encoding="utf-8"
        )

    made = make_once(
        plan.open_store(),
        "illustration",
        owner,
        inputs={
            **{f"segmenter-{arm}": ref for arm, ref in segmenters.items()},
            **digests(source),
            **{f"target-{number:05d}": ref for number, ref in enumerate(target)},
        },
        parameters={"figure": "features", "cells": CELLS, "seed": seed},
        version=FEATURE_MAP_VERSION,
        write=write,
    )
    publish_picture(
        f"features-{owner}",
        lambda: read_picture(plan.open_store(), made.ref, "features.png"),
        f"t-SNE of features of {owner} (orange) and its source (blue)",
    )
    return made


def _point_rows(
    arm: str, points: npt.NDArray[np.float32], is_source: npt.NDArray[np.bool_]
) -> list[dict[str, Any]]:
    domains = np.where(is_source, "source", "target").tolist()
    return [
        {"arm": arm, "domain": domain, "x": float(x), "y": float(y)}
        for (x, y), domain in zip(points, domains, strict=True)
    ]


def embedded(features: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """t-SNE to two dimensions: (N, D) to (N, 2); N at least 8."""
    from sklearn.manifold import TSNE  # noqa: PLC0415 - takes a second to import

    perplexity = min(30.0, (len(features) - 1) / 3)
    fitted = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)
    points: npt.NDArray[np.float32] = fitted.astype(np.float32)
    return points


def told_apart(
    features: npt.NDArray[np.float32], is_source: npt.NDArray[np.bool_], seed: int
) -> float:
    """How often a linear classifier tells the domain of a cell that it was not trained on.

    0.5 is chance: the domains are aligned as far as a plane can see. Five-fold cross-validation.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.model_selection import StratifiedKFold, cross_val_score  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return float(cross_val_score(model, features, is_source, cv=folds).mean())


def _principal(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    from sklearn.decomposition import PCA  # noqa: PLC0415

    components = min(_COMPONENTS, *features.shape)
    reduced: npt.NDArray[np.float32] = PCA(components, random_state=0).fit_transform(features)
    return reduced.astype(np.float32)
