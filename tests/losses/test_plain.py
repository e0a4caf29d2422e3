from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.losses import DiceCELoss, SSIMLoss

from spinefuse_ext.engines.loss_contract import check_takes_output, check_terms
from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.losses import PlainLoss, SemiSupervisedLoss, SourcesLoss
from spinefuse_ext.validation import ConfigError


def output(networks: int = 2) -> dict[str, Any]:
    label = torch.randint(0, 3, (2, 1, 6, 5))
    return {"label": label, Keys.LOGITS_LABELLED: torch.randn(networks, 2, 3, 6, 5, requires_grad=True)}


def plain() -> DiceCELoss:
    return DiceCELoss(to_onehot_y=True, softmax=True)


def test_the_supervised_term_is_the_sum_over_networks() -> None:
    given = output()
    terms = PlainLoss(plain(), rectification_weight=0.0)(given)
    expected = sum(plain()(logits, given["label"]) for logits in given[Keys.LOGITS_LABELLED])
    assert torch.allclose(terms["supervised_loss"], torch.as_tensor(expected))
    assert torch.allclose(terms["loss"], torch.as_tensor(expected))
    terms["loss"].backward()
    assert (given[Keys.LOGITS_LABELLED].grad != 0).any()


def test_the_other_terms_are_those_of_the_whole_loss() -> None:
    given = {**output(), Keys.TERMS: {"extra_loss": torch.tensor(2.0)}}
    ours, whole = PlainLoss(plain())(given), SemiSupervisedLoss()(given)
    for name in ("rectification_loss", "consistency_loss", "extra_loss", "disagreement"):
        assert torch.equal(ours[name], whole[name]), name
    rest = whole["loss"] - whole["supervised_loss"]
    assert torch.allclose(ours["loss"] - ours["supervised_loss"], rest)


def test_a_case_that_does_not_count_has_no_part_in_it() -> None:
    given = {**output(1), Keys.LEARNS: torch.tensor([[1.0, 0.0]])}
    terms = PlainLoss(plain(), rectification_weight=0.0)(given)
    assert torch.allclose(terms["loss"], plain()(given[Keys.LOGITS_LABELLED][0, :1], given["label"][:1]))


def test_a_loss_to_each_source_is_weighted() -> None:
    fused, pair = torch.rand(2, 1, 16, 16), torch.rand(2, 2, 16, 16)
    both = SourcesLoss(torch.nn.L1Loss(), [1.0, 3.0])(fused, pair)
    assert torch.allclose(both, (fused - pair[:, :1]).abs().mean() + 3 * (fused - pair[:, 1:]).abs().mean())
    assert SourcesLoss(SSIMLoss(2))(fused, torch.cat((fused, fused), 1)) < 1e-4
    with pytest.raises(ConfigError, match="weights is a list of 2 numbers"):
        SourcesLoss(torch.nn.L1Loss(), [1.0])


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (torch.nn.CrossEntropyLoss(), "CrossEntropyLoss refuses"),
        (torch.nn.L1Loss(reduction="none"), "no scalar; set its reduction"),
        (lambda logits, label: 1.0, "makes float"),
    ],
)
def test_a_loss_that_does_not_fit_is_named(loss: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        PlainLoss(loss)(output())
    assert "\n" not in str(caught.value)


def test_a_plain_loss_is_sent_to_its_adapter() -> None:
    with pytest.raises(ConfigError, match=r"DiceCELoss has to be wrapped.*losses.PlainLoss.*takes \(input, target\)"):
        check_takes_output(plain())
    for fitting in (SemiSupervisedLoss(), PlainLoss(plain()), None, lambda given, more=1: given):
        check_takes_output(fitting)
    with pytest.raises(ConfigError, match=r"PlainLoss.*returned Tensor without the sum"):
        check_terms(plain(), torch.zeros(()))
