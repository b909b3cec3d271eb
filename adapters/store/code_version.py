"""Which code made an artifact."""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_BRANCH = re.compile(r"ref: (refs/[A-Za-z0-9._/-]+)")


@cache
def code_version() -> str:
    """Version of the installed package, with `+g<commit>` where it runs from its own checkout.

    The commit is read from the files of `.git`: no subprocess, and no word about local changes.
    """
    try:
        version = metadata.version("crosscity")
    except metadata.PackageNotFoundError:
        version = "0+unknown"
    checkout = Path(__file__).resolve().parents[2]
    # Installed inside somebody else's repository, there is no pyproject.toml of ours beside .git.
    commit = git_commit(checkout) if (checkout / "pyproject.toml").is_file() else None
    return f"{version}+g{commit[:12]}" if commit else version


def git_commit(checkout: Path) -> str | None:
    """The commit that is checked out in `checkout`, or None if its files do not say."""
    try:
        git = checkout / ".git"
        if git.is_file():  # a linked worktree names its folder
            git = checkout / git.read_text().removeprefix("gitdir: ").strip()
        head = (git / "HEAD").read_text().strip()
        branch = _BRANCH.fullmatch(head)
        if branch is not None and ".." not in head:
            head = _branch_commit(git, branch[1])
    except (OSError, UnicodeDecodeError):
        return None
    return head if _COMMIT.fullmatch(head) else None


def _branch_commit(git: Path, branch: str) -> str:
    shared = git / "commondir"
    common = git / shared.read_text().strip() if shared.is_file() else git
    loose = common / branch
    if loose.is_file():
        return loose.read_text().strip()
    for line in (common / "packed-refs").read_text().splitlines():
        commit, _, name = line.partition(" ")
        if name == branch:
            return commit
    return ""
