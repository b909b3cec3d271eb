"""Overhead wires: far thinner than a sample, so they are blended over the picture."""

from __future__ import annotations

import math

import numpy as np

from simcity.arrays import Floats, Singles, kernel
from simcity.light import HAZE, HAZE_COLOUR, SKY_LIGHT


@kernel
def blend_wires(
    wires: Floats,
    colours: Floats,
    closeness: Singles,
    view: Floats,
    light: Floats,
    radiance: Singles,
) -> None:
    """Blends thin lines over the picture; they have no label, as in the Cityscapes annotation.

    Args:
        wires: (n, 7) ends and radius, metres.
        colours: (n, 3) linear colours.
        closeness: z-buffer of the scene.
        view: Camera.
        light: Light vector.
        radiance: Picture, changed in place.
    """
    height, width = closeness.shape
    focal = view[12]
    ends = np.empty((2, 3))
    for i in range(wires.shape[0]):
        ahead = True
        for e in range(2):
            ox = wires[i, 3 * e] - view[0]
            oy = wires[i, 3 * e + 1] - view[1]
            oz = wires[i, 3 * e + 2] - view[2]
            depth = ox * view[9] + oy * view[10] + oz * view[11]
            if depth < 0.5:
                ahead = False
                break
            ends[e, 0] = view[13] + focal * (ox * view[3] + oy * view[4] + oz * view[5]) / depth
            ends[e, 1] = view[14] - focal * (ox * view[6] + oy * view[7] + oz * view[8]) / depth
            ends[e, 2] = 1.0 / depth
        if not ahead:
            continue
        steep = abs(ends[1, 1] - ends[0, 1]) > abs(ends[1, 0] - ends[0, 0])
        m, o = (1, 0) if steep else (0, 1)
        if ends[0, m] > ends[1, m]:
            first, second = 1, 0
        else:
            first, second = 0, 1
        span = ends[second, m] - ends[first, m]
        limit = height if steep else width
        across = width if steep else height
        start, stop = max(0, math.ceil(ends[first, m])), min(limit - 1, math.floor(ends[second, m]))
        for at in range(start, stop + 1):
            t = min(1.0, max(0.0, (at - ends[first, m]) / max(span, 1e-9)))
            side = ends[first, o] + t * (ends[second, o] - ends[first, o])
            close = ends[first, 2] + t * (ends[second, 2] - ends[first, 2])
            wide = min(1.0, 2.0 * wires[i, 6] * focal * close)
            base = math.floor(side)
            for k in range(2):
                j = int(base) + k
                if j < 0 or j >= across:
                    continue
                cover = wide * (1.0 - abs(side - j))
                py, px = (at, j) if steep else (j, at)
                if closeness[py, px] > close:
                    continue
                haze = 1.0 - math.exp(-light[HAZE] / close)
                for ch in range(3):
                    c = colours[i, ch] * light[SKY_LIGHT + ch]
                    c += (light[HAZE_COLOUR + ch] - c) * haze
                    radiance[py, px, ch] += cover * (c - radiance[py, px, ch])
