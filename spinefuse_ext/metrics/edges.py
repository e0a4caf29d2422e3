"""How well the edges of the sources survive in the fused image."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from spinefuse_ext.metrics.convention import Convention, convention_of, paired_levels

# Sigmoids of Xydeas & Petrovic: height, slope, centre; for the edge strength and for the edge angle
_STRENGTH = (0.9994, -15.0, 0.5)
_ANGLE = (0.9879, -22.0, 0.8)


def edge_preservation(
    fused: torch.Tensor,
    sources: torch.Tensor | None,
    data_range: float = 1.0,
    convention: str = Convention.EVALUATOR,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Qabf: ``(B, 1, H, W)``, ``(B, 2, H, W) -> (B,)`` in [0, 1) (Xydeas & Petrovic, Electron. Lett. 2000).

    Strength and angle of the Sobel edges of CT and MR found again in the fused image, weighted by their strength in
    the source; about 0.975 is the most that can be reached. As in the published tables the border is padded with
    zeros, so that it counts as an edge, and equal strengths are rated by the strength itself. 2-D only: score a volume
    slice by slice (``FusionMetric``). With a mask only edges inside it count. NaN where the sources have no edge.
    The paper prints no such score.
    """
    convention_of(convention, "edge preservation", printed=False)
    if fused.ndim != 4:
        raise ValueError(f"Edge angles need 2-D images (B, 1, H, W), got {tuple(fused.shape)}; score slice by slice.")
    levels = paired_levels(fused, sources, data_range, mask)
    strength, angle = _sobel(torch.cat((levels.fused, levels.sources), dim=1))
    weight = strength[:, 1:] if levels.mask is None else strength[:, 1:] * levels.mask
    preserved = _preserved_strength(strength) * _preserved_angle(angle)
    return levels.finish((preserved * weight).flatten(1).sum(1) / weight.flatten(1).sum(1))


def _sobel(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Strength, and angle in (-pi/2, pi/2], of the edges in ``(B, C, H, W)``; pi/2 where nothing changes along W."""
    smooth, slope = torch.tensor([1.0, 2.0, 1.0]).to(images), torch.tensor([1.0, 0.0, -1.0]).to(images)
    kernels = torch.stack((torch.outer(smooth, slope), torch.outer(-slope, smooth)))[:, None]  # along W, along H
    edges = F.conv2d(images.flatten(0, 1)[:, None], kernels, padding=1)  # B*C x 2 x H x W
    along_w, along_h = edges.unflatten(0, images.shape[:2]).unbind(2)
    angle = torch.where(along_w == 0, math.pi / 2, torch.atan(along_h / along_w))
    return torch.hypot(along_w, along_h), angle


def _preserved_strength(strength: torch.Tensor) -> torch.Tensor:
    fused, source = strength[:, :1], strength[:, 1:]
    weaker, stronger = torch.minimum(fused, source), torch.maximum(fused, source)
    return _sigmoid(torch.where(fused == source, source, weaker / stronger), _STRENGTH)


def _preserved_angle(angle: torch.Tensor) -> torch.Tensor:
    return _sigmoid(1 - (angle[:, 1:] - angle[:, :1]).abs() / (math.pi / 2), _ANGLE)


def _sigmoid(x: torch.Tensor, shape: tuple[float, float, float]) -> torch.Tensor:
    height, slope, centre = shape
    return height * torch.sigmoid(slope * (centre - x))
