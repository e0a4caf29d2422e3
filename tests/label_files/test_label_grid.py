from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from spinefuse_ext.validation import GridMismatchError
from spinefuse_ext.volumes import label_findings, label_on_grid, read_volume

AFFINE = np.array([[0, -1.5, 0, 40.0], [0.9, 0, 0, -30], [0, 0, 2.0, 100], [0, 0, 0, 1]])
LABELS = np.random.default_rng(0).integers(0, 4, (7, 6, 5)).astype(np.float32)


def volume(voxels: np.ndarray, affine: np.ndarray, name: str = "mask.nii.gz") -> MetaTensor:
    copy = torch.from_numpy(np.ascontiguousarray(voxels, dtype=np.float32))[None]
    return MetaTensor(copy, affine=torch.from_numpy(affine), meta={"filename_or_obj": name})


def moved_by(voxels: tuple[float, float, float]) -> np.ndarray:
    """The affine of a grid that begins so many voxels later."""
    affine = AFFINE.copy()
    affine[:3, 3] += AFFINE[:3, :3] @ voxels
    return affine


IMAGE = volume(np.zeros((7, 6, 5)), AFFINE, "ct.nii.gz")


@settings(max_examples=30, deadline=None)
@given(order=st.sampled_from(list(permutations(range(3)))), signs=st.sampled_from(list(product((1, -1), repeat=3))))
def test_labels_stored_along_any_axes_come_back_voxel_for_voxel(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    way = np.stack([order, signs], axis=1).astype(float)
    stored = nib.apply_orientation(LABELS, way)
    affine = AFFINE @ nib.orientations.inv_ornt_aff(way, LABELS.shape)
    placed, found = label_on_grid(volume(stored, affine), IMAGE)
    np.testing.assert_array_equal(placed.numpy()[0], LABELS)
    np.testing.assert_array_equal(placed.affine, AFFINE)
    changed = order != (0, 1, 2) or signs != (1, 1, 1)
    assert len(found) == int(changed)
    assert all("mask.nii.gz: its axes are " in sentence for sentence in found)


def test_which_axes_are_flipped_is_said() -> None:
    affine = AFFINE @ nib.orientations.inv_ornt_aff([[0, 1], [1, -1], [2, 1]], LABELS.shape)
    (sentence,) = label_findings(volume(LABELS[:, ::-1], affine), IMAGE)
    assert sentence == (
        "mask.nii.gz: its axes are flipped (axis 1) against those of the image; the affine says so, and it is followed"
    )


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 0), (2, 1)])
def test_slices_too_many_are_left_out_where_the_affine_says(low: int, high: int) -> None:
    longer = np.pad(LABELS, ((0, 0), (0, 0), (low, high)), constant_values=9)
    placed, found = label_on_grid(volume(longer, moved_by((0, 0, -low))), IMAGE)
    np.testing.assert_array_equal(placed.numpy()[0], LABELS)
    assert f"along axis 2 it has {low} slices before and {high} after those of the image too many" in found[0]


def test_missing_slices_are_background_and_said() -> None:
    placed, found = label_on_grid(volume(LABELS[1:], moved_by((1, 0, 0))), IMAGE)
    np.testing.assert_array_equal(placed.numpy()[0, 1:], LABELS[1:])
    assert not placed[0, 0].any()
    assert "along axis 0 it has 1 slices before and 0 after those of the image missing" in found[0]


def test_a_slice_more_over_the_same_length_is_named_as_uncertain() -> None:
    squeezed = AFFINE @ np.diag([1, 1, 5 / 6, 1.0])
    (sentence,) = label_findings(volume(np.zeros((7, 6, 6)), squeezed), IMAGE)
    assert "one slice more or less than the image along axis 2, and its affine does not say which" in sentence


def test_any_other_grid_is_placed_by_the_affines() -> None:
    finer = volume(
        np.repeat(np.repeat(LABELS, 3, 0), 3, 1), moved_by((-1 / 3, -1 / 3, 0)) @ np.diag([1 / 3, 1 / 3, 1, 1])
    )
    placed, found = label_on_grid(finer, IMAGE)
    np.testing.assert_array_equal(placed.numpy()[0], LABELS)
    assert "it lies on another grid than the image and was placed by the affines" in found[0]


def test_labels_of_another_place_are_refused() -> None:
    with pytest.raises(GridMismatchError, match=r"mask.nii.gz lies wholly outside its image; check"):
        label_on_grid(volume(LABELS, moved_by((0, 0, 50))), IMAGE)


def test_labels_that_lie_on_bone_only_when_flipped_are_named() -> None:
    bone = np.zeros((7, 6, 5), dtype=np.float32)
    bone[1:6, :2, 1:4] = 1
    ct = volume(np.where(bone > 0, 400.0, -900.0), AFFINE, "ct.nii.gz")
    assert label_findings(volume(bone, AFFINE), ct) == []
    (sentence,) = label_findings(volume(bone[:, ::-1], AFFINE), ct)
    assert "lie on tissue of -900 HU on average, but of 400 HU when flipped along axis 1" in sentence
    assert label_findings(volume(bone[:, ::-1], AFFINE), ct, bone=False) == []


def test_a_label_whose_header_says_two_places_lies_where_its_image_does(tmp_path: Path) -> None:
    two = nib.Nifti1Image(LABELS, None)
    two.header.set_qform(AFFINE, 1)
    two.header.set_sform(moved_by((0, 0, 3)), 2)
    nib.save(nib.Nifti1Image(LABELS, None, two.header), tmp_path / "two.nii")
    placed, (sentence,) = label_on_grid(read_volume(tmp_path / "two.nii"), IMAGE)
    np.testing.assert_array_equal(placed.numpy()[0], LABELS)
    assert "two.nii: its qform, not its sform, is that of the image" in sentence
    elsewhere = volume(np.zeros((7, 6, 5)), moved_by((0, 0, 3)), "ct.nii.gz")
    assert label_on_grid(read_volume(tmp_path / "two.nii"), elsewhere)[1] == []


@pytest.mark.assets
def test_a_published_label_volume_with_a_flipped_axis_lies_on_bone(assets: Path) -> None:
    folder = assets / "data/ct_spine/totalseg_t11_t12_dicom"
    ct, label = read_volume(folder / "series", "CT"), read_volume(folder / "example_seg_dicom.nii.gz")
    vertebrae = volume(np.isin(label.numpy()[0], (32, 33)), label.affine.numpy())
    placed, (sentence,) = label_on_grid(vertebrae, ct)
    assert "flipped (axis 1)" in sentence
    assert ct.numpy()[placed.numpy() > 0].mean() == pytest.approx(274.3, abs=0.1)
    wrong = volume(vertebrae.numpy()[0], ct.affine.numpy())  # as if the flip had been lost on the way
    assert "but of 274 HU when flipped along axis 1" in label_findings(wrong, ct)[0]


def test_what_an_epoch_would_repeat_is_logged_once_and_returned_each_time(caplog: pytest.LogCaptureFixture) -> None:
    image = MetaTensor(torch.zeros(1, 6, 6, 6), affine=torch.eye(4, dtype=torch.float64))
    turned = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    turned[0, 3] = 5
    label = MetaTensor(torch.ones(1, 6, 6, 6), affine=turned, meta={"filename_or_obj": "said_once.nii.gz"})
    with caplog.at_level("INFO"):
        found = [label_on_grid(label, image, bone=False)[1] for _ in range(2)]
    (record,) = [record for record in caplog.records if "said_once.nii.gz" in record.message]
    assert record.levelname == "INFO"  # nothing is wrong with it
    assert found == [[record.message]] * 2
