"""The information of an image in the features of VGG-16, from a weight file that the user brings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from spinefuse_ext.losses.information import InformationMeasure, PyramidInformation
from spinefuse_ext.safe_load import RunsCodeError, load_plain
from spinefuse_ext.validation import ConfigError, WeightsError, check_exists

#: Channels of the 3 x 3 convolutions of each of VGG-16's five stages (Simonyan and Zisserman, ICLR 2015).
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
INPUT_SIZE = 224
PREFIX = "features."


class VGG16Information(InformationMeasure):
    """U2Fusion's measure: gradient energy of VGG-16's features after each stage (Xu et al., IEEE TPAMI 2022). 2-D only.

    Images are scaled to 224 x 224 (nearest voxel) and repeated to 3 channels; features are taken after the last ReLU of
    each stage, before its pooling. The weights are read, never trained.

    The defaults fit weights trained on red, green, blue 0 to 255 less their mean, as U2Fusion's were: among
    torchvision's files that of ``VGG16_Weights.IMAGENET1K_FEATURES``. For weights of another normalisation give its
    ``mean`` and ``std`` and tune ``temperature``, as the size of the features differs.

    Args:
        weights: file of a plain state dict with torchvision's names ``features.N.weight`` and ``features.N.bias``;
            other entries, such as those of the classifier, are left alone.
        temperature: 3200 is U2Fusion's for fusing modalities.
        mean: of red, green and blue, for images in [0, 1].
        std: one number for all three, or three.

    Raises:
        MissingPathError: no such file.
        WeightsError: the file does not hold the convolutions of VGG-16.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        weights: str | Path,
        temperature: float = 3200.0,
        *,
        mean: Sequence[float] = (123.68 / 255, 116.779 / 255, 103.939 / 255),
        std: float | Sequence[float] = 1 / 255,
    ) -> None:
        super().__init__(temperature)
        self.stages = nn.ModuleList(_stages())
        _load(self.stages, Path(weights))
        self.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.as_tensor(std).expand(3).view(1, 3, 1, 1), persistent=False)

    def maps(self, image: torch.Tensor) -> list[torch.Tensor]:
        if image.ndim != 4:
            raise ConfigError(
                f"VGG-16 sees images (B, 1, H, W), got {tuple(image.shape)}; use PyramidInformation in 3-D."
            )
        x = (F.interpolate(image, size=(INPUT_SIZE, INPUT_SIZE)) - self.mean) / self.std
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def information_measure(vgg16_weights: str | Path | None = None) -> InformationMeasure:
    """Return U2Fusion's measure with the weights of that file, or without a file its substitute."""
    return PyramidInformation() if vgg16_weights is None else VGG16Information(vgg16_weights)


def _stages() -> Iterator[nn.Sequential]:
    """The five stages, each but the first begun by the pooling that ends the one before; names are torchvision's."""
    number, before = 0, 3
    for index, widths in enumerate(STAGES):
        stage = nn.Sequential()
        if index:
            stage.add_module(str(number), nn.MaxPool2d(2))
            number += 1
        for width in widths:
            stage.add_module(str(number), nn.Conv2d(before, width, 3, padding=1))
            stage.add_module(str(number + 1), nn.ReLU(inplace=True))
            number, before = number + 2, width
        yield stage


def _load(stages: nn.ModuleList, path: Path) -> None:
    path = check_exists(path, "The VGG-16 weight file")
    own = {name: weight for stage in stages for name, weight in stage.state_dict().items()}
    try:
        state = load_plain(path, old_format=True)  # torchvision's file is of 2017
        found = {name: state[PREFIX + name] for name in own}
        fits = all(found[name].shape == weight.shape for name, weight in own.items())
    except RunsCodeError:
        raise
    except Exception as error:
        raise WeightsError(_sentence(path)) from error
    if not fits:
        raise WeightsError(_sentence(path))
    for name, weight in own.items():
        weight.copy_(found[name])


def _sentence(path: Path) -> str:
    return (
        f"{path} does not hold the 13 convolutions of VGG-16 under torchvision's names features.0.weight to "
        "features.28.bias; give such a state dict, or none to use the image pyramid instead."
    )
