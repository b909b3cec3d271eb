"""What the paper reports (Chen et al., ICCV 2017, Tables 1 to 3), in percent."""

from __future__ import annotations

from typing import Final

from crosscity.labels import CROSS_CITY_CLASSES

SOURCE_MIOU: Final = 64.6
"""Table 1: the pre-trained network on Cityscapes itself."""

_TABLE_2: Final = {
    "rome": {
        "pretrained": "77.7 21.9 83.5 0.1 10.7 78.9 88.1 21.6 10.0 67.2 30.4 6.1 0.6 38.2",
        "ga": "79.2 25.7 84.0 0.1 11.8 81.0 83.3 29.3 8.9 71.8 35.9 23.7 0.9 41.2",
        "ga_ca": "78.2 26.0 84.9 0.0 21.5 81.7 83.0 31.0 11.2 72.0 33.0 24.1 1.2 42.1",
        "full": "79.5 29.3 84.5 0.0 22.2 80.6 82.8 29.5 13.0 71.7 37.5 25.9 1.0 42.9",
        "fine_tuned": "84.9 33.0 87.3 0.0 10.9 84.6 91.6 30.5 19.1 77.7 10.6 38.3 0.5 43.8",
    },
    "rio": {
        "pretrained": "69.0 31.8 77.0 4.7 3.7 71.8 80.8 38.2 8.0 61.2 38.9 11.5 3.4 38.5",
        "ga": "72.8 42.2 79.0 4.4 6.1 76.2 75.3 38.9 7.1 66.5 41.2 16.9 5.5 40.9",
        "ga_ca": "73.2 42.9 78.4 3.3 7.9 76.2 72.4 39.1 9.1 68.3 43.8 16.8 6.5 41.4",
        "full": "74.2 43.9 79.0 2.4 7.5 77.8 69.5 39.3 10.3 67.9 41.2 27.9 10.9 42.5",
        "fine_tuned": "80.2 53.8 84.5 0.0 16.4 81.4 85.4 42.3 17.4 74.0 49.4 37.3 16.7 49.1",
    },
    "tokyo": {
        "pretrained": "81.2 26.7 71.7 8.7 5.6 73.2 75.7 39.3 14.9 57.6 19.0 1.6 33.8 39.2",
        "ga": "83.5 36.2 72.3 10.8 7.1 77.0 66.2 44.0 18.6 61.5 21.9 4.9 37.5 41.7",
        "ga_ca": "83.6 36.1 71.9 11.3 13.0 77.6 64.4 41.2 19.3 63.7 20.2 13.9 38.8 42.6",
        "full": "83.4 35.4 72.8 12.3 12.7 77.4 64.3 42.7 21.5 64.1 20.8 8.9 40.3 42.8",
        "fine_tuned": "85.2 38.7 79.8 13.9 19.7 81.7 86.9 45.3 35.9 66.9 29.0 2.0 42.4 48.3",
    },
    "taipei": {
        "pretrained": "77.2 20.9 76.0 5.9 4.3 60.3 81.4 10.9 11.0 54.9 32.6 15.3 5.2 35.1",
        "ga": "79.0 27.7 76.6 13.1 5.0 67.7 74.8 17.5 6.1 60.4 28.9 25.5 7.1 37.6",
        "ga_ca": "79.2 29.0 80.3 14.1 8.2 68.8 81.1 16.3 10.5 64.7 33.8 16.2 6.5 38.8",
        "full": "78.6 28.6 80.0 13.1 7.6 68.2 82.1 16.8 9.4 60.4 34.0 26.5 9.9 39.6",
        "fine_tuned": "84.0 36.6 87.7 9.9 13.7 76.2 91.9 23.4 24.1 65.1 39.4 47.8 3.2 46.4",
    },
}
_TABLE_3: Final = {
    "pretrained": "24.3 19.5 48.3 1.5 5.4 77.4 76.1 42.8 9.7 62.5 9.8 0.5 20.9 30.7",
    "ga": "56.5 24.0 78.9 1.1 5.9 77.8 77.3 35.8 5.4 61.7 5.2 0.9 8.4 33.8",
    "ga_ca": "62.7 25.6 78.3 1.2 5.4 81.3 81.0 37.4 6.4 63.5 16.1 1.2 4.6 35.7",
}
MIOU: Final = "mIoU"
"""The column behind the classes."""


def _row(text: str) -> dict[str, float]:
    names = [*(road_class.name for road_class in CROSS_CITY_CLASSES), MIOU]
    return dict(zip(names, map(float, text.split()), strict=True))


TABLE_2: Final[dict[str, dict[str, dict[str, float]]]] = {
    city: {arm: _row(text) for arm, text in arms.items()} for city, arms in _TABLE_2.items()
}
"""IoU by class name, and "mIoU", of every arm in every city."""

TABLE_3: Final[dict[str, dict[str, float]]] = {arm: _row(text) for arm, text in _TABLE_3.items()}
"""The same of SYNTHIA to Cityscapes."""
