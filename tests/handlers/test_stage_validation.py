from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from torch import nn

from spinefuse_ext.handlers import StageValidationHandler


def validated(epochs: int, interval: int, first_epoch: int) -> list[int]:
    """The epochs of a training at whose end a real evaluator ran."""
    evaluator = SupervisedEvaluator(torch.device("cpu"), val_data_loader=[], network=nn.Identity(), epoch_length=0)
    trainer = Engine(lambda engine, batch: None)
    seen: list[int] = []
    evaluator.run = lambda global_epoch=1: seen.append(global_epoch)  # type: ignore[method-assign]
    StageValidationHandler(interval, evaluator, first_epoch).attach(trainer)
    trainer.run([0], max_epochs=epochs)
    return seen


@pytest.mark.parametrize(
    ("epochs", "interval", "first_epoch", "expected"),
    [
        pytest.param(4, 1, 1, [1, 2, 3, 4], id="every-epoch"),
        pytest.param(10, 3, 1, [3, 6, 9, 10], id="every-third-and-the-last"),
        pytest.param(10, 5, 4, [8, 10], id="counted-from-the-second-stage"),
        pytest.param(6, 1, 5, [5, 6], id="not-before-the-second-stage"),
        pytest.param(3, 5, 2, [3], id="the-last-even-when-not-due"),
        pytest.param(3, 1, 4, [3], id="the-last-even-when-the-stage-never-comes"),
    ],
)
def test_epochs_that_are_validated(epochs: int, interval: int, first_epoch: int, expected: list[int]) -> None:
    assert validated(epochs, interval, first_epoch) == expected


@given(epochs=st.integers(1, 12), interval=st.integers(1, 5), first_epoch=st.integers(1, 12))
def test_the_last_epoch_is_validated_once_and_none_is_too_early(epochs: int, interval: int, first_epoch: int) -> None:
    seen = validated(epochs, interval, first_epoch)
    assert all(first_epoch <= epoch <= epochs for epoch in seen[:-1])
    assert seen.count(epochs) == 1
    assert all(second - first <= interval for first, second in zip([first_epoch - 1, *seen], seen, strict=False))


def test_a_real_evaluator_runs_and_knows_the_epoch() -> None:
    batch = {"image": torch.zeros(1, 1, 2, 2), "label": torch.zeros(1, 1, 2, 2)}
    evaluator = SupervisedEvaluator(torch.device("cpu"), val_data_loader=[batch], network=nn.Identity())
    epochs: list[int] = []
    evaluator.add_event_handler(Events.COMPLETED, lambda: epochs.append(evaluator.state.epoch))
    trainer = Engine(lambda engine, batch: None)
    StageValidationHandler(2, evaluator).attach(trainer)
    trainer.run([0], max_epochs=4)
    assert epochs == [2, 4]
