"""What a shard holds in memory while it is fetched."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapters.street_view.folder import FolderStreetView
from tasks.harvesting import fetching
from tasks.harvesting.fetching import KeptNowhere, by_place, capture_row, fetch_place


def test_of_a_place_no_more_pictures_are_held_than_others_are_aligned_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "Rome" / "Images" / "Train"
    folder.mkdir(parents=True)
    for time in range(20):
        pixels = np.full((8, 16, 3), time, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"pano_1_{time}_90.png")
    provider = FolderStreetView(tmp_path, "rome", licence="CC0-1.0", attribution="x")
    (place,) = by_place([capture_row(capture) for capture in provider.captures()])
    held: list[weakref.ref[Any]] = []
    most = 0

    def decoded(*args: Any, **more: Any) -> Any:
        nonlocal most
        most = max(most, sum(one() is not None for one in held))
        image = decode_image(*args, **more)
        held.append(weakref.ref(image))
        return image

    decode_image = fetching.decode_image
    monkeypatch.setattr(fetching, "decode_image", decoded)
    (tmp_path / "images").mkdir()
    rows = fetch_place(
        provider, place, tmp_path, "x", None, KeptNowhere(), lambda: None, lambda _: None
    )
    assert [row["status"] for row in rows] == ["ok"] * 20
    assert most <= 1
