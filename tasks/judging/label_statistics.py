"""How often each class occurs in the labels of a city or a data set (the paper's supplement)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from adapters.store import ArtifactRef, Draft, Store
from adapters.tables import read_table, write_table
from crosscity.labels import CLASSES, VOID
from tasks.steps.artifact_task import Made, artifact_task, digests, make_once
from tasks.steps.dashboard import only_shown, publish_table
from tasks.steps.plan import Plan
from tasks.training.stored_images import StoredLabelled

STATISTICS_VERSION = "1"
STATISTICS = pa.schema(
    [
        pa.field("class", pa.string(), nullable=False),
        pa.field("pixels", pa.int64(), nullable=False),
        pa.field("share", pa.float64(), nullable=False),  # of the labelled pixels
        pa.field("images", pa.int64(), nullable=False),  # that show the class at all
    ]
)


@artifact_task("count labels", run_name="label statistics of {owner}")
def count_labels(parts: Sequence[ArtifactRef], owner: str, plan: Plan) -> Made:
    """Counts the pixels of each of the 19 classes, and the images that show it."""

    def write(draft: Draft, _key: str) -> None:
        images = StoredLabelled(plan.open_store(), parts)
        pixels = np.zeros(len(CLASSES), dtype=np.int64)
        showing = np.zeros(len(CLASSES), dtype=np.int64)
        for index in range(len(images)):
            labels = images.labels([index])
            counts = np.bincount(labels[labels != VOID], minlength=len(CLASSES))
            pixels += counts
            showing += counts > 0
        total = max(1, int(pixels.sum()))
        rows = [
            {
                "class": road_class.name,
                "pixels": int(pixels[road_class.train_id]),
                "share": float(pixels[road_class.train_id] / total),
                "images": int(showing[road_class.train_id]),
            }
            for road_class in CLASSES
        ]
        table = pa.Table.from_pylist(rows, schema=STATISTICS)
        write_table(draft.path / "labels.parquet", table, STATISTICS)
        draft.rows = len(rows)
        draft.summary = {"images": len(images)}

    made = make_once(
        plan.open_store(),
        "label_statistics",
        owner,
        inputs=digests(parts),
        parameters={},
        version=STATISTICS_VERSION,
        write=write,
    )
    _publish(plan.open_store(), made.ref, owner)
    return made


@only_shown
def _publish(store: Store, ref: ArtifactRef, owner: str) -> None:
    shares = read_shares(store, ref)
    rows = [{"class": name, "share %": round(100 * share, 2)} for name, share in shares.items()]
    publish_table(f"labels-{owner}", rows, f"Labels of {owner}")


def read_shares(store: Store, ref: ArtifactRef) -> dict[str, float]:
    """Share of each class among the labelled pixels."""
    rows = read_table(store.path(ref, "labels.parquet"), STATISTICS).to_pylist()
    return {str(row["class"]): float(row["share"]) for row in rows}
