"""Pictures for people: matches, superpixels, static priors, and segmentations before and after.

Arrays in, uint8 RGB arrays out. Every figure has the width that is asked for, whatever the size of
the pictures: small ones are enlarged, label maps and masks without blending.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from crosscity.checks import check_image, check_map, whole_number
from crosscity.labels import CLASSES, VOID, colourise

if TYPE_CHECKING:
    from crosscity.matching import Matches

Picture = npt.NDArray[np.uint8]

FIGURE_WIDTH: Final = 1200
MAX_FIGURE_WIDTH: Final = 8192
MAX_FIGURE_HEIGHT: Final = 32_767
DRAWING_VERSION: Final = "2"
"""Raised by hand whenever figures of the same pictures would look different."""
PAPER: Final = (29, 36, 44)
"""Dark, as pages that show figures are light or dark, and a light frame glares on a dark page."""
LETTERS: Final = (230, 235, 240)
INK: Final = (40, 40, 40)
SWATCH_EDGE: Final = (120, 128, 136)
BOUNDARY: Final = (255, 225, 40)
STATIC: Final = (255, 0, 0)
TINT: Final = 0.45
"""Share of red in the static area, as in the figures of the method's authors."""

GAP: Final = 8
CAPTION_HEIGHT: Final = 28
LEGEND_ROW: Final = 26
LINE_CELLS: Final = (3, 6)
"""Rows and columns of the grid of which every cell gives the lines one match."""

TEXT_OVERSAMPLING: Final = 4
POINT_OVERSAMPLING: Final = 3


def draw_matches(
    image_a: Picture, image_b: Picture, matches: Matches, *, width: int = FIGURE_WIDTH
) -> Picture:
    """Draws two pictures side by side with their matches.

    Matched points have the colour of their place in picture a, so a good matching shows the same
    rainbow twice. Lines, which would cover everything, are drawn for a few only: the best-scored
    match in each cell of a coarse grid over picture a.

    Args:
        image_a: (H, W, 3) or (H, W) uint8.
        image_b: Likewise; may differ in size.
        matches: Matches in pixels of the two pictures.
        width: Width of the figure in pixels.

    Returns:
        (h, width, 3) uint8 RGB.

    Raises:
        ValueError: If a picture is not of these shapes and type, or the width is below 64.
    """
    left_width, right_width = _column_widths(width, 2)
    left = _scaled(_rgb(image_a), left_width)
    right = _scaled(_rgb(image_b), right_width)
    start = left_width + GAP
    canvas = _blank(max(left.shape[0], right.shape[0]), width)
    canvas[: left.shape[0], :left_width] = left
    canvas[: right.shape[0], start:] = right
    if len(matches) == 0:
        return canvas

    at_a = _scaled_points(matches.x_a, matches.y_a, image_a, left)
    at_b = _scaled_points(matches.x_b, matches.y_b, image_b, right) + np.array([start, 0])
    colours = _place_colours(at_a / (left_width, left.shape[0]))
    _draw_points(canvas, np.concatenate([at_a, at_b]), np.concatenate([colours, colours]), left)
    _draw_lines(canvas, at_a, at_b, colours, _line_choice(at_a, matches.score, left.shape))
    return canvas


def draw_superpixels(
    image: Picture, labels: npt.NDArray[np.integer[Any]], *, width: int = FIGURE_WIDTH
) -> Picture:
    """Draws the boundaries of superpixels over their picture.

    Args:
        image: (H, W, 3) or (H, W) uint8.
        labels: (H, W) integer labels.
        width: Width of the figure in pixels.

    Returns:
        (h, width, 3) uint8 RGB.

    Raises:
        ValueError: If the picture is not of these shapes and type, the labels are not integers of
            the picture's size, or the width is below 64.
    """
    _check_map(image, labels, "superpixels", "integers")
    figure = _scaled(_rgb(image), width)
    large = _scaled_map(labels.astype(np.int32), figure)
    edges = np.zeros(large.shape, dtype=np.bool_)
    edges[:, 1:] |= large[:, 1:] != large[:, :-1]
    edges[1:] |= large[1:] != large[:-1]
    # A dark rim keeps the light line visible on a white sky.
    rim = cv2.dilate(edges.astype(np.uint8), np.ones((3, 3), np.uint8)).astype("bool")
    figure[rim] = (figure[rim] * 0.65).astype(np.uint8)
    figure[edges] = BOUNDARY
    return figure


def draw_prior(
    image: Picture, mask: npt.NDArray[np.bool_], *, width: int = FIGURE_WIDTH
) -> Picture:
    """Tints the static area of a picture red (Chen et al. 2017, Fig. 4).

    Args:
        image: (H, W, 3) or (H, W) uint8.
        mask: (H, W) bool, True where static.
        width: Width of the figure in pixels.

    Returns:
        (h, width, 3) uint8 RGB.

    Raises:
        ValueError: If the picture is not of these shapes and type, the mask is not bool of the
            picture's size, or the width is below 64.
    """
    _check_map(image, mask, "mask", "bool")
    figure = _scaled(_rgb(image), width)
    static = _scaled_map(mask.astype(np.int32), figure) > 0
    tinted = figure[static] * (1 - TINT) + np.array(STATIC) * TINT
    figure[static] = np.rint(tinted).astype(np.uint8)
    return figure


def prior_figure(
    image_a: Picture,
    image_b: Picture,
    matches: Matches,
    superpixels_a: npt.NDArray[np.integer[Any]],
    superpixels_b: npt.NDArray[np.integer[Any]],
    mask_a: npt.NDArray[np.bool_],
    mask_b: npt.NDArray[np.bool_],
    *,
    width: int = FIGURE_WIDTH,
) -> Picture:
    """Shows how a static prior comes about: pair, matches, superpixels, prior, from the top.

    The story of Chen et al. (2017), Fig. 4, with one column for each time.

    Args:
        image_a: (H, W, 3) or (H, W) uint8.
        image_b: Likewise; may differ in size.
        matches: Matches in pixels of the two pictures.
        superpixels_a: Integer labels of picture a's size.
        superpixels_b: Integer labels of picture b's size.
        mask_a: Bool of picture a's size, True where static.
        mask_b: Bool of picture b's size.
        width: Width of the figure in pixels.

    Returns:
        (h, width, 3) uint8 RGB.

    Raises:
        ValueError: As the drawings that it is made of.
    """
    left, right = _column_widths(width, 2)
    rows = [
        _caption_row(["One time", "Another time"], [left, right]),
        _side_by_side([_scaled(_rgb(image_a), left), _scaled(_rgb(image_b), right)]),
        _caption_row([f"{len(matches)} matches, coloured by place"], [width]),
        draw_matches(image_a, image_b, matches, width=width),
        _caption_row(
            [f"{np.unique(labels).size} superpixels" for labels in (superpixels_a, superpixels_b)],
            [left, right],
        ),
        _side_by_side(
            [
                draw_superpixels(image_a, superpixels_a, width=left),
                draw_superpixels(image_b, superpixels_b, width=right),
            ]
        ),
        _caption_row(
            [f"Static prior (red): {mask.mean():.0%} of the picture" for mask in (mask_a, mask_b)],
            [left, right],
        ),
        _side_by_side(
            [draw_prior(image_a, mask_a, width=left), draw_prior(image_b, mask_b, width=right)]
        ),
    ]
    return np.concatenate(rows)


def before_after_panel(
    image: Picture,
    labels: npt.NDArray[np.uint8] | None,
    before: npt.NDArray[np.uint8],
    after: npt.NDArray[np.uint8],
    *,
    width: int = FIGURE_WIDTH,
    captions: tuple[str, str] = ("Before adaptation", "After adaptation"),
) -> Picture:
    """Shows a picture with its labels and its segmentation before and after adaptation.

    Below stands the legend of the classes that occur.

    Args:
        image: (H, W, 3) or (H, W) uint8.
        labels: (H, W) uint8 trainIds with 255 for void, or None where there are none.
        before: (H, W) uint8 trainIds.
        after: Likewise.
        width: Width of the figure in pixels.
        captions: What the two segmentations are called.

    Returns:
        (h, width, 3) uint8 RGB; void is black.

    Raises:
        ValueError: If the picture is not of these shapes and type, a map of trainIds is not uint8
            of the picture's size, or the width is below 64.
    """
    maps = [("Labels", labels), (captions[0], before), (captions[1], after)]
    given = [(caption, ids) for caption, ids in maps if ids is not None]
    for caption, train_ids in given:
        _check_map(image, train_ids, caption.lower(), "uint8")
    columns = 2 if labels is not None else 3
    widths = _column_widths(width, columns)
    shown = ["Picture", *(caption for caption, _ in given)]
    pictures = [_rgb(image), *(colourise(train_ids) for _, train_ids in given)]
    rows = []
    for first in range(0, len(pictures), columns):
        chosen = slice(first, first + columns)
        rows.append(_caption_row(shown[chosen], widths))
        panels = [
            _scaled(picture, panel_width, blend=first + at == 0)
            for at, (picture, panel_width) in enumerate(zip(pictures[chosen], widths, strict=True))
        ]
        rows.append(_side_by_side(panels))
    present = np.unique(np.concatenate([np.unique(train_ids) for _, train_ids in given]))
    rows.append(class_legend([int(train_id) for train_id in present], width=width))
    return np.concatenate(rows)


def class_legend(train_ids: Sequence[int] | None = None, *, width: int = FIGURE_WIDTH) -> Picture:
    """Draws names and colours of classes, in rows as wide as the figure.

    Args:
        train_ids: The classes to name, 255 for void; all nineteen if None. Others are left out.
        width: Width of the figure in pixels.

    Returns:
        (h, width, 3) uint8 RGB.

    Raises:
        ValueError: If the width is below 64.
    """
    width = _checked_width(width)
    wanted = range(len(CLASSES)) if train_ids is None else train_ids
    entries = [(CLASSES[i].name, CLASSES[i].colour) for i in wanted if 0 <= i < len(CLASSES)]
    if VOID in wanted:
        entries.append(("void", (0, 0, 0)))
    swatch = 16
    placed = []
    x, row = GAP, 0
    for name, colour in entries:
        needed = swatch + 6 + _text_width(name) + 16
        if x > GAP and x + needed > width:
            x, row = GAP, row + 1
        placed.append((x, row, name, colour))
        x += needed
    canvas = _blank((row + 1) * LEGEND_ROW + GAP, width)
    for x, row, name, colour in placed:
        y = GAP + row * LEGEND_ROW
        cv2.rectangle(canvas, (x, y), (x + swatch, y + swatch), colour, cv2.FILLED)
        cv2.rectangle(canvas, (x - 1, y - 1), (x + swatch + 1, y + swatch + 1), SWATCH_EDGE, 1)
        _write(canvas, name, x + swatch + 6, y + swatch // 2)
    return canvas


def _checked_width(width: int) -> int:
    """The width as Python's integer: those of numpy may be eight bits wide."""
    return whole_number(width, "the width of a figure in pixels", 64, MAX_FIGURE_WIDTH)


def _check_map(image: npt.NDArray[Any], values: npt.NDArray[Any], name: str, kind: str) -> None:
    check_image(image, "the picture")
    if kind == "integers":
        check_map(values, name, like=image.shape[:2])
    else:
        check_map(values, name, types=(kind,), like=image.shape[:2])


def _rgb(image: Picture) -> Picture:
    check_image(image, "the picture")
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image


def _blank(height: int, width: int) -> Picture:
    return np.full((height, width, 3), PAPER, dtype=np.uint8)


def _column_widths(width: int, columns: int) -> list[int]:
    width = _checked_width(width)
    room = width - GAP * (columns - 1)
    return [room * (at + 1) // columns - room * at // columns for at in range(columns)]


def _scaled(picture: Picture, width: int, *, blend: bool = True) -> Picture:
    """A copy of the picture with that width; `blend` is for photographs, not for label maps."""
    width = _checked_width(width)
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    if height > MAX_FIGURE_HEIGHT:
        raise ValueError(
            f"a picture of {picture.shape[1]}×{picture.shape[0]} pixels is too tall for a figure "
            f"{width} pixels wide"
        )
    shrinks = width < picture.shape[1]
    how = (cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC) if blend else cv2.INTER_NEAREST_EXACT
    picture = np.ascontiguousarray(picture)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), dtype=np.uint8)


def _scaled_map(values: npt.NDArray[np.int32], figure: Picture) -> npt.NDArray[np.int32]:
    # OpenCV's nearest neighbour takes no 32-bit integers; indices do the same.
    rows = (np.arange(figure.shape[0]) * 2 + 1) * values.shape[0] // (2 * figure.shape[0])
    columns = (np.arange(figure.shape[1]) * 2 + 1) * values.shape[1] // (2 * figure.shape[1])
    scaled: npt.NDArray[np.int32] = values[np.ix_(rows, columns)]
    return scaled


def _scaled_points(
    x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], image: Picture, panel: Picture
) -> npt.NDArray[np.float64]:
    # Pixel centres are at whole numbers in both, so the borders are half a pixel off.
    scale = np.array([panel.shape[1] / image.shape[1], panel.shape[0] / image.shape[0]])
    points: npt.NDArray[np.float64] = (np.stack([x, y], axis=1) + 0.5) * scale - 0.5
    return points


def _place_colours(places: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """RGB by place in the unit square: hue runs from left to right, brightness downwards."""
    x, y = np.clip(places, 0, 1).T
    hue = x * 150  # OpenCV's hue has 180 steps; the last ones would look like the first.
    saturation = 255 - 90 * np.clip(2 * y - 1, 0, 1)
    value = 170 + 85 * np.clip(2 * y, 0, 1)
    hsv = np.stack([hue, saturation, value], axis=1).astype(np.uint8)[None]
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0], dtype=np.uint8)


def _line_choice(
    at_a: npt.NDArray[np.float64], score: npt.NDArray[np.float32], shape: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    rows, columns = LINE_CELLS
    column = np.clip(at_a[:, 0] * columns // shape[1], 0, columns - 1)
    row = np.clip(at_a[:, 1] * rows // shape[0], 0, rows - 1)
    cell = (row * columns + column).astype(np.int64)
    order = np.lexsort((-score, cell))
    firsts = np.unique(cell[order], return_index=True)[1]
    return np.asarray(order[firsts], dtype=np.int64)


def _draw_lines(
    canvas: Picture,
    at_a: npt.NDArray[np.float64],
    at_b: npt.NDArray[np.float64],
    colours: npt.NDArray[np.uint8],
    chosen: npt.NDArray[np.int64],
) -> None:
    lines = canvas.copy()
    starts = np.rint(at_a[chosen]).astype(np.int64).tolist()
    ends = np.rint(at_b[chosen]).astype(np.int64).tolist()
    for start, end, colour in zip(starts, ends, colours[chosen].tolist(), strict=True):
        cv2.line(lines, start, end, colour, 1, cv2.LINE_AA)
    canvas[:] = cv2.addWeighted(lines, 0.8, canvas, 0.2, 0)


def _draw_points(
    canvas: Picture,
    points: npt.NDArray[np.float64],
    colours: npt.NDArray[np.uint8],
    panel: Picture,
) -> None:
    # OpenCV draws small discs as squares and diamonds; drawn large and shrunk they are round.
    fine = POINT_OVERSAMPLING
    size = (canvas.shape[1], canvas.shape[0])
    large = cv2.resize(canvas, (size[0] * fine, size[1] * fine), interpolation=cv2.INTER_NEAREST)
    spacing = (panel.shape[0] * panel.shape[1] / (len(points) / 2)) ** 0.5
    radius = round(min(max(0.24 * spacing, 1.0), 4.0) * fine)
    centres = np.rint((points + 0.5) * fine - 0.5).astype(np.int64).tolist()
    for centre in centres:
        cv2.circle(large, centre, radius + 2, INK, cv2.FILLED)
    for centre, colour in zip(centres, colours.tolist(), strict=True):
        cv2.circle(large, centre, radius, colour, cv2.FILLED)
    canvas[:] = cv2.resize(large, size, interpolation=cv2.INTER_AREA)


def _side_by_side(panels: Sequence[Picture]) -> Picture:
    height = max(panel.shape[0] for panel in panels)
    columns = []
    for at, panel in enumerate(panels):
        if at:
            columns.append(_blank(height, GAP))
        columns.append(np.concatenate([panel, _blank(height - panel.shape[0], panel.shape[1])]))
    return np.concatenate(columns, axis=1)


def _caption_row(captions: Sequence[str], widths: Sequence[int]) -> Picture:
    row = _blank(CAPTION_HEIGHT, sum(widths) + GAP * (len(widths) - 1))
    x = 0
    for caption, width in zip(captions, widths, strict=True):
        _write(row[:, : x + width], caption, x + 2, CAPTION_HEIGHT // 2)
        x += width + GAP
    return row


def _text_width(text: str) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 0.5, 1)[0][0])


def _write(canvas: Picture, text: str, x: int, middle: int) -> None:
    """Writes one line from x, centred on the row `middle`; what does not fit is cut off."""
    # OpenCV's stroke fonts are rough at this size; drawn large and shrunk they are smooth.
    fine = TEXT_OVERSAMPLING
    width, height = _text_width(text) + 4, 20
    large = np.zeros((height * fine, width * fine), np.uint8)
    cv2.putText(
        large,
        text,
        (fine, 15 * fine),
        cv2.FONT_HERSHEY_DUPLEX,
        0.5 * fine,
        255,
        fine,
        cv2.LINE_AA,
    )
    cover = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)[:, :, None] / 255.0
    top = middle - height // 2
    place = canvas[top : top + height, x : x + width]
    cover = cover[: place.shape[0], : place.shape[1]]
    place[:] = np.rint(place * (1 - cover) + np.array(LETTERS) * cover).astype(np.uint8)
