"""The README's commands on public lumbar MR, with fewer epochs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from spinefuse_ext.__main__ import main
from spinefuse_ext.verbs.commands import find_bundle, run_bundle

pytestmark = [pytest.mark.assets, pytest.mark.slow]

SPINE = {"image_keys": ["mr"], "spacing_mm": [-1, 1.88, 1.88], "canvas": [128, 160], "sw_batch_size": 16}
SMALL_SEMISEG = {"vnet_channels": [8, 16, 32, 64, 128], "vnet_dropout": 0.1}


def test_few_labelled_lumbar_mr_train_a_segmentation(assets: Path, tmp_path: Path) -> None:
    source, cases = assets / "data/mr_spine/spider_t2space_41pat_half", tmp_path / "cases"
    spacing = ["--plane", "sagittal", "--spacing_mm", "[0.94,0.94,0.9]"]
    main(["stack", str(source / "images"), str(cases), "--name", "mr", *spacing])
    relabel = ["--relabel", "{0:0,1:2,2:1,3:3}"]
    main(["stack", str(source / "masks"), str(cases), "--name", "label", *spacing, *relabel])
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
