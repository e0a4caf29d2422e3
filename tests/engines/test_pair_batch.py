from __future__ import annotations

from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer

from spinefuse_ext.engines import PreparePair
from spinefuse_ext.losses import U2FusionLoss
from spinefuse_ext.networks import U2FusionNet


def test_the_pair_is_its_own_target_and_a_plain_tensor() -> None:
    pair = MetaTensor(torch.rand(2, 2, 4, 5))
    image, target = PreparePair()({"image": pair}, "cpu", dtype=torch.float64)
    assert image is target
    assert type(image) is torch.Tensor
    torch.testing.assert_close(image, pair.as_tensor().double())


def test_swapping_turns_both_and_happens_as_often_as_asked() -> None:
    pair = torch.rand(1, 2, 3, 3)
    image, target = PreparePair(swap_probability=1)({"image": pair})
    torch.testing.assert_close(image, pair.flip(1))
    assert image is target
    prepare = PreparePair(swap_probability=0.25)
    swapped = [not torch.equal(prepare({"image": pair})[0], pair) for _ in range(400)]
    assert 60 < sum(swapped) < 140  # expected 100, deviation 8.7
    with pytest.raises(ValueError, match=r"swap_probability is a number from 0 to 1, got 1.5"):
        PreparePair(1.5)


def test_a_network_without_stages_learns_from_pairs_alone() -> None:
    network = U2FusionNet(growth=4, dense_layers=2, head_channels=(4,))
    pairs = torch.nn.functional.interpolate(torch.rand(8, 2, 4, 4), size=(16, 16), mode="bilinear")
    losses: list[float] = []
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=30,
        train_data_loader=[{"image": pairs[:4]}, {"image": pairs[4:]}],
        network=network,
        optimizer=torch.optim.RMSprop(network.parameters(), lr=3e-3, alpha=0.6, momentum=0.15),
        loss_function=U2FusionLoss(),
        prepare_batch=PreparePair(swap_probability=0.5),
        decollate=False,
    )

    def note(engine: Engine) -> None:
        output: Any = engine.state.output
        losses.append(output["loss"].item())

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    trainer.run()
    assert sum(losses[-6:]) < 0.6 * sum(losses[:6])
