"""The entries that the documents show are valid, and mean what is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from adapters.catalog import (
    CatalogError,
    FolderProvider,
    GoogleProvider,
    MapillaryProvider,
    load_catalog,
)

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def catalog_text() -> str:
    page = (ROOT / "docs" / "imagery.md").read_text(encoding="utf-8")
    block, *_ = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    rest = yaml.safe_load((ROOT / "data_catalog.yaml").read_text(encoding="utf-8"))
    rest["cities"] = yaml.safe_load(block)["cities"]
    return yaml.safe_dump(rest, sort_keys=False)


def test_the_documented_cities_are_valid(catalog_text: str, tmp_path: Path) -> None:
    path = tmp_path / "data_catalog.yaml"
    path.write_text(catalog_text, encoding="utf-8")
    cities = load_catalog(path).cities
    kinds = [city.provider.kind for city in cities.values()]
    assert kinds == ["panoramax", "mapillary", "kartaview", "google"]
    paris, taipei, _, tokyo = cities.values()
    assert (paris.places, paris.test_places, paris.test_margin) == (1600, 100, 50.0)
    assert isinstance(taipei.provider, MapillaryProvider)
    assert taipei.provider.token == "${MAPILLARY_TOKEN}"  # noqa: S105 - a reference, no token
    assert isinstance(tokyo.provider, GoogleProvider)
    assert not tokyo.provider.unofficial_history
    assert tokyo.provider.budget.usd == 60


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("kind: panoramax", "kind: panoramax\n      licenses: [x]", "paris.provider", "no such"),
        ("usd: 60", "usd: -1", "tokyo-google.provider.budget.usd", "greater than or equal"),
        ("requests: 20000", "requests: 0", "taipei-mapillary.provider.budget.requests", "greater"),
        (
            "kind: panoramax",
            "kind: panoramax\n      captured_after: 2025-01-01\n      captured_before: 2024-01-01",
            "paris.provider",
            "must be earlier",
        ),
        ("places: 1600", "places: 1600\n    lights: [day, dusk]", "paris.lights.1", "'twilight'"),
        ("places: 1600", "places: 1600\n    lights: [day]", "paris.lights.1", "missing"),
        (
            "usd: 60",
            "usd: 60\n    lights: [day, night]",
            "tokyo-google",
            "tells the month of a picture and not its hour, so not whether it is of the night: "
            "remove lights",
        ),
    ],
)
def test_wrong_settings_of_services_are_reported_with_their_key(
    catalog_text: str, tmp_path: Path, old: str, new: str, key: str, words: str
) -> None:
    assert old in catalog_text
    path = tmp_path / "data_catalog.yaml"
    path.write_text(catalog_text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CatalogError) as caught:
        load_catalog(path)
    assert f"cities.{key}" in str(caught.value)
    assert words in str(caught.value)


def test_a_service_without_an_area_is_reported(catalog_text: str, tmp_path: Path) -> None:
    content = yaml.safe_load(catalog_text)
    del content["cities"]["paris"]["area"]
    path = tmp_path / "data_catalog.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(CatalogError, match="a city of panoramax needs an area"):
        load_catalog(path)


def test_the_documented_mask_is_a_rectangle() -> None:
    page = (ROOT / "docs" / "imagery.md").read_text(encoding="utf-8")
    _, block, *_ = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    entry = FolderProvider.model_validate(yaml.safe_load(block)["provider"])
    assert entry.mask is not None
    assert entry.mask.open(ROOT, "mask").pixels((563, 1126)).sum() == 190 * 62
