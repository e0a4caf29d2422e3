from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, map_coordinates

from spinefuse_ext.data import Phantom, make_phantom
from spinefuse_ext.data.phantom import PointPair
from spinefuse_ext.data.phantom.posture import Motion
from spinefuse_ext.data.phantom.vertebra import bone_distance
from spinefuse_ext.labels import STRUCTURES, VERTEBRAE
from spinefuse_ext.validation import ConfigError

SMALL: dict[str, Any] = {"size_mm": (48, 48, 48), "spacing_mm": 2.0}
STRUCTURE = {name: index for index, name in STRUCTURES.items()}


@pytest.fixture(scope="module")
def small() -> Phantom:
    return make_phantom(3, **SMALL)


@pytest.fixture(scope="module")
def wide() -> Phantom:
    return make_phantom(4, size_mm=(112, 136, 112), spacing_mm=2.0, levels=5, degeneration=0.1)


def _sample(image: MetaTensor, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear interpolation of ``(1, X, Y, Z)`` at RAS points; NaN outside."""
    inverse = np.linalg.inv(np.asarray(image.affine))
    index = inverse[:3, :3] @ points_mm.T + inverse[:3, 3:]
    return map_coordinates(image[0].numpy().astype(float), index, order=1, cval=np.nan)


def _voxel_centres(image: MetaTensor) -> NDArray[np.float64]:
    affine = np.asarray(image.affine)
    return (affine[:3, :3] @ np.indices(image.shape[1:]).reshape(3, -1)).T + affine[:3, 3]


def test_same_seed_gives_the_same_case(small: Phantom) -> None:
    again = make_phantom(3, **SMALL)
    for name in ("ct", "mr", "mr_aligned", "label", "vertebrae"):
        assert torch.equal(getattr(small, name), getattr(again, name))
        assert torch.equal(getattr(small, name).affine, getattr(again, name).affine)
    np.testing.assert_array_equal(small.ct_landmarks.points_mm, again.ct_landmarks.points_mm)
    np.testing.assert_array_equal(small.motion.matrices, again.motion.matrices)


def test_another_seed_is_another_anatomy(small: Phantom) -> None:
    other = make_phantom(5, **SMALL)
    assert other.spine != small.spine
    assert not torch.equal(other.label[..., :16], small.label[..., :16])


def test_images_share_the_ct_grid_and_the_mr_has_its_own(small: Phantom) -> None:
    assert small.ct.shape[0] == 1
    assert small.ct.dtype == torch.int16
    for image in (small.mr_aligned, small.label, small.vertebrae):
        assert image.shape == small.ct.shape
        torch.testing.assert_close(image.affine, small.ct.affine)
    spacing = np.linalg.norm(np.asarray(small.mr.affine)[:3, :3], axis=0)
    np.testing.assert_allclose(spacing[:2], 1.6)
    assert 6 <= spacing[2] <= 8  # sagittal slices, 3 to 4 times the spacing of 2 mm
    assert np.abs(np.asarray(small.mr.affine)[:3, 2]).argmax() == 0


def test_ct_numbers_are_those_of_the_tissues(wide: Phantom) -> None:
    ct, label = wide.ct[0].numpy(), wide.label[0].numpy()
    inside = {name: ct[binary_erosion(label == index, iterations=1)] for name, index in STRUCTURE.items() if index}
    body = binary_erosion(label == STRUCTURE["vertebra"], iterations=3)
    assert 120 < ct[body].mean() < 330  # trabecular
    assert 70 < inside["disc"].mean() < 125
    assert -30 < inside["canal"].mean() < 45  # CSF and cauda equina with some epidural fat
    assert inside["vertebra"].mean() > inside["disc"].mean() > -100
    assert np.percentile(ct[label == STRUCTURE["vertebra"]], 99) > 500  # cortex, thinned by the 2 mm voxels
    assert np.median(ct[ct < -500]) == pytest.approx(-1000, abs=10)  # air
    fat = ct[(label == 0) & (ct > -160) & (ct < -40)]
    assert fat.size > 0.05 * ct.size
    assert np.median(fat) == pytest.approx(-100, abs=15)


def test_mr_contrast_is_t2(wide: Phantom) -> None:
    mr, label, ct = (image[0].numpy() for image in (wide.mr_aligned, wide.label, wide.ct))
    csf = np.percentile(mr[label == STRUCTURE["canal"]], 90)
    nucleus = np.percentile(mr[label == STRUCTURE["disc"]], 90)
    marrow = mr[binary_erosion(label == STRUCTURE["vertebra"], iterations=3)].mean()
    muscle = mr[(label == 0) & (ct > 30) & (ct < 80)].mean()
    assert csf > nucleus > marrow > muscle > mr[ct < -950].mean()


def test_worn_discs_are_lower_and_darker() -> None:
    healthy, worn = (make_phantom(8, **SMALL, degeneration=grade) for grade in (0.0, 1.0))
    heights = [sum(disc.height_mm for disc in phantom.spine.discs) for phantom in (healthy, worn)]
    assert heights[1] < 0.8 * heights[0]
    signal = [float(p.mr_aligned[p.label == STRUCTURE["disc"]].float().quantile(0.9)) for p in (healthy, worn)]
    assert signal[1] < 0.5 * signal[0]


@pytest.mark.parametrize("levels", [4, 5, 6])
def test_level_count_sets_the_names(levels: int) -> None:
    phantom = make_phantom(1, size_mm=(24, 64, 96), spacing_mm=3.0, levels=levels)
    names = [bone.name for bone in phantom.spine.vertebrae]
    assert names == ["S1", *(f"L{level}" for level in range(levels, 0, -1)), "T12", "T11", "T10"]
    shown = {VERTEBRAE[int(number)] for number in phantom.vertebrae.unique() if number}
    assert {"L3", "L4"} <= shown


def test_vertebra_numbers_cover_exactly_the_labels_of_vertebra_and_sacrum() -> None:
    phantom = make_phantom(3, size_mm=(48, 72, 112), spacing_mm=3.0, levels=4)
    sacrum = next(number for number, name in VERTEBRAE.items() if name == "S1")
    assert torch.equal(phantom.vertebrae == sacrum, phantom.label == STRUCTURE["sacrum"])
    above = (phantom.vertebrae > 0) & (phantom.vertebrae != sacrum)
    assert torch.equal(above, phantom.label == STRUCTURE["vertebra"])
    assert set(phantom.label.unique().tolist()) == set(STRUCTURES)


def test_vertebrae_are_stacked_in_order(wide: Phantom) -> None:
    centres = _voxel_centres(wide.vertebrae)
    numbers = wide.vertebrae.numpy().reshape(-1)
    heights = [centres[numbers == number, 2].mean() for number in (21, 22, 23)]  # L2, L3, L4
    assert heights[0] > heights[1] > heights[2]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_each_vertebra_moves_as_a_rigid_body(wide: Phantom, data: st.DataObject) -> None:
    numbers = wide.vertebrae.numpy().reshape(-1)
    number = data.draw(st.sampled_from([21, 22]))
    within = np.flatnonzero(numbers == number)
    chosen = [data.draw(st.integers(0, within.size - 1)) for _ in range(2)]
    points = _voxel_centres(wide.vertebrae)[within[chosen]]
    moved = wide.ct_to_mr(points)
    assert np.linalg.norm(moved[0] - moved[1]) == pytest.approx(np.linalg.norm(points[0] - points[1]), abs=1e-3)
    expected = wide.vertebra_matrices[VERTEBRAE[number]] @ np.append(points[0], 1)
    np.testing.assert_allclose(moved[0], expected[:3], atol=1e-3)


def test_motion_is_smooth_between_bones(wide: Phantom) -> None:
    points = _voxel_centres(wide.ct)[::97]
    steps = [wide.ct_to_mr(points + 0.1 * axis) - wide.ct_to_mr(points) for axis in np.eye(3)]
    jacobian = np.stack(steps, axis=-1) / 0.1
    volumes = np.linalg.det(jacobian)
    assert volumes.min() > 0  # no folding
    assert np.median(volumes) == pytest.approx(1, abs=0.05)


def test_posture_differs_by_more_than_a_rigid_motion(wide: Phantom) -> None:
    ct, mr = wide.targets.ct.points_mm, wide.targets.mr.points_mm
    left, _, right = np.linalg.svd((ct - ct.mean(0)).T @ (mr - mr.mean(0)))
    rotation = (left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right).T
    residual = np.linalg.norm((ct - ct.mean(0)) @ rotation.T - (mr - mr.mean(0)), axis=1)
    assert 0.3 < residual.mean() < 4
    assert residual.max() < 8
    assert np.linalg.norm(ct - mr, axis=1).mean() > 5


def test_no_motion_leaves_mr_and_ct_in_one_place() -> None:
    still = make_phantom(3, **SMALL, motion=0.0)
    points = _voxel_centres(still.ct)[::50]
    np.testing.assert_allclose(still.ct_to_mr(points), points, atol=1e-6)


def test_a_style_changes_the_pictures_and_not_the_patient(small: Phantom) -> None:
    styled = {style: make_phantom(3, **SMALL, style=style) for style in ("standard", "noisy", "dark", "bright")}
    mr, noise = ({} for _ in range(2))
    for style, phantom in styled.items():
        np.testing.assert_array_equal(phantom.label, small.label)
        np.testing.assert_array_equal(phantom.mr_landmarks.points_mm, small.mr_landmarks.points_mm)
        mr[style] = float(phantom.mr_aligned.float().mean())
        noise[style] = float((phantom.ct.float() - small.ct.float()).std())
    assert noise["standard"] == 0  # the usual case is that of no style
    assert noise["noisy"] > noise["bright"] > noise["dark"] == 0
    assert mr["dark"] < 0.8 * mr["standard"] == 0.8 * mr["noisy"]
    assert mr["bright"] > 1.2 * mr["standard"]


def test_mr_is_the_aligned_mr_moved_by_the_truth(wide: Phantom) -> None:
    centres = _voxel_centres(wide.ct)[::5]
    clean = wide.mr_aligned.numpy().reshape(-1)[::5].astype(float)
    matched, unmoved = _sample(wide.mr, wide.ct_to_mr(centres)), _sample(wide.mr, centres)
    seen = np.isfinite(matched) & np.isfinite(unmoved)
    agreement = np.corrcoef(matched[seen], clean[seen])[0, 1]
    assert agreement > 0.85
    assert agreement > np.corrcoef(unmoved[seen], clean[seen])[0, 1] + 0.2


def test_landmarks_are_eight_in_the_field_on_four_levels(wide: Phantom) -> None:
    assert len(wide.ct_landmarks.names) == len(set(wide.ct_landmarks.names)) == 8
    assert wide.ct_landmarks.names == wide.mr_landmarks.names
    assert len({name.split("_")[0] for name in wide.ct_landmarks.names}) >= 4
    assert (np.abs(wide.meant.ct.points_mm) <= np.array([56, 68, 56])).all()
    flat = wide.meant.ct.points_mm - wide.meant.ct.points_mm.mean(0)
    assert np.linalg.svd(flat)[1][2] > 20  # they do not lie in one plane


@pytest.mark.parametrize("points", ["meant", "targets"])
def test_points_lie_on_or_in_their_own_vertebra(wide: Phantom, points: str) -> None:
    chosen: PointPair = getattr(wide, points)
    bones = {
        bone.name: (bone, frame) for bone, frame in zip(wide.spine.vertebrae, wide.motion.moved.frames, strict=True)
    }
    for name, point in zip(chosen.mr.names, chosen.mr.points_mm, strict=True):
        bone, frame = bones[name.split("_")[0]]
        x, y, z, _ = np.linalg.inv(frame) @ np.append(point, 1)
        assert bone_distance(bone, (np.array([x]), np.array([y]), np.array([z])))[0] < 0.5


def test_clicks_miss_by_one_millimetre_rms() -> None:
    misses = []
    for seed in range(12):
        phantom = make_phantom(seed, size_mm=(24, 24, 24), spacing_mm=6.0)
        for clicked, meant in ((phantom.clicked.ct, phantom.meant.ct), (phantom.clicked.mr, phantom.meant.mr)):
            misses.append(clicked.points_mm - meant.points_mm)
    squared = (np.concatenate(misses) ** 2).sum(axis=1)  # 192 points; mean 1, standard error sqrt(2/3/192) = 0.06
    assert squared.mean() == pytest.approx(1.0, abs=0.25)


def test_targets_move_with_the_truth_and_are_no_landmarks(wide: Phantom) -> None:
    assert len(wide.targets.ct.names) == 40
    assert not set(wide.targets.ct.names) & set(wide.ct_landmarks.names)
    np.testing.assert_allclose(wide.ct_to_mr(wide.targets.ct.points_mm), wide.targets.mr.points_mm, atol=0.05)


def test_motion_matrices_are_rigid(small: Phantom) -> None:
    motion: Motion = small.motion
    turns = motion.matrices[:, :3, :3]
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 7}, "4, 5 or 6 lumbar levels, got 7"),
        ({"degeneration": 1.5}, "from 0 to 1, got 1.5"),
        ({"size_mm": (48, 48)}, "three numbers above 0 mm"),
        ({"spacing_mm": 0.0}, "a spacing that fits"),
        ({"style": "sharp"}, "Unknown phantom style sharp; choose one of standard, noisy, dark, bright"),
    ],
)
def test_impossible_requests_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_phantom(0, **options)
