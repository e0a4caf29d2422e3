from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab

from spinefuse_ext.labels import STRUCTURES, structure_colour
from spinefuse_ext.report.palette import BACKGROUND, ERROR_COLOURS

#: What is left of linear RGB without one of the three cones (Machado et al., IEEE TVCG 2009, severity 1).
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}


def seen(colour: str, blindness: str) -> NDArray[np.float64]:
    """A colour as CIELAB, as an eye with a colour blindness has it."""
    value = np.asarray(to_rgb(colour))
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(BLINDNESS[blindness]) @ linear, 0, 1)
    value = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(rgb2lab(value[None, None])[0, 0], dtype=np.float64)


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_structures_are_told_apart_by_their_colours(blindness: str) -> None:
    colours = [BACKGROUND, *(structure_colour(number) for number in STRUCTURES if number)]
    for one, other in combinations(colours, 2):
        assert deltaE_ciede2000(seen(one, blindness), seen(other, blindness)) > 15, (one, other)  # 1 is just seen


def test_no_structure_has_the_colour_of_an_error() -> None:
    assert not {structure_colour(number) for number in STRUCTURES if number} & set(ERROR_COLOURS)
