from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from spinefuse_ext.volumes import check_hounsfield, read_volume, write_volume


def patient(rng: np.random.Generator) -> np.ndarray:
    """A body of soft tissue with fat and a bone in air, HU, (24, 24, 6)."""
    body = np.full((24, 24, 6), -1000.0, np.float32)
    body[4:20, 4:20] = -100
    body[6:18, 6:18] = 40
    body[10:14, 10:14] = 700
    return body + rng.integers(0, 15, body.shape).astype(np.float32)


def image(values: np.ndarray, affine: np.ndarray | None = None) -> MetaTensor:
    return MetaTensor(torch.from_numpy(values)[None], affine=torch.eye(4) if affine is None else torch.tensor(affine))


def read_as_ct(values: np.ndarray, folder: Path, affine: np.ndarray | None = None) -> np.ndarray:
    write_volume(image(values, affine), folder / "ct.nii.gz")
    return read_volume(folder / "ct.nii.gz", "CT").numpy()[0]


def test_hounsfield_units_are_left_as_they_are(rng: np.random.Generator, tmp_path: Path) -> None:
    values = patient(rng)
    assert check_hounsfield(image(values), "ct") == []
    np.testing.assert_array_equal(read_as_ct(values, tmp_path), values)


def test_a_missing_intercept_is_put_back_and_said(
    rng: np.random.Generator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = patient(rng)
    with caplog.at_level(logging.INFO):
        found = read_as_ct(values + 1024, tmp_path)
    np.testing.assert_array_equal(found, values)
    assert "ct.nii.gz: the values lay 1024 too high" in caplog.text


def test_noise_below_zero_does_not_hide_a_missing_intercept(rng: np.random.Generator, tmp_path: Path) -> None:
    values = patient(rng) + rng.normal(0, 25, (24, 24, 6)).round().astype(np.float32)
    assert (values + 1024).min() < 0
    np.testing.assert_array_equal(read_as_ct(values + 1024, tmp_path), values)
    cropped = values[6:18, 6:18]  # HU without air
    np.testing.assert_array_equal(read_as_ct(cropped, tmp_path), cropped)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("padding", [-2000.0, -3024.0])
def test_padding_outside_the_circle_becomes_air_whatever_the_axes(
    axis: int, padding: float, rng: np.random.Generator, tmp_path: Path
) -> None:
    values = patient(rng)
    x, y = np.indices(values.shape[:2]) - 11.5
    outside = np.repeat((x**2 + y**2 > 11**2)[..., None], values.shape[2], axis=2)
    values[outside] = padding
    values[12, 12] = -1600  # inside the body: kept, named
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, np.insert([0, 1], axis, 2)]  # the patient's z lies along voxel axis `axis`
    moved = np.ascontiguousarray(np.moveaxis(values, 2, axis))
    found = np.moveaxis(read_as_ct(moved, tmp_path, affine), axis, 2)
    assert (found[outside] == -1000).all()
    np.testing.assert_array_equal(found[~outside], values[~outside])
    sentences = check_hounsfield(image(moved, affine), "ct")
    assert len(sentences) == 2
    assert f"down to {padding:g}) were set to -1000 HU" in sentences[0]
    assert "ct: 6 voxels inside the scan are below -1500 HU" in sentences[1]


def test_a_shift_is_found_beside_padding(rng: np.random.Generator, tmp_path: Path) -> None:
    values = patient(rng)
    stored = values + 1024
    stored[:2] = -2000
    found = read_as_ct(stored, tmp_path)
    np.testing.assert_array_equal(found[2:], values[2:])
    assert (found[:2] == -1000).all()


def test_a_grey_picture_is_named_and_not_changed(rng: np.random.Generator, tmp_path: Path) -> None:
    values = ((patient(rng).clip(-200, 300) + 200) / 500 * 255).astype(np.float32)
    sentences = check_hounsfield(image(values), "ct")
    assert ["ct: no value is below 0" in text for text in sentences] == [True]
    np.testing.assert_array_equal(read_as_ct(values, tmp_path), values)


def test_zero_outside_the_circle_and_a_white_frame_are_named(rng: np.random.Generator) -> None:
    zero = patient(rng)
    zero[:2, :2] = zero[-2:, :2] = zero[:2, -2:] = zero[-2:, -2:] = 0
    assert ["corners of all slices are 0 HU" in text for text in check_hounsfield(image(zero), "ct")] == [True]
    framed = patient(rng)
    framed[[0, -1]] = framed[:, [0, -1]] = 3071
    assert ["a frame of one value (3071)" in text for text in check_hounsfield(image(framed), "ct")] == [True]


def test_an_mr_is_never_made_hounsfield_units(tmp_path: Path) -> None:
    values = np.full((6, 6, 3), -2000, np.int16)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "mr.nii.gz")
    assert (read_volume(tmp_path / "mr.nii.gz", "MR") == -2000).all()
