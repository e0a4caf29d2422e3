from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spinefuse_ext.images.outside_view import without_gaps
from spinefuse_ext.validation import ImageReadError
from spinefuse_ext.volumes import read_volume

SHAPE = (12, 14, 10)


def scan() -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 900, SHAPE).astype(np.float32)


def ball(radius: float) -> np.ndarray:
    place = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij"))
    return (place**2).sum(0) > radius**2


def turned() -> np.ndarray:
    """Outside of a box that is turned about two axes, as an image is after resampling onto another grid."""
    place = np.stack(np.meshgrid(*(np.arange(size) - size / 2 for size in SHAPE), indexing="ij"))
    normals = np.array([[0.8, 0.6, 0.0], [-0.5, 0.7, 0.5], [0.3, -0.4, 0.85]])
    return (np.abs(np.einsum("ij,jxyz->ixyz", normals, place)) > 5.5).any(0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("gaps", [ball(1.1), turned()], ids=["round", "turned"])
def test_what_lies_around_the_field_of_view_gets_a_value_and_is_said(
    gaps: np.ndarray, value: float, tmp_path: Path
) -> None:
    values = np.where(gaps, np.float32(value), scan())
    filled, (said,) = without_gaps(values, -1000.0, "ct.nii")
    np.testing.assert_array_equal(filled, np.where(gaps, -1000, values))
    assert said == f"ct.nii: {gaps.sum()} voxels without a value (NaN) around the field of view were set to -1000"


@pytest.mark.parametrize(("modality", "expected"), [("CT", -1000), ("MR", 0)])
def test_it_becomes_air_in_ct_and_0_in_mr_when_a_file_is_read(modality: str, expected: float, tmp_path: Path) -> None:
    values = scan() - 500
    values[:, :3] = np.nan
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "v.nii.gz")
    image = read_volume(tmp_path / "v.nii.gz", modality)
    np.testing.assert_array_equal(image.numpy()[0], np.nan_to_num(values, nan=expected))
    assert "v.nii.gz: 360 voxels without a value" in image.meta["warnings"][0]
    unnamed = read_volume(tmp_path / "v.nii.gz")
    assert "360 voxels are without a value (NaN or infinity) and were kept so" in unnamed.meta["warnings"][0]


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(np.s_[6, 7, 5], id="voxel"),
        pytest.param(np.s_[4:7, 5:9, 3:6], id="hole"),
        pytest.param(np.s_[4:7, 5:9, -1], id="hole-in-the-last-slice"),
        pytest.param(np.s_[4:7, 5:9, :], id="hole-through-all-slices"),
        pytest.param(np.s_[:, :, 4], id="slice"),
        pytest.param(np.s_[5:7], id="two-planes"),
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_gaps_inside_the_image_are_refused(where: tuple[slice, ...], value: float) -> None:
    values = scan()
    values[where] = value
    values[0, 0, 0] = np.nan  # around it too
    with pytest.raises(
        ImageReadError, match=rf"mr.nii has {(~np.isfinite(values)).sum() - 1} voxels? .* inside the image"
    ):
        without_gaps(values, 0.0, "mr.nii")


def test_an_image_of_nothing_else_is_refused() -> None:
    with pytest.raises(ImageReadError, match=r"mr.nii holds no value at all"):
        without_gaps(np.full(SHAPE, np.nan, np.float32), 0.0, "mr.nii")


def test_a_whole_image_is_left_as_it_is() -> None:
    values = scan()
    same, found = without_gaps(values, 0.0, "mr.nii")
    assert same is values
    assert found == []


def test_first_and_last_slices_without_values_are_around_the_view() -> None:
    values = scan()
    values[..., 0] = values[..., -2:] = np.nan
    assert np.isfinite(without_gaps(values, 0.0, "mr.nii")[0]).all()
