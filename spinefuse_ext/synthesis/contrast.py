"""One image of any contrast from what is known of a patient: real channels, random functions of them, or labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from spinefuse_ext.enums import ContrastSource
from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.synthesis.base import BatchTransform
from spinefuse_ext.synthesis.draws import Draws
from spinefuse_ext.synthesis.morphology import erode, soften, spread
from spinefuse_ext.synthesis.paint import filled_channel, paint_labels
from spinefuse_ext.validation import ConfigError, check_number, check_numbers, check_part

_HIDDEN = 12


class RandContrastd(BatchTransform):
    """``image`` ``(B, C, *S)`` -> ``(B, 1, *S)`` of a random contrast; each image draws where its contrast is from.

    - ``real``: a channel as it is.
    - ``window``: a channel between two of its levels, as a CT is displayed, or inverted.
    - ``remap``: a random smooth function of all channels (a layer of sines), the same tissue keeping one grey level.
    - ``filter``: a channel mixed with random shallow convolutions of it (GIN, Ouyang et al., IEEE TMI 2022).
    - ``paint``: the label map alone, see :func:`paint_labels`.

    After ``window``, ``remap`` and ``filter`` the structures may be shifted in grey against the rest, one by one, and
    bone may get a rim: so no contrast between structures can be relied on.

    Args:
        weights: how often each source is drawn, by its name; at least one above 0.
        classes: numbers of the structures in ``label``.
        offset: standard deviation of the shift of a structure, as a part of the image's standard deviation.
        offset_probability: how often there is such a shift.
        batched: see :class:`BatchTransform`.

    Raises:
        ConfigError: an unknown source, or no weight above 0.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        classes: Sequence[int] = tuple(STRUCTURES)[1:],
        offset: float = 0.6,
        offset_probability: float = 0.5,
        batched: bool = True,
    ) -> None:
        super().__init__(batched)
        unknown = not isinstance(weights, Mapping) or set(weights) - set(ContrastSource)
        if unknown or not any(check_number("weights", value, least=0) > 0 for value in weights.values()):
            raise ConfigError(
                f"Expected weights above 0 of {', '.join(ContrastSource)}, got {weights}; correct the contrast."
            )
        self.weights = {source: float(weights.get(source, 0.0)) for source in ContrastSource}
        self.classes = check_numbers("classes", classes, least=0, whole=True)
        self.offset = check_number("offset", offset, least=0)
        self.offset_probability = check_part("offset_probability", offset_probability)

    def change(
        self, image: torch.Tensor, label: torch.Tensor | None, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``(B, C, *S)`` -> ``(B, 1, *S)``; the label stays."""
        drawn = draws.pick(list(self.weights.values()))
        result = filled_channel(image, draws)
        for place, source in enumerate(self.weights):
            rows = (drawn == place).nonzero().flatten()
            if not len(rows) or source == ContrastSource.REAL:
                continue
            part = image[rows]
            number = None if label is None else label[rows]
            made = self._make(source, part, number, Draws(int(draws.number(0, 2**31 - 1)), part))
            result[rows] = made.to(result.dtype)
        return result, label

    def _make(self, source: str, image: torch.Tensor, label: torch.Tensor | None, draws: Draws) -> torch.Tensor:
        if source == ContrastSource.PAINT:
            number = torch.zeros_like(image[:, :1]).long() if label is None else label
            return paint_labels(number, image, self.classes, draws)
        if source == ContrastSource.WINDOW:
            made = _windowed(filled_channel(image, draws), draws)
        elif source == ContrastSource.REMAP:
            made = _remapped(image, draws)
        else:
            made = _filtered(filled_channel(image, draws), draws)
        return made if label is None else self._shifted(made, label, draws)

    def _shifted(self, image: torch.Tensor, label: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Shift each structure's grey level, and draw a rim on the first (bone) in some images."""
        unit = self.offset * spread(image) * draws.chance(self.offset_probability)
        for number in self.classes:
            image = image + soften((label == number).to(image.dtype)) * unit * draws.normal()
        bone = (label == self.classes[0]).to(image.dtype)
        rim = soften(bone - erode(bone, 1))
        return image + 2.5 * rim * unit * draws.normal() * draws.chance(0.4)


def _windowed(channel: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Between two quantiles of what is not 0, clipped to 0 to 1; one in five inverted."""
    rows = []
    low, high = draws.uniform(0.0, 0.3).flatten(), draws.uniform(0.85, 1.0).flatten()
    for image, a, b in zip(channel, low, high, strict=True):
        inside = image[image > 0][::7]
        if inside.numel() < 2:
            rows.append(image)
            continue
        ends = torch.quantile(inside, torch.stack([a, b]))
        rows.append(((image - ends[0]) / (ends[1] - ends[0] + 1e-4)).clamp(0, 1))
    window = torch.stack(rows)
    return torch.where(draws.chance(0.2), 1 - window, window)


def _remapped(image: torch.Tensor, draws: Draws) -> torch.Tensor:
    """A layer of ``_HIDDEN`` sines of all channels, other weights for each image."""
    batch, channels = image.shape[:2]
    flat = image.flatten(2)
    weight = 3.2 * draws.normal(_HIDDEN * channels).view(batch, _HIDDEN, channels)
    phase = 1.2 * draws.normal(_HIDDEN).view(batch, _HIDDEN, 1)
    out = draws.normal(_HIDDEN).view(batch, 1, _HIDDEN) / _HIDDEN**0.5
    mapped = torch.bmm(out, torch.sin(torch.bmm(weight, flat) + phase)).view(batch, 1, *image.shape[2:])
    return mapped / spread(mapped)


def _filtered(channel: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Three random convolutions of 1 or 3 pixels with leaky ReLUs between, mixed with the channel."""
    batch, dims = len(channel), channel.ndim - 2
    convolve = {2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}[dims]
    hidden = 2 * channel - 1
    for entry, leave in ((1, 4), (4, 4), (4, 1)):
        side = 3 if draws.number(0, 1) < 0.5 else 1
        weight = torch.randn((batch * leave, entry, *[side] * dims), generator=draws.generator, device=draws.device)
        bias = 0.5 * torch.randn(batch * leave, generator=draws.generator, device=draws.device)
        hidden = hidden.reshape(1, batch * entry, *channel.shape[2:])
        hidden = convolve(hidden, weight, bias, padding=side // 2, groups=batch)
        hidden = hidden.view(batch, leave, *channel.shape[2:])
        hidden = torch.nn.functional.leaky_relu(hidden, 0.1) if leave > 1 else hidden
    share = draws.uniform()
    return share * _standard(hidden) + (1 - share) * _standard(channel)


def _standard(image: torch.Tensor) -> torch.Tensor:
    mean = image.flatten(1).mean(1).view(-1, *[1] * (image.ndim - 1))
    return (image - mean) / spread(image)
