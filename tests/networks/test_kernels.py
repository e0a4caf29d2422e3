from __future__ import annotations

import pytest
import torch
from torch import nn

from spinefuse_ext.networks.kernels import add_convolution, gelu_of_convolution


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_gelu_of_a_convolution_in_one_pass_is_the_gelu_of_it(spatial_dims: int, dtype: torch.dtype) -> None:
    convolution = (nn.Conv2d if spatial_dims == 2 else nn.Conv3d)(6, 6, 3, padding=1, groups=6)
    x = torch.randn(2, 6, *(5, 9, 4)[:spatial_dims])
    with torch.no_grad():
        result = gelu_of_convolution(x.to(dtype), convolution.weight.to(dtype), convolution.bias.to(dtype), 6)
        expected = nn.functional.gelu(convolution(x))
    assert result.dtype == dtype
    tolerance = 0.03 if dtype == torch.bfloat16 else 1e-5  # 8 bits of mantissa
    torch.testing.assert_close(result.float(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", [(5, 9), (4, 1), (5, 9, 4)])
def test_a_convolution_is_added_in_place(
    size: tuple[int, ...], dtype: torch.dtype, channels_last: bool, bias: bool
) -> None:
    convolution = (nn.Conv2d if len(size) == 2 else nn.Conv3d)(6, 4, 1, bias=bias)
    x, total = torch.randn(1, 6, *size), torch.randn(1, 4, *size)
    if channels_last:
        x, total = (image.movedim(1, -1).contiguous().movedim(-1, 1) for image in (x, total))
    with torch.no_grad():
        expected = total + convolution(x)
        buffer = torch.cat((total, total), dim=2).to(dtype)  # a view is added to where it lies
        convolution.to(dtype)
        add_convolution(buffer[:, :, : size[0]], x.to(dtype), convolution.weight, convolution.bias)
    tolerance = 0.03 if dtype == torch.bfloat16 else 1e-5  # 8 bits of mantissa
    torch.testing.assert_close(buffer[:, :, : size[0]].float(), expected, atol=tolerance, rtol=tolerance)
    assert buffer[:, :, size[0] :].equal(total.to(dtype))


def test_a_sum_in_another_precision_keeps_it() -> None:
    total, x, weight = torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 3, 3, dtype=torch.bfloat16), torch.ones(2, 2, 1, 1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        add_convolution(total, x, weight, None)
    assert total.dtype == torch.float32
    assert total.eq(2).all()
