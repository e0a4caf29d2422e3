from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import LoadImage

from spinefuse_ext.data import make_phantom, write_phantom, write_phantoms
from spinefuse_ext.registration import read_landmarks
from spinefuse_ext.validation import ConfigError, OutputError

FILES = {
    *(f"{name}.nii.gz" for name in ("ct", "mr", "mr_aligned", "label", "vertebrae", "truth_displacement")),
    *(f"{space}_landmarks{suffix}" for space in ("ct", "mr") for suffix in (".mrk.json", ".fcsv")),
    "truth.json",
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    return write_phantoms(folder / "new", cases=2, seed=3, size_mm=(48, 48, 48), spacing_mm=2.0)


def test_each_case_is_complete(out: Path) -> None:
    assert sorted(case.name for case in out.iterdir()) == ["case_003", "case_004"]
    for case in out.iterdir():
        assert {path.name for path in case.iterdir()} == FILES | {"ct_dicom", "mr_dicom"}


def test_images_come_back_as_they_were_made(out: Path) -> None:
    phantom = make_phantom(3, size_mm=(48, 48, 48), spacing_mm=2.0)
    for name in ("ct", "mr", "mr_aligned", "label", "vertebrae"):
        stored = nib.load(out / "case_003" / f"{name}.nii.gz")
        image = getattr(phantom, name)
        assert stored.get_data_dtype() == image.numpy().dtype
        np.testing.assert_array_equal(np.asarray(stored.dataobj), image[0].numpy())
        np.testing.assert_allclose(stored.affine, np.asarray(image.affine), atol=1e-4)


@pytest.mark.parametrize("suffix", [".mrk.json", ".fcsv"])
def test_landmark_files_hold_the_clicks(out: Path, suffix: str) -> None:
    phantom = make_phantom(3, size_mm=(48, 48, 48), spacing_mm=2.0)
    for space in ("ct", "mr"):
        expected = getattr(phantom, f"{space}_landmarks")
        stored = read_landmarks(out / "case_003" / f"{space}_landmarks{suffix}")
        assert stored.names == expected.names
        np.testing.assert_allclose(stored.points_mm, expected.points_mm, atol=1e-3)


def test_displacement_file_leads_from_ct_to_mr(out: Path) -> None:
    phantom = make_phantom(3, size_mm=(48, 48, 48), spacing_mm=2.0)
    field = nib.load(out / "case_003" / "truth_displacement.nii.gz")
    vectors = np.asarray(field.dataobj)
    assert vectors.shape[3:] == (1, 3)
    index = np.indices(vectors.shape[:3]).reshape(3, -1)
    points = (field.affine[:3, :3] @ index).T + field.affine[:3, 3]
    np.testing.assert_allclose(points + vectors.reshape(-1, 3), phantom.ct_to_mr(points), atol=1e-3)
    last = np.asarray(phantom.ct.affine) @ [*(n - 1 for n in phantom.ct.shape[1:]), 1]
    assert (points.max(axis=0) >= last[:3] - 1e-3).all()  # the field covers the CT


def test_truth_targets_obey_the_matrices(out: Path) -> None:
    truth = json.loads((out / "case_004" / "truth.json").read_text())
    assert (truth["patient"], truth["seed"], truth["space"]) == ("PHANTOM-0004", 4, "RAS, mm")
    for name, ct, mr in zip(*(truth["targets"][key] for key in ("names", "ct_mm", "mr_mm")), strict=True):
        matrix = np.asarray(truth["vertebra_matrices_ct_to_mr"][name.split("_")[0]])
        np.testing.assert_allclose((matrix @ [*ct, 1])[:3], mr, atol=1e-9)


def test_dicom_folders_show_the_same_pictures(out: Path) -> None:
    case = out / "case_003"
    for name in ("ct", "mr"):
        nifti = LoadImage(image_only=True, ensure_channel_first=True)(case / f"{name}.nii.gz")
        series = LoadImage(image_only=True, ensure_channel_first=True, reader="ITKReader")(case / f"{name}_dicom")
        inverse = np.linalg.inv(np.asarray(series.affine)) @ np.asarray(nifti.affine)
        index = np.indices(nifti.shape[1:]).reshape(3, -1)
        where = np.rint(inverse[:3, :3] @ index + inverse[:3, 3:]).astype(int)
        np.testing.assert_allclose(inverse[:3, :3] @ index + inverse[:3, 3:], where, atol=2e-2)
        np.testing.assert_array_equal(series[0].numpy()[tuple(where)], nifti[0].numpy().reshape(-1))


def test_a_case_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "case_001"
    folder.mkdir()
    (folder / "stale.txt").write_text("old")
    write_phantom(make_phantom(1, size_mm=(32, 32, 32), spacing_mm=4.0), folder, dicom=False)
    assert {path.name for path in folder.iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["case_001"]  # no temporary folder is left


def test_style_and_motion_reach_the_files(tmp_path: Path) -> None:
    size: dict[str, Any] = {"size_mm": (32, 32, 32), "spacing_mm": 4.0}
    write_phantoms(tmp_path, cases=1, dicom=False, style="dark", motion=0.0, **size)
    expected = make_phantom(0, style="dark", motion=0.0, **size)
    for name in ("ct", "mr"):
        stored = np.asarray(nib.load(tmp_path / "case_000" / f"{name}.nii.gz").dataobj)
        np.testing.assert_array_equal(stored, getattr(expected, name)[0].numpy())


def test_impossible_requests_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1 case and a seed of 0 or more, got 0 cases"):
        write_phantoms(tmp_path / "out", cases=0)
    with pytest.raises(ConfigError, match="a spacing that fits"):
        write_phantoms(tmp_path / "out", spacing_mm=-1.0)
    with pytest.raises(ConfigError, match="Unknown phantom style sharp"):
        write_phantoms(tmp_path / "out", style="sharp")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        write_phantoms(tmp_path / "file")
