"""Small cases, networks and trainers of the semi-supervised methods, shared by the tests of their parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.data import DataLoader, Dataset
from monai.networks.nets import UNet

from spinefuse_ext.engines import SemiSupervisedEvents, SemiSupervisedTrainer
from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.handlers import CompetitivePseudoLabelHandler
from spinefuse_ext.losses import SemiSupervisedLoss
from spinefuse_ext.networks import DualSegNet, VNet


def small_case(index: int, dims: int = 2, *, label: bool = True) -> dict[str, Any]:
    """A noisy image of one bright and one dark box, three classes with the background."""
    generator = torch.Generator().manual_seed(index)
    truth = torch.zeros(1, *[16] * dims)
    for value in (1, 2):
        corner = torch.randint(0, 9, (dims,), generator=generator).tolist()
        box = tuple(slice(start, start + 8) for start in corner)
        truth[0][box] = value
    image = torch.tensor([0.0, 1.0, -1.0])[truth.long()] + 0.3 * torch.randn(truth.shape, generator=generator)
    case: dict[str, Any] = {"patient": f"P{index}", "image": image}
    return {**case, "label": truth} if label else case


def small_loader(count: int, batch_size: int = 2, dims: int = 2, *, first: int = 0, label: bool = True) -> DataLoader:
    cases = [small_case(first + index, dims, label=label) for index in range(count)]
    return DataLoader(Dataset(cases), batch_size=batch_size)


def small_pair(dims: int = 2) -> DualSegNet:
    unet = UNet(dims, 1, 3, channels=(8, 16, 32), strides=(2, 2), num_res_units=1)
    return DualSegNet(unet, VNet(dims, 1, 3, channels=(8, 16, 32), dropout=0.1))


def small_trainer(network: torch.nn.Module | None = None, **options: Any) -> SemiSupervisedTrainer:
    network = network or small_pair()
    defaults: dict[str, Any] = {
        "device": "cpu",
        "max_epochs": 1,
        "train_data_loader": small_loader(2),
        "unlabelled_data_loader": small_loader(4, first=100, label=False),
        "network": network,
        "optimizer": torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9),
        "loss_function": SemiSupervisedLoss(),
        "train_handlers": [CompetitivePseudoLabelHandler(ramp_fraction=0.0)],
        "decollate": False,
    }
    return SemiSupervisedTrainer(**{**defaults, **options})


def watch(trainer: SemiSupervisedTrainer, event: Any, look: Callable[[dict[str, Any]], Any]) -> list[Any]:
    """Collect what ``look`` returns for the output at every ``event``."""
    seen: list[Any] = []
    trainer.add_event_handler(event, lambda engine: seen.append(look(engine.state.output)))
    return seen


class BlankView:
    """A handler that blanks the unlabelled images and keeps the clean ones."""

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(SemiSupervisedEvents.BATCH_READY, self)

    def __call__(self, engine: Any) -> None:
        output = engine.state.output
        output[Keys.CLEAN_UNLABELLED] = output[Keys.UNLABELLED_IMAGE]
        output[Keys.UNLABELLED_IMAGE] = torch.zeros_like(output[Keys.UNLABELLED_IMAGE])
