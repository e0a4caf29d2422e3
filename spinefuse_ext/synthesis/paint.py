"""Images painted from label maps: every region gets a grey level and a texture of its own (SynthSeg's idea)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from spinefuse_ext.synthesis.draws import Draws
from spinefuse_ext.synthesis.morphology import dilate, erode, soften

#: Regions of the unlabelled tissue, beside two that surround the structures.
_OTHERS = 7


def paint_labels(label: torch.Tensor, image: torch.Tensor, classes: Sequence[int], draws: Draws) -> torch.Tensor:
    """Paint ``label`` ``(B, 1, *S)`` in random grey levels, ``(B, 1, *S)`` of about 0 to 1.

    A structure has a rim and a core (cortex and marrow, annulus and nucleus, fat and fluid), often of one grey level.
    The tissue around is divided by smooth noise, or by the levels of the real image; a shell close to the structures
    and a wide one may differ from the rest, and air may lie in front of and behind the body.

    Args:
        label: class numbers; what is not in ``classes`` is painted as other tissue.
        image: ``(B, C, *S)`` whose first channel divides the tissue around the structures in half of the images.
        classes: numbers of the structures.
        draws: random numbers of the batch.

    References:
        Billot et al., SynthSeg: Segmentation of brain MRI scans of any contrast and resolution without retraining,
        Medical Image Analysis 2023.
    """
    regions, air = _regions(label, image, classes, draws)
    count = _OTHERS + 3 + 2 * len(classes)
    level, spread = draws.uniform(channels=count), 0.12 * draws.uniform(channels=count) ** 1.5
    first = _OTHERS + 3
    for place in range(first, count, 2):  # a core like its rim
        same = draws.chance(0.4)
        level[:, place + 1 : place + 2] = torch.where(
            same, level[:, place : place + 1], level[:, place + 1 : place + 2]
        )
    level[:, air : air + 1] = torch.where(draws.chance(0.6), 0.0, level[:, air : air + 1])
    spread[:, air] *= 0.3
    flat = regions.flatten(1)
    mean = level.flatten(1).gather(1, flat).view_as(regions)
    rough = spread.flatten(1).gather(1, flat).view_as(regions)
    grain = 0.7 * draws.noise() + 0.7 * draws.field((2, 5)) + 0.5 * draws.field((6, 14))
    painted = mean + rough * grain
    blur = int(draws.number(0, 3))
    for _ in range(blur):
        painted = soften(painted)
    return painted


def _regions(
    label: torch.Tensor, image: torch.Tensor, classes: Sequence[int], draws: Draws
) -> tuple[torch.Tensor, int]:
    """Region numbers ``(B, 1, *S)``: other tissue, shells, air, then rim and core of each class; and air's number."""
    masks = [(label == number).to(draws.dtype) for number in classes]
    some = torch.stack(masks).amax(0)
    regions = torch.where(draws.chance(0.5), _by_noise(draws), _by_level(image, draws))
    wide, close = dilate(some, int(draws.number(8, 16))), dilate(some, int(draws.number(2, 5)))
    regions = torch.where((wide > 0) & draws.chance(0.4) & (draws.field((10, 30)) > -0.3), _OTHERS, regions)
    regions = torch.where((close > 0) & draws.chance(0.5) & (draws.field((6, 20)) > -0.3), _OTHERS + 1, regions)
    air = _OTHERS + 2
    regions = torch.where(_outside(draws) & draws.chance(0.6) & (some == 0), air, regions)
    for place, mask in enumerate(masks):
        core = erode(mask, int(draws.number(1, 4)))
        regions = torch.where(mask > 0, air + 1 + 2 * place, regions)
        regions = torch.where(core > 0, air + 2 + 2 * place, regions)
    return regions, air


def _by_noise(draws: Draws) -> torch.Tensor:
    """Tissue divided by smooth noise of three sizes."""
    fields = [draws.field((8, 20), 2), draws.field((16, 45), 3), draws.field((30, 70), _OTHERS - 5)]
    return torch.cat(fields, 1).argmax(1, keepdim=True)


def _by_level(image: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Tissue divided by the levels of a channel that holds something, at random thresholds."""
    channel = filled_channel(image, draws)
    edges = draws.uniform(channels=_OTHERS - 1).sort(1).values * channel.flatten(1).amax(1).view(
        -1, *[1] * (image.ndim - 1)
    )
    return (soften(channel) > edges).sum(1, keepdim=True)


def filled_channel(image: torch.Tensor, draws: Draws) -> torch.Tensor:
    """One channel of each image drawn from those that are not 0 everywhere, ``(B, 1, *S)``."""
    filled = image.flatten(2).abs().amax(2) > 0
    score = draws.uniform(channels=image.shape[1]).flatten(1) + filled
    return image[torch.arange(len(image), device=image.device), score.argmax(1)][:, None]


def _outside(draws: Draws) -> torch.Tensor:
    """A wavy margin at both ends of the first axis, bool ``(B, 1, *S)``."""
    length = draws.size[0]
    shape = [1, 1, length, *[1] * (len(draws.size) - 1)]
    place = torch.linspace(0, 1, length, device=draws.device, dtype=draws.dtype).view(shape)
    place = place + 0.05 * draws.field((40, 90))
    return (place > draws.uniform(0.8, 1.05)) | (place < draws.uniform(-0.1, 0.1))
