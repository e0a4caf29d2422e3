from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from monai.bundle import ConfigWorkflow

from spinefuse_ext.__main__ import main
from spinefuse_ext.data import make_phantom, write_phantom
from spinefuse_ext.dicom import read_series
from spinefuse_ext.registration import register_case
from spinefuse_ext.volumes import read_volume

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {"canvas": [64, 64], "spatial_dims": 2}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom as the hospital hands it over: two DICOM series in spaces of their own, and landmarks."""
    phantom = make_phantom(1, size_mm=(48, 72, 80), spacing_mm=3.0, landmarks_per_vertebra=4)
    return write_phantom(phantom, tmp_path_factory.mktemp("raw") / "p1")


def points(raw: Path, pattern: str) -> dict[str, str]:
    return {pattern.format(name): str(raw / f"{name}_landmarks.mrk.json") for name in ("ct", "mr")}


def fused(path: Path) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_filename(path)


@pytest.mark.parametrize("model", ["rigid", "per_vertebra"])
def test_raw_images_with_landmarks_give_what_registering_first_gives(
    model: str, raw: Path, workflow: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    register_case(raw / "ct_dicom", raw / "mr_dicom", tmp_path / "pair", model=model, **points(raw, "{}_landmarks"))
    images = {name: str(raw / f"{name}_dicom") for name in ("ct", "mr")}
    transform = tmp_path / "pair" / ("transform.tfm" if model == "rigid" else "transform.h5")
    items = {
        "first": {name: str(tmp_path / f"pair/{name}.nii.gz") for name in ("ct", "mr")},
        "landmarks": {**images, **points(raw, "{}_landmarks")},
        "transform": {**images, "transform": str(transform)},
    }
    found = {}
    for name, item in items.items():
        places = {"dataset#data": [item], "output_dir": str(tmp_path / name), "dataset_dir": str(raw)}
        options = {**SETTINGS, "registration_model": "rigid" if name == "transform" else model}
        workflow("spine_fusion", "inference.json", "max.json", workflow_type="inference", **places, **options).run()
        (path,) = (tmp_path / name).rglob("fused.nii.gz")
        found[name] = fused(path)
    for name in ("landmarks", "transform"):
        np.testing.assert_allclose(found[name].affine, found["first"].affine, atol=1e-4)
        # a field is interpolated once more when it comes out of a file
        limit = 2e-3 if (name, model) == ("transform", "per_vertebra") else 1e-4
        np.testing.assert_allclose(found[name].get_fdata(), found["first"].get_fdata(), atol=limit)
    headers = {name: str(raw / f"{name}.nii.gz") for name in ("ct", "mr")}  # as if they shared one space
    unregistered = {"dataset#data": [headers], "output_dir": str(tmp_path / "none"), "dataset_dir": str(raw)}
    workflow("spine_fusion", "inference.json", "max.json", workflow_type="inference", **unregistered, **SETTINGS).run()
    (path,) = (tmp_path / "none").rglob("fused.nii.gz")
    assert np.abs(fused(path).get_fdata() - found["first"].get_fdata()).mean() > 0.02


def test_the_command_takes_raw_images_and_shows_the_errors(
    raw: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "model.pt"
    checkpoint.touch()  # the maximum has no weights
    command = ["fuse", "--ct", str(raw / "ct_dicom"), "--mr", str(raw / "mr_dicom"), "--out", str(tmp_path / "out")]
    command += ["--checkpoint", str(checkpoint), "--canvas", "[64,64]"]
    command += ["--network_def", '{"_target_": "spinefuse_ext.networks.MaxFusion"}']
    for name, path in points(raw, "--{}_landmarks").items():
        command += [name, path]
    main(command)
    assert "rigid fit on" in "".join(capfd.readouterr())
    _check_series(tmp_path / "out", raw)
    elsewhere = [str(tmp_path / "off") if part == str(tmp_path / "out") else part for part in command]
    main([*elsewhere, "--save_series", "False"])
    assert [path.name for path in (tmp_path / "off").iterdir()] == ["fused.nii.gz"]


def _check_series(out: Path, raw: Path) -> None:
    """The DICOM series beside the NIfTI holds its voxels, on the images of the CT, and refers to both scans."""
    volume, series = read_volume(out / "fused.nii.gz"), read_series(out / "fused_dicom")
    np.testing.assert_allclose(series.affine, volume.affine, atol=1e-4)
    np.testing.assert_allclose(series / 10000, volume, atol=6e-5)
    fused, ct, mr = (
        [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
        for folder in (out / "fused_dicom", raw / "ct_dicom", raw / "mr_dicom")
    )
    for image, source in zip(fused, ct, strict=True):
        for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID"):
            assert image[tag].value == source[tag].value
        referred = [item.ReferencedSOPInstanceUID for item in image.SourceImageSequence]
        assert referred[0] == source.SOPInstanceUID
        assert set(referred[1:]) == {each.SOPInstanceUID for each in mr}


def test_a_datalist_may_name_landmarks_and_wrong_ones_are_told_in_one_line(raw: Path, tmp_path: Path) -> None:
    names = {**{name: f"{name}_dicom" for name in ("ct", "mr")}, "patient": "p", "ct_landmarks": "ct_landmarks.fcsv"}
    (raw / "datalist.json").write_text(f'{{"test": [{names}]}}'.replace("'", '"'))
    bundle = Path(__file__).parents[2] / "bundles" / "spine_fusion"
    configs = [str(bundle / "configs" / name) for name in ("inference.json", "max.json")]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(configs), "--bundle_root", str(bundle)]
    command += ["--dataset_dir", str(raw), "--output_dir", str(tmp_path), "--sections", "['test']"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "spinefuse: Landmarks are needed on both images, but mr_landmarks is missing" in done.stderr
    assert not list(tmp_path.rglob("fused.nii.gz"))
