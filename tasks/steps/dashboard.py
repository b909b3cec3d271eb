"""What a run shows in the Prefect dashboard: tables, pictures, text with links.

Outside a run (a step called as a plain function) nothing is published. Nothing that is only shown
fails a step: what cannot be posted is tried again, then logged and left.
"""

from __future__ import annotations

import base64
import functools
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, ParamSpec

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
from tasks.steps.defaults import DEFAULT_CATALOG, digits_of, folder_of
from tasks.steps.logs import in_a_run, log
from tasks.steps.outbox import OUTBOX

MAX_PICTURE_BYTES = 95_000
"""Pictures live in the server's database, so they stay small there; the store has them whole."""
WAITS: Final = (0.5, 2.0)
"""Seconds before the second and the third try of a post."""

P = ParamSpec("P")


def only_shown(show: Callable[P, object]) -> Callable[P, None]:
    """Decorates what only shows something: whatever goes wrong in it is logged and left."""
    name = getattr(show, "__name__", type(show).__name__).strip("_")  # objects can be called too

    @functools.wraps(show)
    def shown(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            show(*args, **kwargs)
        except Exception as error:
            log(logging.WARNING, f"{name} failed and is left out: {error}")

    return shown


def post(what: str, send: Callable[[], object], waits: Sequence[float] = WAITS) -> object:
    """Posts something to the server; tried again after each wait, then logged and left.

    Args:
        what: Name of it in the log.
        send: Posts it.
        waits: Seconds before each further try.

    Returns:
        What `send` gave; ``None`` where every try failed.
    """
    for wait in (*waits, None):
        try:
            return send()
        except Exception as error:
            if wait is None:
                log(logging.WARNING, f"the dashboard does not show {what}: {error}")
            else:
                time.sleep(wait)
    return None


def publish_table(key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """Shows rows as a table."""
    _post_in_a_run(
        key,
        lambda: create_table_artifact(
            key=shown_key(key), table=[dict(row) for row in rows], description=description
        ),
    )


def publish_markdown(key: str, text: str, description: str) -> None:
    """Shows markdown."""
    _post_in_a_run(
        key,
        lambda: create_markdown_artifact(
            key=shown_key(key), markdown=text, description=description
        ),
    )


def publish_picture(
    key: str, picture: Callable[[], npt.NDArray[np.uint8]], description: str
) -> None:
    """Shows a picture, shrunk until it fits the database.

    Args:
        key: Key of the artifact.
        picture: Gives it, (H, W, 3) uint8 RGB; called only where it is shown.
        description: Text above it.
    """

    def send() -> object:
        url = "data:image/jpeg;base64," + base64.b64encode(small_jpeg(picture())).decode("ascii")
        return create_image_artifact(key=shown_key(key), image_url=url, description=description)

    _post_in_a_run(key, send)


def publish_lineage(key: str, store: Store, ref: ArtifactRef, summary: str) -> None:
    """Shows where an artifact lies and what it was made of."""

    def send() -> object:
        return create_markdown_artifact(
            key=shown_key(key),
            markdown=_lineage(store, ref, summary),
            description=f"Lineage of the {ref.kind} of {ref.city}",
        )

    _post_in_a_run(key, send)


def _lineage(store: Store, ref: ArtifactRef, summary: str) -> str:
    inputs = store.manifest(ref).inputs
    if not isinstance(inputs, dict):
        inputs = {str(number): digest for number, digest in enumerate(inputs)}
    made_of = "\n".join(
        f"- {role}: `{digest[:16]}`" for role, digest in sorted(inputs.items())[:40]
    )
    more = f"\n- … and {len(inputs) - 40} more" if len(inputs) > 40 else ""
    return (
        f"{summary}\n\n**Artifact** `{ref.uri}`  \n**digest** `{ref.digest}`\n\n"
        f"**made of**\n\n{made_of or '- nothing but parameters'}{more}\n"
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


def _post_in_a_run(key: str, send: Callable[[], object]) -> None:
    if in_a_run():
        OUTBOX.hand_over(lambda: post(key, send))


def shown_key(key: str) -> str:
    """A key as the server has it: with the catalog's name, so that two on one server do not mix.

    Prefect shows all artifacts of a key as versions of one.
    """
    name = _catalog_of_the_run()
    return artifact_slug(f"{key} in {name}" if name else key)


def _catalog_of_the_run() -> str:
    """Name of the catalog of the run that is under way: its folder, and its file if not usual.

    Folders of one name are told apart by a few digits of where they are.
    """
    for context in (TaskRunContext.get(), FlowRunContext.get()):
        given = (getattr(context, "parameters", None) or {}) if context is not None else {}
        catalog = getattr(given.get("plan"), "catalog", None) or given.get("catalog")
        if isinstance(catalog, str | Path):
            path, folder = Path(catalog), folder_of(catalog)
            file = "" if path.name == DEFAULT_CATALOG else f" {path.stem}"
            return f"{folder.name}{file} {digits_of(folder)}"
    return ""


def artifact_slug(key: str) -> str:
    """A key as Prefect demands it: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")
