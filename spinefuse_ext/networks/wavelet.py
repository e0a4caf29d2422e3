"""Fusion of wavelet coefficients, the classical rule of multi-resolution fusion."""

from __future__ import annotations

import numpy as np
import torch
from monai.utils import optional_import
from torch import nn

from spinefuse_ext.networks.classical import check_pair, stronger
from spinefuse_ext.validation import ConfigError, check_number

pywt, _ = optional_import("pywt", descriptor="WaveletFusion needs PyWavelets: pip install PyWavelets.\n{}")


class WaveletFusion(nn.Module):
    """Shift-invariant wavelet coefficients of CT and MR merged band by band (Rockinger, ICIP 1997).

    ``(B, 2, *S)`` in [0, 1] to ``(B, 1, *S)`` in [0, 1], 2-D and 3-D, any size. Of each detail coefficient the stronger
    one is kept, the approximation is averaged; what leaves [0, 1] is cut off. The transform is stationary (nothing is
    decimated), so the result does not depend on where the grid starts; the border is mirrored.

    PyWavelets computes on the CPU, in the precision of the input (float32 at least), and gives no gradient. It holds
    ``2 * (levels * (2 ** axes - 1) + 1)`` arrays of the padded image.

    Args:
        wavelet: name of a discrete wavelet of PyWavelets. Longer filters than Haar's ring beside strong edges.
        levels: of detail, at least 1.
    """

    def __init__(self, wavelet: str = "haar", levels: int = 5) -> None:
        super().__init__()
        if wavelet not in pywt.wavelist(kind="discrete"):
            raise ConfigError(f"PyWavelets has no discrete wavelet {wavelet}; `pywt.wavelist()` names them.")
        self.wavelet, self.levels = wavelet, check_number("levels", levels, least=1, whole=True)

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_pair(x)
        pair = x.detach().to("cpu", torch.promote_types(x.dtype, torch.float32)).numpy()
        coarse, *bands = pywt.swtn(*self._padded(pair), axes=tuple(range(2, pair.ndim)), trim_approx=True)
        details = [{name: stronger(torch.from_numpy(of_pair)).numpy() for name, of_pair in b.items()} for b in bands]
        merged = [coarse.mean(axis=1, keepdims=True), *details]
        fused = torch.from_numpy(pywt.iswtn(merged, self.wavelet, axes=tuple(range(2, pair.ndim))))
        for axis in range(2, pair.ndim):
            fused = fused.narrow(axis, self._margin(), pair.shape[axis])
        return fused.clamp(0, 1).to(x.device, x.dtype)

    def _padded(self, pair: np.ndarray) -> tuple[np.ndarray, str, int]:
        """The first arguments of the transform; it is periodic and wants sizes that are multiples of 2 ** levels."""
        margin = self._margin()
        spatial = [(margin, margin + -size % 2**self.levels) for size in pair.shape[2:]]
        return np.pad(pair, [(0, 0), (0, 0), *spatial], mode="symmetric"), self.wavelet, self.levels

    def _margin(self) -> int:
        """Voxels beyond which a change is not felt by the coarsest coefficient."""
        return int(pywt.Wavelet(self.wavelet).dec_len - 1) * 2**self.levels
