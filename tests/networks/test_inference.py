from __future__ import annotations

import pytest
import torch

from spinefuse_ext.networks import SingleSegNet, VNet, window_inferer


@pytest.mark.parametrize(("dims", "roi_size"), [(2, (16, 16)), (3, (16, 16, 16))])
def test_mixed_precision_gives_nearly_the_same_in_float32(dims: int, roi_size: tuple[int, ...]) -> None:
    network = SingleSegNet(VNet(dims, 1, 3, channels=(4, 8))).eval()
    volume = torch.rand(1, 1, 20, 24, 16)
    seen: list[torch.dtype] = []
    network.network.head.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))  # type: ignore[union-attr]
    with torch.inference_mode():
        full, half = (
            window_inferer(dims, roi_size, 0, amp=amp, overlap=0.25, mode="gaussian")(volume, network)
            for amp in (False, True)
        )
    assert set(seen) == {torch.float32, torch.bfloat16}
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=0.03, rtol=0)
    assert not torch.equal(half, full)
