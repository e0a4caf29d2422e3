from __future__ import annotations

import pytest
import torch
from skimage.metrics import structural_similarity

from spinefuse_ext.losses import ReconstructionLoss
from spinefuse_ext.losses.gradients import sobel
from spinefuse_ext.losses.reconstruction import structural_dissimilarity


@pytest.mark.parametrize("size", [(11, 13), (7, 9, 11)])
def test_identical_pairs_cost_nothing_and_others_have_a_gradient(size: tuple[int, ...]) -> None:
    target = torch.rand(2, 2, *size)
    guess = torch.rand(2, 2, *size, requires_grad=True)
    assert ReconstructionLoss()(target, target).item() == pytest.approx(0, abs=1e-5)
    loss = ReconstructionLoss()(guess, target)
    loss.backward()
    assert loss > 0
    assert guess.grad is not None
    assert guess.grad.isfinite().all()
    assert guess.grad.abs().max() > 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_sobel_of_a_ramp_is_its_slope(axis: int) -> None:
    ramp = 3.0 * torch.arange(5.0).view([-1 if i == axis else 1 for i in range(3)]).expand(5, 5, 5)
    gradients = sobel(ramp[None, None])[:, 0, 0, 1:-1, 1:-1, 1:-1]
    for across, gradient in enumerate(gradients):
        torch.testing.assert_close(gradient.abs(), torch.full((3, 3, 3), 3.0 if across == axis else 0.0))


def test_intensity_term_is_the_squared_error_summed_over_modalities() -> None:
    target = torch.zeros(1, 2, 6, 6)
    guess = torch.stack((torch.full((6, 6), 0.1), torch.full((6, 6), 0.3)))[None]
    loss = ReconstructionLoss(ssim_weight=0, intensity_weight=2, gradient_weight=0)(guess, target)
    assert loss.item() == pytest.approx(2 * (0.1**2 + 0.3**2))


def test_gradient_term_counts_both_modalities() -> None:
    target = torch.zeros(1, 2, 6, 6)
    ramp = torch.arange(6.0).expand(6, 6) / 10
    flat = torch.zeros(6, 6)
    edges = ReconstructionLoss(ssim_weight=0, intensity_weight=0, gradient_weight=1)
    ct_only, mr_only, both = (
        edges(torch.stack(pair)[None], target) for pair in ((ramp, flat), (flat, ramp), (ramp, ramp))
    )
    # slope 0.1 along one of two axes, half of it in the two replicated border columns: 0.1 * (4 + 2 / 2) / 6 / 2
    assert ct_only.item() == pytest.approx(0.1 * 5 / 6 / 2)
    assert mr_only.item() == pytest.approx(ct_only.item())
    assert both.item() == pytest.approx(2 * ct_only.item())


def test_constant_shift_leaves_the_gradient_term_alone() -> None:
    target = torch.rand(1, 2, 9, 9)
    edges = ReconstructionLoss(ssim_weight=0, intensity_weight=0)
    assert edges(target + 0.25, target).item() == pytest.approx(0, abs=1e-5)


def test_ssim_agrees_with_scikit_image_inside_the_border() -> None:
    first, second = torch.rand(2, 24, 24, dtype=torch.float64)
    _, theirs = structural_similarity(  # type: ignore[no-untyped-call]
        first.numpy(), second.numpy(), data_range=1.0, gaussian_weights=True, use_sample_covariance=False, full=True
    )
    ours = 1 - 2 * structural_dissimilarity(first[None, None], second[None, None])[0, 0]
    inside = slice(5, -5)
    expected = torch.from_numpy(theirs)[inside, inside].float()
    torch.testing.assert_close(ours[inside, inside], expected, atol=1e-4, rtol=0)  # MONAI works in float32


def test_legacy_clamp_differs_only_where_the_similarity_is_negative() -> None:
    target = torch.rand(1, 1, 16, 16)
    free, clamped = (structural_dissimilarity(1 - target, target, legacy_clamp=flag) for flag in (False, True))
    assert (free > 0.5).any()
    torch.testing.assert_close(clamped, free.clamp(max=0.5))


def test_half_precision_gives_a_float32_loss() -> None:
    target = torch.rand(1, 2, 8, 8)
    loss = ReconstructionLoss()(target.bfloat16(), target)
    assert loss.dtype == torch.float32
    assert loss.isfinite()


def test_refuses_an_image_smaller_than_the_window() -> None:
    small = torch.rand(1, 2, 5, 9)
    with pytest.raises(ValueError, match=r"at least 6 voxels on every axis, got an image of \(1, 2, 5, 9\)"):
        ReconstructionLoss()(small, small)


def test_refuses_different_shapes() -> None:
    with pytest.raises(ValueError, match=r"input \(1, 1, 8, 8\), target \(1, 2, 8, 8\)"):
        ReconstructionLoss()(torch.rand(1, 1, 8, 8), torch.rand(1, 2, 8, 8))
