from __future__ import annotations

import csv
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.networks import one_hot
from torch import nn

from spinefuse_ext.handlers import SegmentationScoresHandler
from spinefuse_ext.metrics import SEGMENTATION_SCORES, segmentation_table
from spinefuse_ext.networks import DualSegNet, SingleSegNet

LABELS = ("background", "vertebra", "disc")


def volume(start: int, disc: bool, spacing_mm: float) -> MetaTensor:
    label = torch.zeros(1, 8, 8, 8)
    label[0, start : start + 3, 1:5, 1:5] = 1
    label[0, 5:7, 5:7, 5:7] = 2 * disc
    return MetaTensor(label, affine=torch.diag(torch.tensor([spacing_mm, 1.0, 1.0, 1.0])))


#: case -> truth, mean, unet, vnet; the second has voxels of another size, and a disc that only the VNet finds
CASES = {
    "first": [volume(start, True, 1.0) for start in (1, 1, 2, 3)],
    "second": [volume(start, disc, 3.0) for start, disc in ((1, False), (2, False), (2, False), (2, True))],
    "third": [volume(start, False, 1.0) for start in (1, 1, 1, 1)],
}


def run(
    folder: Path, network: nn.Module, keys: tuple[str, ...], labels: tuple[str, ...] = LABELS
) -> dict[str, list[dict[str, str]]]:
    """What the handler writes of a pass over the cases, one a batch."""

    def step(engine: Engine, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        truth, mean, unet, vnet = CASES[batch[0]["patient"]]
        volumes = {"label": truth, "pred": mean, "pred_unet": unet, "pred_vnet": vnet}
        hot = {"label", "pred"}  # as they leave AsDiscreted
        return [{k: one_hot(v, len(labels), dim=0) if k in hot else v for k, v in volumes.items() if k in keys}]

    engine = Engine(step)
    SegmentationScoresHandler(folder, labels, network=network, checkpoint="run/models/model.pt").attach(engine)
    for _ in range(2):  # a second pass starts again
        engine.run([[{"patient": case}] for case in CASES])
    return {path.stem: list(csv.DictReader(path.open(encoding="utf-8"))) for path in sorted(folder.glob("*.csv"))}


def pair(output: str = "mean") -> DualSegNet:
    return DualSegNet(nn.Identity(), nn.Identity(), output)


def test_every_network_case_and_structure_is_a_row_in_its_own_millimetres(tmp_path: Path) -> None:
    rows = run(tmp_path, pair(), ("label", "pred", "pred_unet", "pred_vnet"))["scores"]
    keys = [(row["case"], row["network"], row["structure"]) for row in rows]
    assert keys == [
        (case, network, structure)
        for case in CASES
        for network in ("mean", "unet", "vnet")
        for structure in ("vertebra", "disc")
    ]
    assert {row["checkpoint"] for row in rows} == {"model.pt"}
    for row in rows:
        truth, *others = CASES[row["case"]]
        prediction = others[("mean", "unet", "vnet").index(row["network"])]
        expected = segmentation_table(prediction, truth, dict(enumerate(LABELS)))[row["structure"]]
        assert {score: float(row[score]) for score in SEGMENTATION_SCORES} == pytest.approx(expected, nan_ok=True)
    by_key = dict(zip(keys, rows, strict=True))
    assert float(by_key["first", "unet", "vertebra"]["hd95_mm"]) == 1
    assert float(by_key["second", "unet", "vertebra"]["hd95_mm"]) == 3


def test_what_the_truth_lacks_is_said_and_left_out_of_the_summary(tmp_path: Path) -> None:
    tables = run(tmp_path, pair(), ("label", "pred", "pred_unet", "pred_vnet"))
    summary = {(row["network"], row["structure"]): row for row in tables["summary"]}
    assert {structure for _, structure in summary} == {"vertebra", "disc", "mean"}
    disc = {network: summary[network, "disc"] for network in ("mean", "vnet")}
    assert [(row["cases"], row["missed"], row["not_in_truth"]) for row in disc.values()] == [("1", "0", "2")] * 2
    for row in disc.values():
        assert float(row["dice_mean"]) == 1
        assert math.isnan(float(row["dice_sd"]))  # of a single case
    false_ml = 2**3 * 3 / 1000  # of the VNet alone, a cube of 2 voxels of 3 mm3
    assert [float(row["false_volume_ml_mean"]) for row in disc.values()] == pytest.approx([0, false_ml / 2])
    rows = {(row["case"], row["network"]): row for row in tables["scores"] if row["structure"] == "disc"}
    assert (rows["first", "vnet"]["note"], rows["first", "vnet"]["false_volume_ml"]) == ("", "nan")
    assert rows["second", "unet"]["note"] == rows["third", "vnet"]["note"] == "not in the truth"
    assert rows["second", "vnet"]["note"] == "not in the truth, but 0.024 ml predicted"
    assert float(rows["second", "vnet"]["false_volume_ml"]) == pytest.approx(false_ml)
    assert math.isnan(float(rows["second", "vnet"]["dice"]))
    hd95 = [float(row["hd95_mm"]) for row in tables["scores"] if (row["network"], row["structure"]) == _UNET_BONE]
    assert float(summary[_UNET_BONE]["hd95_mm_sd"]) == pytest.approx(statistics.stdev(hd95))
    of_cases = [(1 + 1) / 2, float(tables["scores"][6]["dice"]), 1.0]  # of second and third the vertebra alone
    assert float(summary["mean", "mean"]["dice_mean"]) == pytest.approx(statistics.fmean(of_cases))


def test_a_class_that_no_case_has_and_nobody_predicts_has_no_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tables = run(tmp_path, pair(), ("label", "pred"), labels=(*LABELS, "canal"))
    assert {row["structure"] for row in tables["scores"]} == {"vertebra", "disc"}
    assert {row["structure"] for row in tables["summary"]} == {"vertebra", "disc", "mean"}
    assert "canal is not in the truth of any case, nor was it predicted: it has no rows." in caplog.messages


_UNET_BONE = ("unet", "vertebra")


@pytest.mark.parametrize(
    ("network", "keys", "names"),
    [
        pytest.param(SingleSegNet(nn.Identity()), ("label", "pred"), ["single"], id="single"),
        pytest.param(pair("vnet"), ("label", "pred", "pred_unet", "pred_vnet"), ["vnet", "unet"], id="vnet-of-a-pair"),
    ],
)
def test_rows_are_named_after_the_network_that_made_them(
    network: nn.Module, keys: tuple[str, ...], names: list[str], tmp_path: Path
) -> None:
    rows = run(tmp_path, network, keys)["scores"]
    assert list(dict.fromkeys(row["network"] for row in rows)) == names
