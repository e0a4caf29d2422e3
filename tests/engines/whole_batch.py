"""One training that processes can share: each takes a part of every batch, and all should take the same steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ignite.engine import Events
from monai.networks.nets import UNet
from torch import nn

from spinefuse_ext.engines import SemiSupervisedTrainer
from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.handlers import CompetitivePseudoLabelHandler
from spinefuse_ext.losses import SemiSupervisedLoss
from spinefuse_ext.networks import DualSegNet

STEPS = 12


def train(part: slice, wrap: Callable[[nn.Module], nn.Module] = lambda network: network) -> dict[str, Any]:
    """Train a pair without batch norm and dropout on ``part`` of each batch; the teachers, losses and last weights."""
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(STEPS, 8, 1, 16, 16, generator=generator)
    labels = (images + 0.4 * torch.rand(images.shape, generator=generator) > 0.8).long()
    labels[:, ::2] *= 2  # some cases hold class 1, others class 2, so that the ranks differ in what they hold
    labels[:, 1::2, :, :, 8:] = 255  # and in how much of it is known
    torch.manual_seed(0)
    pair = DualSegNet(
        *(
            UNet(2, 1, 3, channels=channels, strides=(2,), norm=("GROUP", {"num_groups": 2}))
            for channels in ((4, 8), (6, 8))
        )
    )
    network = wrap(pair)
    trainer = SemiSupervisedTrainer(
        device="cpu",
        max_epochs=1,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.3, momentum=0.9),
        train_data_loader=[
            {"image": image[:4][part], "label": label[:4][part]} for image, label in zip(images, labels, strict=True)
        ],
        unlabelled_data_loader=[{"image": image[4:][part]} for image in images],
        loss_function=SemiSupervisedLoss(consistency="ce_dice", ignore_index=255),
        train_handlers=[
            CompetitivePseudoLabelHandler(max_weight=1.0, ramp_fraction=0.5, agreement=True, ignore_index=255)
        ],
        decollate=False,
    )
    teachers: list[int] = []
    losses: list[float] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: teachers.append(int(e.state.output[Keys.TEACHER])))
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: losses.append(float(e.state.output["loss"].detach()))
    )
    trainer.run()
    weights = torch.cat([parameter.detach().flatten() for parameter in pair.parameters()])
    return {"teachers": teachers, "losses": losses, "weights": weights}
