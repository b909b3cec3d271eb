"""Gives MkDocs the repository's own documents, each at its own path, so that links hold in both.

MkDocs reads one folder. Ours are in several (README.md, docs/, benchmarks/results/ …) and link to
each other and to files beside them as GitHub wants it. Here the site gets them under the same
relative paths, with every file of the repository that a page links to.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

REPOSITORY: Final = Path(__file__).resolve().parents[2]
PAGES: Final = (
    "*.md",
    "docs/*.md",
    "docs/notebooks/*.ipynb",
    "benchmarks/results/*.md",
    "crosscity/weights/README.md",
)
STYLES: Final = ("docs/site/*.css",)
_LINK: Final = re.compile(r"\]\(<?([^)#\s>]+)")


@event_priority(100)  # before the plug-in that takes notebooks for pages, which must see them
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages, and what they link to, beside what the theme brings."""
    of_theme = [file for file in files if file.src_dir != config.docs_dir]
    pages = sorted({path for pattern in PAGES for path in REPOSITORY.glob(pattern)})
    found = set(pages) | {path for pattern in STYLES for path in REPOSITORY.glob(pattern)}
    for page in pages:
        if page.suffix == ".md":
            found |= linked_files(page)
    names = sorted(path.relative_to(REPOSITORY).as_posix() for path in found)
    # Not as generated files: the plug-in asks for the folder that a notebook lies in.
    ours = [
        File(name, str(REPOSITORY), config.site_dir, config.use_directory_urls) for name in names
    ]
    return Files([*of_theme, *ours])


def linked_files(page: Path) -> set[Path]:
    """Files of the repository that a page links to; what is not there is MkDocs' to tell."""
    targets = _LINK.findall(page.read_text(encoding="utf-8"))
    beside = [(page.parent / target).resolve() for target in targets if "://" not in target]
    return {
        path
        for path in beside
        if path.is_file() and PurePosixPath(path).is_relative_to(REPOSITORY.as_posix())
    }
