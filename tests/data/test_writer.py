from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor, NibabelWriter
from monai.transforms import SaveImaged

from spinefuse_ext.data import CaseLayout, WholeNibabelWriter


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


def save(image: MetaTensor, root: Path) -> Path:
    layout = CaseLayout(root / "out", "fused", root)
    SaveImaged(
        "pred", writer="spinefuse_ext.data.WholeNibabelWriter", folder_layout=layout, resample=False, print_log=False
    )({"pred": image})
    return root / "out" / "anna" / "fused.nii.gz"


@pytest.fixture
def image(tmp_path: Path) -> MetaTensor:
    affine = torch.tensor([[0, 0, 2.0, 1], [-1, 0, 0, 2], [0, 3, 0, 3], [0, 0, 0, 1]], dtype=torch.float64)
    return MetaTensor(
        torch.rand(1, 4, 5, 6), affine=affine, meta={"filename_or_obj": str(tmp_path / "anna" / "ct.nii.gz")}
    )


def test_saved_volume_has_the_grid_and_values_of_the_image(image: MetaTensor, tmp_path: Path) -> None:
    written = nib.load(save(image, tmp_path))
    np.testing.assert_allclose(written.affine, image.affine.numpy())
    np.testing.assert_allclose(written.get_fdata(), image[0].numpy(), atol=1e-7)


def test_a_write_that_fails_leaves_the_old_volume_and_nothing_else(
    image: MetaTensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(image, tmp_path)
    before = path.read_bytes()

    def half(self: NibabelWriter, filename: str, **_: object) -> None:
        Path(filename).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(NibabelWriter, "write", half)
    writer = WholeNibabelWriter()
    with pytest.raises(OSError, match="disk full"):
        writer.write(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
