from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import DataLoader
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    Invertd,
    Lambdad,
    LoadImaged,
    Orientationd,
    ScaleIntensityRanged,
    Transform,
)

from spinefuse_ext.data import DiskCacheDataset
from spinefuse_ext.validation import ConfigError


def write_image(path: Path, first: int = 0) -> dict[str, str]:
    image = np.arange(first, first + 24, dtype=np.int16).reshape(2, 3, 4)
    nibabel.save(nibabel.Nifti1Image(image, np.diag([2.0, 1.0, 3.0, 1.0])), path)
    return {"patient": "anna", "image": str(path)}


def dataset(item: dict[str, Any], cache_dir: Path, b_max: float = 1.0) -> DiskCacheDataset:
    scale = ScaleIntensityRanged("image", a_min=0, a_max=10, b_min=0.0, b_max=b_max)
    return DiskCacheDataset([item], Compose([LoadImaged("image"), EnsureChannelFirstd("image"), scale]), cache_dir)


def first_value(item: dict[str, Any], cache_dir: Path, b_max: float = 1.0) -> float:
    return float(dataset(item, cache_dir, b_max)[0]["image"].flatten()[0])


def test_files_of_an_earlier_run_are_used_again(tmp_path: Path) -> None:
    item = write_image(tmp_path / "a.nii", 1)
    assert first_value(item, tmp_path / "cache") == pytest.approx(0.1)
    (file,) = (tmp_path / "cache").iterdir()
    written = file.stat()
    assert first_value(item, tmp_path / "cache") == pytest.approx(0.1)
    assert file.stat().st_ino == written.st_ino
    assert list((tmp_path / "cache").iterdir()) == [file]


def test_an_image_that_changed_is_loaded_anew(tmp_path: Path) -> None:
    item = write_image(tmp_path / "a.nii", 1)
    assert first_value(item, tmp_path / "cache") == pytest.approx(0.1)
    write_image(tmp_path / "a.nii", 2)  # as many bytes
    os.utime(tmp_path / "a.nii", ns=(1, 1))
    assert first_value(item, tmp_path / "cache") == pytest.approx(0.2)


def test_numbers_beside_a_header_and_files_in_a_folder_count_too(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    for name in ("a.mhd", "a.raw", "series/1.dcm"):
        (tmp_path / name).write_text("old")
    item = {"header": str(tmp_path / "a.mhd"), "folders": [str(tmp_path / "series")]}
    made = DiskCacheDataset([item], Compose([Read()]), tmp_path / "cache")
    for number, name in enumerate(("a.mhd", "a.raw", "series/1.dcm"), 1):
        made[0]
        assert len(list((tmp_path / "cache").iterdir())) == number
        (tmp_path / name).write_text("newer")


class Read(Transform):
    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "image": torch.zeros(1)}


def test_a_setting_that_changed_is_computed_anew(tmp_path: Path) -> None:
    item = write_image(tmp_path / "a.nii", 1)
    assert [first_value(item, tmp_path / "cache", top) for top in (1.0, 2.0, 1.0)] == pytest.approx([0.1, 0.2, 0.1])


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999), garbage=st.binary(max_size=8))
def test_a_torn_file_is_made_anew(share: float, garbage: bytes, tmp_path: Path) -> None:
    item = write_image(tmp_path / "a.nii", 1)
    os.utime(tmp_path / "a.nii", ns=(1, 1))
    assert first_value(item, tmp_path / "cache") == pytest.approx(0.1)
    (file,) = (tmp_path / "cache").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))] + garbage)
    assert first_value(item, tmp_path / "cache") == pytest.approx(0.1)
    with zipfile.ZipFile(file) as archive:  # the sizes of two files of one image can differ by a byte
        assert archive.testzip() is None


class Harm:
    def __reduce__(self) -> Any:
        return os.mkdir, ("harm",)


def test_a_file_cannot_bring_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    item = write_image(tmp_path / "a.nii", 1)
    first_value(item, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    torch.save({"image": Harm()}, file)
    assert first_value(item, tmp_path / "cache") == pytest.approx(0.1)
    assert not Path("harm").exists()


def test_processes_may_fill_one_folder_together(tmp_path: Path) -> None:
    item = write_image(tmp_path / "a.nii", 1)
    made = dataset(item, tmp_path / "cache")
    made.data = [item] * 8
    loaded = [batch["image"] for batch in DataLoader(made, batch_size=1, num_workers=2)]
    assert len(loaded) == 8
    assert all(torch.equal(image, loaded[0]) for image in loaded)
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".pt"]


def test_what_an_inversion_needs_is_kept(tmp_path: Path) -> None:
    item = write_image(tmp_path / "a.nii")
    transform = Compose([LoadImaged("image"), EnsureChannelFirstd("image"), Orientationd("image", "SPL", labels=None)])
    for _ in range(2):  # written, then read
        case = DiskCacheDataset([item], transform, tmp_path / "cache")[0]
        assert case["image"].shape == (1, 4, 3, 2)
        case["pred"] = case["image"] + 1
        back = Invertd("pred", transform, orig_keys="image", nearest_interp=False)(case)["pred"]
        assert torch.equal(back[0], torch.arange(1.0, 25.0).reshape(2, 3, 4))
        assert back.affine.diagonal().tolist() == [2, 1, 3, 1]


class Odd(Transform):
    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "odd": Path("odd")}


def test_what_cannot_be_cached_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="use no lambda"):
        DiskCacheDataset([{"image": "a"}], Compose([Lambdad("image", lambda image: image)]), tmp_path)
    with pytest.raises(ConfigError, match=r"cannot be read back.*choose the cache 'memory' or 'none'"):
        DiskCacheDataset([{"image": "a"}], Compose([Odd()]), tmp_path)[0]
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be made.*choose another folder"):
        DiskCacheDataset([{"image": "a"}], Compose([Odd()]), tmp_path / "file" / "cache")


def test_a_folder_that_takes_no_file_is_named(tmp_path: Path) -> None:
    made = DiskCacheDataset([{"image": "a"}], Compose([Read()]), tmp_path / "cache")
    (tmp_path / "cache").rmdir()
    (tmp_path / "cache").write_text("")
    with pytest.raises(ConfigError, match=r"\.pt cannot be written.*free space"):
        made[0]
