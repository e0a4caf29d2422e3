from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from spinefuse_ext.networks import CouplingDetailEncoder, DetailEncoder
from spinefuse_ext.networks.detail import AffineCoupling
from spinefuse_ext.validation import ConfigError


class _Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x, self.value)


@pytest.mark.parametrize("size", [(13, 17), (5, 7, 9), (2, 2)])
@pytest.mark.parametrize("encoder_type", [DetailEncoder, CouplingDetailEncoder])
def test_keeps_shape_and_passes_gradients(encoder_type: type[nn.Module], size: tuple[int, ...]) -> None:
    encoder = encoder_type(len(size), 4)
    x = torch.randn(2, 4, *size, requires_grad=True)
    y = encoder(x)
    y.square().sum().backward()
    assert y.shape == x.shape
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in encoder.parameters())


def test_cnn_sees_one_voxel_further_per_convolution() -> None:
    encoder = DetailEncoder(2, 2, depth=2)
    x = torch.zeros(1, 2, 11, 11)
    spot = x.clone()
    spot[..., 5, 5] = 1.0
    changed = (encoder(spot) - encoder(x)).abs().sum(1)[0] > 0
    rows = changed.any(1).nonzero().flatten().tolist()
    assert rows == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("limit", "factor"),
    [pytest.param(None, math.exp(3.0), id="free"), pytest.param(2.0, math.exp(2.0 * math.tanh(1.5)), id="bounded")],
)
def test_coupling_value(limit: float | None, factor: float) -> None:
    coupling = AffineCoupling(nn.Identity(), _Constant(0.5), _Constant(3.0), shift=nn.Identity(), exponent_limit=limit)
    first, second = coupling(torch.tensor([2.0, 1.0]).view(1, 2, 1, 1)).flatten().tolist()
    assert second == pytest.approx(1.5)  # 1 + 0.5
    assert first == pytest.approx(2 * factor + 1.5, rel=1e-6)  # the shift reads the moved half


def test_bounded_coupling_is_finite_where_the_free_one_overflows() -> None:
    x = torch.ones(1, 2, 2, 2)
    free, bounded = (
        AffineCoupling(nn.Identity(), _Constant(0.0), _Constant(100.0), shift=_Constant(0.0), exponent_limit=limit)(x)
        for limit in (None, 2.0)
    )
    assert free.isinf().any()
    assert bounded.abs().max() <= math.exp(2.0)


def test_refuses_odd_channels() -> None:
    with pytest.raises(ConfigError, match="even number of channels"):
        CouplingDetailEncoder(2, 5)
