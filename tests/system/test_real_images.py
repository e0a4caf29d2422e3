"""The README's commands on public images, with fewer epochs."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

from spinefuse_ext.__main__ import main
from spinefuse_ext.registration import landmarks_from_labels
from spinefuse_ext.verbs.commands import find_bundle, run_bundle
from spinefuse_ext.volumes import read_volume, write_volume

pytestmark = pytest.mark.assets

BRAIN = {"slice_axis": 2, "canvas": [256, 256], "ct_window_hu": [0, 255], "sw_batch_size": 8}
SMALL_FUSION = {"network_def#dim": 16, "network_def#num_blocks": [1, 1], "network_def#num_heads": 4}
SPINE = {"image_keys": ["mr"], "spacing_mm": [-1, 1.88, 1.88], "canvas": [128, 160], "sw_batch_size": 16}
SMALL_SEMISEG = {"vnet_channels": [8, 16, 32, 64, 128], "vnet_dropout": 0.1}


def stacked(source: Path, out: Path, *options: str) -> None:
    main(["stack", str(source), str(out), *options])


@pytest.mark.slow
def test_fused_brain_slices_show_bone_of_ct_and_soft_tissue_of_mr(assets: Path, tmp_path: Path) -> None:
    source, cases = assets / "data/pairs/aanlib_ct_mri_brain", tmp_path / "cases"
    for folder, name in (("CT", "ct"), ("MRI", "mr")):
        options = ["--plane", "axial", "--spacing_mm", "[1,1,5]", "--pattern", r"^(\d+)(\d{3})$"]
        stacked(source / folder, cases, "--name", name, *options)
    split = tmp_path / "split.json"
    split.write_text(
        json.dumps({"unlabelled": ["2", "20", "28", "32", "33"], "validation": ["34"], "test": ["37", "41"]}),
        encoding="utf-8",
    )
    main(["datalist", str(cases), "--split", str(split)])
    training = {"patch_size": [64, 64], "batch_size": 8, "crops_per_case": 32, "learning_rate": 0.002}
    epochs = {"epochs": 9, "stage1_epochs": 4, "val_interval": 5}
    run = tmp_path / "run"
    paths = {"dataset_dir": str(cases), "ckpt_dir": str(run / "models"), "output_dir": str(run / "eval")}
    bundle = find_bundle("fusion")
    run_bundle(bundle, ["train.json"], {**paths, **BRAIN, **SMALL_FUSION, **training, **epochs})
    fuse = {"dataset_dir": str(cases), "checkpoint": str(run / "models/model.pt"), "output_dir": str(run / "fused")}
    run_bundle(bundle, ["inference.json"], {**fuse, **BRAIN, **SMALL_FUSION, "sections": ["test"]})
    for patient in ("37", "41"):
        ct, mr = (nib.load(cases / patient / f"{name}.nii.gz").get_fdata() for name in ("ct", "mr"))
        fused = nib.load(run / "fused" / patient / "fused.nii.gz").get_fdata()
        bone, brain = ct > 240, (ct > 40) & (ct < 160) & (mr > 30)
        assert fused[bone].mean() > fused[brain].mean() + 0.1  # bone is bright, though it is black in MR
        assert mr[bone].mean() < mr[brain].mean()
        assert np.corrcoef(fused[brain], mr[brain])[0, 1] > 0.8  # the pattern of soft tissue is that of MR
        assert np.corrcoef(fused[brain], mr[brain])[0, 1] > np.corrcoef(fused[brain], ct[brain])[0, 1]


@pytest.mark.slow
def test_few_labelled_lumbar_mr_train_a_segmentation(assets: Path, tmp_path: Path) -> None:
    source, cases = assets / "data/mr_spine/spider_t2space_41pat_half", tmp_path / "cases"
    spacing = ["--plane", "sagittal", "--spacing_mm", "[0.94,0.94,0.9]"]
    stacked(source / "images", cases, "--name", "mr", *spacing)
    stacked(source / "masks", cases, "--name", "label", *spacing, "--relabel", "{0:0,1:2,2:1,3:3}")
    main(["datalist", str(cases), "--split", str(source / "split.json")])
    listed = json.loads((cases / "datalist.json").read_text(encoding="utf-8"))
    assert {name: len(items) for name, items in listed.items()} == {
        "labelled": 4,
        "unlabelled": 23,
        "validation": 6,
        "test": 0,
    }
    run = tmp_path / "run"
    paths = {"dataset_dir": str(cases), "ckpt_dir": str(run / "models"), "output_dir": str(run / "eval")}
    training = {"learning_rate": 0.05, "batch_size": 4, "unlabelled_batch_size": 4, "epochs": 2, "val_interval": 2}
    bundle = find_bundle("semiseg")
    run_bundle(bundle, ["train.json"], {**paths, **SPINE, **SMALL_SEMISEG, **training})
    run_bundle(bundle, ["train.json", "evaluate.json"], {**paths, **SPINE, **SMALL_SEMISEG})
    rows = list(csv.DictReader((run / "eval/val_mean_dice_raw.csv").open(encoding="utf-8")))
    assert {row["filename"] for row in rows} == {item["patient"] for item in listed["validation"]}
    dice = {name: np.mean([float(row[name]) for row in rows]) for name in ("class0", "class1", "class2")}
    assert min(dice.values()) > 0.5, dice  # vertebra, disc, canal; an untrained network scores below 0.1


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
