from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor, NibabelWriter
from monai.transforms import SaveImaged

from spinefuse_ext.data import AtomicNibabelWriter, CaseLayout


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("data/case_1/ct.nii.gz", "out/case_1/fused.nii.gz"),
        ("data/clinic/case_1/ct_dicom", "out/clinic/case_1/fused.nii.gz"),
        ("data/ct.nii.gz", "out/fused.nii.gz"),
        ("other/case_1/ct.nii.gz", "out/case_1/fused.nii.gz"),
    ],
)
def test_output_takes_the_place_of_its_case(
    subject: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    layout = CaseLayout("out", "fused", "data")
    assert layout.filename(subject) == expected
    assert CaseLayout("out", "fused", tmp_path / "data").filename(tmp_path / subject) == expected


def save(image: torch.Tensor, root: Path) -> Path:
    layout = CaseLayout(root / "out", "fused", root)
    SaveImaged(
        "pred", writer="spinefuse_ext.data.AtomicNibabelWriter", folder_layout=layout, resample=False, print_log=False
    )({"pred": image})
    return root / "out" / "anna" / "fused.nii.gz"


@pytest.fixture
def image(tmp_path: Path) -> MetaTensor:
    affine = torch.tensor([[0, 0, 2.0, 1], [-1, 0, 0, 2], [0, 3, 0, 3], [0, 0, 0, 1]], dtype=torch.float64)
    return MetaTensor(
        torch.rand(1, 4, 5, 6), affine=affine, meta={"filename_or_obj": str(tmp_path / "anna" / "ct.nii.gz")}
    )


@pytest.mark.parametrize("slices", [6, 1])
def test_saved_volume_has_the_grid_and_values_of_the_image(image: MetaTensor, slices: int, tmp_path: Path) -> None:
    written = nib.Nifti1Image.from_filename(save(image[..., :slices], tmp_path))
    assert written.shape == (4, 5, slices)
    np.testing.assert_allclose(written.affine, image.affine.numpy())
    np.testing.assert_allclose(written.get_fdata(), image[0, ..., :slices].numpy(), atol=1e-7)
    assert written.get_data_dtype() == np.float32


def test_channels_come_last_and_the_type_on_disk_can_be_chosen(image: MetaTensor, tmp_path: Path) -> None:
    writer = AtomicNibabelWriter(output_dtype=np.uint8)
    writer.set_data_array((image.repeat(2, 1, 1, 1) * 9).round())
    writer.set_metadata(image.meta, resample=False)
    writer.write(tmp_path / "two.nii.gz")
    written = nib.Nifti1Image.from_filename(tmp_path / "two.nii.gz")
    assert (written.shape, written.get_data_dtype()) == ((4, 5, 6, 2), np.uint8)


def test_resampling_goes_back_to_the_grid_before_the_transforms(tmp_path: Path) -> None:
    """A volume of 2 mm voxels that was loaded with 1 mm gets its 1 mm back."""
    meta = {
        "affine": torch.diag(torch.tensor([2.0, 2, 2, 1])),
        "original_affine": np.eye(4),
        "spatial_shape": (8, 8, 8),
    }
    writer = AtomicNibabelWriter()
    writer.set_data_array(torch.ones(1, 4, 4, 4))
    writer.set_metadata(meta, resample=True)
    writer.write(tmp_path / "back.nii.gz")
    assert nib.Nifti1Image.from_filename(tmp_path / "back.nii.gz").shape == (8, 8, 8)


def test_a_write_that_fails_leaves_the_old_volume_and_nothing_else(
    image: MetaTensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(image, tmp_path)
    before = path.read_bytes()

    def half(self: NibabelWriter, filename: str, **_: object) -> None:
        Path(filename).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(NibabelWriter, "write", half)
    writer = AtomicNibabelWriter()
    with pytest.raises(OSError, match="disk full"):
        writer.write(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
