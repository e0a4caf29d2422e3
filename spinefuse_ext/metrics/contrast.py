"""Scores of one image's contrast and sharpness, in grey levels 0..255: larger means more of it, not better."""

from __future__ import annotations

import torch

from spinefuse_ext.metrics.convention import Convention, GreyLevels, convention_of, grey_levels, masked_mean


def standard_deviation(
    fused: torch.Tensor,
    sources: torch.Tensor | None = None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Population standard deviation in grey levels: ``(B, 1, *S) -> (B,)`` in [0, 127.5]; 0 for a constant image.

    The paper prints no such score. ``sources`` are not looked at.
    """
    convention_of(convention, "standard deviation", printed=False)
    levels = grey_levels(fused, None, data_range, mask)
    centre = masked_mean(levels.fused, levels.mask).reshape(-1, *[1] * (levels.fused.ndim - 1))
    return levels.finish(masked_mean((levels.fused - centre).square(), levels.mask).sqrt()[:, 0])


def spatial_frequency(
    fused: torch.Tensor,
    sources: torch.Tensor | None = None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Spatial frequency: ``(B, 1, *S) -> (B,)``, at least 0 (Eskicioglu & Fisher, IEEE Trans. Commun. 1995).

    ``evaluator``: root of the sum over axes of the mean squared first difference, in grey levels per pixel; with a
    mask, over pairs of neighbours inside it. ``paper`` (formula 8) prints only the radius sqrt(u^2 + v^2) of a Fourier
    coefficient: here its mean weighted by the amplitude spectrum without the constant term, in cycles per image; it
    has no masked form (``ValueError``). A constant image scores 0 (``paper``: NaN). ``sources`` are not looked at.
    """
    paper = convention_of(convention, "spatial frequency") is Convention.PAPER
    levels = grey_levels(fused, None, data_range, mask)
    return levels.finish(_mean_radius(levels) if paper else _difference_energy(levels).sqrt())


def average_gradient(
    fused: torch.Tensor,
    sources: torch.Tensor | None = None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean over pixels of the root mean square over axes of the gradient: ``(B, 1, *S) -> (B,)``.

    In grey levels per pixel. Central differences, one-sided at the borders; every axis needs 2 pixels. With a mask the
    gradient map is averaged inside it. The paper prints no such score. ``sources`` are not looked at.
    """
    convention_of(convention, "average gradient", printed=False)
    levels = grey_levels(fused, None, data_range, mask)
    slopes = torch.gradient(levels.fused, dim=tuple(range(2, levels.fused.ndim)))
    magnitude = torch.stack([slope.square() for slope in slopes]).mean(0).sqrt()
    return levels.finish(masked_mean(magnitude, levels.mask)[:, 0])


def _difference_energy(levels: GreyLevels) -> torch.Tensor:
    """Sum over axes of the mean squared difference of neighbours: ``(B,)``."""
    energy = torch.zeros(len(levels.fused), dtype=torch.float64, device=levels.fused.device)
    for axis in range(2, levels.fused.ndim):
        pairs = None
        if levels.mask is not None:
            length = levels.mask.shape[axis] - 1
            pairs = levels.mask.narrow(axis, 0, length) * levels.mask.narrow(axis, 1, length)
        energy = energy + masked_mean(levels.fused.diff(dim=axis).square(), pairs)[:, 0]
    return energy


def _mean_radius(levels: GreyLevels) -> torch.Tensor:
    """Amplitude-weighted mean radius of the Fourier coefficients, cycles per image: ``(B,)``."""
    if levels.mask is not None:
        raise ValueError("Formula 8 of the paper is about a whole image and has no masked form; leave the mask out.")
    sizes = levels.fused.shape[2:]
    amplitude = torch.fft.fftn(levels.fused, dim=tuple(range(2, levels.fused.ndim))).abs().flatten(1)
    amplitude[:, 0] = 0
    ticks = [torch.fft.fftfreq(size, 1 / size, dtype=torch.float64, device=amplitude.device) for size in sizes]
    radius = torch.stack(torch.meshgrid(*ticks, indexing="ij")).square().sum(0).sqrt().flatten()
    return (amplitude * radius).sum(1) / amplitude.sum(1)
