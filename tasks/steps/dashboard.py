"""What a run shows in the Prefect dashboard: tables, pictures, text with links.

Outside a run (a step called as a plain function) nothing is published.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.context import FlowRunContext, TaskRunContext

from adapters.images import encode_jpeg
from adapters.store import ArtifactRef, Store

MAX_PICTURE_BYTES = 95_000
"""Pictures live in the server's database, so they stay small there; the store has them whole."""


def publish_table(key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """Shows rows as a table."""
    if _in_a_run():
        create_table_artifact(
            key=artifact_slug(key), table=[dict(row) for row in rows], description=description
        )


def publish_markdown(key: str, text: str, description: str) -> None:
    """Shows markdown."""
    if _in_a_run():
        create_markdown_artifact(key=artifact_slug(key), markdown=text, description=description)


def publish_picture(key: str, picture: npt.NDArray[np.uint8], description: str) -> None:
    """Shows a (H, W, 3) uint8 RGB picture, shrunk until it fits the database."""
    if _in_a_run():
        url = "data:image/jpeg;base64," + base64.b64encode(small_jpeg(picture)).decode("ascii")
        create_image_artifact(key=artifact_slug(key), image_url=url, description=description)


def publish_lineage(key: str, store: Store, ref: ArtifactRef, summary: str) -> None:
    """Shows where an artifact lies and what it was made of."""
    if not _in_a_run():
        return
    inputs = store.manifest(ref).inputs
    if not isinstance(inputs, dict):
        inputs = {str(number): digest for number, digest in enumerate(inputs)}
    made_of = "\n".join(
        f"- {role}: `{digest[:16]}`" for role, digest in sorted(inputs.items())[:40]
    )
    more = f"\n- … and {len(inputs) - 40} more" if len(inputs) > 40 else ""
    publish_markdown(
        key,
        f"{summary}\n\n**Artifact** `{ref.uri}`  \n**digest** `{ref.digest}`\n\n"
        f"**made of**\n\n{made_of or '- nothing but parameters'}{more}\n",
        f"Lineage of the {ref.kind} of {ref.city}",
    )


def small_jpeg(picture: npt.NDArray[np.uint8], limit: int = MAX_PICTURE_BYTES) -> bytes:
    """Encodes a picture as a JPEG of at most `limit` bytes, shrinking it as far as it takes."""
    scale = 1.0
    while True:
        size = (max(1, int(picture.shape[1] * scale)), max(1, int(picture.shape[0] * scale)))
        smaller = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        data = encode_jpeg(np.asarray(smaller, dtype=np.uint8), 82)
        if len(data) <= limit or max(size) <= 64:
            return data
        scale *= 0.8


def _in_a_run() -> bool:
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def artifact_slug(key: str) -> str:
    """A key as Prefect demands it: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")
