from __future__ import annotations

import importlib.util
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from monai.utils import OptionalImportError

from spinefuse_ext.networks import WaveletFusion, wavelet

#: Rows: approximation, and the three details, of the pixels p q / r s of a 2 x 2 block.
HAAR = 0.5 * np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])


def merge_blocks(pair: np.ndarray) -> np.ndarray:
    """The rule for a pair ``(2, H, W)`` of even sizes with decimated Haar coefficients of its 2 x 2 blocks."""
    rows, columns = pair.shape[1] // 2, pair.shape[2] // 2
    blocks = pair.reshape(2, rows, 2, columns, 2).transpose(0, 1, 3, 2, 4).reshape(2, rows, columns, 4)
    ct, mr = blocks @ HAAR.T
    merged = np.where(abs(ct) >= abs(mr), ct, mr)
    merged[..., 0] = (ct[..., 0] + mr[..., 0]) / 2
    return (merged @ HAAR).reshape(rows, columns, 2, 2).transpose(0, 2, 1, 3).reshape(2 * rows, 2 * columns)


def test_one_level_of_haar_is_the_mean_over_all_places_of_the_block_grid(rng: np.random.Generator) -> None:
    pair = rng.random((2, 12, 10))
    mirrored = np.pad(pair, [(0, 0), (2, 2), (2, 2)], mode="symmetric")
    expected = np.zeros((12, 10))
    for down in (1, 2):
        for right in (1, 2):
            part = merge_blocks(mirrored[:, down : down + 14, right : right + 12])
            expected += part[2 - down :, 2 - right :][:12, :10] / 4
    fused = WaveletFusion("haar", levels=1)(torch.from_numpy(pair)[None])
    np.testing.assert_allclose(fused[0, 0], expected.clip(0, 1), atol=1e-12)


def test_the_result_does_not_depend_on_where_the_grid_starts() -> None:
    pair = torch.rand(1, 2, 80, 75)
    whole, part = (WaveletFusion(levels=3)(each)[0, 0] for each in (pair, pair[:, :, 5:, 3:]))
    torch.testing.assert_close(part[16:-16, 16:-16], whole[21:-16, 19:-16])


def test_wavelet_and_levels_are_used() -> None:
    pair = torch.rand(1, 2, 64, 64)
    results = [WaveletFusion(name, levels)(pair) for name, levels in (("haar", 1), ("haar", 3), ("sym4", 3))]
    assert all((one - other).abs().max() > 0.01 for one, other in pairwise(results))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_result_has_the_precision_of_the_pair_and_no_gradient(dtype: torch.dtype) -> None:
    fused = WaveletFusion()(torch.rand(1, 2, 20, 20, dtype=dtype, requires_grad=True))
    assert fused.dtype == dtype
    assert not fused.requires_grad


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="levels is a whole number of at least 1, got 0"):
        WaveletFusion(levels=0)
    with pytest.raises(ValueError, match="no discrete wavelet morlet"):
        WaveletFusion("morlet")


def test_without_pywavelets_only_this_rule_is_missing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pywt", None)
    spec = importlib.util.spec_from_file_location("wavelet_alone", wavelet.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(OptionalImportError, match="WaveletFusion needs PyWavelets: pip install PyWavelets"):
        module.WaveletFusion()
