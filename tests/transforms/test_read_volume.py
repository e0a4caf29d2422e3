from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor, list_data_collate

from spinefuse_ext.data import make_phantom, write_phantom
from spinefuse_ext.transforms import ReadVolumed
from spinefuse_ext.validation import ImageReadError, MissingPathError
from spinefuse_ext.volumes import read_volume, write_volume


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(make_phantom(0, size_mm=(48, 64, 64), spacing_mm=4.0), tmp_path_factory.mktemp("p") / "p")


def test_files_and_dicom_folders_are_read_alike_and_other_keys_stay(phantom: Path) -> None:
    read = ReadVolumed(["ct", "mr"], modality=["CT", "MR"])
    item = {"ct": str(phantom / "ct_dicom"), "mr": str(phantom / "mr.nii.gz"), "patient": "p", "landmarks_ct": "x"}
    found = read(item)
    assert (found["patient"], found["landmarks_ct"]) == ("p", "x")
    assert found["ct"].meta["patient_id"] == "PHANTOM-0000"
    assert found["mr"].meta["patient_id"] == ""
    for key, modality in (("ct", "CT"), ("mr", "MR")):
        assert isinstance(found[key], MetaTensor)
        torch.testing.assert_close(found[key].as_tensor(), read_volume(item[key], modality).as_tensor())
        assert found[key].meta["filename_or_obj"] == item[key]
    assert isinstance(item["ct"], str)  # the caller's item is not changed


def test_cases_of_files_and_of_dicom_make_one_batch(phantom: Path) -> None:
    read = ReadVolumed("ct", modality="CT")
    batch = list_data_collate([read({"ct": phantom / name}) for name in ("ct_dicom", "ct.nii.gz")])
    assert batch["ct"].shape[0] == 2


def test_padding_of_a_ct_becomes_air_and_values_of_an_mr_stay(phantom: Path, tmp_path: Path) -> None:
    ct = read_volume(phantom / "ct.nii.gz")
    ct[:, 0, 0] = -3024
    write_volume(ct, tmp_path / "padded.nii.gz")
    item = {"ct": tmp_path / "padded.nii.gz", "mr": tmp_path / "padded.nii.gz"}
    found = ReadVolumed(["ct", "mr"], modality=["CT", "MR"])(item)
    assert set(found["ct"][:, 0, 0].unique().tolist()) == {-1000}
    assert set(found["mr"][:, 0, 0].unique().tolist()) == {-3024}


def test_missing_keys_and_files(tmp_path: Path) -> None:
    assert ReadVolumed(["ct", "mr"], allow_missing_keys=True)({"patient": "p"}) == {"patient": "p"}
    with pytest.raises(KeyError):
        ReadVolumed("ct")({"patient": "p"})
    with pytest.raises(MissingPathError, match=r"CT .*absent.nii.gz does not exist"):
        ReadVolumed("ct", modality="CT")({"ct": tmp_path / "absent.nii.gz"})
    with pytest.raises(ImageReadError, match="no DICOM image series"):
        ReadVolumed("ct", modality="CT")({"ct": tmp_path})
