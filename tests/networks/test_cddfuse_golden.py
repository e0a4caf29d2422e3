"""The network and its losses, wired as CDDFuse's code, against values of that code in float64 with random weights."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spinefuse_ext.losses import DecompositionLoss, FusionLoss, ReconstructionLoss
from spinefuse_ext.losses.decomposition import correlation
from spinefuse_ext.losses.reconstruction import structural_dissimilarity
from spinefuse_ext.networks import SpineFusionNet

pytestmark = pytest.mark.assets
TOLERANCE = 1e-5
RENAMED = [
    (r"^encoder\.patch_embed\.proj", "encoder.embedding"),
    (r"^encoder\.encoder_level1", "encoder.shared"),
    (r"^encoder\.baseFeature", "encoder.base"),
    (r"^encoder\.detailFeature\.net", "encoder.detail"),
    (r"^decoder\.reduce_channel", "decoder.reduce"),
    (r"^decoder\.encoder_level2", "decoder.blocks"),
    (r"^decoder\.output", "decoder.head"),
    (r"^base_fuse", "base_fusion"),
    (r"^detail_fuse\.net", "detail_fusion"),
    (r"norm1\.body", "mixing_norm"),
    (r"norm2\.body", "feed_forward_norm"),
    (r"\.attn\.scale$", ".mixing.temperature"),
    (r"\.attn\.qkv1\.", ".mixing.qkv.conv."),
    (r"\.attn\.qkv2\.", ".mixing.qkv_dwconv.conv."),
    (r"\.attn\.proj\.", ".mixing.project_out.conv."),
    (r"\.attn\.(qkv|qkv_dwconv|project_out)\.", r".mixing.\1.conv."),
    (r"\.attn\.", ".mixing."),
    (r"\.(?:ffn|mlp)\.(\w+)\.", r".feed_forward.\1.conv."),
    (r"theta_phi\.bottleneckBlock", "offset"),
    (r"theta_rho\.bottleneckBlock", "log_scale"),
    (r"theta_eta\.bottleneckBlock", "shift"),
    (r"shffleconv", "shuffle"),
]
# the reflection pad is a layer of its own there and an option of the convolution here
BOTTLENECK = {"0": "0", "3": "2", "5": "4"}


def _ours(name: str) -> str:
    for old, new in RENAMED:
        name = re.sub(old, new, name)
    return re.sub(r"(offset|log_scale|shift)\.(\d)", lambda found: f"{found[1]}.{BOTTLENECK[found[2]]}", name)


@pytest.fixture
def golden(assets: Path) -> Path:
    return assets / "golden" / "cddfuse_network"


@pytest.fixture
def network(golden: Path) -> SpineFusionNet:
    network = SpineFusionNet(base="cddfuse", detail="inn", checkpointing=True)  # less memory, same function
    weights = np.load(golden / "cddfuse_weights.npz")
    network.load_state_dict({_ours(name): torch.from_numpy(weights[name]) for name in weights})
    return network.double()


@pytest.fixture
def reference(golden: Path) -> dict[str, torch.Tensor]:
    arrays = np.load(golden / "cddfuse_forward.npz")
    return {name: torch.from_numpy(arrays[name]).double() for name in arrays}


@pytest.fixture
def expected(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "cddfuse_expected.json").read_text())["losses"]


@pytest.fixture
def pair(reference: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat((reference["CT"], reference["MR"]), dim=1)


def test_parameter_count(network: SpineFusionNet) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_188_272


@torch.no_grad()
def test_every_stage(network: SpineFusionNet, reference: dict[str, torch.Tensor], pair: torch.Tensor) -> None:
    """On the first sample, the only one whose features are stored."""
    shared: list[torch.Tensor] = []
    network.encoder.shared.register_forward_hook(lambda _module, _inputs, output: shared.append(output))
    ct, mr = pair[:1, :1], pair[:1, 1:]
    features = network.encode(pair[:1])
    embedded = network.encoder.embedding(mr)
    block: Any = next(network.encoder.shared.children())
    base = network.base_fusion(features.base_ct + features.base_mr)
    detail = network.detail_fusion(features.detail_ct + features.detail_mr)
    stages = {
        "patch_embed_MR": embedded,
        "mdta1_MR": block.mixing(embedded),  # this one and the next were fed without their norm
        "gdfn1_MR": block.feed_forward(embedded),
        "block1_MR": block(embedded),
        "shared_MR": shared[1],
        "base_CT": features.base_ct,
        "base_MR": features.base_mr,
        "detail_CT": features.detail_ct,
        "detail_MR": features.detail_mr,
        "fused_base": base,
        "fused_detail": detail,
        "reduced": network.decoder.reduce(torch.cat((base, detail), dim=1)),
        "fused_none": network.fuse_features(features, pair[:1]),
        "fused_skip_sum": network.decoder(base, detail, mr + ct),
        "recon_MR": network.decoder(features.base_mr, features.detail_mr, mr),
    }
    for name, actual in stages.items():
        stored = reference[name]
        first = stored[None] if stored.ndim == 3 else stored[:1]
        torch.testing.assert_close(actual, first, atol=TOLERANCE, rtol=TOLERANCE, msg=partial("{}: {}".format, name))


def _stage1(network: SpineFusionNet, ct: torch.Tensor, mr: torch.Tensor) -> dict[str, torch.Tensor]:
    """CDDFuse's stage 1: each reconstruction is helped by its own source, edges count for the MR only."""
    features = network.encode(torch.cat((ct, mr), dim=1))
    ct_hat = network.decoder(features.base_ct, features.detail_ct, ct)
    mr_hat = network.decoder(features.base_mr, features.detail_mr, mr)
    decomposition = DecompositionLoss()(*features)
    reconstruction = ReconstructionLoss(gradient_weight=0, legacy_clamp=True)
    edges = ReconstructionLoss(ssim_weight=0, intensity_weight=0, gradient_weight=1)
    terms = {
        "ssim_V": structural_dissimilarity(mr_hat, mr, legacy_clamp=True).mean(),
        "ssim_I": structural_dissimilarity(ct_hat, ct, legacy_clamp=True).mean(),
        "mse_V": ReconstructionLoss(0, 1, 0)(mr_hat, mr),
        "mse_I": ReconstructionLoss(0, 1, 0)(ct_hat, ct),
        "grad_V": edges(mr_hat, mr),
        "cc_B": correlation(features.base_ct, features.base_mr),
        "cc_D": correlation(features.detail_ct, features.detail_mr),
        "decomp": decomposition,
    }
    pair, pair_hat = torch.cat((ct, mr), dim=1), torch.cat((ct_hat, mr_hat), dim=1)
    terms["total"] = reconstruction(pair_hat, pair) + 2 * decomposition + 5 * terms["grad_V"]
    return terms


def _stage2(network: SpineFusionNet, ct: torch.Tensor, mr: torch.Tensor) -> dict[str, torch.Tensor]:
    """CDDFuse's stage 2: the MR is added before the sigmoid."""
    pair = torch.cat((ct, mr), dim=1)
    features = network.encode(pair)
    base = network.base_fusion(features.base_ct + features.base_mr)
    detail = network.detail_fusion(features.detail_ct + features.detail_mr)
    fused = network.decoder(base, detail, mr)
    terms = {
        "int": FusionLoss(1, 0)(fused, pair),
        "grad": FusionLoss(0, 1)(fused, pair),
        "fusion": FusionLoss()(fused, pair),
        "decomp": DecompositionLoss()(*features),
    }
    terms["total"] = terms["fusion"] + 2 * terms["decomp"]
    return terms


STAGES = pytest.mark.parametrize(("stage", "compute"), [("stage1", _stage1), ("stage2", _stage2)])


@STAGES
@torch.no_grad()
def test_losses(
    stage: str, compute: Any, network: SpineFusionNet, reference: dict[str, torch.Tensor], expected: dict[str, Any]
) -> None:
    for name, value in compute(network, reference["CT"], reference["MR"]).items():
        assert value.item() == pytest.approx(expected[stage]["terms"][name], rel=TOLERANCE, abs=TOLERANCE), name


@pytest.mark.slow
@STAGES
def test_gradient_norms(
    stage: str, compute: Any, network: SpineFusionNet, reference: dict[str, torch.Tensor], expected: dict[str, Any]
) -> None:
    compute(network, reference["CT"], reference["MR"])["total"].backward()
    for name, norm in expected[stage]["grad_norm_before_clip"].items():
        ours = getattr(network, name.replace("_fuse", "_fusion"))
        gradients = [weight.grad for weight in ours.parameters() if weight.grad is not None]
        assert torch.nn.utils.get_total_norm(gradients).item() == pytest.approx(norm, rel=1e-4), name
