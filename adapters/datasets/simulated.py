"""Labelled sets of the embedded procedural cities (`simcity`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.datasets.base import DatasetError, LabelledSample
from adapters.images import decode_image
from adapters.street_view.base import StreetViewError
from adapters.street_view.simulated import MAX_PLACES, SimulatedCity, find_style
from crosscity.lights import Lights
from simcity import CityStyle

_FIRST_PLACE: Final = {"train": MAX_PLACES, "val": 2 * MAX_PLACES, "test": 3 * MAX_PLACES}
"""Ranges that meet neither each other nor the street views, so a split can grow by itself."""
_TIME: Final = 0


class SimulatedDataset:
    """Exactly labelled views of a simulated city, rendered when they are read.

    A split is either a number of places of its own (a source city), or a list of place ids of
    the street views (the test places of a target city): then a sample is the view at time 0,
    pixel for pixel what `SimulatedStreetView.fetch` gives for it, and has the same id.
    """

    name = "simulated"

    def __init__(
        self,
        style: CityStyle | str,
        *,
        seed: int,
        image_size: tuple[int, int],
        splits: Mapping[str, int | Sequence[str]],
        lights: Lights | None = None,
    ) -> None:
        """Lists the samples; nothing is rendered yet.

        Args:
            style: A style, or the name of one in `simcity.STYLES`.
            seed: Fixes the city; that of the street views for a target city.
            image_size: (height, width) of the images in pixels.
            splits: For "train", "val" and "test": how many places, or which place ids.
            lights: Those of the street views for a target city, of which the first is scored.

        Raises:
            DatasetError: An argument is out of range, a place id is of another city, or a place
                is in two splits.
        """
        try:
            self.city = SimulatedCity(find_style(style), seed, image_size, lights)
            places = {split: self._places(split, wanted) for split, wanted in splits.items()}
        except (StreetViewError, ValueError) as error:
            raise DatasetError(str(error)) from error
        self._samples: dict[str, tuple[str, ...]] = {}
        self._place: dict[str, int] = {}
        for split, numbers in places.items():
            ids = tuple(self.city.image_id(place, _TIME) for place in numbers)
            twice = len(set(ids)) < len(ids) or not self._place.keys().isdisjoint(ids)
            if twice:
                raise DatasetError(
                    f"A place of split {split!r} is listed twice or is in another split as well."
                )
            self._samples[split] = ids
            self._place.update(zip(ids, numbers, strict=True))

    def samples(self, split: str) -> Sequence[str]:
        """Ids of the samples of a split, in the order of the places.

        Raises:
            DatasetError: There is no such split.
        """
        if split not in self._samples:
            known = ", ".join(self._samples) or "none"
            raise DatasetError(f"The simulated set has no split {split!r}; splits: {known}.")
        return self._samples[split]

    def unlabelled(self, split: str) -> Sequence[str]:
        """The samples of a split: all of them have images.

        Raises:
            DatasetError: There is no such split.
        """
        return self.samples(split)

    def read_image(self, sample: str) -> npt.NDArray[np.uint8]:
        """Renders a sample's image.

        Raises:
            DatasetError: There is no such sample.
        """
        return self.read(sample).image

    def read(self, sample: str) -> LabelledSample:
        """Renders a sample; the image has gone through the JPEG that street views go through.

        Raises:
            DatasetError: There is no such sample.
        """
        if sample not in self._place:
            raise DatasetError(f"The simulated set has no sample {sample!r}.")
        rendering = self.city.render(self._place[sample], _TIME)
        image = decode_image(self.city.encode(rendering), sample)
        return LabelledSample(image=image, train_ids=rendering.train_ids)

    def revision(self, samples: Sequence[str] | None = None) -> str:  # noqa: ARG002 - alike for all
        """Changes with the renderer, the style, the seed and the image size."""
        return self.city.revision()

    def _places(self, split: str, wanted: int | Sequence[str]) -> list[int]:
        if split not in _FIRST_PLACE:
            raise DatasetError(
                f"Splits of a simulated set are {', '.join(_FIRST_PLACE)}, not {split!r}."
            )
        if not isinstance(wanted, int):
            return [self.city.place_number(place_id) for place_id in wanted]
        if not 0 <= wanted <= MAX_PLACES:
            raise DatasetError(f"Split {split!r} has 0 to {MAX_PLACES} places, not {wanted}.")
        return list(range(_FIRST_PLACE[split], _FIRST_PLACE[split] + wanted))
