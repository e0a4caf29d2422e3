from __future__ import annotations

from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.data import CaseLayout
from spinefuse_ext.transforms import SaveFusedd
from spinefuse_ext.validation import ConfigError, ImageReadError

TOPS = {"uint16": 65535, "int16": 32767}
AFFINE = torch.tensor([[0, 0, 2.0, 1], [-1, 0, 0, 2], [0, 3, 0, 3], [0, 0, 0, 1]], dtype=torch.float64)


def stored_numbers(image: nib.Nifti1Image) -> NDArray[np.generic]:
    return np.asarray(image.dataobj.get_unscaled())  # type: ignore[attr-defined]


def save(voxels: torch.Tensor, root: Path, output_dtype: str) -> Path:
    image = MetaTensor(voxels, affine=AFFINE, meta={"filename_or_obj": str(root / "anna" / "ct.nii.gz")})
    SaveFusedd(
        "pred",
        output_dtype=output_dtype,
        writer="spinefuse_ext.data.ScaledNibabelWriter",
        folder_layout=CaseLayout(root / "out", "fused", root),
        resample=False,
        print_log=False,
    )({"pred": image})
    return root / "out" / "anna" / "fused.nii.gz"


@pytest.mark.parametrize("output_dtype", TOPS)
def test_zero_and_one_are_the_ends_of_the_type_whatever_the_volume_holds(output_dtype: str, tmp_path: Path) -> None:
    voxels = torch.full((1, 3, 4, 5), 0.5)
    voxels[0, 0, 0, :4] = torch.tensor([-0.1, 0.0, 1.0, 1.1])
    path = save(voxels, tmp_path, output_dtype)
    stored = nib.Nifti1Image.from_filename(path)
    raw = stored_numbers(stored)
    top = TOPS[output_dtype]
    assert raw.dtype == stored.get_data_dtype() == np.dtype(output_dtype)
    assert raw[0, 0, :4].tolist() == [0, 0, top, top]
    assert raw[1, 1, 1] in (top // 2, top // 2 + 1)
    np.testing.assert_allclose(stored.affine, AFFINE)
    np.testing.assert_allclose(stored.get_fdata(), voxels[0].clamp(0, 1), atol=0.6 / top)


@pytest.mark.parametrize("output_dtype", TOPS)
def test_itk_gets_the_fractions_back_too(output_dtype: str, tmp_path: Path) -> None:
    voxels = torch.rand(1, 3, 4, 5)
    path = save(voxels, tmp_path, output_dtype)
    read = itk.array_from_image(itk.imread(str(path)))
    np.testing.assert_allclose(read.transpose(2, 1, 0), voxels[0].numpy(), atol=0.6 / TOPS[output_dtype])


@settings(max_examples=10, deadline=None)
@given(gain=st.floats(0.01, 1.0))
def test_a_slice_is_stored_alike_beside_dark_and_bright_neighbours(
    gain: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One scale: what other slices hold does not reach a slice."""
    root = tmp_path_factory.mktemp("scale")
    voxels = torch.linspace(0, 1, 60).view(1, 3, 4, 5)
    dimmed = torch.cat((voxels[:, :1], voxels[:, 1:] * gain), dim=1)
    first, second = (
        stored_numbers(nib.Nifti1Image.from_filename(save(image, root, "uint16"))) for image in (voxels, dimmed)
    )
    np.testing.assert_array_equal(first[0], second[0])


def test_floats_are_stored_as_they_are(tmp_path: Path) -> None:
    voxels = torch.rand(1, 3, 4, 5) * 1.2 - 0.1
    stored = nib.Nifti1Image.from_filename(save(voxels, tmp_path, "float32"))
    assert stored.get_data_dtype() == np.float32
    np.testing.assert_array_equal(stored_numbers(stored), voxels[0])
    np.testing.assert_array_equal(stored.get_fdata(dtype=np.float32), voxels[0])


def test_the_data_are_not_changed_by_writing_them(tmp_path: Path) -> None:
    image = MetaTensor(torch.rand(1, 2, 3, 4), meta={"filename_or_obj": str(tmp_path / "anna" / "ct.nii.gz")})
    before = image.clone()
    done = SaveFusedd(
        "pred",
        output_dtype="int16",
        writer="spinefuse_ext.data.ScaledNibabelWriter",
        folder_layout=CaseLayout(tmp_path, "fused", tmp_path),
        resample=False,
    )({"pred": image})
    assert torch.equal(done["pred"], before)


def test_unknown_types_and_values_without_an_integer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="output_dtype must be one of float32, uint16, int16, got uint8"):
        SaveFusedd("pred", output_dtype="uint8")
    voxels = torch.zeros(1, 2, 3, 4)
    voxels[0, 0, 0, :2] = torch.tensor([torch.nan, torch.inf])
    with pytest.raises(ImageReadError, match=r"anna/ct.nii.gz holds 2 values that are not finite"):
        save(voxels, tmp_path, "uint16")
    assert list(tmp_path.iterdir()) == []
