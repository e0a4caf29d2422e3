"""Signed distance maps of a label, the target of SASSNet's second head."""

from __future__ import annotations

import torch
from monai.transforms.utils import distance_transform_edt


def signed_distance(label: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Distance to each foreground class ``(B, K - 1, *S)`` in [-1, 1], float32, from a label ``(B, 1, *S)``.

    For each case and class: 0 on the inner boundary (voxels of the class with a neighbour across a face that is not),
    the Euclidean distance in voxels to the class over its maximum outside, and minus the distance to the rest over its
    maximum inside (SASSNet, Li, Zhang, He, MICCAI 2020). A label value that is no class counts as background.

    Departure from the published code, which gives 0 everywhere for a crop without the class, that is, boundary
    everywhere: it is +1 there (far outside). A crop that the class fills gives -1.

    The transform runs on the CPU, and on a GPU only where cupy and cuCIM are installed.

    Args:
        label: class numbers.
        num_classes: K, background included.
    """
    inside = torch.cat([label == number for number in range(1, num_classes)], dim=1)
    flat = inside.flatten(0, 1)  # MONAI takes (channels, *S)
    distances = torch.as_tensor(distance_transform_edt(torch.cat((flat, ~flat)))).float()
    to_rest, to_class = (part.reshape(inside.shape) for part in distances.to(label.device).chunk(2))
    over = tuple(range(2, inside.ndim))
    signed = to_class / _peak(to_class, over) - to_rest / _peak(to_rest, over)
    signed = signed.masked_fill(inside & (to_rest <= 1), 0.0)
    signed = torch.where(_any(inside, over), signed, 1.0)
    return torch.where(_any(~inside, over), signed, -1.0)


def _peak(distance: torch.Tensor, over: tuple[int, ...]) -> torch.Tensor:
    """Largest distance of each map, at least 1 voxel."""
    return distance.amax(dim=over, keepdim=True).clamp(min=1)


def _any(mask: torch.Tensor, over: tuple[int, ...]) -> torch.Tensor:
    return mask.amax(dim=over, keepdim=True)
