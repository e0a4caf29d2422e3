from __future__ import annotations

from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest

from spinefuse_ext.images.stored_image import as_in_itk
from spinefuse_ext.validation import ImageReadError
from spinefuse_ext.volumes import read_volume

SFORM = np.array([[0.7, 0, 0, 10], [0, 0.8, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1.0]])
TURN = np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
QFORM = TURN @ SFORM + np.array([[0, 0, 0, 5], [0, 0, 0, -7], [0, 0, 0, 3], [0, 0, 0, 0]])
VALUES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def write(
    path: Path, codes: tuple[int, int], sform: np.ndarray = SFORM, qform: np.ndarray = QFORM, **fields: object
) -> Path:
    image = nib.Nifti1Image(VALUES, None)
    image.header.set_qform(qform, codes[1])
    image.header.set_sform(sform, codes[0])
    for name, value in fields.items():
        image.header[name] = value
    nib.save(nib.Nifti1Image(VALUES, None, image.header), path)
    return path


def with_pixdim(path: Path, pixdim: tuple[float, float, float]) -> Path:
    """Overwrite pixdim 1 to 3 in the file, because nibabel will not write such values."""
    content = bytearray(path.read_bytes())
    content[80:92] = np.array(pixdim, dtype="<f4").tobytes()
    path.write_bytes(bytes(content))
    return path


def placed_by_itk(path: Path) -> np.ndarray:
    image = itk.imread(str(path))
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.asarray(image.GetSpacing())
    affine[:3, 3] = np.asarray(image.GetOrigin())
    return np.diag([-1, -1, 1, 1]) @ affine


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (4, 2), (3, 4)])
def test_the_place_of_itk_is_known_for_every_pair_of_codes(codes: tuple[int, int], tmp_path: Path) -> None:
    path = write(tmp_path / "v.nii", codes)
    image = read_volume(path)
    theirs = placed_by_itk(path)
    as_in_itk(image)
    np.testing.assert_allclose(image.affine, theirs, atol=1e-4)
    assert as_in_itk(image) == []  # it is there already


def test_itk_takes_voxel_sizes_from_pixdim_and_the_qform_where_the_sform_is_sheared(tmp_path: Path) -> None:
    large = write(
        tmp_path / "large.nii", (1, 0), sform=SFORM @ np.diag([2, 2, 2, 1]), pixdim=[1, 0.7, 0.8, 2, 0, 0, 0, 0]
    )
    sheared = SFORM.copy()
    sheared[0, 1] = 0.3
    for path in (large, write(tmp_path / "sheared.nii", (1, 1), sform=sheared)):
        image = read_volume(path)
        as_in_itk(image)
        np.testing.assert_allclose(image.affine, placed_by_itk(path), atol=1e-4)
    (said,) = read_volume(large).meta["warnings"]
    assert "pixdim says voxels of 0.7 x 0.8 x 2 mm, the sform, which is used, 1.4 x 1.6 x 4 mm" in said
    assert "69.4 degrees apart, not 90 (sheared)" in read_volume(tmp_path / "sheared.nii").meta["warnings"][0]


def test_forms_that_differ_are_said_with_the_worst_corner_and_the_sform_is_used(tmp_path: Path) -> None:
    image = read_volume(write(tmp_path / "v.nii.gz", (2, 1)), "MR")
    np.testing.assert_allclose(image.affine, SFORM, atol=1e-6)
    corners = np.array([[x, y, z, 1] for x in (0, 3) for y in (0, 4) for z in (0, 5)]).T
    worst = np.linalg.norm(((SFORM - QFORM) @ corners)[:3], axis=0).max()
    assert f"sform (code 2) and qform (code 1) place the image up to {worst:.2f} mm apart" in image.meta["warnings"][0]
    assert "3D Slicer and ANTs use the qform" in image.meta["warnings"][0]
    assert "as in 3D Slicer" in read_volume(write(tmp_path / "w.nii", (1, 1))).meta["warnings"][0]


@pytest.mark.parametrize("shift_mm", [0.0, 0.05])
def test_forms_that_agree_within_a_tenth_of_a_voxel_are_no_matter(shift_mm: float, tmp_path: Path) -> None:
    near = SFORM.copy()
    near[0, 3] += shift_mm
    image = read_volume(write(tmp_path / "v.nii", (2, 1), qform=near))
    assert image.meta["warnings"] == []
    np.testing.assert_array_equal(image.meta["itk_from_ras"], np.eye(4))


@pytest.mark.parametrize(("unit", "factor"), [("micron", 0.001), ("meter", 1000.0)])
@pytest.mark.parametrize("codes", [(1, 0), (0, 1)])
def test_lengths_in_other_units_become_millimetres(
    unit: str, factor: float, codes: tuple[int, int], tmp_path: Path
) -> None:
    scaled = SFORM.copy()
    scaled[:3] /= factor
    header = {"xyzt_units": {"micron": 3, "meter": 1}[unit] + 8}  # and seconds
    image = read_volume(write(tmp_path / "v.nii", codes, sform=scaled, qform=scaled, **header))
    np.testing.assert_allclose(image.affine, SFORM, rtol=1e-5)
    assert f"lengths in {'metre' if unit == 'meter' else unit}, which were converted to mm" in image.meta["warnings"][0]


@pytest.mark.parametrize("codes", [(0, 0)])
def test_no_form_at_all_is_named_and_its_sizes_are_kept(codes: tuple[int, int], tmp_path: Path) -> None:
    image = read_volume(write(tmp_path / "v.nii", codes))
    assert "says no place and no orientation" in image.meta["warnings"][0]
    assert image.meta["placed"] is False
    np.testing.assert_allclose(image.affine, nib.load(tmp_path / "v.nii").affine)


@pytest.mark.parametrize("pixdim", [(0.0, 0.8, 2.0), (float("nan"), 0.8, 2.0)])
def test_a_voxel_size_that_is_none_is_refused_where_it_is_needed_and_else_said(
    pixdim: tuple[float, float, float], tmp_path: Path
) -> None:
    for codes in ((0, 1), (0, 0)):
        with pytest.raises(ImageReadError, match=r"v.nii cannot be read as an image \(it has no usable geometry"):
            read_volume(with_pixdim(write(tmp_path / "v.nii", codes), pixdim))
    image = read_volume(with_pixdim(write(tmp_path / "w.nii", (1, 1)), pixdim))
    np.testing.assert_allclose(image.affine, SFORM, atol=1e-6)
    assert "which is no voxel size" in image.meta["warnings"][0]


def test_a_negative_voxel_size_loses_its_minus(tmp_path: Path) -> None:
    image = read_volume(with_pixdim(write(tmp_path / "v.nii", (0, 1)), (-0.7, 0.8, 2.0)))
    np.testing.assert_allclose(image.affine, QFORM, atol=1e-5)
    assert "pixdim is -0.7, 0.8, 2, which is no voxel size; the minus was left out" in image.meta["warnings"][0]


@pytest.mark.parametrize("rows", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([0.7, 0, 2, 1])])
def test_an_sform_that_is_none_leaves_the_qform_or_nothing(rows: np.ndarray, tmp_path: Path) -> None:
    bad = rows.astype(np.float32)
    fields = {f"srow_{axis}": bad[row] for row, axis in enumerate("xyz")}
    image = read_volume(write(tmp_path / "v.nii", (1, 1), **fields))
    np.testing.assert_allclose(image.affine, QFORM, atol=1e-5)
    assert "the sform cannot be used, though its code is 1" in image.meta["warnings"][0]
    with pytest.raises(ImageReadError, match="no usable geometry"):
        read_volume(write(tmp_path / "w.nii", (1, 0), **fields))


@pytest.mark.parametrize("qfac", [0.0, 0.5, np.nan])
@pytest.mark.parametrize("codes", [(0, 1), (1, 1)])
def test_a_handedness_that_is_none_counts_as_one(qfac: float, codes: tuple[int, int], tmp_path: Path) -> None:
    path = write(tmp_path / "v.nii", codes, qform=SFORM)
    content = bytearray(path.read_bytes())
    content[76:80] = np.array(qfac, dtype="<f4").tobytes()
    path.write_bytes(bytes(content))
    np.testing.assert_allclose(read_volume(path).affine, SFORM, atol=1e-5)
