from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from monai.engines import IterationEvents
from torch import nn

from spinefuse_ext.engines import SemiSupervisedTrainer
from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.handlers import MeanTeacherHandler
from spinefuse_ext.losses import SemiSupervisedLoss
from spinefuse_ext.networks import MeanTeacherNet, SingleSegNet
from tests.semi_supervised import BlankView, small_loader, small_trainer, watch

FORWARD, DONE = IterationEvents.FORWARD_COMPLETED, IterationEvents.MODEL_COMPLETED


def _network(dims: int = 2, dropout: float = 0.0) -> MeanTeacherNet:
    convolution = nn.Conv2d if dims == 2 else nn.Conv3d
    return MeanTeacherNet(SingleSegNet(nn.Sequential(convolution(1, 3, 1), nn.Dropout(dropout))))


def _run(handler: MeanTeacherHandler, network: MeanTeacherNet | None = None, **options: Any) -> list[dict[str, Any]]:
    """What the output held after the handlers of each step."""
    network = network or _network()
    trainer: SemiSupervisedTrainer = small_trainer(
        network,
        optimizer=torch.optim.SGD(network.student.parameters(), 0.1),
        train_handlers=[handler],
        loss_function=SemiSupervisedLoss(0.0),
        **options,
    )
    seen = watch(trainer, FORWARD, dict)
    trainer.run()
    return seen


def test_pseudo_label_is_the_teachers_mean_prediction_and_every_network_learns_from_it() -> None:
    network = _network()
    (first, _) = _run(MeanTeacherHandler(noise_std=0.0, ramp_fraction=0.0, max_weight=0.3), network)
    assert first[Keys.PSEUDO_LABEL].shape == (2, 3, 16, 16)
    torch.testing.assert_close(
        first[Keys.PSEUDO_LABEL], first[Keys.LOGITS_UNLABELLED][0].softmax(1).detach()
    )  # before the first update both are one
    torch.testing.assert_close(first[Keys.STUDENT_WEIGHT], torch.tensor([0.3]))
    assert first[Keys.PSEUDO_WEIGHT].all()


def test_the_teacher_is_the_moving_average_with_the_decay_of_the_first_steps() -> None:
    network = _network()
    weights = []
    trainer = small_trainer(
        network,
        optimizer=torch.optim.SGD(network.student.parameters(), 0.1),
        train_handlers=[MeanTeacherHandler(decay=0.6, ramp_fraction=0.0)],
        max_epochs=3,
    )
    follow = [network.teacher.network[0].weight.detach().clone()]  # type: ignore[index,union-attr]
    trainer.add_event_handler(DONE, lambda engine: weights.append((_weight(network.student), _weight(network.teacher))))
    trainer.run()
    for step, (student, teacher) in enumerate(weights):
        decay = min(1 - 1 / (step + 1), 0.6)
        follow.append(decay * follow[-1] + (1 - decay) * student)
        torch.testing.assert_close(teacher, follow[-1])
    assert len(weights) == 6


def _weight(network: nn.Module) -> torch.Tensor:
    return next(network.parameters()).detach().clone()


@pytest.mark.parametrize("dims", [2, 3])
def test_uncertain_voxels_do_not_count(dims: int) -> None:
    network = _network(dims)
    with torch.no_grad():  # sure of bright voxels, undecided about those near 0
        for layer in (network.student.network[0], network.teacher.network[0]):  # type: ignore[index,union-attr]
            layer.weight.copy_(torch.tensor([0.0, 9.0, -9.0]).view(3, *[1] * (dims + 1)))
            layer.bias.zero_()
    loaders = {
        "train_data_loader": small_loader(2, dims=dims),
        "unlabelled_data_loader": small_loader(2, dims=dims, first=100, label=False),
    }
    handler = MeanTeacherHandler(noise_std=0.01, ramp_fraction=0.0, passes=4)
    output, *_ = _run(handler, network, max_epochs=3, **loaders)
    image = output[Keys.UNLABELLED_IMAGE]
    counted = output[Keys.PSEUDO_WEIGHT]
    assert counted[image.abs() > 0.8].all()
    assert not counted[image.abs() < 0.02].any()


def test_threshold_rises_to_the_entropy_of_all_classes_alike() -> None:
    network = _network()
    with torch.no_grad():  # entropy of every voxel: that of (1/2, 1/2, 0), above 3/4 ln 2 but below it for 3 classes
        for layer in (network.student.network[0], network.teacher.network[0]):  # type: ignore[index,union-attr]
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor([0.0, 0.0, -30.0]))
    (first, _) = _run(MeanTeacherHandler(ramp_fraction=0.0, passes=2), network)
    assert math.log(2) < 0.75 * math.log(3)
    assert first[Keys.PSEUDO_WEIGHT].all()


def test_confidence_and_temperature() -> None:
    (hard, _) = _run(MeanTeacherHandler(noise_std=0.0, ramp_fraction=0.0, temperature=0.0, confidence=0.4))
    assert set(hard[Keys.PSEUDO_LABEL].unique().tolist()) == {0.0, 1.0}
    highest = hard[Keys.LOGITS_UNLABELLED][0].softmax(1).amax(1, keepdim=True)
    assert torch.equal(hard[Keys.PSEUDO_WEIGHT], highest >= 0.4)
    torch.manual_seed(1)
    (sharp, _) = _run(MeanTeacherHandler(noise_std=0.0, ramp_fraction=0.0, temperature=0.5))
    plain = sharp[Keys.LOGITS_UNLABELLED][0].softmax(1) ** 2
    torch.testing.assert_close(sharp[Keys.PSEUDO_LABEL], (plain / plain.sum(1, keepdim=True)).detach())


def test_the_teacher_sees_the_clean_images() -> None:
    network = _network()

    trainer = small_trainer(
        network,
        optimizer=torch.optim.SGD(network.student.parameters(), 0.1),
        train_handlers=[BlankView(), MeanTeacherHandler(noise_std=0.0, ramp_fraction=0.0)],
    )
    seen = watch(trainer, FORWARD, dict)
    trainer.run()
    assert seen[0][Keys.PSEUDO_LABEL].std() > 0.01
    assert seen[0][Keys.LOGITS_UNLABELLED].std(dim=(-1, -2)).max() < 1e-6


def test_nothing_is_taught_before_the_start() -> None:
    seen = _run(MeanTeacherHandler(start_fraction=0.6, ramp_fraction=0.0), max_epochs=2)
    assert [Keys.PSEUDO_LABEL in output for output in seen] == [False, False, True, True]
    assert [float(output[Keys.STUDENT_WEIGHT].sum()) > 0 for output in seen] == [False, False, True, True]


@pytest.mark.parametrize(
    ("options", "said"), [({"decay": 1.0}, "decay"), ({"noise_std": -1.0}, "noise_std"), ({"passes": -1}, "passes")]
)
def test_values_outside_their_range_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MeanTeacherHandler(**options)


def test_another_network_is_refused() -> None:
    network: Any = SingleSegNet(nn.Conv2d(1, 3, 1))
    with pytest.raises(ValueError, match="MeanTeacherNet for MeanTeacherHandler, got SingleSegNet"):
        small_trainer(network, train_handlers=[MeanTeacherHandler(ramp_fraction=0.0)]).run()
