"""SASSNet's networks: segmentation with signed distances, and the discriminator that judges the distances."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from monai.networks.layers import Dropout
from monai.networks.layers.factories import Conv, Pool
from torch import nn

from spinefuse_ext.networks.unloaded import start_from
from spinefuse_ext.validation import ConfigError, check_number, check_numbers, check_part, check_spatial_dims

_SLOPE = 0.2  # of the leaky ReLUs


class ShapeSegNet(nn.Module):
    """One network with two heads: classes, and the signed distance to each foreground class (SASSNet, MICCAI 2020).

    In training a dictionary of ``logits`` ``(B, K, *S)`` and ``distance`` ``(B, K - 1, *S)``, the hyperbolic tangent
    of the other channels, in [-1, 1] and negative inside. In evaluation the probabilities ``(B, K, *S)``.

    The rows of a last 1-wide convolution with ``2 K - 1`` outputs are the two heads of the paper on one last feature.
    Departure from the published code (Li, Zhang, He; one sigmoid channel and one distance): softmax over any number of
    classes, and as many distances as there are foreground classes.

    Args:
        network: maps ``(B, C, *S)`` to ``(B, 2 K - 1, *S)``, for example ``spinefuse_ext.networks.VNet``.
        num_classes: K, background included; at least 2.
        weights: checkpoint to hold, see :func:`~spinefuse_ext.networks.start_from`; random weights without it.
    """

    def __init__(self, network: nn.Module, num_classes: int, *, weights: str | Path | None = None) -> None:
        super().__init__()
        self.network = network
        self.num_classes = check_number("num_classes", num_classes, least=2, whole=True)
        start_from(self, weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """Image ``(B, C, *S)`` -> logits and distances in training, probabilities ``(B, K, *S)`` in evaluation."""
        both = self.network(x)
        if both.shape[1] != 2 * self.num_classes - 1:
            raise ConfigError(
                f"Expected {2 * self.num_classes - 1} channels of the network, for {self.num_classes} classes and the "
                f"distances of the foreground, got {both.shape[1]}. Set its out_channels."
            )
        logits, distance = both[:, : self.num_classes], both[:, self.num_classes :]
        if self.training:
            return {"logits": logits, "distance": torch.tanh(distance)}
        return torch.softmax(logits, dim=1)


class ShapeDiscriminator(nn.Module):
    """Tell distances of labelled images from those of unlabelled ones (SASSNet): two logits for each case.

    Two 4-wide convolutions of stride 2, of the distances and of the image, are summed; three more follow, then the
    mean over the image and a linear layer. Departure from the published code, whose pooling window is the feature map
    of one patch size: the pooling adapts, so any size of at least 16 along each axis will do.

    Args:
        spatial_dims: 2 or 3.
        distance_channels: foreground classes.
        image_channels: channels of the image.
        channels: width of the four convolutions.
        dropout: probability of dropping a whole channel of the first three features.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        distance_channels: int = 3,
        image_channels: int = 1,
        channels: Sequence[int] = (64, 128, 256, 512),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_spatial_dims(spatial_dims)
        check_number("distance_channels", distance_channels, least=1, whole=True)
        check_number("image_channels", image_channels, least=1, whole=True)
        check_numbers("channels", channels, length=4, least=1, whole=True)
        check_part("dropout", dropout)

        def halve(narrow: int, wide: int) -> nn.Module:
            layer: nn.Module = Conv[Conv.CONV, spatial_dims](narrow, wide, kernel_size=4, stride=2, padding=1)
            return layer

        self.of_distance = halve(distance_channels, channels[0])
        self.of_image = halve(image_channels, channels[0])
        self.body = nn.Sequential(nn.LeakyReLU(_SLOPE))
        for narrow, wide in pairwise(channels):
            self.body.extend(
                [Dropout[Dropout.DROPOUT, spatial_dims](dropout), halve(narrow, wide), nn.LeakyReLU(_SLOPE)]
            )
        self.pool = Pool[Pool.ADAPTIVEAVG, spatial_dims](1)
        self.head = nn.Linear(channels[-1], 2)

    def forward(self, distance: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Distances ``(B, K - 1, *S)``, image ``(B, C, *S)`` -> logits ``(B, 2)``: unlabelled, labelled."""
        feature = self.body(self.of_distance(distance) + self.of_image(image))
        logits: torch.Tensor = self.head(self.pool(feature).flatten(1))
        return logits
