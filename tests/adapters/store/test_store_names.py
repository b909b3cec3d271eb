"""No name, whoever gave it, leads out of the store's own folders."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.store import Store, StoreError
from adapters.store.names import check_city, check_file_name, check_key, check_kind, check_name

HOSTILE = [
    "",
    ".",
    "..",
    "../x",
    "x/../../y",
    "/etc/passwd",
    ".hidden",
    "a\\b",
    "a\0b",
    "a\n",
    "a b",
    "ä",
    "x" * 200,
    "C:x",
    "~",
    "$HOME",
    "a*",
    "١",
]

SINGLE: list[Callable[[str], str]] = [check_kind, check_city, check_key, check_name]


@pytest.mark.parametrize("check", [*SINGLE, check_file_name])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused(check, name) -> None:
    with pytest.raises(StoreError):
        check(name)


@pytest.mark.parametrize("check", [*SINGLE, check_file_name])
@pytest.mark.parametrize("name", [None, 3, b"x", Path("x"), ["x"]])
def test_what_is_not_text_is_refused(check, name) -> None:
    with pytest.raises(StoreError):
        check(name)


names = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="ab0A./_-\\\n ", max_size=12),
    st.sampled_from(HOSTILE),
)


@given(names)
def test_an_admitted_name_is_one_plain_part(name: str) -> None:
    for check in SINGLE:
        try:
            check(name)
        except StoreError:
            continue
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", name)
        assert not name.startswith(".")
        assert (Path("/store") / name).resolve() == Path("/store", name)
        assert Path(name).name == name


@given(names)
def test_an_admitted_file_name_stays_at_most_one_folder_deep(name: str) -> None:
    try:
        check_file_name(name)
    except StoreError:
        return
    path = Path("/store") / name
    assert path.resolve() == path
    assert Path("/store") in path.parents
    assert len(path.relative_to("/store").parts) <= 2
    assert path.as_posix() == f"/store/{name}"


@pytest.mark.parametrize("name", ["x", "images/-Ab_9.jpg", "part-00000.parquet", "a.b.c"])
def test_usual_file_names_are_admitted(name) -> None:
    assert check_file_name(name) == name


@pytest.mark.parametrize("where", range(3))
@pytest.mark.parametrize("name", ["..", "../x", ".progress", "a/b", ""])
def test_every_entrance_of_the_store_is_guarded(where, name, tmp_path) -> None:
    store = Store(tmp_path / "store")
    place = ["a", "rome", "k"]
    place[where] = name
    for look in (
        lambda: store.find(*place),
        lambda: store.save_progress(*place, "x", b"1"),
        lambda: store.load_progress(*place, "x"),
        lambda: store.list_progress(*place),
        lambda: store.clear_progress(*place),
        lambda: store.draft(*place, inputs=[], parameters={}, version="1").__enter__(),
        lambda: store.save_progress("a", "rome", "k", name, b"1"),
        lambda: store.load_progress("a", "rome", "k", name),
        lambda: store.selected(name, "rome"),
        lambda: store.selected("x", name),
        lambda: list(store.artifacts("a", name)),
        lambda: list(store.artifacts(name)),
    ):
        with pytest.raises(StoreError):
            look()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_pointers_is_not_a_kind() -> None:
    with pytest.raises(StoreError, match="pointers"):
        check_kind("current")
