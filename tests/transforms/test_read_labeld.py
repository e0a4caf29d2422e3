"""Labels of a case: as ``prepare`` reads them, on the grid of the image, ready for a batch."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor, list_data_collate

from spinefuse_ext.transforms import ReadLabeld
from spinefuse_ext.validation import GridMismatchError, UnknownLabelError
from tests.label_files.segmentation import write_seg_nrrd

AFFINE = np.array([[2.0, 0, 0, -40], [0, 2, 0, -40], [0, 0, 2, -30], [0, 0, 0, 1]])
VALUES = np.arange(4, dtype=np.uint8).repeat(30).reshape(8, 5, 3)


def case(label: Path) -> dict[str, object]:
    return {"fused": MetaTensor(torch.zeros(1, *VALUES.shape), affine=torch.as_tensor(AFFINE)), "label": str(label)}


def test_files_of_several_kinds_are_classes_on_the_grid_of_their_image_and_make_one_batch(tmp_path: Path) -> None:
    read = ReadLabeld("label", image_key="fused")
    nib.save(nib.Nifti1Image(VALUES.astype(np.float32) * 0.99999, AFFINE), tmp_path / "label.nii.gz")
    segments = (("canal", 1, 0), ("disc", 2, 0), ("vertebra", 3, 0))
    write_seg_nrrd(tmp_path / "l.seg.nrrd", [np.array([0, 3, 2, 1])[VALUES]], segments)
    cases = [case(tmp_path / name) for name in ("label.nii.gz", "l.seg.nrrd")]
    batch = list_data_collate([read(one) for one in cases])
    assert batch["label"].dtype == torch.float32
    for label in batch["label"]:
        np.testing.assert_array_equal(label[0].numpy(), VALUES)
    assert isinstance(cases[0]["label"], str)  # the caller's item is not changed


def test_names_that_a_server_knows_come_before_the_numbers(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image((VALUES == 2).astype(np.uint8), AFFINE), tmp_path / "label.nii.gz")
    found = ReadLabeld("label", image_key="fused")({**case(tmp_path / "label.nii.gz"), "label_names": {1: "disc"}})
    np.testing.assert_array_equal(found["label"].numpy()[0], 2 * (VALUES == 2))


def test_what_prepare_refuses_is_refused_here(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VALUES, np.eye(4)), tmp_path / "displaced.nii.gz")
    nib.save(nib.Nifti1Image(VALUES * 3, AFFINE), tmp_path / "values.nii.gz")
    with pytest.raises(GridMismatchError, match=r"displaced.nii.gz has as many voxels as its image"):
        ReadLabeld("label", image_key="fused")(case(tmp_path / "displaced.nii.gz"))
    with pytest.raises(UnknownLabelError, match=r"values.nii.gz holds the values 6, 9, but the labels are"):
        ReadLabeld("label", image_key="fused")(case(tmp_path / "values.nii.gz"))
    read = ReadLabeld("label", image_key="fused", relabel={3: 1, 6: "disc", 9: "ignore"}, ignore_index=255)
    label = read(case(tmp_path / "values.nii.gz"))["label"]
    np.testing.assert_array_equal(label.numpy()[0], np.array([0, 1, 2, 255])[VALUES])


def test_a_volume_is_checked_too_and_a_case_without_a_label_passes() -> None:
    read = ReadLabeld("label", image_key="fused", allow_missing_keys=True)
    assert read({"patient": "p"}) == {"patient": "p"}
    volume = MetaTensor(torch.as_tensor(VALUES)[None], affine=torch.as_tensor(AFFINE))
    np.testing.assert_array_equal(read({**case(Path()), "label": volume})["label"].numpy()[0], VALUES)
    with pytest.raises(UnknownLabelError, match="holds the values 5"):
        read({**case(Path()), "label": volume + 2})
