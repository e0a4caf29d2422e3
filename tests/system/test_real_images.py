"""Public images through the registration and through a bundle."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

from spinefuse_ext.__main__ import main
from spinefuse_ext.registration import landmarks_from_labels
from spinefuse_ext.verbs.commands import find_bundle
from spinefuse_ext.volumes import read_volume, write_volume

pytestmark = pytest.mark.assets


def test_two_postures_register_with_the_known_errors(
    assets: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = assets / "data/mr_spine/fastcleverseg_lumbar_1mm"
    names = {"ct": "VB1_AKs6_T1", "mr": "VB1_AKs8_T1b"}
    arguments = ["register", "--out", str(tmp_path / "pair")]
    for role, name in names.items():
        landmarks_from_labels(source / f"{name}_vertebrae.nii.gz", tmp_path / f"{role}.mrk.json")
        arguments += [f"--{role}", str(source / f"{name}_image.nii.gz")]
        arguments += [f"--{role}_landmarks", str(tmp_path / f"{role}.mrk.json")]
    with caplog.at_level(logging.INFO):
        main(arguments)
    assert "FRE 1.70 mm (root mean square), leave-one-out TRE 2.15 mm (mean)" in caplog.text


def test_a_bundle_takes_a_jpeg_2000_dicom_folder_as_ct(assets: Path, tmp_path: Path) -> None:
    series = assets / "data/ct_spine/totalseg_t11_t12_dicom/series"
    bundle = find_bundle("fusion")
    settings: dict[str, Any] = {"bundle_root": str(bundle), "initialize": [], "dataset_dir": str(tmp_path)}
    write_volume(read_volume(series, "CT"), tmp_path / "mr.nii.gz")  # stands in for an MR: the folder is none
    settings["dataset#data"] = [{"ct": str(series), "mr": name} for name in (str(tmp_path / "mr.nii.gz"), str(series))]
    workflow = ConfigWorkflow(
        str(bundle / "configs/inference.json"), workflow_type="infer", logging_file=False, **settings
    )
    workflow.initialize()
    item = workflow.dataset[0]
    assert item["image"].shape == (2, 512, 512, 20)
    np.testing.assert_allclose(item["ct"].pixdim, (0.977, 0.977, 2.0), atol=1e-2)
    bone = item["image"][0] > 0.5  # 400 HU in the default window of -200 to 1000
    assert 0.001 < bone.float().mean() < 0.05
    with pytest.raises(RuntimeError) as refused:
        workflow.dataset[1]
    assert "should hold exactly one MR series, but 0 fit" in str(refused.value.__cause__)
