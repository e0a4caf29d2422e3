"""What a segmentation network of CT and MR sees: the images, which of them are there, the fused image, its features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from spinefuse_ext.channels import held, with_the_other
from spinefuse_ext.networks.classical import check_pair
from spinefuse_ext.validation import ConfigError

#: The images themselves, and whether each of them is there.
OF_IMAGES = ("ct", "mr", "present")
#: What a fusion network makes of them: the fused image, its features of both images, the share that CT has in it.
OF_FUSION = ("fused", "base", "detail", "share")


class PairChannels(nn.Module):
    """CT and MR ``(B, 2, *S)`` in [0, 1] to the channels ``(B, C, *S)`` that a segmentation network sees.

    An image that is 0 everywhere is not there (``RandMissingd`` and ``FillAbsentd`` make such ones). Nothing is made up
    for it: its channel stays 0, ``present`` says so, and a fusion network is shown the other image in its place, so
    ``fused`` is that one.

    Args:
        names: of the channels, in their order: ``ct``, ``mr``, ``present`` (two, 0 or 1 everywhere), ``fused``,
            ``base`` and ``detail`` (features of both images, of networks with ``encode``, such as ``SpineFusionNet``),
            ``share`` (of CT, at the finest scale, of networks with ``shares``, such as ``BlendFusionNet``).
        fusion: maps ``(B, 2, *S)`` to ``(B, 1, *S)``; needed for all but the first three.
        learns: whether the training changes the fusion network too; else it stays as it is.

    Attributes:
        out_channels: C.

    Raises:
        ConfigError: an unknown name, one that ``fusion`` cannot give, or a network that learns and shows nothing.
    """

    def __init__(self, names: Sequence[str], fusion: nn.Module | None = None, *, learns: bool = False) -> None:
        super().__init__()
        self.names, self.fusion, self.learns = tuple(names), fusion, bool(learns)
        self._check()
        if fusion is not None:
            fusion.requires_grad_(self.learns)
        with torch.no_grad():
            self.out_channels = self.eval()._channels(torch.ones(1, 2, *[32] * _dims(fusion)))[0].shape[1]
        self.train()

    def _check(self) -> None:
        unknown = [name for name in self.names if name not in (*OF_IMAGES, *OF_FUSION)]
        if unknown or not self.names or len(set(self.names)) < len(self.names):
            expected = ", ".join((*OF_IMAGES, *OF_FUSION))
            raise ConfigError(f"channels: expected some of {expected}, each once, got {list(self.names)}.")
        needed = [name for name in self.names if name in OF_FUSION]
        if needed and self.fusion is None:
            raise ConfigError(f"The channels {', '.join(needed)} come from a fusion network; give one as fusion.")
        for name, method in {"base": "encode", "detail": "encode", "share": "shares"}.items():
            if name in self.names and not hasattr(self.fusion, method):
                kind = type(self.fusion).__name__
                raise ConfigError(f"A {kind} has no channel {name}, which needs a network with the method {method}.")
        if self.learns and not needed:
            raise ConfigError("A fusion network that learns (learns) must be seen: add one of its channels to names.")

    def train(self, mode: bool = True) -> PairChannels:
        """As every module; a fusion network that does not learn stays in evaluation."""
        super().train(mode)
        if self.fusion is not None and not self.learns:
            self.fusion.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._channels(x)[0]

    def with_fused(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The channels, and the fused image ``(B, 1, *S)`` of a fusion network that learns, else None."""
        channels, fused = self._channels(x)
        return channels, fused if self.learns else None

    def _channels(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        check_pair(x)
        there = held(x).to(x.dtype)
        found = {"ct": x[:, :1], "mr": x[:, 1:], "present": there.expand_as(x)}
        fused = None
        if self.fusion is not None:
            shown = with_the_other(x)
            with torch.set_grad_enabled(self.learns and torch.is_grad_enabled()):
                fused = self.fusion(shown)
                if "fused" in self.names:
                    found["fused"] = fused
                if "share" in self.names:
                    found["share"] = self.fusion.shares(shown)[0]  # type: ignore[operator]
                if not {"base", "detail"}.isdisjoint(self.names):
                    features = self.fusion.encode(shown)  # type: ignore[operator]
                    found["base"] = torch.cat((features.base_ct, features.base_mr), dim=1)
                    found["detail"] = torch.cat((features.detail_ct, features.detail_mr), dim=1)
        return torch.cat([found[name].to(x.dtype) for name in self.names], dim=1), fused


def _dims(fusion: nn.Module | None) -> int:
    """Spatial dimensions of a network's convolutions; 2 without any."""
    kernels = [weight.ndim for weight in fusion.parameters() if weight.ndim > 3] if fusion is not None else []
    return kernels[0] - 2 if kernels else 2
