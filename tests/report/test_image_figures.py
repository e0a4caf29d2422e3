from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from monai.data import MetaTensor

from spinefuse_ext.labels import structure_colour
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.report import (
    checkerboard,
    fusion_panel,
    registration_panel,
    segmentation_panel,
    segmentations_panel,
)
from spinefuse_ext.report.image_panels import error_classes
from spinefuse_ext.report.palette import ERROR_COLOURS
from spinefuse_ext.report.registration_figures import tile_mask

SPACING_MM = (1.0, 2.0, 4.0)


@pytest.fixture
def pair(rng: np.random.Generator) -> tuple[MetaTensor, MetaTensor]:
    """CT with bone in sagittal slices 3 and 4 and an MR, 6 x 10 x 12 voxels of 1 x 2 x 4 mm."""
    affine = torch.diag(torch.tensor([*SPACING_MM, 1.0]))
    ct = rng.normal(30, 5, (1, 6, 10, 12))
    ct[:, 3:5, 2:7, 3:9] = 600
    mr = rng.random((1, 6, 10, 12)) * 300
    return MetaTensor(torch.as_tensor(ct), affine=affine), MetaTensor(torch.as_tensor(mr), affine=affine)


def _titles(figure: Figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes if ax.get_title()]


def _texts(figure: Figure) -> str:
    return " ".join(text.get_text() for ax in figure.axes for text in ax.texts)


def _legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def _drawn_shape(figure: Figure) -> tuple[float, float]:
    figure.draw_without_rendering()
    box = figure.axes[0].get_window_extent()
    return box.width, box.height


@pytest.mark.parametrize(("axis", "ratio"), [(0, 20 / 48), (1, 6 / 48), (2, 6 / 20)])
def test_panels_have_the_proportions_of_the_patient(
    pair: tuple[MetaTensor, MetaTensor], axis: int, ratio: float
) -> None:
    width, height = _drawn_shape(fusion_panel(*pair, pair[1], axis=axis, indices=[2]))
    assert width / height == pytest.approx(ratio, rel=0.01)


def test_default_slice_shows_the_bone(pair: tuple[MetaTensor, MetaTensor]) -> None:
    assert "sagittal, 4 mm R" in _texts(checkerboard(*pair))  # RAS: x grows to the right


def test_tiles_alternate_and_are_square_in_mm() -> None:
    mask = tile_mask((4, 8), size_mm=(16.0, 16.0), tiles=4)  # pixels 2 mm wide and 4 mm high, tiles of 4 mm
    np.testing.assert_array_equal(mask[0], [True, True, False, False, True, True, False, False])
    np.testing.assert_array_equal(mask[:, 0], [True, False, True, False])


def test_checkerboard_shows_ct_in_the_first_tile_and_mr_in_the_next() -> None:
    ct, mr = np.full((4, 8, 8), 700.0), np.full((4, 8, 8), -1.0)
    mr[:2] = 1.0  # so that the MR's limits are -1 and 1, and -1 is black
    picture = checkerboard(ct, mr, index=2, tiles=2).axes[0].images[0].get_array()
    assert picture[0, 0].min() > 0.7
    assert picture[0, -1].max() < 0.02


def test_registration_panel_shows_before_and_after(pair: tuple[MetaTensor, MetaTensor]) -> None:
    ct, mr = pair
    titles = _titles(registration_panel(ct, mr, mr))
    assert titles == ["CT | MR tiles, before", "CT | MR tiles, after", "CT bone on MR, before", "CT bone on MR, after"]
    assert len(_titles(registration_panel(ct, None, mr))) == 2


def test_bone_outline_surrounds_the_bone(pair: tuple[MetaTensor, MetaTensor]) -> None:
    figure = registration_panel(pair[0], None, pair[1], index=3)
    points = np.concatenate([path.vertices for path in figure.axes[1].collections[0].get_paths()])
    # bone is y 2..6 of 10, z 3..8 of 12; anterior is left, superior is up
    assert (points[:, 0].min(), points[:, 0].max()) == pytest.approx((6, 16), abs=0.5)
    assert (points[:, 1].min(), points[:, 1].max()) == pytest.approx((12, 36), abs=1.0)


def test_landmarks_inside_the_image_are_named(pair: tuple[MetaTensor, MetaTensor]) -> None:
    landmarks = Landmarks(("L1", "far away"), np.array([[3.0, 8.0, 20.0], [3.0, 500.0, 20.0]]))
    texts = _texts(registration_panel(pair[0], None, pair[1], landmarks=landmarks))
    assert "L1" in texts
    assert "far away" not in texts


def test_image_without_hu_gets_its_own_limits_and_outline() -> None:
    ct = np.zeros((6, 10, 12))
    ct[2:4, 3:7, 3:9] = 1.0
    figure = registration_panel(ct, None, ct, window_hu=None)
    assert figure.axes[1].collections[0].get_paths()


def test_fusion_panel_has_a_row_a_slice(pair: tuple[MetaTensor, MetaTensor]) -> None:
    figure = fusion_panel(*pair, pair[1], indices=[1, 3, 4])
    assert _titles(figure) == ["CT", "MR, registered", "Fused"]
    assert len(figure.axes) == 9


@pytest.mark.parametrize("width_px", [1, 40])
def test_figures_draw_for_single_slices_and_wide_images(width_px: int) -> None:
    image = np.linspace(0, 800, width_px * 6 * 5).reshape(width_px, 6, 5)
    for figure in (registration_panel(image, image, image, axis=2), fusion_panel(image, image, image, axis=0)):
        figure.draw_without_rendering()
        assert all(axes.get_images() for axes in figure.axes)


@pytest.fixture
def labels() -> tuple[np.ndarray, np.ndarray]:
    """One slice: truth holds vertebra, vertebra, disc, nothing; the prediction gets each in another way."""
    truth, prediction = np.zeros((2, 4, 4, 4), dtype=int)
    truth[1, 0, 0], truth[1, 1, 0], truth[1, 2, 0] = 1, 1, 2
    prediction[1, 0, 0], prediction[1, 2, 0], prediction[1, 3, 0] = 1, 1, 3
    return truth, prediction


def test_errors_are_told_apart(labels: tuple[np.ndarray, np.ndarray]) -> None:
    errors = error_classes(*labels)
    assert errors[1, :, 0].tolist() == [0, 1, 3, 2]  # right, missed, another structure, extra
    assert np.count_nonzero(errors) == 3


@given(st.integers(0, 2**32 - 1))
def test_there_is_an_error_exactly_where_two_labels_differ(seed: int) -> None:
    truth, prediction = np.random.default_rng(seed).integers(0, 4, (2, 3, 3))
    np.testing.assert_array_equal(error_classes(truth, prediction) > 0, truth != prediction)


def test_segmentation_panel_paints_structures_and_errors(labels: tuple[np.ndarray, np.ndarray]) -> None:
    figure = segmentation_panel(np.ones((4, 4, 4)), *labels)
    assert _titles(figure) == ["Image", "Truth", "Prediction", "Errors"]
    assert _legend(figure) == ["vertebra", "disc", "canal", "missed", "extra", "other structure"]
    truth, errors = (figure.axes[column].images[1].get_array() for column in (1, 3))
    assert truth[-1, -1, :3].tolist() == pytest.approx(to_rgb(structure_colour(1)))  # voxel y 0, z 0: lower right
    assert errors[-1, -2, :3].tolist() == pytest.approx(to_rgb(ERROR_COLOURS[0]))  # y 1: missed
    assert errors[-1, -1, 3] == 0  # y 0: right, so nothing is painted


def test_only_classes_that_the_label_was_drawn_of_can_be_wrong(labels: tuple[np.ndarray, np.ndarray]) -> None:
    truth, prediction = labels
    figure = segmentations_panel({"one": (np.ones((4, 4, 4)), prediction)}, truth, index=1, known=[1])
    errors = figure.axes[3].images[1].get_array()[-1, ::-1]  # voxels y 0 to 3 at z 0
    assert [cell[3] > 0 for cell in errors] == [False, True, True, False]  # y 3 is canal, of which nothing is known
    assert errors[2, :3].tolist() == pytest.approx(to_rgb(ERROR_COLOURS[1]))  # vertebra where the truth has none


def test_segmentation_panel_without_truth_shows_no_errors(labels: tuple[np.ndarray, np.ndarray]) -> None:
    figure = segmentation_panel(np.ones((4, 4, 4)), None, labels[1])
    assert _titles(figure) == ["Image", "Prediction"]
    assert "missed" not in _legend(figure)


def test_unknown_classes_are_named_by_their_number() -> None:
    prediction = np.full((3, 3, 3), 22)
    assert _legend(segmentation_panel(np.ones((3, 3, 3)), None, prediction)) == ["class 22"]
    assert _legend(segmentation_panel(np.ones((3, 3, 3)), None, prediction, names={22: "L3"})) == ["L3"]


def test_empty_prediction_is_drawn(labels: tuple[np.ndarray, np.ndarray]) -> None:
    figure = segmentation_panel(np.ones((4, 4, 4)), labels[0], np.zeros((4, 4, 4)))
    figure.draw_without_rendering()
    assert _legend(figure)[-3:] == ["missed", "extra", "other structure"]
