"""Styles in files: the five that come along are what they were as code, and faults have a line."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from simcity import STYLES, CityStyle, read_style

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / "simcity" / "styles"
DIGESTS = {
    "frankfurt": "a3a7ce43e00b6bc0",
    "rome": "ef553fb88b66cba7",
    "rio": "c3da4a9ff72e81ba",
    "tokyo": "7176d57ee6d7be7d",
    "taipei": "950a5af04496f24d",
}
"""Of the values as the renderer and the keys of stored images see them.

A value that changes here changes pixels: raise `simcity.ALGORITHM_VERSION` with it.
"""


@pytest.mark.parametrize("name", DIGESTS)
def test_values_of_the_embedded_styles_are_fixed(name: str) -> None:
    assert hashlib.sha256(repr(STYLES[name]).encode()).hexdigest()[:16] == DIGESTS[name]
    assert read_style(OURS / f"{name}.toml") == STYLES[name]


def test_every_embedded_style_is_a_file() -> None:
    assert {path.stem for path in OURS.glob("*.toml")} == set(STYLES)
    assert STYLES["frankfurt"] == CityStyle(name="frankfurt")


def written(folder: Path, text: str, name: str = "lima.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_says_what_is_its_own(tmp_path: Path) -> None:
    text = 'based_on = "rio"\nstoreys = [2, 5]\nfacade_colours = [[214, 190, 150]]\n'
    assert read_style(written(tmp_path, text)) == replace(
        STYLES["rio"], name="lima", storeys=(2, 5), facade_colours=((214, 190, 150),)
    )
    assert read_style(written(tmp_path, "")) == CityStyle(name="lima")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grime = 0.1\nlanes = [4, 2]\n", r"lima\.toml:2: .*'lima': lanes must be \(low, high\)"),
        (
            "# x\n\ntree_chances = 1\n",
            r"lima\.toml:3: .*'tree_chances'; did you mean tree_chance\?",
        ),
        ("unicorns = 1\n", r"lima\.toml:1: a city style has no field 'unicorns'$"),
        ('name = "rome"\n', r"lima\.toml:1: a city style has no field 'name'"),
        ('\nbased_on = "atlantis"\n', r"lima\.toml:2: based_on must be one of .*rio.*'atlantis'"),
        ("based_on = [1]\n", r"lima\.toml:1: based_on must be one of"),
        ("grime = \n", r"lima\.toml: not valid TOML: .*line 1"),
        ("grime = 0.1\ngrime = 0.2\n", r"lima\.toml: not valid TOML: .*line 2"),
        ("[grime]\nx = 1\n", r"grime must be a number"),
        ("facade_colours = [[0, 0, 256]]\n", r"lima\.toml:1: .*facade_colours must be"),
        ("noise = nan\n", r"lima\.toml:1: .*noise must be"),
        ("#" * 300_000, r"larger than 256 KiB"),
    ],
)
def test_faults_are_one_sentence_with_file_and_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        read_style(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.toml cannot be read"):
        read_style(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(ValueError, match=r"latin\.toml cannot be read"):
        read_style(tmp_path / "latin.toml")
    with pytest.raises(ValueError, match="name"):
        read_style(written(tmp_path, "", "Lima.toml"))


def test_the_documented_files_are_read_as_they_stand(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "simulated-cities.md").read_text(encoding="utf-8")
    found = re.findall(r"```toml\n# (\w+\.toml)\n(.*?)```", text, re.S)
    assert [name for name, _ in found] == ["lima.toml", "tokyo_dashcam.toml"]
    for name, content in found:
        style = read_style(written(tmp_path, content, name))
        (base,) = (STYLES[one] for one in re.findall(r'based_on = "(\w+)"', content))
        stated = set(re.findall(r"^(\w+) = ", content, re.M)) - {"based_on"}
        differing = {key for key, value in vars(style).items() if value != getattr(base, key)}
        assert differing == stated | {"name"}
