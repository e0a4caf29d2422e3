from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import convolve

from spinefuse_ext.losses import InformationMeasure, U2FusionLoss


class MeanGrey(InformationMeasure):
    """The mean grey level as information: weights that can be worked out by hand."""

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__(temperature)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.flatten(1).mean(1)


def literal_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Mean SSIM over whole Gaussian windows of 11, sigma 1.5, values in [0, 1] (Wang et al., IEEE TIP 2004)."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = line / line.sum()
    for _ in range(x.ndim - 1):
        window = np.multiply.outer(window, line / line.sum())
    mx, my, xx, yy, xy = (convolve(image, window, mode="valid") for image in (x, y, x * x, y * y, x * y))
    luminance = (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4)
    return float((luminance * (2 * (xy - mx * my) + 9e-4) / (xx - mx**2 + yy - my**2 + 9e-4)).mean())


@pytest.mark.parametrize("size", [(17, 20), (12, 13, 11)])
def test_loss_equals_the_plain_formula(size: tuple[int, ...], rng: np.random.Generator) -> None:
    fused, sources = rng.random((3, 1, *size)), rng.random((3, 2, *size))
    expected = 0.0
    for image, pair in zip(fused[:, 0], sources, strict=True):
        share = np.exp([source.mean() / 0.1 for source in pair])
        for weight, source in zip(share / share.sum(), pair, strict=True):
            expected += weight * (1 - literal_ssim(image, source) + 20 * np.mean((image - source) ** 2)) / 3
    loss = U2FusionLoss(MeanGrey(0.1))(torch.from_numpy(fused), torch.from_numpy(sources))
    assert loss.item() == pytest.approx(expected, rel=1e-4)  # MONAI computes the SSIM in float32


def test_loss_of_equal_sources_by_hand() -> None:
    loss = U2FusionLoss(intensity_weight=3.0)(torch.full((2, 1, 12, 12), 0.5), torch.full((2, 2, 12, 12), 0.25))
    ssim = (2 * 0.5 * 0.25 + 1e-4) / (0.5**2 + 0.25**2 + 1e-4)
    assert loss.item() == pytest.approx(1 - ssim + 3 * 0.25**2, rel=1e-5)


def test_the_source_itself_costs_nothing_where_both_are_equal() -> None:
    image = torch.rand(2, 1, 16, 16)
    assert U2FusionLoss()(image, torch.cat((image, image), 1)).item() == pytest.approx(0, abs=1e-5)


def test_the_source_with_more_information_weighs_more_and_order_does_not_matter() -> None:
    fused, sharp = torch.rand(4, 1, 24, 24), torch.rand(4, 1, 24, 24)
    sources = torch.cat((sharp, 0.4 + 0.2 * sharp), dim=1)
    loss = U2FusionLoss()
    weights = loss.source_weights(sources)
    torch.testing.assert_close(weights.sum(1), torch.ones(4))
    assert (weights[:, 0] > 0.6).all()
    torch.testing.assert_close(loss.source_weights(sources.flip(1)), weights.flip(1))
    torch.testing.assert_close(loss(fused, sources.flip(1)), loss(fused, sources))


def test_temperature_decides_between_one_source_and_both() -> None:
    sources = torch.cat((torch.full((1, 1, 12, 12), 0.8), torch.full((1, 1, 12, 12), 0.2)), dim=1)
    even, one = (U2FusionLoss(MeanGrey(c)).source_weights(sources)[0, 0].item() for c in (1e3, 1e-2))
    assert even == pytest.approx(0.5, abs=1e-3)
    assert one == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("level", [0.0, 1.0, None], ids=["black", "white", "texture"])
def test_gradients_are_finite_also_on_blank_patches(dtype: torch.dtype, level: float | None) -> None:
    sources = torch.rand(2, 2, 16, 16) if level is None else torch.full((2, 2, 16, 16), level)
    fused = torch.rand(2, 1, 16, 16).to(dtype).requires_grad_()
    loss = U2FusionLoss()(fused, sources)
    assert loss.dtype == torch.float32
    loss.backward()
    assert fused.grad is not None
    assert fused.grad.isfinite().all()
    assert fused.grad.any()


def test_images_that_do_not_belong_together_or_are_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match=r"of one size, got \(1, 1, 12, 12\) and \(1, 2, 12, 13\)"):
        U2FusionLoss()(torch.rand(1, 1, 12, 12), torch.rand(1, 2, 12, 13))
    with pytest.raises(ValueError, match=r"at least 11 voxels on every axis, got an image of \(1, 1, 12, 10\)"):
        U2FusionLoss()(torch.rand(1, 1, 12, 10), torch.rand(1, 2, 12, 10))
