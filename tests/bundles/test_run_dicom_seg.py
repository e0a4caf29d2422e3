"""The segmentation writes a DICOM SEG where its image has a DICOM series."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.data import MetaTensor

from spinefuse_ext.dicom import StudyHeader, read_seg, write_series
from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.plain_errors import plain_message
from spinefuse_ext.volumes import read_volume, write_volume

pytestmark = pytest.mark.slow

CASE = "case_5"  # stored with other axes than RAS


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """A small network that nobody trained: it finds something of everything everywhere."""
    unet = {"_target_": "UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 5, "channels": [4, 8]}
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


@pytest.mark.parametrize("key", ["ct", "mr"])
def test_of_a_folder_with_ct_and_mr_the_key_says_which_is_read_and_labelled(
    key: str, series: Path, settings: dict[str, Any], tmp_path: Path, workflow: Callable[..., ConfigWorkflow]
) -> None:
    mr = read_volume(series)
    ct = MetaTensor(mr.as_tensor()[:, ::2] - 1000, affine=mr.affine @ torch.diag(torch.tensor([2.0, 1, 1, 1])).double())
    write_series(ct, series.parent / "ct", modality="CT", study=StudyHeader("p", "Doe^Jo"))
    data = {"dataset_dir": str(tmp_path), "image_keys": [key], "dataset#data": [{key: str(series.parent)}]}
    workflow("spine_semiseg", "inference.json", **settings, **data).run()
    prediction = read_volume(tmp_path / "out" / "prediction.nii.gz")
    image = read_volume(series.parent, key.upper())
    assert prediction.shape == image.shape
    torch.testing.assert_close(prediction.affine, image.affine, atol=1e-4, rtol=0)
    referred = pydicom.dcmread(tmp_path / "out" / "prediction.dcm").ReferencedSeriesSequence[0].SeriesInstanceUID
    assert referred == image.meta["series_uid"]


def test_a_folder_with_ct_and_mr_under_a_key_that_does_not_say_which_is_refused_and_nothing_written(
    series: Path, settings: dict[str, Any], tmp_path: Path, workflow: Callable[..., ConfigWorkflow]
) -> None:
    write_series(read_volume(series), series.parent / "ct", modality="CT", study=StudyHeader("p", "Doe^Jo"))
    data = {"dataset_dir": str(series.parent), "dataset#data": [{"fused": str(series.parent)}]}
    with pytest.raises(RuntimeError) as raised:
        workflow("spine_semiseg", "inference.json", **settings, **data).run()
    assert "should hold exactly one series, but 2 fit" in str(plain_message(raised.value))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["dicom", "nifti"])
def test_a_ct_alone_reaches_the_network_by_its_window_and_dropped_islands_are_written_down(
    source: str,
    settings: dict[str, Any],
    tmp_path: Path,
    workflow: Callable[..., ConfigWorkflow],
) -> None:
    voxels = torch.full((1, 12, 40, 40), -1000.0)
    voxels[:, 2:10, 8:32, 8:32] = 40
    voxels[:, 4:8, 16:24, 16:24] = 700
    ct = MetaTensor(voxels, affine=torch.eye(4).double())
    image = tmp_path / "ct" / "image.nii.gz"
    write_volume(ct, image) if source == "nifti" else write_series(
        ct, image.parent, modality="CT", study=StudyHeader("p", "Doe^Jo")
    )
    item = {"fused": str(image if source == "nifti" else image.parent)}
    own = {"dataset_dir": str(tmp_path), "dataset#data": [item], "spacing_mm": None}
    run = workflow("spine_semiseg", "inference.json", **settings, **own)
    seen = run.dataset[0]["image"]
    assert seen.unique().tolist() == pytest.approx([0, 0.2, 0.75])  # air, 40 and 700 HU in a window of -200 to 1000
    run.run()
    trust = json.loads(next((tmp_path / "out").rglob("trust.json")).read_text(encoding="utf-8"))
    assert set(trust["islands"]) == {"dropped", "ml", "largest_ml"}


def test_an_image_without_a_series_and_a_switch_that_is_off_give_none(
    series: Path, settings: dict[str, Any], cohort: Path, tmp_path: Path, workflow: Callable[..., ConfigWorkflow]
) -> None:
    workflow("spine_semiseg", "inference.json", **settings, sections=["test"]).run()
    assert {path.name for path in (tmp_path / "out" / CASE).iterdir()} == {"prediction.nii.gz", "trust.json"}
    data = {"dataset_dir": str(series.parent), "dataset#data": [{"fused": str(series)}]}
    workflow("spine_semiseg", "inference.json", **settings, **data, save_seg=False).run()
    assert (tmp_path / "out" / "prediction.nii.gz").exists()
    assert not (tmp_path / "out" / "prediction.dcm").exists()
