"""A volume read slice by slice in every plane that the network learnt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import nn
from torch.nn import functional as F

from spinefuse_ext.networks.device import unwrap
from spinefuse_ext.networks.planes import SeenPlanes, check_planes
from spinefuse_ext.networks.sub_networks import EachSubNetwork
from spinefuse_ext.validation import ConfigError

_READ = ("sagittal", "axial")
_WIDE_MM = 100.0  # a slice that is narrower shows too little of what surrounds the spine
_WORTH = 0.25  # a plane counts from this part of the best one's weight
_AXIAL_ALONE = 0.4  # what the one network for axial slices counts beside the two that read sagittal ones
_APART_MM = 2.5  # distance of axial slices, or that of the file where it is larger
_ROWS = 32  # rows that are brought back to the volume's grid at a time
_AXIAL = (0, 1, 4, 3, 2)  # (B, C, X, Y, Z) to axial slices (B, C, Z, Y, X) and back


def planes_of(network: Any) -> frozenset[str]:
    """Names of the planes that a network, or the one inside it, says it learnt; empty where it says nothing."""
    inner = _inner(network)
    return frozenset() if inner is None else inner.learnt_planes()


def _inner(network: Any) -> SeenPlanes | None:
    """The network that knows its planes, inside others."""
    network = unwrap(network) if isinstance(network, nn.Module) else network
    while isinstance(network, nn.Module) and not isinstance(network, SeenPlanes):
        network = getattr(network, "network", None)
    return network if isinstance(network, SeenPlanes) else None


class _ReadAxial:
    """The network for axial slices inside a network, which returns as many channels as that one does."""

    def __init__(self, network: SeenPlanes, both: bool) -> None:
        self.network, self.both = network, both

    def __call__(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        each = self.network.each_axial(x)
        return each if self.both else each.unflatten(1, (2, -1)).mean(1)


def axial_reader(network: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """What reads axial slices: a network inside ``network`` that learnt them alone, or ``network`` itself."""
    inner = _inner(network)
    if inner is None or not inner.has_axial():
        return network
    return _ReadAxial(inner, isinstance(network, EachSubNetwork))


class PlanesInferer(Inferer):
    """Sagittal slices, and axial ones too where the network learnt both, averaged by how well each plane is shown.

    A stack of few axial slices shows nothing in its sagittal ones, and the axial ones of a sagittal stack of 4 mm are
    blurred. A plane counts as ``min(1, d / w)² min(1, side / 100 mm)``: ``d`` are the pixels that the network sees,
    ``w`` the coarser of the two spacings of the image as it came, ``side`` the shorter side of the field in this plane.
    Below a quarter of the other one's weight a plane is left out, and costs nothing. Axial slices that a network of
    their own reads count 0.4 of this.

    Args:
        inferer: shows the network slices across the first axis of ``(B, C, X, Y, Z)``, RAS. Axial slices are
            brought to the pixels of the sagittal ones, 2.5 mm apart or as far as in the file, and shown as
            ``(Y, X)``.
        planes: to read whatever the network says, of ``sagittal`` and ``axial``; None for those that it says.

    Raises:
        ConfigError: when ``planes`` names another one, or none.
    """

    def __init__(self, inferer: Inferer, planes: str | Sequence[str] | None = None) -> None:
        super().__init__()
        self.inferer, self.planes = inferer, None if planes is None else check_planes(planes, _READ)

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Image ``(B, C, X, Y, Z)`` with its affine -> ``(B, K, X, Y, Z)``."""
        weights = self._weights(inputs, network)
        if not weights["axial"]:
            sagittal: torch.Tensor = self.inferer(inputs, network, *args, **kwargs)
            return sagittal
        axial = self._axial(inputs, network, *args, **kwargs)
        if not weights["sagittal"]:
            alone: torch.Tensor = convert_to_dst_type(_back(axial, inputs), inputs)[0]
            return alone
        result: torch.Tensor = self.inferer(inputs, network, *args, **kwargs)
        for first in range(0, axial.shape[-2], _ROWS):
            rows = slice(first, first + _ROWS)
            part = _back(axial[..., rows, :], inputs)
            result[..., rows, :] = weights["sagittal"] * result[..., rows, :] + weights["axial"] * part
        return result

    def _weights(self, inputs: torch.Tensor, network: Callable[..., torch.Tensor]) -> dict[str, float]:
        if self.planes is not None and len(set(self.planes)) == 1:
            return {name: float(name in self.planes) for name in _READ}
        both = self.planes is not None or planes_of(network).issuperset(_READ)
        if both and (self.planes is not None or isinstance(inputs, MetaTensor)):
            inner = _inner(network)
            return plane_weights(inputs, _AXIAL_ALONE if inner is not None and inner.has_axial() else 1.0)
        return {"sagittal": 1.0, "axial": 0.0}

    def _axial(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """``(B, C, X, Y, Z)`` -> ``(B, K, Z', Y, X')``: along ``X'`` the pixels of ``Y``, fewer slices along ``Z'``."""
        spacing, source = _spacings(inputs)
        width = max(1, round(inputs.shape[2] * float(spacing[0] / spacing[1])))
        apart_mm = max(float(source[2]), _APART_MM)
        height = max(1, min(inputs.shape[4], round(inputs.shape[4] * float(spacing[2]) / apart_mm)))
        image = _as_tensor(inputs)
        wide = F.interpolate(image, (width, image.shape[3], height), mode="trilinear", align_corners=False)
        slices = wide.permute(_AXIAL).contiguous()
        result: torch.Tensor = self.inferer(slices, axial_reader(network), *args, **kwargs)
        return _as_tensor(result)


def plane_weights(inputs: torch.Tensor, axial: float = 1.0) -> dict[str, float]:
    """Shares of the sagittal and axial plane of an image ``(B, C, X, Y, Z)`` with its affine; one counts ``axial``."""
    spacing, source = _spacings(inputs)
    sizes = spacing * torch.as_tensor(inputs.shape[2:], dtype=spacing.dtype)
    found = {}
    for name, axes in (("sagittal", [1, 2]), ("axial", [0, 1])):
        sharp = min(1.0, float(spacing[1] / source[axes].max())) ** 2
        found[name] = sharp * min(1.0, float(sizes[axes].min()) / _WIDE_MM) * (axial if name == "axial" else 1.0)
    best = max(found.values())
    kept = {name: weight if weight >= _WORTH * best else 0.0 for name, weight in found.items()}
    return {name: weight / sum(kept.values()) for name, weight in kept.items()}


def _spacings(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Spacing (mm) along each axis of an image with an affine: as it is, and as its file had it."""
    if not isinstance(inputs, MetaTensor):
        raise ConfigError("Axial slices need an image with an affine (MetaTensor); leave axial out of planes.")
    affine = torch.as_tensor(inputs.affine).reshape(-1, 4, 4)[0].cpu().double()
    source = torch.as_tensor(inputs.meta.get("original_affine", affine)).reshape(-1, 4, 4)[0].cpu().double()
    return affine[:3, :3].norm(dim=0), _along(source, affine)


def _along(source: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
    """Spacing (mm) of a source grid along the axis of another grid that lies nearest to each of its own."""
    source, own = source[:3, :3], affine[:3, :3]
    likeness = ((own / own.norm(dim=0)).T @ (source / source.norm(dim=0))).abs()
    return source.norm(dim=0)[likeness.argmax(dim=1)]


def _back(axial: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """``(B, K, Z', Y, X')`` of some rows -> ``(B, K, X, Y, Z)`` of the volume's other axes."""
    volume = axial.permute(_AXIAL)
    size = (inputs.shape[2], volume.shape[3], inputs.shape[4])
    return F.interpolate(volume, size, mode="trilinear", align_corners=False)


def _as_tensor(image: torch.Tensor) -> torch.Tensor:
    return image.as_tensor() if hasattr(image, "as_tensor") else image
