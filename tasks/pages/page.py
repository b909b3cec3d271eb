"""What every page shares: its templates, and pictures inside of it."""

from __future__ import annotations

import base64
import re
from typing import Any, Final

import jinja2
from markupsafe import Markup, escape

from adapters.store import ArtifactRef, Store
from crosscity.percentages import percentage
from tasks.steps.dashboard import small_jpeg
from tasks.steps.pictures import read_picture

PICTURE_BYTES: Final = 450_000
"""A page is mailed around: its pictures are good, not lossless."""


def render_page(template: str, **shown: Any) -> str:  # noqa: ANN401 - whatever a template shows
    """A page as HTML; what it shows is text, never markup, unless the template says so."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tasks", "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"told": told, "percentage": percentage}
    return environment.get_template(template).render(shown)


def told(sentence: str) -> Markup:
    """A sentence as a page shows it: text, with what stands between backticks as code."""
    parts = re.split(r"`([^`]+)`", sentence)  # every second one stood between backticks
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )


def inline_picture(store: Store, ref: ArtifactRef, name: str) -> str:
    """A picture of an artifact as an address that needs no network, made small enough."""
    return inline_jpeg(small_jpeg(read_picture(store, ref, name), PICTURE_BYTES))


def inline_jpeg(data: bytes) -> str:
    """A JPEG as an address that needs no network."""
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
