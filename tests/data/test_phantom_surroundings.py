from __future__ import annotations

import numpy as np
import pytest

from spinefuse_ext.data.phantom.anatomy import Anatomy, draw_anatomy, paint, straightened
from spinefuse_ext.data.phantom.canvas import Canvas, Grid
from spinefuse_ext.data.phantom.posture import Posture, stand
from spinefuse_ext.data.phantom.soft_tissue import great_vessels
from spinefuse_ext.data.phantom.spine import draw_spine
from spinefuse_ext.data.phantom.surroundings import paint_surroundings

SPACING_MM = (16.0, 4.0, 4.0)


def trunk(seed: int, bottom_mm: float = -190.0) -> tuple[Canvas, Anatomy, Posture]:
    """A coarse trunk of 256 x 240 x 320 mm that holds the spine alone."""
    traits, detail = np.random.default_rng(seed).spawn(2)
    spine = draw_spine(traits)
    anatomy, posture = draw_anatomy(spine, detail), stand(spine)
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = (-120.0, -90.0, bottom_mm)
    return paint(anatomy, posture, Grid(affine, (16, 60, 80)), 4.0), anatomy, posture


@pytest.mark.parametrize("seed", range(6))
def test_a_trunk_has_bone_beside_the_spine_air_around_it_and_the_same_labels(seed: int) -> None:
    canvas, anatomy, posture = trunk(seed)
    label, hu = canvas.label.copy(), canvas.hu.copy()
    paint_surroundings(canvas, anatomy, posture, np.random.default_rng(seed))
    assert np.isfinite(canvas.hu).all()
    assert np.isfinite(canvas.t2).all()
    np.testing.assert_array_equal(canvas.label, label)
    np.testing.assert_array_equal(canvas.hu[label == 1], hu[label == 1])
    elsewhere = label == 0
    assert (canvas.hu[elsewhere] > 300).sum() > (hu[elsewhere] > 300).sum() + 100
    assert (canvas.hu < -900).mean() > (hu < -900).mean() + 0.01


def test_lungs_lie_beside_the_thoracic_spine_alone() -> None:
    canvas, anatomy, posture = trunk(0, bottom_mm=-80.0)
    paint_surroundings(canvas, anatomy, posture, np.random.default_rng(0))
    z = straightened(canvas, anatomy, posture)[2]
    lung = (canvas.hu > -930) & (canvas.hu < -700)
    assert lung[z > 150].mean() > 5 * lung[np.abs(z) < 60].mean()
    assert not canvas.label[lung].any()


def test_some_aortas_hold_contrast_and_some_plaques() -> None:
    contrast, plaques = [], []
    for seed in range(8):
        canvas, anatomy, posture = trunk(seed)
        paint_surroundings(canvas, anatomy, posture, np.random.default_rng(seed))
        aorta, _ = great_vessels(straightened(canvas, anatomy, posture), anatomy.spine)
        free = canvas.label == 0
        contrast.append(np.median(canvas.hu[free & (aorta < -3)]) > 80)
        plaques.append((canvas.hu[free & (np.abs(aorta) < 1)] > 350).mean() > 0.02)
    assert 0 < sum(contrast) < 8
    assert 0 < sum(plaques) < 8


def test_sharper_edges_hold_more_of_the_cortex() -> None:
    spine = draw_spine(np.random.default_rng(0))
    anatomy = draw_anatomy(spine, np.random.default_rng(1))
    grid = Grid(np.diag([8.0, 2.0, 2.0, 1.0]), (1, 60, 60))
    soft, sharp = (paint(anatomy, stand(spine), grid, width) for width in (None, 2.0))
    np.testing.assert_array_equal(soft.label, sharp.label)
    assert np.quantile(sharp.hu, 0.99) > np.quantile(soft.hu, 0.99) + 100
