"""What every fusion score starts from: grey levels 0..255, a mask, and the name of a convention."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.utils import StrEnum, convert_to_tensor

from spinefuse_ext.validation import ConfigError, check_choice, check_number

PEAK = 255.0
#: Grey levels are snapped to multiples of 1/4096: what went through float32 in [0, 1] is again one value per level.
STEPS_PER_LEVEL = 4096
#: How far from a whole level a value is snapped to it; less than half a step, by more than float32 rounds at level 255.
SNAPPED_FOR_SURE = 0.4 / STEPS_PER_LEVEL
#: How far, as a part of the range, values may overshoot; they are cut off as on saving to 8 bit.
OVERSHOOT = 0.1


class Convention(StrEnum):
    """``evaluator``: how published fusion tables are computed; ``paper``: formulas 6 to 9 of the paper as printed."""

    EVALUATOR = "evaluator"
    PAPER = "paper"


@dataclass(frozen=True)
class GreyLevels:
    """Images ``(B, 3, *S)``, fused, CT and MR, and their mask ``(B, 1, *S)``: float64, levels 0..255.

    Without sources there is one channel; ``finite`` ``(B,)`` is False for items that held NaN or infinity.
    """

    images: torch.Tensor
    mask: torch.Tensor | None
    finite: torch.Tensor

    @property
    def fused(self) -> torch.Tensor:
        """The fused batch ``(B, 1, *S)``."""
        return self.images[:, :1]

    @property
    def sources(self) -> torch.Tensor:
        """CT and MR ``(B, 2, *S)``, or no channel."""
        return self.images[:, 1:]

    def finish(self, score: torch.Tensor) -> torch.Tensor:
        """``(B,) -> (B,)``: the score, NaN for items that were not finite."""
        return torch.where(self.finite, score, torch.nan)

    def inside(self, item: int, image: torch.Tensor) -> torch.Tensor:
        """``(*S) -> (N,)``: the values of one item's ``image`` that count."""
        return image.flatten() if self.mask is None else image[self.mask[item, 0] > 0]


def grey_levels(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float,
    mask: torch.Tensor | None,
) -> GreyLevels:
    """``(B, 1, *S)`` and ``(B, 2, *S)`` in [0, ``data_range``] to levels 0..255; ``*S`` is 2-D or 3-D.

    Raises:
        ValueError: for wrong shapes.
        ConfigError: for a range that is not positive, or values far outside the range.
    """
    check_images(fused, sources, mask)
    check_number("data_range", data_range, above=0)
    images = [fused] if sources is None else [fused, sources.to(fused.device)]
    values = torch.cat([convert_to_tensor(image, track_meta=False) for image in images], dim=1)
    finite = _check_range(values, data_range)
    levels = values.to(torch.float64, copy=True)
    if not finite.all():
        levels = levels.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
    levels = levels.mul_(PEAK * STEPS_PER_LEVEL / data_range).round_().mul_(1 / STEPS_PER_LEVEL).clamp_(0, PEAK)
    if mask is not None:
        mask = (convert_to_tensor(mask, track_meta=False) > 0).to(levels)
    return GreyLevels(levels, mask, finite)


def paired_levels(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float,
    mask: torch.Tensor | None,
) -> GreyLevels:
    """As ``grey_levels``; raise ``ValueError`` when there are no sources to compare with."""
    if sources is None:
        raise ValueError("Expected sources (B, 2, *S), CT then MR, got None: this score compares with the sources.")
    return grey_levels(fused, sources, data_range, mask)


def whole_levels(fused: torch.Tensor, sources: torch.Tensor | None, data_range: float) -> list[torch.Tensor] | None:
    """Fused, CT and MR as integers ``(B, 1, *S)`` where ``grey_levels`` finds whole levels 0..255; None where not."""
    if sources is None or not data_range > 0 or not fused.numel():
        return None
    channels: list[torch.Tensor] = []
    for image in (fused, *sources.to(fused.device).split(1, dim=1)):  # one by one, so that they share memory
        values = convert_to_tensor(image, track_meta=False)
        levels = values.to(torch.promote_types(values.dtype, torch.float32)) * (PEAK / data_range)
        whole = levels.round()
        close = levels.sub_(whole).abs_().amax() <= SNAPPED_FOR_SURE  # not so for NaN
        if not (close and whole.amin() >= 0 and whole.amax() <= PEAK):
            return None
        channels.append(whole.int())
    return channels


def convention_of(name: str, score: str, *, printed: bool = True) -> Convention:
    """Return the convention; raise ``ConfigError`` for an unknown one, or when the paper prints no such score."""
    convention = Convention(check_choice("convention", name, Convention))
    if convention is Convention.PAPER and not printed:
        raise ConfigError(f"The paper prints no formula for {score}; use convention 'evaluator'.")
    return convention


def check_images(fused: torch.Tensor, sources: torch.Tensor | None, mask: torch.Tensor | None = None) -> None:
    """Raise ``ValueError`` unless the shapes are ``(B, 1, *S)``, ``(B, 2, *S)`` and ``(B, 1, *S)``."""
    if fused.ndim not in (4, 5) or fused.shape[1] != 1:
        raise ValueError(f"Expected fused (B, 1, *S) with a 2-D or 3-D S, got {tuple(fused.shape)}.")
    for name, image, channels in (("sources", sources, 2), ("mask", mask, 1)):
        expected = (fused.shape[0], channels, *fused.shape[2:])
        if image is not None and tuple(image.shape) != expected:
            raise ValueError(f"Expected {name} {expected} to match fused, got {tuple(image.shape)}.")


def masked_mean(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """``(B, C, *S) -> (B, C)``: mean where ``mask`` ``(B, 1, *S)`` is 1, or everywhere; NaN for an empty mask."""
    if mask is None:
        return values.flatten(2).mean(2)
    return (values * mask).flatten(2).sum(2) / mask.flatten(2).sum(2)


def _check_range(levels: torch.Tensor, data_range: float) -> torch.Tensor:
    """Which items are finite ``(B,)``; raise ``ConfigError`` when one of those lies far outside [0, ``data_range``]."""
    if not levels.numel():
        raise ValueError(f"Expected at least one image with one pixel, got shape {tuple(levels.shape)}.")
    low, high = (
        levels.flatten(1).amin(1),
        levels.flatten(1).amax(1),
    )  # six times faster than aminmax; NaN and infinity come through
    finite = low.isfinite() & high.isfinite()
    wide = finite & ((low < -OVERSHOOT * data_range) | (high > (1 + OVERSHOOT) * data_range))
    if wide.any():
        raise ConfigError(
            f"Expected values in [0, {data_range:g}], got [{low[wide].min():.4g}, {high[wide].max():.4g}]. "
            "Scale the images or pass their data_range."
        )
    return finite
