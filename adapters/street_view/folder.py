"""Street views from a folder in the public layout of the cross-city data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from adapters.file_names import as_text
from adapters.images import MAX_BYTES, STORED_QUALITY, ImageError, decode_image, encode_jpeg
from adapters.street_view.base import (
    Capture,
    Rejected,
    Split,
    StreetViewError,
    UnreadableImageError,
)
from adapters.street_view.cross_city_layout import (
    city_folder,
    files_digest,
    listed,
    parse_image_name,
)
from crosscity.areas import Bounds
from crosscity.panorama import Perspective, View, render_view

_SIDES: Final[tuple[tuple[str, Split], ...]] = (("Test", "test"), ("Train", "train"))
"""Test first: an image that lies in both folders must stay out of training."""


class FolderStreetView:
    """The images of one city on disk, ``<City>/Images/{Train,Test}/pano_….{jpg,png}``.

    The layout tells place, time index, heading and split; it knows neither positions nor dates,
    which are ``None``. The folder is listed once, when the provider is made.
    """

    name = "folder"

    def __init__(
        self,
        root: Path | str,
        city: str,
        *,
        licence: str,
        attribution: str,
        fov: float = 90.0,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Lists the city's images.

        Args:
            root: The folder that holds the cities.
            city: Name of the city; case, accents and known spellings (Roma) do not matter.
            licence: Licence of the images, which the files do not say.
            attribution: Whom to credit.
            fov: Horizontal field of view in degrees, which the layout does not record; 90 is what
                Street View renders unless it is asked for something else.
            max_bytes: Largest file that is read.

        Raises:
            StreetViewError: The folder or the city is not there, or has no image.
        """
        if not licence.strip() or not attribution.strip():
            raise StreetViewError(
                "A folder of images needs a licence and an attribution: state both."
            )
        self._terms = (licence, attribution)
        self._fov = fov
        self._max_bytes = max_bytes
        self._files: dict[str, Path] = {}
        self._captures: list[Capture] = []
        self._rejected: list[Rejected] = []
        folder = city_folder(Path(root), city, StreetViewError)
        for part, split in _SIDES:
            for name, path in listed(folder / "Images" / part).items():
                self._add_image(f"{part}/{name}", path, split)
        if not self._captures:
            raise StreetViewError(
                f"{folder / 'Images'} has no image named pano_<place>_<time>_<heading>.jpg or .png "
                "in Train or Test."
            )
        self._captures.sort(key=lambda c: (c.place_id, c.image_id))

    def captures(self) -> Sequence[Capture]:
        """One capture for each image, by place and image id."""
        return tuple(self._captures)

    def rejected(self) -> Sequence[Rejected]:
        """Files whose names the layout does not know, and second copies of an image."""
        return tuple(self._rejected)

    def near(self, lat: float, lon: float, metres: float) -> Sequence[Capture]:  # noqa: ARG002
        """Nothing: the layout holds no positions."""
        return ()

    def within(self, bounds: Bounds) -> Sequence[Capture]:  # noqa: ARG002
        """Nothing: the layout holds no positions."""
        return ()

    def fetch(self, capture: Capture, view: View | None = None) -> bytes:
        """The file of a capture as it is, or a view inside it.

        Raises:
            StreetViewError: It is not of this folder, unreadable, over the size limit, or does
                not show all of the view.
        """
        data = self._read(capture)
        if view is None:
            return data
        try:
            image = decode_image(data, capture.image_id, max_bytes=self._max_bytes)
        except ImageError as error:
            raise StreetViewError(str(error)) from error
        try:
            photograph = Perspective(capture.fov, capture.heading, capture.pitch)
            picture, reached = render_view(image, photograph, view)
        except ValueError as error:
            raise StreetViewError(f"{capture.image_id} cannot be rendered: {error}") from error
        if reached < 1.0:
            raise StreetViewError(
                f"{capture.image_id} shows {reached:.0%} of the view at heading {view.heading:g} "
                f"with {view.fov:g} degrees: ask for one inside its own."
            )
        return encode_jpeg(picture, STORED_QUALITY)

    def _read(self, capture: Capture) -> bytes:
        path = self._files.get(capture.image_id)
        if path is None:
            raise StreetViewError(f"The folder has no image {capture.image_id!r}.")
        try:
            with path.open("rb") as file:
                data = file.read(self._max_bytes + 1)
        except OSError as error:
            raise UnreadableImageError(path, error) from error
        if len(data) > self._max_bytes:
            raise StreetViewError(f"{path} has more than the {self._max_bytes} bytes allowed.")
        return data

    def revision(self) -> str:
        """A digest of all the files; every file is read once."""
        return files_digest(self._files)

    def _add_image(self, label: str, path: Path, split: Split) -> None:
        known = parse_image_name(path.name)
        if known is None or not path.is_file():
            reason = "not a file named pano_<place>_<time>_<heading>.jpg or .png"
            self._rejected.append(Rejected(as_text(label), reason))
        elif known.image_id in self._files:
            kept = self._files[known.image_id]
            reason = f"another copy of {kept.parent.name}/{kept.name}"
            self._rejected.append(Rejected(label, reason))
        else:
            licence, attribution = self._terms
            self._files[known.image_id] = path
            self._captures.append(
                Capture(
                    image_id=known.image_id,
                    provider=self.name,
                    place_id=known.place_id,
                    lat=None,
                    lon=None,
                    heading=float(known.heading),
                    pitch=0.0,
                    fov=self._fov,
                    captured_at=None,
                    licence=licence,
                    attribution=attribution,
                    split=split,
                )
            )
