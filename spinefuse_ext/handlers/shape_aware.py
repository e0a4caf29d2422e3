"""SASSNet's two terms: distances like the truth's, and distances that a discriminator cannot tell from labelled ones.

Li, Zhang, He: Shape-aware semi-supervised 3D semantic segmentation for medical images, MICCAI 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.engines import IterationEvents, Workflow
from monai.utils import CommonKeys
from torch import nn

from spinefuse_ext.enums import SemiSegKeys, ShapeKeys
from spinefuse_ext.handlers.ramp import gaussian_ramp, training_progress
from spinefuse_ext.handlers.terms import add_term
from spinefuse_ext.losses import signed_distance
from spinefuse_ext.losses.global_sums import mean_over_ranks
from spinefuse_ext.validation import ConfigError, check_number, check_numbers, check_part, check_whole_or_none


class SignedDistanceHandler:
    """Add ``weight`` times the mean squared error of the labelled distances to the loss.

    At ``FORWARD_COMPLETED`` it reads ``distance_labelled`` ``(N, B, K - 1, *S)`` and ``label`` ``(B, 1, *S)``; the
    target is :func:`~spinefuse_ext.losses.signed_distance` of the label. The term is ``distance_loss``.

    Args:
        weight: of the error.
        ignore_index: label value of voxels whose truth is unknown; they do not count, and are background to the rest.
    """

    def __init__(self, weight: float = 0.3, ignore_index: int | None = None) -> None:
        self.weight = check_number("weight", weight, least=0)
        self.ignore_index = check_whole_or_none("ignore_index", ignore_index)

    def attach(self, engine: Workflow) -> None:
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self)

    def __call__(self, engine: Workflow) -> None:
        distance, label = engine.state.output[ShapeKeys.DISTANCE_LABELLED], engine.state.output[CommonKeys.LABEL]
        target = signed_distance(label, num_classes=distance.shape[2] + 1)
        known = torch.ones_like(target, dtype=torch.bool)
        if self.ignore_index is not None:
            known &= label != self.ignore_index
        error = (distance.float() - target).square() * known
        mean = mean_over_ranks(error.sum(), len(distance) * known.sum())
        add_term(engine, ShapeKeys.DISTANCE_LOSS, mean, self.weight)


class ShapeAdversaryHandler:
    """Train a discriminator of distances beside the network, and the network to deceive it.

    At ``FORWARD_COMPLETED`` the term ``adversarial_loss`` is added: the cross-entropy of taking the unlabelled
    distances for labelled ones, with a weight that rises along a Gaussian. The discriminator then has no dropout, and
    its weights get no gradient. At ``BACKWARD_COMPLETED`` it learns, with an Adam of its own, to tell the labelled
    distances of this step from the unlabelled ones; its mean cross-entropy is ``discriminator_loss`` in the output.

    It reads ``distance_labelled`` ``(1, B, K - 1, *S)``, ``distance_unlabelled`` ``(1, U, K - 1, *S)`` and both
    streams' images; without an unlabelled stream it does nothing. The discriminator is computed in float32. In a
    training of several processes it starts as that of the first one, and its gradients are averaged.

    Departure from the published code: the discriminator learns from the distances of this step's forward, not from a
    second forward of the network without dropout.

    Args:
        discriminator: maps distances and image to two logits, see :class:`~spinefuse_ext.networks.ShapeDiscriminator`.
        max_weight: weight of the term after the ramp; published are 0.01 for 16 labelled cases and 0.015 for 8.
        ramp_fraction: part of the training over which the weight rises; published is all of it.
        learning_rate: of the discriminator.
        betas: of its Adam.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        max_weight: float = 0.01,
        ramp_fraction: float = 1.0,
        *,
        learning_rate: float = 1e-4,
        betas: Sequence[float] = (0.9, 0.99),
    ) -> None:
        self.discriminator = discriminator
        self.max_weight = check_number("max_weight", max_weight, least=0)
        self.ramp_fraction = check_part("ramp_fraction", ramp_fraction)
        learning_rate = check_number("learning_rate", learning_rate, least=0)
        first, second = check_numbers("betas", betas, length=2, least=0, below=1)
        self.optimizer = torch.optim.Adam(discriminator.parameters(), lr=learning_rate, betas=(first, second))

    def attach(self, engine: Workflow) -> None:
        self.discriminator.to(engine.state.device)
        self.optimizer.load_state_dict(self.optimizer.state_dict())  # moves its state to the weights' device
        engine.add_event_handler(Events.STARTED, self.share_weights)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self.deceive)
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self.learn)

    @torch.no_grad()
    def share_weights(self, _engine: Workflow) -> None:
        """Give the first process's discriminator to all."""
        for weight in self.discriminator.parameters():
            first: Any = idist.broadcast(weight.clone())
            weight.copy_(first)

    def deceive(self, engine: Workflow) -> None:
        """Add the network's adversarial term."""
        output = engine.state.output
        if ShapeKeys.DISTANCE_UNLABELLED not in output:
            return
        distance = _only(output[ShapeKeys.DISTANCE_UNLABELLED])
        self.discriminator.eval().requires_grad_(False)
        value = self._cross_entropy(distance, output[SemiSegKeys.UNLABELLED_IMAGE], labelled=1)
        self.discriminator.requires_grad_(True)
        weight = gaussian_ramp(training_progress(engine), self.ramp_fraction, self.max_weight)
        add_term(engine, ShapeKeys.ADVERSARIAL_LOSS, value.mean(), weight)

    def learn(self, engine: Workflow) -> None:
        """Let the discriminator take a step on this iteration's distances."""
        output = engine.state.output
        if ShapeKeys.DISTANCE_UNLABELLED not in output:
            return
        streams = (  # a distance that is not a number would spoil the discriminator for good
            (output[ShapeKeys.DISTANCE_LABELLED], output[CommonKeys.IMAGE], 1),
            (output[ShapeKeys.DISTANCE_UNLABELLED], output[SemiSegKeys.UNLABELLED_IMAGE], 0),
        )
        self.discriminator.train()
        self.optimizer.zero_grad()
        loss = torch.cat(
            [self._cross_entropy(_only(maps).detach().nan_to_num(), *rest) for maps, *rest in streams]
        ).mean()
        loss.backward()
        self._average_gradients()
        self.optimizer.step()
        output[ShapeKeys.DISCRIMINATOR_LOSS] = loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimiser of the discriminator."""
        return {"discriminator": self.discriminator.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.discriminator.load_state_dict(state_dict["discriminator"])
        self.optimizer.load_state_dict(state_dict["optimizer"])

    def _cross_entropy(self, distance: torch.Tensor, image: torch.Tensor, labelled: int) -> torch.Tensor:
        """Cross-entropy of each case with ``labelled`` (0 or 1) as its class: ``(B,)``."""
        with torch.autocast(distance.device.type, enabled=False):
            logits = self.discriminator(distance.float(), image.float())
            return -torch.log_softmax(logits, dim=1)[:, labelled]

    def _average_gradients(self) -> None:
        """Replace the gradients by their mean over all processes."""
        world = idist.get_world_size()
        if world == 1:
            return
        gradients = [weight.grad for weight in self.discriminator.parameters() if weight.grad is not None]
        total: Any = idist.all_reduce(nn.utils.parameters_to_vector(gradients))
        nn.utils.vector_to_parameters(total / world, gradients)


def _only(maps: torch.Tensor) -> torch.Tensor:
    """``(1, B, ...) -> (B, ...)``."""
    if len(maps) != 1:
        raise ConfigError(f"Expected the distances of one network, got {len(maps)}. Use ShapeSegNet.")
    return maps[0]
