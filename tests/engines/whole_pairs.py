"""One fusion training that processes can share: each takes a part of every batch; all should take the same steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ignite.engine import Events
from torch import nn

from spinefuse_ext.engines import FusionTrainer
from spinefuse_ext.losses import DecompositionLoss, FusionLoss, ReconstructionLoss
from spinefuse_ext.networks import SpineFusionNet

STEPS = 4  # an epoch; one of each stage


def train(part: slice, wrap: Callable[[nn.Module], nn.Module] = lambda network: network) -> dict[str, Any]:
    """Train a small fusion network in both stages on ``part`` of each batch of 4 pairs; the losses and last weights."""
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(STEPS, 4, 2, 16, 16, generator=generator)
    images[:, ::2] *= torch.linspace(0, 1, 16)  # so that the ranks' pairs differ
    torch.manual_seed(0)
    inner = SpineFusionNet(dim=8, num_blocks=(1, 1), num_heads=2)
    network = wrap(inner)
    trainer = FusionTrainer(
        device="cpu",
        max_epochs=2,
        stage1_epochs=1,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.05),
        train_data_loader=[{"image": image[part], "label": image[part]} for image in images],
        reconstruction_loss=ReconstructionLoss(),
        fusion_loss=FusionLoss(),
        decomposition_loss=DecompositionLoss(),
        decollate=False,
    )
    losses: list[float] = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(float(engine.state.output["loss"].detach()))
    )
    trainer.run()
    weights = torch.cat([parameter.detach().flatten() for parameter in inner.parameters()])
    return {"losses": losses, "weights": weights}
