from __future__ import annotations

import pytest
import torch

from spinefuse_ext.losses import ReaderFusionLoss, RunningRecovery, faded_bone, hidden_edges
from spinefuse_ext.losses.reader import faded
from spinefuse_ext.metrics import bone_order, visibility
from spinefuse_ext.metrics.display import smooth
from spinefuse_ext.validation import ConfigError


def _pairs(batch: int = 4, side: int = 48) -> torch.Tensor:
    """Blobs of two unrelated images, CT with a plateau of bone."""
    fields = smooth(torch.randn(batch, 2, side, side), 3.0) * 4
    return torch.cat(((fields[:, :1] > 0.4).float() * 0.7 + 0.2, (0.5 + 0.5 * fields[:, 1:]).clamp(0.1, 1)), 1)


def _mean(pair: torch.Tensor) -> torch.Tensor:
    return pair.mean(1, keepdim=True)


def test_a_copy_of_one_scan_loses_the_other_and_their_mean_neither() -> None:
    lost = {}
    for name, fuse in {"ct": lambda x: x[:, :1], "mr": lambda x: x[:, 1:], "mean": _mean}.items():
        recovery = RunningRecovery()
        for _ in range(6):
            pair = _pairs()
            lost[name] = recovery(fuse(pair), pair)
    assert lost["ct"][0] < 0.1
    assert lost["ct"][1] > 0.7
    assert lost["mr"][0] > 0.7
    assert lost["mr"][1] < 0.1
    assert lost["mean"].max() < 0.7


def test_the_recovery_remembers_the_batches_before() -> None:
    """A grey that means another value in every batch cannot be told, though each batch alone tells it."""
    forgetful, lasting = RunningRecovery(momentum=0.0), RunningRecovery(momentum=0.9)
    for step in range(12):
        pair = _pairs()
        fused = pair[:, 1:] if step % 2 else 1 - pair[:, 1:]
        once, again = forgetful(fused, pair), lasting(fused, pair)
    assert once[1] < 0.1
    assert again[1] > 0.3


def test_hidden_edges_are_about_what_the_score_does_not_see() -> None:
    pair = _pairs()
    for fused in (pair[:, :1], pair[:, 1:], _mean(pair), pair.amax(1, keepdim=True)):
        score = 1 - hidden_edges(fused, pair).amax()
        torch.testing.assert_close(score.double(), visibility(fused, pair).mean(), atol=0.15, rtol=0)


def test_bone_that_stands_out_is_not_faded_and_dark_bone_is() -> None:
    pair = _pairs()
    bright, dark = pair[:, :1], 1 - pair[:, :1]
    assert bone_order(bright, pair).mean() > 0.95
    assert faded_bone(bright, pair, 0.5) < 1e-3
    assert faded_bone(dark, pair, 0.5) > 0.3


def test_the_part_of_the_brightness_that_is_kept_is_not_faded() -> None:
    pair = _pairs()
    brighter = pair.amax(1, keepdim=True)
    assert faded(0.75 * brighter, pair, 0.75) == 0
    torch.testing.assert_close(faded(0.5 * brighter, pair, 0.75), 0.25 * brighter.mean())


def test_descends_from_noise_towards_an_image_that_shows_both() -> None:
    pair, loss = _pairs(2), ReaderFusionLoss(bone_level=0.5)
    fused = torch.rand(2, 1, 48, 48, requires_grad=True)
    optimizer = torch.optim.Adam([fused], lr=0.03)
    first = loss(fused, pair).item()
    for _ in range(40):
        optimizer.zero_grad()
        value = loss(fused, pair)
        value.backward()
        optimizer.step()
    assert value.item() < first - 3
    assert visibility(fused.detach().clamp(0, 1), pair).mean() > 0.5


@pytest.mark.parametrize(("ct", "mr"), [(0.0, 0.0), (0.0, None), (1.0, 0.5)], ids=["blank", "no CT", "constant"])
def test_flat_patches_give_finite_losses_and_gradients(ct: float, mr: float | None) -> None:
    pair = _pairs(2)
    pair[:, 0] = ct
    if mr is not None:
        pair[:, 1] = mr
    fused = _mean(pair).clone().requires_grad_()
    loss = ReaderFusionLoss()(fused, pair)
    loss.backward()
    assert loss.isfinite()
    assert fused.grad is not None
    assert fused.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_range": 0.0}, "data_range is a number above 0, got 0.0"),
        ({"brightness": 1.5}, "brightness is a number from 0 to 1, got 1.5"),
        ({"bone_level": -1.0}, "bone_level is a number from 0 to 1, got -1.0"),
        ({"momentum": 1.0}, "momentum is a number of at least 0 and below 1, got 1.0"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ReaderFusionLoss(**options)
