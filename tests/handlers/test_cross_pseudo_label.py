from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.engines import IterationEvents
from torch import nn

from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.handlers import CrossPseudoLabelHandler
from spinefuse_ext.losses import SemiSupervisedLoss
from spinefuse_ext.networks import DualSegNet, SingleSegNet
from tests.semi_supervised import small_pair, small_trainer, watch


def test_each_network_learns_the_most_likely_classes_of_the_other() -> None:
    trainer = small_trainer(train_handlers=[CrossPseudoLabelHandler(0.3, ramp_fraction=0.0)])
    seen = watch(trainer, IterationEvents.FORWARD_COMPLETED, dict)
    trainer.run()
    for output in seen:
        logits, pseudo = output[Keys.LOGITS_UNLABELLED], output[Keys.PSEUDO_LABEL]
        assert pseudo.shape == logits.shape
        assert torch.equal(pseudo[0].argmax(1), logits[1].argmax(1))
        assert torch.equal(pseudo[1].argmax(1), logits[0].argmax(1))
        assert torch.equal(pseudo.sum(2), torch.ones_like(pseudo.sum(2)))
        torch.testing.assert_close(output[Keys.STUDENT_WEIGHT], torch.tensor([0.3, 0.3]))


def test_the_loss_is_cross_entropy_in_both_directions() -> None:
    network = DualSegNet(nn.Conv2d(1, 3, 1), nn.Conv2d(1, 3, 1))
    trainer = small_trainer(
        network,
        train_handlers=[CrossPseudoLabelHandler(0.5, ramp_fraction=0.0)],
        loss_function=SemiSupervisedLoss(0.0, consistency="ce"),
        optimizer=torch.optim.SGD(network.parameters(), 0.0),
    )
    seen = watch(trainer, IterationEvents.LOSS_COMPLETED, dict)
    trainer.run()
    first, second = seen[0][Keys.LOGITS_UNLABELLED]
    cross_entropy = nn.functional.cross_entropy
    expected = 0.5 * (cross_entropy(first, second.argmax(1)) + cross_entropy(second, first.argmax(1)))
    torch.testing.assert_close(seen[0][Keys.CONSISTENCY_LOSS], expected)


def test_weight_starts_after_the_warm_up() -> None:
    trainer = small_trainer(
        small_pair(), max_epochs=2, train_handlers=[CrossPseudoLabelHandler(ramp_fraction=0, start_fraction=0.6)]
    )
    seen = watch(trainer, IterationEvents.FORWARD_COMPLETED, lambda output: float(output[Keys.STUDENT_WEIGHT].sum()))
    trainer.run()
    assert seen == pytest.approx([0, 0, 0.2, 0.2])


def test_a_single_network_is_refused() -> None:
    network: Any = SingleSegNet(nn.Conv2d(1, 3, 1))
    with pytest.raises(ValueError, match="two networks"):
        small_trainer(network, train_handlers=[CrossPseudoLabelHandler()]).run()
