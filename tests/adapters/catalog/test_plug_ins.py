"""Functions of the user's own package: built from the catalog, and refused with one sentence."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from adapters.catalog import (
    CatalogError,
    DatasetSite,
    PluggedProvider,
    PluggedSet,
    catalog_json_schema,
    load_catalog,
)
from adapters.datasets.base import DatasetError, LabelledSample
from adapters.street_view.base import Capture, Rejected, StreetViewError

MODULE = '''
from plug_in_content import answers

class Thing:
    """Answers whatever the test wants it to."""
    name = "thing"
    def __init__(self, site): self.site = site
    def captures(self): return answers["captures"]
    def near(self, lat, lon, metres): return answers["captures"]
    def within(self, bounds): return answers["captures"]
    def fetch(self, capture, view=None): return answers["fetch"]
    def samples(self, split): return answers["samples" if split == "test" else "others"]
    def unlabelled(self, split): return answers["samples"]
    def read(self, sample): return answers["read"]
    def read_image(self, sample): return answers["read_image"]
    def revision(self, samples=None): return answers["revision"]

def build(site, token=None): return Thing(site)
def nothing(site): return None
def refuses(site): raise ValueError("the table is empty")
def fails(site): raise KeyError("a table")
def half(site): return type("Half", (), {"name": "half", "captures": lambda self: []})()
three = 3
'''

CAPTURE = Capture(
    image_id="a",
    provider="thing",
    place_id="p",
    lat=1.0,
    lon=2.0,
    heading=0.0,
    pitch=0.0,
    fov=90.0,
    captured_at=datetime(2020, 1, 1, tzinfo=UTC),
    licence="CC0-1.0",
    attribution="me",
)
IMAGE = np.zeros((4, 6, 3), dtype=np.uint8)
LABELS = np.zeros((4, 6), dtype=np.uint8)


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the things of `my_things` answer; right at first."""
    (tmp_path / "my_things.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "plug_in_content.py").write_text("answers = {}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import plug_in_content  # type: ignore[import-not-found]

    plug_in_content.answers.update(
        captures=[CAPTURE],
        fetch=b"bytes",
        samples=["s"],
        others=[],
        read=LabelledSample(IMAGE, LABELS),
        read_image=IMAGE,
        revision="1",
    )
    yield plug_in_content.answers
    for name in ("my_things", "plug_in_content"):
        sys.modules.pop(name, None)


def city(folder: Path, **provider: Any) -> Any:
    """A catalog's only city, whose provider is an entry."""
    path = folder / "data_catalog.yaml"
    content = {
        "version": 1,
        "store": "local",
        "stores": {"local": {"url": "store"}},
        "datasets": {"source": {"kind": "cityscapes", "root": "x"}},
        "segmenters": {"compact": {"architecture": "compact", "source": "source"}},
        "trainings": {"demo": {"preset": "demo"}},
        "cities": {"here": {"provider": provider}},
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_catalog(path).cities["here"]


def opened(folder: Path, function: str = "my_things:build", **options: Any) -> Any:
    entry = city(folder, python=function, options=options)
    return entry.provider.open(entry.site("here", folder))


def data_set(function: str = "my_things:build") -> Any:
    return PluggedSet(python=function).open(DatasetSite("ours", Path()))


@pytest.mark.usefixtures("answers")
def test_a_provider_is_given_its_city_and_survives_pickling(tmp_path: Path) -> None:
    provider = opened(tmp_path)
    again = pickle.loads(pickle.dumps(provider))  # noqa: S301 - our own bytes
    assert list(again.captures()) == [CAPTURE]
    assert (again.name, again.fetch(CAPTURE), again.revision()) == ("thing", b"bytes", "1")
    site = provider._provider.site
    assert (site.name, site.key, site.bounds) == ("here", "cities.here.provider", None)


@pytest.mark.usefixtures("answers")
def test_secrets_of_options_stay_references_in_the_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = city(tmp_path, python="my_things:build", options={"token": "${NO_SUCH_TOKEN}"})
    with pytest.raises(CatalogError, match=r"cities\.here\.provider\.options\.token needs"):
        entry.provider.open(entry.site("here", tmp_path))
    monkeypatch.setenv("NO_SUCH_TOKEN", "secret")
    assert entry.provider.open(entry.site("here", tmp_path)).name == "thing"
    assert "secret" not in str(entry.provider.identity())


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        ("no_such_package:build", {}, "cannot be imported.*PYTHONPATH"),
        ("my_things:biuld", {}, "has no function 'biuld'"),
        ("my_things:three", {}, "has no function 'three'"),
        ("my_things:nothing", {}, "returned NoneType, which has no name, captures"),
        ("my_things:half", {}, "returned Half, which has no near, within, fetch, revision: it"),
        ("my_things:build", {"colour": 1}, "does not take these options: .*colour"),
        ("my_things:refuses", {}, "refuses its options: the table is empty"),
        ("my_things:fails", {}, "my_things:fails raised KeyError: 'a table'"),
    ],
)
@pytest.mark.usefixtures("answers")
def test_a_function_that_builds_no_provider_ends_in_a_sentence(
    tmp_path: Path, function: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(CatalogError, match=rf"^cities\.here\.provider: .*{said}") as raised:
        opened(tmp_path, function, **options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ({"a": 1}, "captures returned dict"),
        ([{"image_id": "a"}], "item 0 of captures is a dict and not"),
        ([replace(CAPTURE, image_id="../../x")], "image_id '../../x', which becomes a file name"),
        ([replace(CAPTURE, place_id=3)], "place_id 3"),  # type: ignore[arg-type]
        ([CAPTURE, CAPTURE], "lists the image 'a' twice"),
        ([CAPTURE, replace(CAPTURE, image_id="A")], "images 'a' and 'A', .* differ by case alone"),
        ([replace(CAPTURE, heading=360.0)], "heading 360"),
        ([replace(CAPTURE, heading=float("nan"))], "not a finite number"),
        ([replace(CAPTURE, lon=None)], "only one of lat and lon"),
        ([replace(CAPTURE, lat=91.0)], "lat 91, lon 2"),
        ([replace(CAPTURE, captured_at=datetime(2020, 1, 1))], "not a datetime in UTC"),
        (
            [replace(CAPTURE, time_precision="hour")],  # type: ignore[arg-type]
            "time_precision 'hour': give second, day, month or None",
        ),
        ([replace(CAPTURE, licence=None)], "licence that is not a string"),  # type: ignore[arg-type]
        ([replace(CAPTURE, page_url=3)], "page_url that is neither a string nor None"),  # type: ignore[arg-type]
        ([replace(CAPTURE, source_id=b"x")], "source_id that is neither"),  # type: ignore[arg-type]
        ([replace(CAPTURE, sequence=7)], "sequence that is neither"),  # type: ignore[arg-type]
        ([replace(CAPTURE, aligned_to=7)], "aligned_to that is neither"),  # type: ignore[arg-type]
        ([replace(CAPTURE, split="val")], "split 'val': give train, test or None"),  # type: ignore[arg-type]
        ([replace(CAPTURE, fov=10**400)], "not a finite number"),
    ],
)
def test_captures_that_are_wrong_end_in_a_sentence(
    tmp_path: Path, answers: dict[str, Any], listed: Any, said: str
) -> None:
    answers["captures"] = listed
    with pytest.raises(StreetViewError, match=f"my_things:build is wrong: .*{said}"):
        opened(tmp_path).captures()


@pytest.mark.usefixtures("answers")
def test_failures_of_a_provider_and_a_data_set_name_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the disk\nhas gone")

    provider, ours = opened(tmp_path), data_set()
    wrong = "of my_things:build is wrong: {} raised RuntimeError: the disk has gone"
    for error, checked, inner, calls in (
        (
            StreetViewError,
            provider,
            provider._provider,
            {
                "captures": (),
                "near": (0.0, 0.0, 1.0),
                "within": ((0.0, 0.0, 1.0, 1.0),),
                "fetch": (CAPTURE,),
                "revision": (),
            },
        ),
        (
            DatasetError,
            ours,
            ours._dataset,
            {
                "samples": ("train",),
                "unlabelled": ("train",),
                "read": ("a",),
                "read_image": ("a",),
                "revision": (),
            },
        ),
    ):
        for method, arguments in calls.items():
            monkeypatch.setattr(inner, method, fail)
            with pytest.raises(error, match=wrong.format(method)):
                getattr(checked, method)(*arguments)


def test_other_answers_of_a_provider_are_checked_too(
    tmp_path: Path, answers: dict[str, Any]
) -> None:
    answers.update(fetch=IMAGE, revision=3, captures=None)
    provider = opened(tmp_path)
    with pytest.raises(StreetViewError, match="fetch returned ndarray for a: it must return the"):
        provider.fetch(CAPTURE)
    with pytest.raises(StreetViewError, match="revision returned int"):
        provider.revision()
    with pytest.raises(StreetViewError, match="near returned NoneType"):
        provider.near(0.0, 0.0, 1.0)
    with pytest.raises(StreetViewError, match="within returned NoneType"):
        provider.within((0.0, 0.0, 1.0, 1.0))
    assert provider.rejected() == ()


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        (None, "rejected returned NoneType"),
        ([("a.jpg", "it is dark")], "item 0 of rejected is a tuple and not"),
        ([Rejected("a.jpg", 3)], "item 0 of rejected is not told in strings"),  # type: ignore[arg-type]
        (KeyError("x"), "rejected raised KeyError: 'x'"),
    ],
)
@pytest.mark.usefixtures("answers")
def test_what_a_provider_left_out_is_checked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_out: Any, said: str
) -> None:
    def rejected() -> Any:
        if isinstance(left_out, Exception):
            raise left_out
        return left_out

    provider = opened(tmp_path)
    monkeypatch.setattr(provider._provider, "rejected", rejected, raising=False)
    with pytest.raises(StreetViewError, match=f"my_things:build is wrong: {said}"):
        provider.rejected()


def test_methods_may_be_anything_that_can_be_called(
    tmp_path: Path, answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `functools.partial` makes has no name of its own."""
    provider, ours = opened(tmp_path), data_set()
    monkeypatch.setattr(provider._provider, "captures", partial(answers.get, "captures"))
    monkeypatch.setattr(ours._dataset, "read_image", partial(answers.__getitem__))
    assert list(provider.captures()) == [CAPTURE]
    assert ours.read_image("read_image") is IMAGE
    with pytest.raises(DatasetError, match="is wrong: read_image raised KeyError: 'lost'"):
        ours.read_image("lost")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"samples": "abc"}, r"samples\('test'\) returned str and not a list"),
        ({"samples": ["a", "a"]}, "lists a sample twice"),
        ({"samples": [7]}, "lists 7, which is not a string"),
        ({"others": ["t", "s"]}, "lists 's' in 'test' and in 'train', so what is learned from"),
        ({"read": (IMAGE, LABELS)}, "returned tuple"),
        ({"read": LabelledSample(IMAGE[0], LABELS)}, r"is 6 × 3 of uint8 and not"),
        ({"read": LabelledSample(IMAGE, LABELS[:3])}, "are 3 × 6 of uint8, its image is 4 × 6"),
        ({"read": LabelledSample(IMAGE, LABELS.astype(int))}, "of int64 and not uint8"),  # type: ignore[arg-type]
        ({"read": LabelledSample(IMAGE, LABELS + np.uint8(33))}, "hold the value 33"),
        ({"read_image": IMAGE / 2}, "of float64 and not height"),
        ({"read_image": None}, "is NoneType and not height"),
        ({"revision": None}, "revision returned NoneType"),
    ],
)
def test_a_data_set_that_answers_wrongly_ends_in_a_sentence(
    answers: dict[str, Any], wrong: dict[str, Any], said: str
) -> None:
    answers.update(wrong)

    def used() -> None:
        source = data_set()
        for sample in source.samples("test"):
            source.read(sample)
            source.read_image(sample)
            source.revision([sample])

    with pytest.raises(DatasetError, match=f"my_things:build is wrong: .*{said}"):
        used()


@pytest.mark.usefixtures("answers")
def test_a_right_data_set_passes() -> None:
    source = data_set()
    assert source.samples("test") == source.unlabelled("test") == ["s"]
    assert source.read("s").train_ids is LABELS
    assert PluggedSet(python="my_things:build").identity(source, ["s"]) == {
        "entry": {
            "kind": "python",
            "python": "my_things:build",
            "options": {},
            "image_size": None,
            "test_split": "test",
        },
        "files": "1",
    }
    with pytest.raises(CatalogError, match=r"^datasets\.ours: my_things:half returned Half, which"):
        data_set("my_things:half")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"python": "my_things"}, r"yaml:\d+: cities\.here\.provider\.python: String should match"),
        ({"python": "os;x:y"}, r"cities\.here\.provider\.python: String should match"),
        ({"python": "a:b", "root": "x"}, r"cities\.here\.provider\.root: no such setting"),
        ({"python": "a:b", "kind": "folder"}, r"cities\.here\.provider\.python: no such setting"),
        ({"kind": "flickr"}, r"cities\.here\.provider: .*'flickr'.*'python'"),
        ({}, r"cities\.here\.provider: .*kind"),
        ({"kind": "python"}, r"cities\.here\.provider\.python: is missing"),
        (
            {"kind": "panoramax", "panoramax": 1},
            r"cities\.here\.provider\.panoramax: no such setting",
        ),
    ],
)
def test_wrong_entries_are_reported_with_their_own_key(
    tmp_path: Path, entry: dict[str, Any], said: str
) -> None:
    with pytest.raises(CatalogError, match=said):
        city(tmp_path, **entry)


def test_a_data_set_may_be_called_like_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "data_catalog.yaml"
    path.write_text(
        "version: 1\nstore: local\nstores: {local: {url: store}}\ndatasets:\n"
        "  folder:\n    kind: folder\n    root: x\n    label_map: {}\n",
        encoding="utf-8",
    )
    with pytest.raises(CatalogError, match=r"yaml:8: datasets\.folder\.label_map: "):
        load_catalog(path)


def test_plug_ins_are_in_the_schema() -> None:
    schema = yaml.safe_load(catalog_json_schema())
    assert "python" in schema["$defs"]["PluggedProvider"]["required"]
    assert PluggedProvider(python="a:b") == PluggedProvider(kind="python", python="a:b")
