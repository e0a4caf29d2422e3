"""The fusion network: one encoder for both modalities, base and detail branches, one decoder (lineage: CDDFuse)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from monai.networks.layers.factories import Conv
from torch import nn

from spinefuse_ext.networks.detail import CouplingDetailEncoder, DetailEncoder
from spinefuse_ext.networks.kernels import join
from spinefuse_ext.networks.lite_transformer import DenseRestormerBlock, LiteTransformerBlock
from spinefuse_ext.networks.restormer import RestormerBlock, at_least_float32, channels_last
from spinefuse_ext.networks.runner import run, run_chain
from spinefuse_ext.networks.sparse_correction import SparseCorrection, tone_network
from spinefuse_ext.networks.unloaded import start_from
from spinefuse_ext.validation import ConfigError, check_choice, check_number, check_numbers, check_spatial_dims

#: Makes a block, ``(B, dim, *S) -> (B, dim, *S)``, of its sizes.
NewBlock = Callable[..., nn.Module]


class PairFeatures(NamedTuple):
    """What the encoder keeps of a pair, each ``(B, dim, *S)``: base (what is common) and detail (edges, texture)."""

    base_ct: torch.Tensor
    base_mr: torch.Tensor
    detail_ct: torch.Tensor
    detail_mr: torch.Tensor


class BlockStack(nn.ModuleList):
    """Blocks one after another, each recomputed in the backward pass when ``checkpointing``: same shape in and out.

    The first may work in the memory of what the stack is given, which is of no use afterwards.
    """

    def __init__(self, blocks: list[nn.Module], checkpointing: bool = False) -> None:
        super().__init__(blocks)
        self.checkpointing = checkpointing

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.jit.is_scripting():
            for block in self:
                x = block(x)
            return x
        return run_chain(self, x, checkpointing=self.checkpointing, overwrite=True)


class FusionEncoder(nn.Module):
    """One modality ``(B, 1, *S)`` to its base and detail features, each ``(B, dim, *S)``; the children are given.

    ``checkpointing`` recomputes ``base`` in the backward pass.
    """

    def __init__(
        self, embedding: nn.Module, shared: nn.Module, base: nn.Module, detail: nn.Module, checkpointing: bool = False
    ) -> None:
        super().__init__()
        self.embedding, self.shared, self.base, self.detail = embedding, shared, base, detail
        self.checkpointing = checkpointing

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # of one channel that lies last in memory the convolution makes channels that do: four times faster
        image = image.flatten(1).unsqueeze(-1).reshape(image.movedim(1, -1).shape).movedim(-1, 1)
        shared = self.shared(channels_last(self.embedding(image)))
        if torch.jit.is_scripting():
            return self.base(shared), self.detail(shared)
        detail = run(self.detail, shared)
        return run(self.base, shared, checkpointing=self.checkpointing, overwrite=True), detail


class FusionDecoder(nn.Module):
    """Base and detail features, each ``(B, dim, *S)``, to one image ``(B, 1, *S)`` in [0, 1]; the children are given.

    ``skip``, an image ``(B, 1, *S)`` added before the sigmoid, exists for CDDFuse's weights; this project uses none.
    """

    if TYPE_CHECKING:
        reduce: Any

    def __init__(self, reduce: nn.Module, blocks: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.reduce, self.blocks, self.head = reduce, blocks, head

    def features(self, base: torch.Tensor, detail: torch.Tensor) -> torch.Tensor:
        """Both branches joined and decoded up to the head: ``(B, dim, *S)``."""
        return self.blocks(join(base, detail, self.reduce.weight))

    def forward(self, base: torch.Tensor, detail: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        logits = at_least_float32(self.head(self.features(base, detail)))
        return torch.sigmoid(logits if skip is None else logits + skip)


class SpineFusionNet(nn.Module):
    """CT and MR ``(B, 2, *S)`` in [0, 1] to their fusion ``(B, 1, *S)`` in [0, 1]; any size, 2-D or 3-D.

    Args:
        spatial_dims: 2 or 3.
        dim: channels throughout; even.
        num_blocks: Restormer blocks of the encoder and of the decoder.
        num_heads: heads of the channel attention; divides ``dim``.
        block: each block of the encoder and of the decoder: ``"restormer"``, or any class or function that makes one of
            ``(spatial_dims, dim, num_heads)``; a config names it with ``"_mode_": "callable"``.
        base: ``"lsra"`` (Lite Transformer block, half of the heads on half of the channels), ``"cddfuse"``, or any
            class or function, called in the same way.
        detail: ``"cnn"`` (plain), ``"inn"`` (CDDFuse's affine coupling), ``"bounded_inn"`` (its exponent bounded), or
            any class or function, called with ``(spatial_dims, dim, depth=3)`` or a ``depth`` of 1.
        output: how the fused image is made of the decoded features: ``"sigmoid"`` (as CDDFuse) or ``"correction"``
            (a sparse correction of the pair's maximum, ``SparseCorrection``); reconstructions are always sigmoid.
        threshold: of the sparse correction, in [0, 1]: corrections up to it are none. None is 0.12. More at inference,
            with the same weights, leaves more voxels as they are in the brighter modality.
        tone_reach: of the sparse correction, in [0, 1): how much brighter or darker its tone makes a voxel at most,
            as a part of its brightness. None is 0.01; 0 at inference leaves the tone out.
        checkpointing: recompute the blocks of encoder and decoder in the backward pass: less memory, more time, same
            result.
        weights: checkpoint to hold, see :func:`~spinefuse_ext.networks.start_from`; random weights without it.

    Raises:
        ConfigError: an unknown choice, a threshold or a reach out of range, or one without a correction.
    """

    def __init__(  # noqa: PLR0913 (the choices of the network, all keyword-only but four)
        self,
        spatial_dims: int = 2,
        dim: int = 64,
        num_blocks: tuple[int, int] = (4, 4),
        num_heads: int = 8,
        *,
        block: str | NewBlock = "restormer",
        base: str | NewBlock = "lsra",
        detail: str | NewBlock = "cnn",
        output: str = "sigmoid",
        threshold: float | None = None,
        tone_reach: float | None = None,
        checkpointing: bool = False,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        check_spatial_dims(spatial_dims)
        dim = check_number("dim", dim, least=2, whole=True)
        num_heads = check_number("num_heads", num_heads, least=1, whole=True)
        check_numbers("num_blocks", num_blocks, length=2, least=0, whole=True)
        check_choice("output", output, ("sigmoid", "correction"))
        given = {"threshold": threshold, "tone_reach": tone_reach}
        of_correction = {name: value for name, value in given.items() if value is not None}
        if of_correction and output != "correction":
            names = " and ".join(of_correction)
            raise ConfigError(f"The setting {names} belongs to the output 'correction', but the output is {output!r}.")
        convolution = partial(Conv[Conv.CONV, spatial_dims], bias=False)
        new_block = partial(_maker("block", block, BLOCKS), spatial_dims, dim, num_heads)
        new_base = partial(_maker("base", base, BASES), spatial_dims, dim, num_heads)
        new_detail = partial(_maker("detail", detail, DETAILS), spatial_dims, dim)
        encoder_blocks, decoder_blocks = (
            BlockStack([new_block() for _ in range(count)], checkpointing) for count in num_blocks
        )
        heads = [
            nn.Sequential(
                convolution(dim, dim // 2, 3, padding=1), nn.LeakyReLU(0.01), convolution(dim // 2, 1, 3, padding=1)
            )
            for _ in range(2 if output == "correction" else 1)
        ]
        embedding = convolution(1, dim, 3, padding=1)
        self.encoder = FusionEncoder(embedding, encoder_blocks, new_base(), new_detail(depth=3), checkpointing)
        self.base_fusion = new_base()
        self.detail_fusion = new_detail(depth=1)
        self.decoder = FusionDecoder(convolution(2 * dim, dim, 1), decoder_blocks, heads[0])
        self.correction = (
            SparseCorrection(heads[1], tone_network(spatial_dims), **of_correction) if output == "correction" else None
        )
        start_from(self, weights)

    def train_softly(self, soft: bool) -> None:
        """Set whether training thresholds the correction softly, as ``SparseCorrection`` says; without one, nothing."""
        if self.correction is not None:
            self.correction.soft = soft

    def encode(self, x: torch.Tensor) -> PairFeatures:
        """Pair ``(B, 2, *S)`` to the base and detail features of each modality."""
        if x.shape[1] != 2:
            raise ValueError(f"Expected a pair of 2 channels, CT and MR, got an image of shape {list(x.shape)}.")
        base_ct, detail_ct = self.encoder(x[:, :1])
        base_mr, detail_mr = self.encoder(x[:, 1:])
        return PairFeatures(base_ct, base_mr, detail_ct, detail_mr)

    def reconstruct_features(self, features: PairFeatures) -> torch.Tensor:
        """Each modality decoded from its own features: ``(B, 2, *S)`` in [0, 1]."""
        ct = self.decoder(features.base_ct, features.detail_ct)
        mr = self.decoder(features.base_mr, features.detail_mr)
        return torch.cat((ct, mr), dim=1)

    def fuse_features(self, features: PairFeatures, x: torch.Tensor) -> torch.Tensor:
        """Both modalities of the pair ``x`` merged branch by branch, then decoded: ``(B, 1, *S)`` in [0, 1]."""
        base, detail = features.base_ct + features.base_mr, features.detail_ct + features.detail_mr
        if torch.jit.is_scripting():
            base, detail = self.base_fusion(base), self.detail_fusion(detail)
        else:
            base, detail = run(self.base_fusion, base, overwrite=True), run(self.detail_fusion, detail)
        if self.correction is None:
            return self.decoder(base, detail)
        return self.correction(self.decoder.features(base, detail), x)

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """Pair ``(B, 2, *S)`` to its reconstruction ``(B, 2, *S)``, each modality through its own features."""
        return self.reconstruct_features(self.encode(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pair ``(B, 2, *S)`` in [0, 1], CT first, to the fused image ``(B, 1, *S)`` in [0, 1]."""
        return self.fuse_features(self.encode(x), x)


def _lite_transformer(spatial_dims: int, dim: int, num_heads: int) -> nn.Module:
    return LiteTransformerBlock(spatial_dims, dim, max(1, num_heads // 2))


def _maker(setting: str, value: str | NewBlock, names: dict[str, NewBlock]) -> NewBlock:
    if isinstance(value, str):
        return check_choice(setting, value, names)
    if not callable(value) or isinstance(value, nn.Module):
        raise ConfigError(
            f"The setting {setting} is one of {', '.join(names)} or what makes a block, got {type(value).__name__}; "
            'in a config give its _target_ with "_mode_": "callable".'
        )
    return value


BLOCKS: dict[str, NewBlock] = {"restormer": RestormerBlock}
BASES: dict[str, NewBlock] = {"lsra": _lite_transformer, "cddfuse": DenseRestormerBlock}
DETAILS: dict[str, NewBlock] = {
    "cnn": DetailEncoder,
    "inn": CouplingDetailEncoder,
    "bounded_inn": partial(CouplingDetailEncoder, exponent_limit=2.0),
}
