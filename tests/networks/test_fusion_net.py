from __future__ import annotations

import itertools
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.networks.utils import eval_mode
from torch import nn

from spinefuse_ext.losses import DecompositionLoss, FusionLoss, ReconstructionLoss, StructureFusionLoss
from spinefuse_ext.networks import SpineFusionNet
from spinefuse_ext.validation import ConfigError

SMALL: dict[str, Any] = {"dim": 8, "num_blocks": (1, 1), "num_heads": 2}
VARIANTS = [
    pytest.param({"spatial_dims": dims, "base": base, "detail": detail}, id=f"{dims}d-{base}-{detail}")
    for dims, base, detail in itertools.product((2, 3), ("lsra", "cddfuse"), ("cnn", "inn", "bounded_inn"))
]


def _pair(spatial_dims: int, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 2, *(11, 13, 7)[:spatial_dims])


@pytest.mark.parametrize("options", VARIANTS)
def test_fuses_any_variant_in_range_and_trains_every_weight(options: dict[str, Any]) -> None:
    network = SpineFusionNet(**SMALL, **options)
    x = _pair(options["spatial_dims"], batch=2)
    fused = network(x)
    fused.sum().backward()
    assert fused.shape == (2, 1, *x.shape[2:])
    assert ((fused >= 0) & (fused <= 1)).all()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


@settings(max_examples=10, deadline=None)
@given(height=st.integers(2, 24), width=st.integers(2, 24))
def test_any_size(height: int, width: int) -> None:
    network = SpineFusionNet(**SMALL)
    with eval_mode(network):
        assert network(torch.rand(1, 2, height, width)).shape == (1, 1, height, width)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_encode_and_reconstruct_shapes(spatial_dims: int) -> None:
    network, x = SpineFusionNet(spatial_dims, **SMALL), _pair(spatial_dims)
    features = network.encode(x)
    assert {tuple(part.shape) for part in features} == {(1, 8, *x.shape[2:])}
    assert network.reconstruct(x).shape == x.shape


def test_both_modalities_share_one_encoder() -> None:
    network, x = SpineFusionNet(**SMALL), _pair(2)
    features, swapped = network.encode(x), network.encode(x.flip(1))
    torch.testing.assert_close(features.base_ct, swapped.base_mr)
    torch.testing.assert_close(features.detail_ct, swapped.detail_mr)
    torch.testing.assert_close(network(x), network(x.flip(1)))  # features are added, so the order does not matter


def test_reconstruction_of_one_modality_does_not_read_the_other() -> None:
    network, x = SpineFusionNet(**SMALL), _pair(2)
    other = x.clone()
    other[:, 1] = 0
    torch.testing.assert_close(network.reconstruct(x)[:, :1], network.reconstruct(other)[:, :1])


def _correcting(**options: Any) -> SpineFusionNet:
    """A network whose correction is not zero any more."""
    network = SpineFusionNet(**SMALL, output="correction", **options)
    assert network.correction is not None
    torch.nn.init.normal_(network.correction.head[-1].weight)
    return network


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_an_untrained_correction_gives_the_maximum_rule(spatial_dims: int) -> None:
    x = _pair(spatial_dims)
    fused = SpineFusionNet(spatial_dims, **SMALL, output="correction")(x)
    torch.testing.assert_close(fused, x.amax(1, keepdim=True), atol=0, rtol=0)


def test_a_correction_below_the_soft_threshold_changes_nothing_and_still_learns() -> None:
    network, x = _correcting(), _pair(2)
    assert network.correction is not None
    network.correction.soft_threshold = 1e6
    fused = network(x)
    torch.testing.assert_close(fused, x.amax(1, keepdim=True))
    fused.sum().backward()
    used = [w for name, w in network.named_parameters() if not name.startswith(("decoder.head", "correction.tone"))]
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in used)


def test_a_hard_threshold_teaches_only_the_voxels_that_it_lets_through() -> None:
    network, x = _correcting(), _pair(2)
    network.train_softly(False)
    fused = network(x)
    below = fused == x.amax(1, keepdim=True)
    assert 0 < below.sum() < below.numel()
    assert network.correction is not None
    last = network.correction.head[-1].weight
    (silent,) = torch.autograd.grad(fused[below].sum(), last, retain_graph=True)
    (heard,) = torch.autograd.grad(fused[~below].sum(), last)
    assert silent.abs().max() == 0
    assert heard.abs().max() > 0


def test_a_larger_threshold_leaves_more_voxels_as_they_were_and_the_others_alike() -> None:
    network, x = _correcting().eval(), _pair(2)
    firmer = SpineFusionNet(**SMALL, output="correction", threshold=0.5).eval()
    firmer.load_state_dict(network.state_dict())
    brighter = x.amax(1, keepdim=True)
    fused, by_firmer = network(x), firmer(x)
    changed = by_firmer != brighter
    assert 0 < changed.sum() < (fused != brighter).sum()
    torch.testing.assert_close(by_firmer[changed], fused[changed])


def test_evaluation_does_not_ask_how_it_is_trained() -> None:
    network, x = _correcting(), _pair(2)
    soft = network(x)
    network.eval()
    before = network(x)
    network.train_softly(False)
    torch.testing.assert_close(network(x), before, atol=0, rtol=0)
    assert not torch.equal(soft, before)


def test_training_lets_corrections_through_that_are_a_little_too_small_for_evaluation() -> None:
    network, x = _correcting(threshold=0.3), _pair(2)
    network.train_softly(False)
    trained, evaluated, brighter = network(x), network.eval()(x), x.amax(1, keepdim=True)
    shown = evaluated != brighter
    torch.testing.assert_close(trained[shown], evaluated[shown])
    hidden = (trained - brighter)[~shown].abs()
    assert 0.2 < hidden.max() <= 0.3


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_tone_reads_one_voxel_at_a_time_and_leaves_black_black(spatial_dims: int) -> None:
    network, x = SpineFusionNet(spatial_dims, **SMALL, output="correction").eval(), _pair(spatial_dims)
    assert network.correction is not None
    torch.nn.init.normal_(network.correction.tone[-1].weight, std=10)
    x[:, :, :3] = 0
    fused, brighter = network(x), x.amax(1, keepdim=True)
    assert (fused[:, :, :3] == 0).all()
    assert 0.009 < ((fused - brighter) / brighter)[:, :, 3:].abs().max() < 0.0101
    network.correction.tone_reach = 0.0
    torch.testing.assert_close(network(x), brighter, atol=0, rtol=0)
    network.correction.tone_reach = 0.01
    torch.testing.assert_close(network(x.flip(2)), fused.flip(2))  # no correction yet, so no neighbour counts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "correction", "threshold": -0.1}, "threshold of corrections of 0 or more, got -0.1"),
        ({"output": "correction", "threshold": float("nan")}, "threshold of corrections of 0 or more, got nan"),
        ({"output": "correction", "tone_reach": 1}, "reach of the tone of 0 or more and less than 1, got 1"),
        ({"output": "correction", "tone_reach": -0.1}, "reach of the tone of 0 or more and less than 1, got -0.1"),
        ({"threshold": 0.1}, "threshold belongs to the output 'correction', but the output is 'sigmoid'"),
        ({"tone_reach": 0}, "tone_reach belongs to the output 'correction', but the output is 'sigmoid'"),
    ],
)
def test_a_setting_of_the_correction_that_cannot_be_used_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SpineFusionNet(**SMALL, **options)


def test_a_correction_stays_in_range_and_leaves_voxels_as_they_were() -> None:
    network, x = _correcting().eval(), _pair(2)
    fused, brighter = network(x), x.amax(1, keepdim=True)
    assert ((fused >= 0) & (fused <= 1)).all()
    assert not torch.equal(fused, brighter)
    assert network.correction is not None
    network.correction.threshold = 0.5 * float((fused - brighter).abs().max())
    assert (network(x) == brighter).any()


def test_a_correction_does_not_touch_the_reconstruction() -> None:
    network, x = _correcting(), _pair(2)
    plain = SpineFusionNet(**SMALL)
    shared = {name: value for name, value in network.state_dict().items() if not name.startswith("correction")}
    plain.load_state_dict(shared)
    torch.testing.assert_close(network.reconstruct(x), plain.reconstruct(x))


def test_a_correction_scripts_with_one_result() -> None:
    network, x = _correcting().eval(), _pair(2)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(network)(x), network(x))


@pytest.mark.parametrize("options", VARIANTS[:6])
def test_scripts_with_one_result(options: dict[str, Any]) -> None:
    network = SpineFusionNet(**SMALL, **options).eval()
    x = _pair(options["spatial_dims"])
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(network)(x), network(x))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_exports_with_one_result(spatial_dims: int) -> None:
    network, x = SpineFusionNet(spatial_dims, **SMALL).eval(), _pair(spatial_dims)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), network(x))


def test_checkpointing_changes_nothing_but_memory() -> None:
    plain, saving = (SpineFusionNet(**SMALL, checkpointing=flag) for flag in (False, True))
    saving.load_state_dict(plain.state_dict())
    x = _pair(2)
    for network in (plain, saving):
        network(x).sum().backward()
    for ours, theirs in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert _saved_bytes(saving, x) < 0.8 * _saved_bytes(plain, x)


def _saved_bytes(network: SpineFusionNet, x: torch.Tensor) -> int:
    sizes: list[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network(x)
    return sum(sizes)


def test_evaluation_is_deterministic_and_state_round_trips() -> None:
    network, x = SpineFusionNet(**SMALL).eval(), _pair(2)
    copy = SpineFusionNet(**SMALL).eval()
    copy.load_state_dict(network.state_dict())
    torch.testing.assert_close(network(x), network(x), atol=0, rtol=0)
    torch.testing.assert_close(network(x), copy(x), atol=0, rtol=0)


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("options", [*VARIANTS[:6], pytest.param({"output": "correction"}, id="correction")])
@pytest.mark.parametrize(
    ("ct", "mr"), [(0.0, None), (0.0, 0.0), (1.0, 0.5)], ids=["blank-ct", "blank-pair", "constant"]
)
def test_blank_patches_give_finite_losses_and_gradients_in_both_stages(
    ct: float, mr: float | None, options: dict[str, Any], amp: bool
) -> None:
    network = SpineFusionNet(**SMALL, **options)
    x = _pair(2, batch=2)
    x[0, 0] = ct
    if mr is not None:
        x[0, 1] = mr
    for stage, loss in ((1, ReconstructionLoss()), (2, FusionLoss()), (2, StructureFusionLoss())):
        network.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
            features = network.encode(x)
            predicted = network.reconstruct_features(features) if stage == 1 else network.fuse_features(features, x)
        total = loss(predicted, x) + 2 * DecompositionLoss()(*features)
        total.backward()
        assert total.isfinite()
        assert all(weight.grad is None or weight.grad.isfinite().all() for weight in network.parameters())


def test_bfloat16_is_close_to_float32() -> None:
    network, x = SpineFusionNet(**SMALL).eval(), _pair(2)
    with torch.no_grad():
        full = network(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network(x)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=0.02, rtol=0)  # 8 bits of mantissa through a dozen layers


def test_refuses_another_number_of_channels() -> None:
    with pytest.raises(ValueError, match=r"2 channels, CT and MR, got an image of shape \[1, 3, 8, 8\]"):
        SpineFusionNet(**SMALL)(torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("option", "typo", "nearest"),
    [("base", "lsrb", "lsra"), ("detail", "cnm", "cnn"), ("output", "sigmoit", "sigmoid")],
)
def test_refuses_an_unknown_variant_and_names_the_nearest(option: str, typo: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"The setting {option} cannot be '{typo}'; did you mean '{nearest}'"):
        SpineFusionNet(**(SMALL | {option: typo}))


class ResidualConvolution(nn.Module):
    """A block from outside the package: it knows nothing of strips."""

    def __init__(self, spatial_dims: int, dim: int, num_heads: int = 1, depth: int = 1) -> None:
        super().__init__()
        self.layer = (nn.Conv2d if spatial_dims == 2 else nn.Conv3d)(dim, dim, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layer(x)


@pytest.mark.parametrize("part", ["block", "base", "detail"])
def test_a_config_names_a_block_of_its_own(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spinefuse_ext.networks.strips.STRIP_VOXELS", 64)
    monkeypatch.setitem(sys.modules, "own_blocks", SimpleNamespace(ResidualConvolution=ResidualConvolution))
    named = {"_target_": "own_blocks.ResidualConvolution", "_mode_": "callable"}
    config = {"network": {"_target_": "spinefuse_ext.networks.SpineFusionNet", **SMALL, part: named}}
    network = ConfigParser(config).get_parsed_content("network")
    x = torch.rand(1, 2, 45, 31)
    with eval_mode(network):
        in_parts = network(x)
        torch.testing.assert_close(torch.jit.script(network)(x), in_parts, atol=1e-5, rtol=0)
    assert any(isinstance(module, ResidualConvolution) for module in network.modules())


def test_refuses_a_block_that_was_made_already() -> None:
    with pytest.raises(
        ConfigError, match="The setting base is one of lsra, cddfuse or what makes a block, got Identity"
    ):
        SpineFusionNet(**SMALL, base=nn.Identity())  # type: ignore[arg-type]
