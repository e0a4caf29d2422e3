"""Both sub-networks through one window, and what is made and written of them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from spinefuse_ext.data import CaseLayout
from spinefuse_ext.networks import DualSegNet, MeanTeacherNet, SingleSegNet, each_sub_network, window_inferer
from spinefuse_ext.transforms import SaveTrustd, SplitSubNetworksd
from spinefuse_ext.validation import ConfigError

CLASSES = 3


def pair(output: str = "mean") -> DualSegNet:
    return DualSegNet(nn.Conv2d(1, CLASSES, 3, padding=1), nn.Conv2d(1, CLASSES, 3, padding=1), output).eval()


@pytest.mark.parametrize("output", ["mean", "unet", "vnet"])
def test_one_sliding_window_gives_each_network_and_the_prediction_of_the_pair(output: str) -> None:
    network, image = pair(output), torch.rand(1, 1, 3, 20, 24)
    inferer = window_inferer(2, (16, 16), slice_axis=0, sw_batch_size=2, overlap=0.25)
    with torch.no_grad():
        both = inferer(image, each_sub_network(network).eval())
        alone = {name: inferer(image, pair_of(network, name))[0] for name in ("unet", "vnet")}
        expected = inferer(image, network)[0]
    assert both.shape == (1, 2 * CLASSES, 3, 20, 24)
    found = SplitSubNetworksd("pred", network, CLASSES)({"pred": both[0]})
    torch.testing.assert_close(found["pred"], expected)
    for name, probability in alone.items():
        torch.testing.assert_close(found[f"pred_{name}"], probability.argmax(0, keepdim=True))
    differ = found["pred_unet"] != found["pred_vnet"]
    assert found["disagreement"].dtype == torch.uint8
    assert torch.equal(found["disagreement"].bool(), differ)
    assert 0 < differ.sum() < differ.numel()


def pair_of(network: DualSegNet, output: str) -> DualSegNet:
    return DualSegNet(network.unet, network.vnet, output).eval()


def test_training_of_a_pair_is_left_as_it_is() -> None:
    network, image = pair().train(), torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(each_sub_network(network)(image), network(image))


def test_a_single_network_and_one_that_is_not_asked_stay_as_they_are() -> None:
    single, dual = SingleSegNet(nn.Conv2d(1, CLASSES, 1)), pair()
    student = MeanTeacherNet(single)  # says "student" where a pair says "mean"
    assert each_sub_network(single) is single
    assert each_sub_network(student) is student
    assert each_sub_network(dual, enabled=False) is dual
    probability = single.eval()(torch.rand(1, 1, 4, 4))[0]
    for network in (single, student):
        found = SplitSubNetworksd("pred", network, CLASSES)({"pred": probability})
        assert list(found) == ["pred"]
        assert found["pred"] is probability


def test_a_wrong_number_of_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected 3 classes of 1 or 2 networks, got 4 channels"):
        SplitSubNetworksd("pred", pair(), 3)({"pred": torch.rand(4, 5, 5)})


LABELS = ("background", "vertebra", "disc", "canal")


def saved(tmp_path: Path, certainty: float, threshold: float = 0.7) -> dict[str, object]:
    """The file of a vertebra of which the second network finds half, a disc both find alike, and no canal."""
    probability = torch.full((4, 1, 2, 8), (1 - certainty) / 3)
    probability[1, ..., :4] = probability[2, ..., 4:6] = probability[0, ..., 6:] = certainty
    unet = probability.argmax(0, keepdim=True)
    vnet = unet.clone()
    vnet[..., :2] = 0
    meta = {"filename_or_obj": str(tmp_path / "cases" / "p1" / "fused.nii.gz")}
    layout = CaseLayout(tmp_path / "out", "trust", tmp_path / "cases", extension=".json")
    save = SaveTrustd(
        "pred", labels=LABELS, folder_layout=layout, members=["pred_unet", "pred_vnet"], threshold=threshold
    )
    save({"pred": MetaTensor(probability, meta=meta), "pred_unet": unet, "pred_vnet": vnet})
    content: dict[str, object] = json.loads((tmp_path / "out" / "p1" / "trust.json").read_text(encoding="utf-8"))
    return content


def test_trust_is_written_beside_the_prediction_and_low_trust_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        content = saved(tmp_path, 0.64, threshold=0.75)
    none = {"trust": None, "agreement": None, "confidence": None}
    assert content["structures"]["canal"] == none
    assert content["structures"]["disc"] == pytest.approx({"trust": 0.8, "agreement": 1.0, "confidence": 0.64})
    vertebra = (0.64 * 2 / 3) ** 0.5
    assert content["structures"]["vertebra"]["trust"] == pytest.approx(vertebra)
    assert content["trust"] == pytest.approx((0.8 + vertebra) / 2)
    assert [record.message.split(": ", 1)[1] for record in caplog.records] == [
        "the vertebra has a trust of 0.65 (agreement 0.67, confidence 0.64), below 0.75; look at it.",
        "no canal was found.",
    ]


def test_a_structure_that_one_network_alone_sees_is_told_as_not_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    probability = torch.zeros(4, 1, 2, 8)
    probability[0] = 1
    unet = torch.zeros(1, 1, 2, 8)
    vnet = torch.full_like(unet, 3)
    layout = CaseLayout(tmp_path / "out", "trust", tmp_path, extension=".json")
    save = SaveTrustd("pred", labels=LABELS, folder_layout=layout, members=["pred_unet", "pred_vnet"])
    meta = {"filename_or_obj": str(tmp_path / "p1" / "ct.nii.gz")}
    with caplog.at_level(logging.WARNING):
        save({"pred": MetaTensor(probability, meta=meta), "pred_unet": unet, "pred_vnet": vnet})
    told = "no canal was found, though a network by itself sees some (agreement 0.00); look there."
    assert caplog.records[-1].message.endswith(told)


def test_a_threshold_outside_of_trust_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="threshold is a number from 0 to 1, got 70"):
        saved(tmp_path, 0.9, threshold=70)


def test_weights_go_in_and_out_under_the_names_of_the_pair() -> None:
    first, second = (DualSegNet(nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)) for _ in range(2))
    both = each_sub_network(first)
    assert both.state_dict().keys() == first.state_dict().keys()
    both.load_state_dict(second.state_dict())
    torch.testing.assert_close(first.state_dict(), second.state_dict())
