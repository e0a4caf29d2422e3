from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from spinefuse_ext.losses import VGG16Information, gradient_energy, information_measure, vgg16
from spinefuse_ext.validation import MissingPathError, WeightsError

#: Numbers of the convolutions in ``features``, stage by stage, with a ReLU after each and a pooling after each stage.
NUMBERS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
SMALL = ((3, 2), (4, 4), (5, 4, 5), (6, 6, 6), (4, 5, 6))
FULL = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def state(widths: tuple[tuple[int, ...], ...], scale: float = 0.2) -> dict[str, torch.Tensor]:
    """Random weights under torchvision's names, with an entry of the classifier."""
    entries, before = {"classifier.0.weight": torch.zeros(2, 2)}, 3
    for numbers, stage in zip(NUMBERS, widths, strict=True):
        for number, width in zip(numbers, stage, strict=True):
            entries[f"features.{number}.weight"] = scale * torch.randn(width, before, 3, 3)
            entries[f"features.{number}.bias"] = scale * torch.randn(width)
            before = width
    return entries


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A weight file of a narrow VGG-16, and the package told to expect its widths."""
    monkeypatch.setattr(vgg16, "STAGES", SMALL)
    torch.save(state(SMALL), tmp_path / "vgg16.pth")
    return tmp_path / "vgg16.pth"


def literal_information(weights: dict[str, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
    """As published: nearest 224 x 224, 0..255 less the mean colour, energy after the last ReLU of each stage."""
    x = F.interpolate(image, size=(224, 224), mode="nearest").repeat(1, 3, 1, 1) * 255
    x = x - torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)
    energies = []
    for index, numbers in enumerate(NUMBERS):
        x = F.max_pool2d(x, 2) if index else x
        for number in numbers:
            x = F.relu(F.conv2d(x, weights[f"features.{number}.weight"], weights[f"features.{number}.bias"], padding=1))
        energies.append(gradient_energy(x))
    return torch.stack(energies).mean(0)


def test_information_equals_the_published_steps(small: Path) -> None:
    image = torch.rand(2, 1, 40, 33)
    measure = VGG16Information(small)
    assert measure.temperature == 3200
    torch.testing.assert_close(measure(image), literal_information(torch.load(small), image), rtol=1e-4, atol=0)


def test_another_normalisation_is_used(small: Path) -> None:
    image = torch.rand(1, 1, 32, 32)
    same = VGG16Information(small, mean=(0.5, 0.4, 0.3), std=1 / 255)(image)
    scaled = VGG16Information(small, 7.0, mean=(0.5, 0.4, 0.3), std=(1 / 255, 1 / 255, 1 / 255))
    torch.testing.assert_close(scaled(image), same)
    assert scaled.temperature == 7
    assert not torch.allclose(VGG16Information(small, mean=(0.5, 0.4, 0.3), std=0.2)(image), same, rtol=0.1)


def test_a_weight_file_of_the_real_size_fits_and_is_not_trained(tmp_path: Path) -> None:
    constants = {name: torch.zeros(1).expand(entry.shape) for name, entry in state(FULL, 0).items()}  # a tiny file
    torch.save(constants, tmp_path / "vgg16.pth")
    measure = information_measure(tmp_path / "vgg16.pth")
    assert isinstance(measure, VGG16Information)
    assert sum(weight.numel() for weight in measure.parameters()) == 14_714_688  # VGG-16 without its classifier
    assert not any(weight.requires_grad for weight in measure.parameters())


@pytest.mark.parametrize("broken", ["missing", "shape", "text", "list"])
def test_other_files_are_refused(broken: str, small: Path) -> None:
    weights = state(SMALL)
    if broken == "missing":
        del weights["features.12.bias"]
    weights["features.0.weight"] = weights["features.0.weight"][:, : 1 if broken == "shape" else 3]
    torch.save([1] if broken == "list" else weights, small)
    if broken == "text":
        small.write_text("not weights")
    with pytest.raises(WeightsError, match=r"vgg16.pth does not hold the 13 convolutions of VGG-16 .* image pyramid"):
        VGG16Information(small)


def test_a_file_that_does_not_exist_and_volumes_are_refused(small: Path) -> None:
    with pytest.raises(MissingPathError, match=r"The VGG-16 weight file .*absent.pth does not exist"):
        VGG16Information(small.with_name("absent.pth"))
    with pytest.raises(ValueError, match=r"got \(1, 1, 8, 8, 8\); use PyramidInformation in 3-D"):
        VGG16Information(small)(torch.rand(1, 1, 8, 8, 8))
