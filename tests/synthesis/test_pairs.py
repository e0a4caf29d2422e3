from __future__ import annotations

import pytest
import torch

from spinefuse_ext.synthesis import RandPaird
from spinefuse_ext.validation import ConfigError

STILL = {"window_probability": 0.0, "invert_probability": 0.0, "gamma": (1.0, 1.0), "noise": 0.0, "shift": 0.0}


def _pairs(batch: int = 6, side: int = 32) -> torch.Tensor:
    pair = torch.rand(batch, 2, side, side).clamp(0.05)
    pair[..., :8] = 0  # air
    return pair


def test_air_stays_black_and_all_stay_in_range() -> None:
    pair, transform = _pairs(), RandPaird(shift=0.0)
    transform.set_random_state(1)
    changed = transform({"image": pair})["image"]
    assert changed.shape == pair.shape
    assert 0 <= changed.min() <= changed.max() <= 1
    assert (changed[pair == 0] == 0).all()
    assert not torch.equal(changed, pair)


def test_a_narrow_window_saturates_the_ct_and_leaves_the_mr() -> None:
    pair, transform = _pairs(), RandPaird(**(STILL | {"window_probability": 1.0}))
    transform.set_random_state(0)
    changed = transform({"image": pair})["image"]
    ct, mr = changed.split(1, 1)
    white = (ct == 1).flatten(1).float().mean(1)
    assert (white > 0.2).all()
    assert white.std() > 0.02  # each in its own way
    factor = (mr / pair[:, 1:])[..., 8:]
    assert ((factor > 0.69) & (factor < 1.31)).all()
    rank = torch.argsort(ct[0].flatten(), stable=True)
    assert (pair[0, 0].flatten()[rank].diff()[ct[0].flatten()[rank].diff() > 0] > 0).all()  # the order stays


def test_bright_and_dark_of_the_mr_change_places() -> None:
    pair, transform = _pairs(), RandPaird(**(STILL | {"invert_probability": 1.0}))
    changed = transform({"image": pair})["image"][..., 8:]
    torch.testing.assert_close(changed[:, :1], pair[:, :1, :, 8:])
    for before, after in zip(pair[:, 1, :, 8:], changed[:, 1], strict=True):
        assert torch.corrcoef(torch.stack((before.flatten(), after.flatten())))[0, 1] < -0.9


def test_only_the_mr_moves() -> None:
    pair, transform = _pairs(), RandPaird(**(STILL | {"shift": 0.1}))
    changed = transform({"image": pair})["image"]
    torch.testing.assert_close(changed[:, 0], pair[:, 0])
    assert (changed[:, 1] - pair[:, 1]).abs().mean() > 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_probability": 1.5}, "window_probability is a number from 0 to 1, got 1.5"),
        ({"invert_probability": -1}, "invert_probability is a number from 0 to 1, got -1"),
        ({"gamma": (1.5, 0.5)}, r"gamma is a smallest and a largest number, got \[1.5, 0.5\]"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RandPaird(**options)


def test_refuses_what_is_no_pair() -> None:
    with pytest.raises(ConfigError, match="pairs of 2 channels, CT and MR, got images of 1"):
        RandPaird()({"image": torch.rand(2, 1, 8, 8)})
