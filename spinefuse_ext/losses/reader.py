"""What a reader needs of a fused image: both scans told from it, their edges seen, bone brighter than around it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.loss import _Loss

from spinefuse_ext.losses.consistency import at_least_float32
from spinefuse_ext.losses.fidelity import lost_fidelity
from spinefuse_ext.losses.gradients import sobel
from spinefuse_ext.losses.structure import dissimilarity, lost_edges, stronger_gradient
from spinefuse_ext.metrics.convention import PEAK
from spinefuse_ext.metrics.display import JUST_NOTICEABLE, NOISE_SCALES_PX, noise_of, smooth
from spinefuse_ext.metrics.fidelity import FOREGROUND
from spinefuse_ext.metrics.order import AROUND_PX
from spinefuse_ext.metrics.recoverability import ridge_weights, seen_features, thinned
from spinefuse_ext.metrics.visibility import SEEN_SHARE, STEP_VARIANCE, WINDOW_PX
from spinefuse_ext.metrics.windows import filter_valid, gaussian
from spinefuse_ext.validation import check_fused_and_pair, check_number, check_part

# half the width of the steps that make seen or not seen differentiable, as parts of their thresholds
_SOFT_SHARE, _SOFT_STEP = 0.07, 0.4
# how far above a threshold the middle of its soft step lies
_MARGIN_SHARE, _MARGIN_STEP = 0.05, 0.3


class RunningRecovery(nn.Module):
    """Share of the variance of CT and of MR that cannot be told from fused: ``(B, 1, *S), (B, 2, *S) -> (2,)``.

    As :class:`~spinefuse_ext.metrics.SourceRecovery` measures it: a ridge regression on fixed features of what is seen.
    It is fitted to a running mean of the batches so far, so that one grey must mean the same in all of them, and is a
    constant to the gradient; the noise of viewing is drawn anew each time. 0 is best, 1 says no more than the mean.

    Args:
        momentum: weight of the batches before in the running mean, 0 to less than 1.
    """

    moments: torch.Tensor

    def __init__(self, momentum: float = 0.97) -> None:
        super().__init__()
        self.momentum = check_number("momentum", momentum, least=0, below=1)
        self.register_buffer("moments", torch.zeros(0, 0, dtype=torch.float64), persistent=False)

    def forward(self, fused: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
        noise = sum(noise_of(torch.randn_like(fused), sigma) for sigma in NOISE_SCALES_PX)
        held = thinned(pair.amax(1, keepdim=True) > FOREGROUND).flatten()
        if not held.any():
            return fused.new_zeros(2)
        features = [thinned(each).flatten()[held] for each in seen_features(smooth(fused * PEAK + noise, 1.0))]
        seen = torch.stack([torch.ones_like(features[0]), *features], dim=1)
        sources = torch.stack([thinned(each).flatten()[held] for each in pair.split(1, dim=1)], dim=1)
        weights = self._fitted(torch.cat((seen, sources), dim=1).detach()).to(seen)
        missed = (sources - seen @ weights.T).square().mean(0)
        return missed / (sources - sources.mean(0)).square().mean(0).clamp(min=1e-4)

    @torch.no_grad()
    def _fitted(self, rows: torch.Tensor) -> torch.Tensor:
        """Take in rows ``(N, 1 + P + 2)`` of 1, features and sources; the weights ``(2, 1 + P)`` of all so far."""
        rows = rows.double()
        moments = rows.T @ rows / len(rows)
        if self.moments.shape == moments.shape:
            moments = self.momentum * self.moments.to(moments) + (1 - self.momentum) * moments
        self.moments = moments
        return ridge_weights(moments)


def hidden_edges(fused: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
    """Share of the edges of CT and of MR that are not seen in fused: ``(B, 1, *S), (B, 2, *S) -> (2,)`` in [0, 1].

    As :func:`~spinefuse_ext.metrics.visibility` measures it, over the batch, with soft steps for its thresholds.
    """
    images = torch.cat((fused, pair), dim=1) * PEAK
    kernel = gaussian(WINDOW_PX, WINDOW_PX / 5)
    moments = torch.cat((images, images.square(), images[:, :1] * images[:, 1:]), dim=1)
    mean, square, product = filter_valid(moments, kernel).split((3, 3, 2), dim=1)
    variance = (square - mean.square()).clamp(min=0)
    own, theirs = variance[:, :1] + 0.5, variance[:, 1:]  # half a squared level, for a finite derivative
    followed = (product - mean[:, :1] * mean[:, 1:]).square() / (theirs + 0.5)
    stands_out = (followed / own - SEEN_SHARE - _MARGIN_SHARE) / _SOFT_SHARE
    is_strong = (followed / STEP_VARIANCE - 1 - _MARGIN_STEP) / _SOFT_STEP
    seen = torch.sigmoid(stands_out) * torch.sigmoid(is_strong)
    weight = torch.where(theirs >= STEP_VARIANCE, theirs.sqrt(), 0.0).movedim(1, 0).flatten(1)
    return 1 - (seen.movedim(1, 0).flatten(1) * weight).sum(1) / weight.sum(1).clamp(min=1.0)


def faded_bone(fused: torch.Tensor, pair: torch.Tensor, bone_level: float) -> torch.Tensor:
    """How far bone falls short of a just noticeable step above what surrounds it, three steps at most asked for.

    ``(B, 1, *S), (B, 2, *S) -> scalar``, mean over bone near its surface, in units of the range.
    See :func:`~spinefuse_ext.metrics.bone_order`.
    """
    bone = (pair[:, :1] >= bone_level).to(fused)
    weight = smooth(1 - bone, AROUND_PX)
    around = smooth(fused * (1 - bone), AROUND_PX) / weight.clamp(min=0.05)
    counts = bone * (weight >= 0.05)
    short = F.relu(around + 3 * JUST_NOTICEABLE / PEAK - fused)
    return (short * counts).sum() / counts.sum().clamp(min=1)


def faded(fused: torch.Tensor, pair: torch.Tensor, part: float) -> torch.Tensor:
    """How far fused falls short of ``part`` of the brighter modality, mean: ``(B, 1, *S), (B, 2, *S) -> scalar``."""
    return F.relu(part * pair.amax(1, keepdim=True) - fused).mean()


class ReaderFusionLoss(_Loss):
    """Both scans told from the fused image, their edges seen, bone bright: what the scores for readers measure.

    The smaller of two scores is what counts for a reader, so of what ``RunningRecovery`` and ``hidden_edges`` say the
    worse scan counts as much as both together.

    Args:
        recovery_weight: of ``RunningRecovery``.
        visibility_weight: of ``hidden_edges``.
        edge_weight: of ``lost_edges``, which wants edges at full strength; halved ones are still seen.
        gradient_weight: of the absolute error to the stronger of both Sobel gradients.
        ssim_weight: of ``(1 - SSIM) / 2``, summed over the modalities.
        fidelity_weight: of ``lost_fidelity``.
        bone_weight: of ``faded_bone``.
        brightness_weight: of ``faded``.
        brightness: part of the brighter modality that is kept at least.
        bone_level: part of the range of CT where bone begins: 150 HU in the default window.
        data_range: of the SSIM, in units of the images.
        momentum: of ``RunningRecovery``.
    """

    def __init__(  # noqa: PLR0913 (a weight for each term)
        self,
        *,
        recovery_weight: float = 2.0,
        visibility_weight: float = 6.0,
        edge_weight: float = 3.0,
        gradient_weight: float = 10.0,
        ssim_weight: float = 1.0,
        fidelity_weight: float = 1.0,
        bone_weight: float = 8.0,
        brightness_weight: float = 10.0,
        brightness: float = 0.65,
        bone_level: float = 0.3,
        data_range: float = 0.03,
        momentum: float = 0.97,
    ) -> None:
        super().__init__()
        self.recovery_weight = check_number("recovery_weight", recovery_weight, least=0)
        self.visibility_weight = check_number("visibility_weight", visibility_weight, least=0)
        self.edge_weight = check_number("edge_weight", edge_weight, least=0)
        self.gradient_weight = check_number("gradient_weight", gradient_weight, least=0)
        self.ssim_weight = check_number("ssim_weight", ssim_weight, least=0)
        self.fidelity_weight = check_number("fidelity_weight", fidelity_weight, least=0)
        self.bone_weight = check_number("bone_weight", bone_weight, least=0)
        self.brightness_weight = check_number("brightness_weight", brightness_weight, least=0)
        self.brightness, self.bone_level = check_part("brightness", brightness), check_part("bone_level", bone_level)
        self.data_range = check_number("data_range", data_range, above=0)
        self.recovery = RunningRecovery(momentum)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """input: fused ``(B, 1, *S)``; target: its pair ``(B, 2, *S)``; in [0, 1], 17 voxels or more an axis."""
        check_fused_and_pair(input, target)
        input = at_least_float32(input)
        target = target.to(input.dtype)
        missing, hidden = self.recovery(input, target), hidden_edges(input, target)
        gradient = (sobel(input) - stronger_gradient(target)).abs().sum(0).mean()
        return (
            self.recovery_weight * (missing.sum() + missing.max()) / 2
            + self.visibility_weight * (hidden.sum() + hidden.max()) / 2
            + self.edge_weight * lost_edges(input, target)
            + self.gradient_weight * gradient
            + self.ssim_weight * dissimilarity(input, target, self.data_range)
            + self.fidelity_weight * lost_fidelity(input, target)
            + self.bone_weight * faded_bone(input, target, self.bone_level)
            + self.brightness_weight * faded(input, target, self.brightness)
        )
