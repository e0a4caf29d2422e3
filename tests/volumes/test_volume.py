from __future__ import annotations

from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from spinefuse_ext.validation import ImageReadError, MissingPathError
from spinefuse_ext.volumes import read_volume, write_volume

OBLIQUE = np.array([[-0.7, 0.1, 0.0, 30.5], [0.1, 0.7, 0.2, -12.25], [0.0, -0.2, 2.0, -800], [0, 0, 0, 1]])


def volume(values: torch.Tensor, affine: np.ndarray = OBLIQUE) -> MetaTensor:
    return MetaTensor(values, affine=torch.from_numpy(affine))


@pytest.mark.parametrize("shape", [(1, 4, 5, 6), (1, 4, 5, 1)], ids=["volume", "one-slice"])
@pytest.mark.parametrize("name", ["v.nii.gz", "v.nii"])
def test_nifti_round_trip_keeps_values_and_geometry(shape: tuple[int, ...], name: str, tmp_path: Path) -> None:
    image = volume(torch.rand(shape))
    write_volume(image, tmp_path / name)
    back = read_volume(tmp_path / name)
    torch.testing.assert_close(back.as_tensor(), image.as_tensor(), rtol=0, atol=0)
    np.testing.assert_allclose(back.affine, OBLIQUE, atol=1e-5)  # NIfTI keeps the affine in float32
    assert back.meta["filename_or_obj"] == str(tmp_path / name)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([-1024.0, 3071.0], np.int16, id="whole-numbers"),
        pytest.param([0.0, 0.5], np.float32, id="fractions"),
        pytest.param([0.0, 40000.0], np.float32, id="beyond-int16"),
        pytest.param([0.0, float("nan")], np.float32, id="nan"),
    ],
)
def test_type_on_disk_loses_nothing(values: list[float], expected: type, tmp_path: Path) -> None:
    write_volume(volume(torch.tensor(values).reshape(1, 2, 1, 1)), tmp_path / "v.nii.gz")
    assert nib.load(tmp_path / "v.nii.gz").get_data_dtype() == expected
    np.testing.assert_array_equal(read_volume(tmp_path / "v.nii.gz").numpy().ravel(), values)


def test_type_on_disk_can_be_chosen(tmp_path: Path) -> None:
    write_volume(volume(torch.ones(1, 2, 2, 2)), tmp_path / "v.nii.gz", dtype=np.uint8)
    assert nib.load(tmp_path / "v.nii.gz").get_data_dtype() == np.uint8


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_itk_formats_come_in_ras(suffix: str, tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)  # ITK order: z, y, x
    image = itk.image_from_array(values)
    image.SetSpacing([0.5, 1.0, 2.0])
    image.SetOrigin([1.0, 2.0, 3.0])
    itk.imwrite(image, str(tmp_path / f"v{suffix}"))
    back = read_volume(tmp_path / f"v{suffix}")
    np.testing.assert_array_equal(back.numpy()[0], values.T)
    np.testing.assert_allclose(
        back.affine, np.diag([-1, -1, 1, 1]) @ [[0.5, 0, 0, 1], [0, 1, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]]
    )


def test_a_dicom_folder_or_one_of_its_files_is_the_series(tmp_path: Path, write_series) -> None:
    write_series(tmp_path)
    (tmp_path / "CT0").rename(tmp_path / "slice.dcm")
    for path in (tmp_path, tmp_path / "slice.dcm"):
        assert read_volume(path, "CT").shape == (1, 4, 5, 4)


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match=r"MR .*absent.nii.gz does not exist"):
        read_volume(tmp_path / "absent.nii.gz", "MR")
    (tmp_path / "picture.txt").write_text("text")
    with pytest.raises(ImageReadError, match=r"picture.txt is no image file: expected a DICOM folder or one of .nii"):
        read_volume(tmp_path / "picture.txt")
    (tmp_path / "broken.nii.gz").write_bytes(b"not gzip")
    with pytest.raises(ImageReadError, match=r"broken.nii.gz cannot be read as an image"):
        read_volume(tmp_path / "broken.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3, 2), np.float32), np.eye(4)), tmp_path / "series.nii.gz")
    with pytest.raises(ImageReadError, match=r"one 3-D volume, got \(2, 3, 3, 3\)"):
        read_volume(tmp_path / "series.nii.gz")


def test_a_wrong_target_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in .nii or .nii.gz, got .*v.png"):
        write_volume(volume(torch.rand(1, 2, 2, 2)), tmp_path / "v.png")
    with pytest.raises(ValueError, match=r"\(1, X, Y, Z\), got \(2, 2, 2, 2\)"):
        write_volume(volume(torch.rand(2, 2, 2, 2)), tmp_path / "v.nii.gz")
    assert not list(tmp_path.iterdir())
