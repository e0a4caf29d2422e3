from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from monai.losses import DiceCELoss

from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.losses import ConsistencyLoss, SemiSupervisedLoss, sharpen


def _output(classes: int = 3, networks: int = 2, *, unlabelled: bool = True, dims: int = 2) -> dict[str, Any]:
    size = [6] * dims
    output: dict[str, Any] = {
        "label": torch.randint(0, classes, (2, 1, *size)),
        Keys.LOGITS_LABELLED: torch.randn(networks, 2, classes, *size, requires_grad=True),
    }
    if unlabelled:
        logits = torch.randn(networks, 3, classes, *size, requires_grad=True)
        output[Keys.LOGITS_UNLABELLED] = logits
        output[Keys.PSEUDO_LABEL] = sharpen(logits[0].detach(), 0.1)
        output[Keys.STUDENT_WEIGHT] = torch.tensor([0.0, 0.1])[:networks]
    return output


def _monai(output: dict[str, Any], index: int) -> torch.Tensor:
    flags: dict[str, Any] = {"include_background": False, "to_onehot_y": True, "softmax": True, "squared_pred": True}
    return DiceCELoss(**flags, batch=True)(output[Keys.LOGITS_LABELLED][index], output["label"])


@pytest.mark.parametrize(("classes", "dims"), [(2, 2), (4, 2), (3, 3)])
def test_supervised_term_is_monai_dice_ce_of_both_networks(classes: int, dims: int) -> None:
    output = _output(classes, dims=dims)
    terms = SemiSupervisedLoss()(output)
    torch.testing.assert_close(terms[Keys.SUPERVISED_LOSS], _monai(output, 0) + _monai(output, 1))


def _mcf_total(output: dict[str, Any], weight: float) -> torch.Tensor:
    """MCF's objective for two classes, term by term (Wang et al., CVPR 2023); the second network is the student."""
    y = output["label"][:, 0].to(torch.float32)
    p = [z.softmax(1)[:, 1] for z in output[Keys.LOGITS_LABELLED]]
    differ = ((p[0] > 0.5) != (p[1] > 0.5)).float()
    total = torch.zeros(())
    for index in range(2):
        cross_entropy = -(y * p[index].log() + (1 - y) * (1 - p[index]).log()).mean()
        dice = (2 * (p[index] * y).sum() + 1e-5) / (p[index].square().sum() + y.square().sum() + 1e-5)
        total = total + cross_entropy + 1 - dice
        total = total + 0.5 * (differ * (p[index] - y).square()).sum() / (differ.sum() + 1e-16)
    power = output[Keys.LOGITS_UNLABELLED][0].detach().softmax(1) ** 10
    pseudo = power / power.sum(1, keepdim=True)
    return total + weight * (output[Keys.LOGITS_UNLABELLED][1].softmax(1) - pseudo).square().mean()


def test_two_classes_equal_mcf_in_value_and_gradient() -> None:
    output = _output(2)
    leaves = [output[Keys.LOGITS_LABELLED], output[Keys.LOGITS_UNLABELLED]]
    loss, expected = SemiSupervisedLoss()(output)["loss"], _mcf_total(output, weight=0.1)
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_only_the_student_learns_from_the_pseudo_label() -> None:
    output = _output()
    SemiSupervisedLoss()(output)["loss"].backward()
    teacher, student = output[Keys.LOGITS_UNLABELLED].grad
    assert teacher.abs().sum() == 0
    assert student.abs().sum() > 0


def test_loss_is_the_weighted_sum_of_its_terms() -> None:
    output = _output()
    one, heavy = (
        SemiSupervisedLoss(rectification_weight=0.5)(output),
        SemiSupervisedLoss(rectification_weight=2)(output),
    )
    assert one[Keys.RECTIFICATION_LOSS] > 0
    torch.testing.assert_close(heavy["loss"] - one["loss"], 1.5 * one[Keys.RECTIFICATION_LOSS])
    torch.testing.assert_close(one[Keys.CONSISTENCY_WEIGHT], torch.tensor(0.1))


def test_ce_and_dice_weights_choose_the_terms() -> None:
    output = _output()
    ce = SemiSupervisedLoss(dice_weight=0)(output)[Keys.SUPERVISED_LOSS]
    dice = SemiSupervisedLoss(ce_weight=0)(output)[Keys.SUPERVISED_LOSS]
    flat = output[Keys.LOGITS_LABELLED].flatten(0, 1)
    expected = 2 * torch.nn.functional.cross_entropy(flat, output["label"][:, 0].repeat(2, 1, 1))
    torch.testing.assert_close(ce, expected)
    torch.testing.assert_close(ce + dice, SemiSupervisedLoss()(output)[Keys.SUPERVISED_LOSS])


def test_single_network_without_unlabelled_data_is_supervised() -> None:
    output = _output(networks=1, unlabelled=False)
    terms = SemiSupervisedLoss()(output)
    torch.testing.assert_close(terms["loss"], _monai(output, 0))
    assert terms[Keys.RECTIFICATION_LOSS] == terms[Keys.CONSISTENCY_LOSS] == terms[Keys.DISAGREEMENT] == 0


def test_ignored_voxels_count_nowhere() -> None:
    output = _output(unlabelled=False)
    part = {"label": output["label"][..., :4], Keys.LOGITS_LABELLED: output[Keys.LOGITS_LABELLED][..., :4]}
    output["label"][..., 4:] = 255
    whole = SemiSupervisedLoss(ignore_index=255)(output)
    for key, value in SemiSupervisedLoss()(part).items():
        torch.testing.assert_close(whole[key], value)


def test_wholly_ignored_batch_is_finite() -> None:
    output = _output(unlabelled=False)
    output["label"][:] = 255
    loss = SemiSupervisedLoss(ignore_index=255)(output)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert output[Keys.LOGITS_LABELLED].grad.abs().sum() == 0


def test_disagreement_is_the_share_of_labelled_voxels() -> None:
    output = _output(2, unlabelled=False)
    logits = torch.zeros(2, 2, 2, 6, 6)
    logits[0, :, 1] = 1  # first network: class 1 everywhere
    logits[1, :, 0] = 1  # second: class 0, but for one column of six
    logits[1, :, 1, :, 0] = 2
    output[Keys.LOGITS_LABELLED] = logits
    assert SemiSupervisedLoss()(output)[Keys.DISAGREEMENT].item() == pytest.approx(5 / 6)


def test_bfloat16_logits_under_autocast_give_the_float32_loss() -> None:
    output = _output(12)
    for key in (Keys.LOGITS_LABELLED, Keys.LOGITS_UNLABELLED):
        output[key] = output[key].detach().bfloat16()
    exact = dict(output)
    for key in (Keys.LOGITS_LABELLED, Keys.LOGITS_UNLABELLED):
        exact[key] = output[key].float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = SemiSupervisedLoss()(output)
    for key, value in SemiSupervisedLoss()(exact).items():
        torch.testing.assert_close(under[key], value, rtol=0, atol=0)


def test_label_beyond_the_classes_is_refused() -> None:
    output = _output(3)
    output["label"][0, 0, 0, 0] = 7
    with pytest.raises(ValueError, match="labels 0 to 2 for a network of 3 classes, got 0 to 7"):
        SemiSupervisedLoss()(output)


def test_a_network_learns_from_its_own_cases_alone() -> None:
    output = {**_output(unlabelled=False), Keys.LEARNS: torch.tensor([[1.0, 0.0], [0.0, 1.0]])}
    terms = SemiSupervisedLoss(rectification_weight=0)(output)
    halves = [
        {"label": output["label"][i : i + 1], Keys.LOGITS_LABELLED: output[Keys.LOGITS_LABELLED][i : i + 1, i : i + 1]}
        for i in range(2)
    ]
    expected = sum(SemiSupervisedLoss()(half)[Keys.SUPERVISED_LOSS] for half in halves)
    torch.testing.assert_close(terms[Keys.SUPERVISED_LOSS], expected)
    terms["loss"].backward()
    first, second = output[Keys.LOGITS_LABELLED].grad
    assert first[1].abs().sum() == second[0].abs().sum() == 0
    assert first[0].abs().sum() > 0
    assert second[1].abs().sum() > 0


def test_a_network_without_any_case_of_its_own_gives_no_loss() -> None:
    output = {**_output(networks=1, unlabelled=False), Keys.LEARNS: torch.zeros(1, 2)}
    assert SemiSupervisedLoss()(output)["loss"] == 0


def test_further_terms_are_added_and_reported() -> None:
    output = _output()
    plain = SemiSupervisedLoss()(output)
    terms = SemiSupervisedLoss()({**output, Keys.TERMS: {"shape_loss": torch.tensor(2.0), "x": torch.tensor(0.5)}})
    torch.testing.assert_close(terms["loss"], plain["loss"] + 2.5)
    assert terms["shape_loss"] == 2


def test_each_network_can_have_its_own_pseudo_label_and_weight_of_voxels() -> None:
    output = _output()
    pseudo = torch.randn(2, 3, 3, 6, 6).softmax(2)
    counts = torch.rand(2, 3, 1, 6, 6) < 0.5
    both = {Keys.PSEUDO_LABEL: pseudo, Keys.PSEUDO_WEIGHT: counts, Keys.STUDENT_WEIGHT: torch.tensor([0.3, 0.7])}
    loss = SemiSupervisedLoss()({**output, **both})[Keys.CONSISTENCY_LOSS]
    probabilities = output[Keys.LOGITS_UNLABELLED].softmax(2)
    expected = [ConsistencyLoss()(probabilities[i], pseudo[i], counts[i]) for i in range(2)]
    torch.testing.assert_close(loss, 0.3 * expected[0] + 0.7 * expected[1])


def test_consistency_is_the_chosen_one() -> None:
    output = _output()
    target = output[Keys.PSEUDO_LABEL]
    probability = output[Keys.LOGITS_UNLABELLED][1].softmax(1)
    for kind in ("brier", "ce", "ce_dice"):
        loss = SemiSupervisedLoss(consistency=kind)(output)[Keys.CONSISTENCY_LOSS]
        torch.testing.assert_close(loss, 0.1 * ConsistencyLoss(kind)(probability, target))


def test_entropy_of_the_pseudo_label_is_a_part_of_the_largest() -> None:
    output = _output()
    for pseudo, expected in (
        (torch.full((3, 3, 6, 6), 1 / 3), 1.0),
        (torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(3, 3, 6, 6), 0.0),
        (torch.tensor([0.5, 0.5, 0.0]).view(1, 1, 3, 1, 1).expand(2, 3, 3, 6, 6), math.log(2) / math.log(3)),
    ):
        terms = SemiSupervisedLoss()({**output, Keys.PSEUDO_LABEL: pseudo})
        assert terms[Keys.PSEUDO_ENTROPY].item() == pytest.approx(expected, abs=1e-6)
