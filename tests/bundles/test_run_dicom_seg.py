"""The segmentation writes a DICOM SEG where its image has a DICOM series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from spinefuse_ext.dicom import StudyHeader, read_seg, read_volume, write_series
from spinefuse_ext.labels import STRUCTURES

pytestmark = pytest.mark.slow

CASE = "case_5"  # stored with other axes than RAS


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """A small network that nobody trained: it finds something of everything everywhere."""
    unet = {"_target_": "UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 4, "channels": [4, 8]}
    single = {"_target_": "spinefuse_ext.networks.SingleSegNet", "network": {**unet, "strides": [2]}}
    network = ConfigParser({"network": single}).get_parsed_content("network")
    torch.save(network.state_dict(), tmp_path / "single.pt")
    return {
        "network_def": single,
        "checkpoint": str(tmp_path / "single.pt"),
        "canvas": [64, 80],
        "output_dir": str(tmp_path / "out"),
        "workflow_type": "inference",
    }


@pytest.fixture
def series(cohort: Path, tmp_path: Path) -> Path:
    image = read_volume(cohort / CASE / "fused.nii.gz")
    image.set_array((image.as_tensor() * 500 + 500).clip(0, 4000))
    return write_series(image, tmp_path / "scan" / "mr", modality="MR", study=StudyHeader("p", "Doe^Jo"))


@pytest.mark.parametrize("own", [True, False], ids=["image is the series", "item names the series"])
def test_the_seg_says_what_the_prediction_says(
    own: bool,
    series: Path,
    settings: dict[str, Any],
    cohort: Path,
    tmp_path: Path,
    workflow: Callable[..., ConfigWorkflow],
) -> None:
    item = {"fused": str(series)} if own else {"fused": str(cohort / CASE / "fused.nii.gz"), "dicom": str(series)}
    data = {"dataset_dir": str(Path(item["fused"]).parent), "dataset#data": [item]}
    workflow("spine_semiseg", "inference.json", **settings, **data).run()
    prediction = read_volume(tmp_path / "out" / "prediction.nii.gz")
    segments = {segment.label: segment for segment in read_seg(tmp_path / "out" / "prediction.dcm")}
    voxels, affine = prediction.numpy()[0], prediction.affine.numpy()
    found = {int(label) for label in np.unique(voxels)} - {0}
    assert found
    assert set(segments) == {STRUCTURES[label] for label in found}
    for label in found:
        segment = segments[STRUCTURES[label]]
        places = np.argwhere(voxels == label)
        assert segment.voxels == len(places)
        centroid = affine[:3, :3] @ places.mean(axis=0) + affine[:3, 3]
        np.testing.assert_allclose(segment.centroid_mm, centroid, atol=1e-2)


def test_an_image_without_a_series_and_a_switch_that_is_off_give_none(
    series: Path, settings: dict[str, Any], cohort: Path, tmp_path: Path, workflow: Callable[..., ConfigWorkflow]
) -> None:
    workflow("spine_semiseg", "inference.json", **settings, sections=["test"]).run()
    assert {path.name for path in (tmp_path / "out" / CASE).iterdir()} == {"prediction.nii.gz", "trust.json"}
    data = {"dataset_dir": str(series.parent), "dataset#data": [{"fused": str(series)}]}
    workflow("spine_semiseg", "inference.json", **settings, **data, save_seg=False).run()
    assert (tmp_path / "out" / "prediction.nii.gz").exists()
    assert not (tmp_path / "out" / "prediction.dcm").exists()
