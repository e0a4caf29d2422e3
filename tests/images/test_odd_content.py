from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spinefuse_ext.images.body_size import odd_size
from spinefuse_ext.validation import ImageReadError
from spinefuse_ext.volumes import read_volume


def scan(shape: tuple[int, int, int] = (20, 24, 16)) -> np.ndarray:
    return np.random.default_rng(0).integers(-900, 900, shape).astype(np.int16)


def read(values: np.ndarray, folder: Path, modality: str, affine: np.ndarray | None = None) -> list[str]:
    nib.save(nib.Nifti1Image(values, np.diag([1, 1, 3, 1.0]) if affine is None else affine), folder / "v.nii.gz")
    return list(read_volume(folder / "v.nii.gz", modality).meta["warnings"])


@pytest.mark.parametrize("value", [0, 7, -1000])
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_an_image_of_one_value_is_refused(value: int, modality: str, tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match=r"v.nii.gz holds one value only \(.*\), no (CT|MR); export it again"):
        read(np.full((20, 24, 16), value, np.int16), tmp_path, modality)


def test_a_piece_of_few_voxels_may_have_one_value(tmp_path: Path) -> None:
    assert read(np.full((9, 10, 11), 7, np.int16), tmp_path, "MR") == []


def test_an_empty_volume_without_a_modality_may_be_a_label(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.eye(4)), tmp_path / "label.nii.gz")
    assert not read_volume(tmp_path / "label.nii.gz").any()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_slices_of_zeros_between_others_are_said(axis: int, modality: str, tmp_path: Path) -> None:
    values = scan()
    np.moveaxis(values, axis, 0)[[5, 9]] = 0
    (said,) = read(values, tmp_path, modality)
    assert f"2 slices 5, 9 along axis {axis} (counted from 0) between others hold 0 only" in said
    np.moveaxis(values, axis, 0)[9] = 1 + np.moveaxis(values, axis, 0)[8]
    assert (
        f"slice 5 along axis {axis} (counted from 0) between others holds 0 only" in read(values, tmp_path, modality)[0]
    )


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_empty_slices_at_the_ends_are_padding(modality: str, tmp_path: Path) -> None:
    values = scan()
    values[..., :2] = values[..., -1] = values[0] = 0
    assert read(values, tmp_path, modality) == []


def test_air_between_body_and_table_is_no_missing_slice_but_across_the_body_it_is(tmp_path: Path) -> None:
    values = scan()
    values[:, 20] = -1000
    assert read(values, tmp_path, "CT") == []
    values[..., 7] = -1000
    assert "slice 7 along axis 2 (counted from 0) between others holds -1000 only" in read(values, tmp_path, "CT")[0]


def test_one_slice_is_said(tmp_path: Path) -> None:
    (said,) = read(scan((20, 24, 1)), tmp_path, "MR")
    assert "it holds one slice only (20 x 24 x 1 voxels); a registration needs the volume" in said


def lying(width_mm: float, pixel_mm: float, size: int = 64) -> np.ndarray:
    """A CT of a body ``width_mm`` wide and half as deep in air, ``(X, Y, Z)``."""
    place = (np.stack(np.meshgrid(*(np.arange(size),) * 2, indexing="ij")) - size / 2) * pixel_mm
    body = (place[0] / (width_mm / 2)) ** 2 + (place[1] / (width_mm / 4)) ** 2 < 1
    return np.repeat(np.where(body, 40.0, -1000.0)[..., None], 40, axis=2).astype(np.float32)


@pytest.mark.parametrize(
    ("pixel_mm", "width_mm", "said"),
    [
        pytest.param(7.0, 400.0, [], id="a-patient"),
        pytest.param(1.6, 90.0, [], id="an-infant"),
        pytest.param(0.7, 40.0, ["a body 3", " mm across"], id="thin"),
        pytest.param(14.0, 760.0, ["a body", "across"], id="wide"),
    ],
)
def test_a_body_of_no_size_is_said(pixel_mm: float, width_mm: float, said: list[str]) -> None:
    found = odd_size(lying(width_mm, pixel_mm), np.diag([pixel_mm, pixel_mm, 3, 1.0]), "CT")
    body = [sentence for sentence in found if "body" in sentence]
    assert bool(body) == bool(said)
    assert all(word in body[0] for word in said)


@pytest.mark.parametrize(
    ("affine", "said"),
    [
        pytest.param(np.diag([0.9, 0.9, 4, 1.0]), None, id="right"),
        pytest.param(np.diag([0.05, 0.05, 4, 1.0]), "pixels of 0.05 x 0.05 mm", id="fine"),
        pytest.param(np.diag([10, 10, 4, 1.0]), "pixels of 10 x 10 mm", id="coarse"),
        pytest.param(np.diag([0.9, 0.9, 40, 1.0]), "slices 40 mm apart", id="slices"),
        pytest.param(np.diag([0.3, 0.3, 0.3, 1.0]), "a field of view of 19.2 mm", id="view"),
        pytest.param(np.diag([900, 900, 4000, 1.0]), "a field of view of 1.6e+05 mm", id="metres"),
    ],
)
def test_a_grid_of_no_size_is_said(affine: np.ndarray, said: str | None, tmp_path: Path) -> None:
    found = read(np.abs(scan((64, 64, 40))), tmp_path, "MR", affine)
    if said is None:
        assert found == []
    else:
        assert said in found[0]
        assert "no spine is so" in found[0]
        assert "check PixelSpacing" in found[0]


@pytest.mark.parametrize(
    ("pixel_mm", "likely"),
    [
        (0.0009, "the pixels are probably 0.9 x 0.9 mm"),
        (0.05, "0.5 x 0.5 mm"),
        (9.0, "0.9 x 0.9 mm"),
        (900, "0.9 x 0.9 mm"),
    ],
)
def test_a_slip_of_the_unit_is_named_with_the_likely_size(pixel_mm: float, likely: str) -> None:
    affine = np.diag([pixel_mm, pixel_mm, 4, 1.0])
    assert likely in odd_size(np.zeros((256, 256, 32), np.float32), affine, "MR")[0]


def test_small_pieces_are_not_judged() -> None:
    assert odd_size(np.zeros((64, 20, 20), np.float32), np.diag([0.01, 0.01, 90, 1.0]), "MR") == []


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_label_map_named_as_an_image_is_said(modality: str, tmp_path: Path) -> None:
    values = np.zeros((20, 24, 16), np.int16)
    values[4:12, 4:12, 4:12], values[8, 13:17, 8] = 20, 21
    said = read(values, tmp_path, modality)
    assert any("it holds 3 values only (0, 20, 21), as a label map or a mask does" in each for each in said)


def test_an_image_of_many_values_is_no_label_map(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 60, (20, 24, 16)).astype(np.int16)
    assert not any("label map" in each for each in read(values, tmp_path, "MR"))
