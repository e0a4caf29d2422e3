"""Pseudo-labels of a moving average of the student, with the uncertainty mask of UA-MT as an option."""

from __future__ import annotations

import math
from typing import Any

import torch
from monai.engines import IterationEvents, Workflow

from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.handlers.ramp import gaussian_ramp, training_progress
from spinefuse_ext.losses import sharpen
from spinefuse_ext.networks import MeanTeacherNet, unwrap
from spinefuse_ext.validation import ConfigError, check_number, check_part


class MeanTeacherHandler:
    """Teaches the student of a ``MeanTeacherNet`` on unlabelled images, and lets the teacher follow it.

    At ``FORWARD_COMPLETED`` it writes ``pseudo_label`` ``(U, K, *S)``, the teacher's prediction (mean over its
    networks, no gradient), and ``student_weight`` ``(N,)``, the ramped weight for every network of the student; at
    ``MODEL_COMPLETED`` the teacher moves by ``min(1 - 1 / (t + 1), decay)``. Where an earlier handler changed the
    unlabelled images and kept the clean ones, the teacher sees the clean ones.

    With ``passes`` above 0 only voxels count whose predictive entropy, of the mean of that many noisy passes with
    dropout, is below ``(3/4 + 1/4 exp(-5 (1 - t) ** 2)) ln K`` (Yu et al., UA-MT, MICCAI 2019; ``ln 2`` there, for two
    classes). All passes go through the teacher as one batch; UA-MT's code makes four of them.

    Args:
        decay: of the moving average, 0 to 1.
        max_weight: weight of the consistency after the ramp.
        ramp_fraction: part of the training over which the weight rises along a Gaussian.
        start_fraction: part of the training before that, without consistency.
        noise_std: standard deviation of the noise that the teacher's images get, cut off at two of them; UA-MT: 0.1.
        temperature: of the pseudo-label's sharpening; 1 leaves it, 0 takes the most likely class alone.
        passes: noisy passes for the uncertainty; 0 trusts every voxel. UA-MT: 8.
        confidence: only voxels whose highest probability is at least this count, 0 to 1.

    Raises:
        ConfigError: an argument outside its range; at the first step, when the network is no ``MeanTeacherNet``.
    """

    def __init__(  # noqa: PLR0913 (the options of the method, all keyword-only but two)
        self,
        decay: float = 0.99,
        max_weight: float = 0.1,
        *,
        ramp_fraction: float = 0.4,
        start_fraction: float = 0.0,
        noise_std: float = 0.1,
        temperature: float = 1.0,
        passes: int = 0,
        confidence: float = 0.0,
    ) -> None:
        self.decay = check_number("decay", decay, least=0, below=1)
        self.max_weight = check_number("max_weight", max_weight, least=0)
        self.ramp_fraction = check_part("ramp_fraction", ramp_fraction)
        self.start_fraction = check_part("start_fraction", start_fraction)
        self.noise_std = check_number("noise_std", noise_std, least=0)
        self.temperature = check_number("temperature", temperature, least=0)
        self.passes = check_number("passes", passes, least=0, whole=True)
        self.confidence = check_part("confidence", confidence)

    def attach(self, engine: Workflow) -> None:
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self)
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self.follow)

    @torch.no_grad()
    def __call__(self, engine: Workflow) -> None:
        output = engine.state.output
        if Keys.UNLABELLED_IMAGE not in output:
            return
        progress = training_progress(engine)
        weight = gaussian_ramp(progress, self.ramp_fraction, self.max_weight, self.start_fraction)
        logits = output[Keys.LOGITS_UNLABELLED]
        output[Keys.STUDENT_WEIGHT] = torch.full((len(logits),), weight, device=logits.device)
        if not weight:
            return
        network = _mean_teacher(engine)
        images = output.get(Keys.CLEAN_UNLABELLED, output[Keys.UNLABELLED_IMAGE])
        taught = network.teach(self._noisy(images)).float()
        output[Keys.PSEUDO_LABEL] = self._pseudo_label(taught)
        certain = torch.softmax(taught, dim=2).mean(0).amax(1, keepdim=True) >= self.confidence
        if self.passes:
            certain &= self._uncertainty(network, images) < _threshold(progress, logits.shape[2])
        output[Keys.PSEUDO_WEIGHT] = certain

    def follow(self, engine: Workflow) -> None:
        """Let the teacher move towards the student."""
        step = engine.state.iteration - 1
        _mean_teacher(engine).follow(min(1 - 1 / (step + 1), self.decay))

    def _noisy(self, images: torch.Tensor) -> torch.Tensor:
        if not self.noise_std:
            return images
        noise = torch.randn_like(images) * self.noise_std
        return images + noise.clamp(-2 * self.noise_std, 2 * self.noise_std)

    def _pseudo_label(self, logits: torch.Tensor) -> torch.Tensor:
        """``(N, U, K, *S)`` logits -> ``(U, K, *S)`` mean probability, sharpened."""
        mean = torch.softmax(logits, dim=2).mean(0)
        if self.temperature == 1:
            return mean
        if self.temperature == 0:
            return torch.zeros_like(mean).scatter_(1, mean.argmax(1, keepdim=True), 1.0)
        return sharpen(mean.clamp(min=torch.finfo(mean.dtype).tiny).log(), self.temperature)

    def _uncertainty(self, network: MeanTeacherNet, images: torch.Tensor) -> torch.Tensor:
        """Entropy in nats of the mean of the noisy passes: ``(U, C, *S) -> (U, 1, *S)``."""
        repeated = images.repeat(self.passes, *[1] * (images.ndim - 1))
        probabilities = torch.softmax(network.teach(self._noisy(repeated)).float(), dim=2).mean(0)
        mean = probabilities.unflatten(0, (self.passes, len(images))).mean(0)
        return -torch.xlogy(mean, mean).sum(1, keepdim=True)


def _threshold(progress: float, classes: int) -> float:
    """Largest entropy of a voxel that counts, in nats: from 3/4 of the possible one to all of it."""
    return (0.75 + 0.25 * math.exp(-5.0 * (1.0 - progress) ** 2)) * math.log(classes)


def _mean_teacher(engine: Workflow) -> MeanTeacherNet:
    network: Any = unwrap(engine.network)  # type: ignore[attr-defined]
    if not isinstance(network, MeanTeacherNet):
        raise ConfigError(f"Expected a MeanTeacherNet for MeanTeacherHandler, got {type(network).__name__}.")
    return network
