"""The commit is read from the files of .git, whatever their form."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from adapters.store.code_version import code_version, git_commit


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "some/branch")
    git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    return folder


def test_a_branch_a_packed_branch_and_a_detached_head(checkout) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_commit(checkout) == commit
    git(checkout, "pack-refs", "--all")
    assert not (checkout / ".git/refs/heads/some/branch").exists()
    assert git_commit(checkout) == commit
    git(checkout, "checkout", "-q", "--detach")
    assert git_commit(checkout) == commit


def test_a_linked_worktree(checkout, tmp_path) -> None:
    git(checkout, "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
    git(tmp_path / "linked", "commit", "-q", "--allow-empty", "-m", "two")
    commit = git(tmp_path / "linked", "rev-parse", "HEAD")
    assert commit != git(checkout, "rev-parse", "HEAD")
    assert git_commit(tmp_path / "linked") == commit


def test_no_repository_and_a_damaged_one_have_no_commit(tmp_path) -> None:
    assert git_commit(tmp_path) is None
    (tmp_path / ".git").mkdir()
    for head in ("", "ref: refs/heads/absent", "ref: refs/../../secret", "not a commit", "\xff"):
        (tmp_path / ".git" / "HEAD").write_text(head, encoding="latin-1")
        assert git_commit(tmp_path) is None


def test_the_version_holds_no_path() -> None:
    assert code_version()
    assert "/" not in code_version()
