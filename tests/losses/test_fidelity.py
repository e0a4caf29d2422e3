"""What a fused image carries, as something to learn: the same numbers as the scores, with a way up."""

from __future__ import annotations

import pytest
import torch

from spinefuse_ext.losses import lost_fidelity, shared_information
from spinefuse_ext.metrics import mutual_information, visual_information_fidelity


def _smooth(*shape: int) -> torch.Tensor:
    coarse = torch.rand(*shape[:2], *(-(-size // 4) for size in shape[2:]))
    image = torch.nn.functional.interpolate(coarse, shape[2:], mode="bilinear" if len(shape) == 4 else "trilinear")
    return (image * 255).round() / 255


@pytest.mark.parametrize("size", [(41, 41), (64, 50), (41, 42, 43)])
def test_lost_fidelity_is_what_the_score_lacks(size: tuple[int, ...]) -> None:
    fused, pair = _smooth(2, 1, *size), _smooth(2, 2, *size)
    score = visual_information_fidelity(fused, pair)
    assert lost_fidelity(fused, pair).item() == pytest.approx(1 - score.mean().item() / 2, abs=1e-4)


def test_shared_information_of_one_image_is_the_score() -> None:
    fused, pair = _smooth(1, 1, 48, 48), _smooth(1, 2, 48, 48)
    assert shared_information(fused, pair).item() == pytest.approx(mutual_information(fused, pair).item(), rel=1e-4)


def test_a_batch_shares_one_histogram() -> None:
    fused, pair = _smooth(4, 1, 24, 24), _smooth(4, 2, 24, 24)
    row = [image.transpose(0, 1).reshape(1, -1, 24 * 4, 24) for image in (fused, pair)]
    assert shared_information(fused, pair).item() == pytest.approx(shared_information(*row).item(), rel=1e-5)


@pytest.mark.parametrize(("measure", "sign"), [(lost_fidelity, -1), (shared_information, 1)])
def test_steps_along_the_gradient_improve_an_image(measure: object, sign: int) -> None:
    assert callable(measure)
    pair = _smooth(1, 2, 48, 48)
    fused = (pair.mean(1, keepdim=True) + 0.0013).requires_grad_()
    before = measure(fused, pair)
    for _ in range(3):
        (gradient,) = torch.autograd.grad(measure(fused, pair), fused)
        assert gradient.isfinite().all()
        fused = (fused + sign * 2e-4 * gradient / gradient.abs().max()).detach().requires_grad_()
    assert sign * (measure(fused, pair) - before) > 0


def test_equal_images_have_lost_nothing() -> None:
    image = _smooth(1, 1, 48, 48)
    assert lost_fidelity(image, torch.cat((image, image), 1)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("size", [(17, 30), (24, 24), (40, 40)])
def test_small_patches_are_compared_at_the_scales_that_fit(size: tuple[int, ...]) -> None:
    pair = _smooth(1, 2, *size)
    close, far = pair.amax(1, keepdim=True), torch.rand(1, 1, *size)
    assert lost_fidelity(close, pair) < lost_fidelity(far, pair)


def test_patches_without_a_whole_window_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 17 voxels .* fidelity_weight to 0"):
        lost_fidelity(torch.rand(1, 1, 16, 40), torch.rand(1, 2, 16, 40))
