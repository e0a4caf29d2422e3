"""The README's commands on public pairs of a brain, with fewer epochs."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spinefuse_ext.__main__ import main
from spinefuse_ext.verbs.commands import find_bundle, run_bundle

pytestmark = [pytest.mark.assets, pytest.mark.slow]

BRAIN = {"slice_axis": 2, "canvas": [256, 256], "ct_window_hu": [0, 255], "sw_batch_size": 8}
SMALL_FUSION = {"network_def#dim": 16, "network_def#num_blocks": [1, 1], "network_def#num_heads": 4}


def test_fused_brain_slices_show_bone_of_ct_and_soft_tissue_of_mr(assets: Path, tmp_path: Path) -> None:
    source, cases = assets / "data/pairs/aanlib_ct_mri_brain", tmp_path / "cases"
    for folder, name in (("CT", "ct"), ("MRI", "mr")):
        options = ["--plane", "axial", "--spacing_mm", "[1,1,5]", "--pattern", r"^(\d+)(\d{3})$"]
        main(["stack", str(source / folder), str(cases), "--name", name, *options])
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
