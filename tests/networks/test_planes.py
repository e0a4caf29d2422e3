from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.networks.nets import UNet
from torch import nn

from spinefuse_ext.networks import DualSegNet, EachSubNetwork, SingleSegNet, load_weights, planes_of, window_inferer
from spinefuse_ext.networks.plane_inferer import plane_weights
from spinefuse_ext.validation import ConfigError, WeightsError

BOTH = ("sagittal", "axial")


class Rows(nn.Module):
    """Two channels: the image, and the mean of each row of the slice (its second axis), which differs by plane."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((x, x.mean(3, keepdim=True).expand_as(x)), dim=1)


class Seen(SingleSegNet):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.network(x)
        return result


Three = tuple[float, float, float]


def volume(shape: tuple[int, int, int], spacing: Three, source: Three | None = None) -> MetaTensor:
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    meta = {"original_affine": torch.diag(torch.tensor([*(source or spacing), 1.0], dtype=torch.float64))[None]}
    return MetaTensor(torch.rand(1, 1, *shape), affine=affine, meta=meta)


def inferer(**options: object) -> Callable[..., torch.Tensor]:
    return window_inferer(2, (16, 16), 0, largest=(128, 128), **options)  # type: ignore[arg-type]


def test_two_planes_are_averaged_by_their_weights() -> None:
    image = volume((80, 80, 96), (2.5, 2.5, 2.5))
    result = inferer()(image, Seen(Rows(), planes=BOTH).eval())
    plain = image.as_tensor()
    torch.testing.assert_close(torch.as_tensor(result[:, :1]), plain)
    sagittal, axial = plain.mean(4, keepdim=True), plain.mean(2, keepdim=True)
    torch.testing.assert_close(torch.as_tensor(result[:, 1:]), ((sagittal + axial) / 2).expand_as(plain))


def test_a_network_of_one_plane_sees_that_alone() -> None:
    image = volume((80, 80, 96), (1.25, 1.25, 1.25))
    result = inferer()(image, Seen(Rows()).eval())
    torch.testing.assert_close(torch.as_tensor(result[:, 1:]), image.as_tensor().mean(4, keepdim=True).expand_as(image))


def test_a_stack_of_few_axial_slices_is_read_in_its_own_plane() -> None:
    image = volume((64, 64, 6), (1.25, 1.25, 4.0), (0.8, 0.8, 4.0))
    assert plane_weights(image) == {"sagittal": 0.0, "axial": 1.0}
    result = inferer()(image, Seen(Rows(), planes=BOTH).eval())
    torch.testing.assert_close(torch.as_tensor(result[:, 1:]), image.as_tensor().mean(2, keepdim=True).expand_as(image))


def test_axial_slices_have_the_pixels_of_the_sagittal_ones() -> None:
    sizes: set[tuple[int, ...]] = set()
    network = Seen(Rows(), planes=BOTH).eval()
    network.register_forward_hook(lambda _, inputs, output: sizes.add(tuple(inputs[0].shape[2:])))
    result = inferer()(volume((40, 96, 112), (2.0, 1.25, 1.25)), network)
    assert sizes == {(96, 112), (96, 64)}
    assert result.shape == (1, 2, 40, 96, 112)


def test_axial_slices_are_no_closer_than_needed() -> None:
    shown: list[int] = []
    network = Seen(Rows(), planes=BOTH).eval()
    network.register_forward_hook(lambda _, inputs, output: shown.append(len(inputs[0])))
    result = inferer(planes=["axial"])(volume((64, 64, 80), (1.25, 1.25, 1.25)), network)
    assert sum(shown) == 40
    assert result.shape == (1, 2, 64, 64, 80)
    assert isinstance(result, MetaTensor)


def test_a_sagittal_stack_of_thick_slices_is_not_cut_across() -> None:
    assert plane_weights(volume((15, 200, 260), (4.0, 1.25, 1.25), (4.0, 0.6, 0.6))) == {"sagittal": 1.0, "axial": 0.0}


def test_the_spacing_is_that_of_the_file_in_whatever_order_its_axes_are() -> None:
    image = volume((96, 96, 96), (1.25, 1.25, 1.25))
    stored = torch.zeros(4, 4, dtype=torch.float64)
    stored[2, 0], stored[0, 1], stored[1, 2], stored[3, 3] = -5.0, 0.9, -0.9, 1.0  # its first axis points down
    image.meta["original_affine"] = stored
    assert plane_weights(image) == {"sagittal": 0.0, "axial": 1.0}


def test_without_an_affine_there_is_one_plane() -> None:
    image = torch.rand(1, 1, 20, 32, 32)
    result = inferer()(image, Seen(Rows(), planes=BOTH).eval())
    torch.testing.assert_close(result[:, 1:], image.mean(4, keepdim=True).expand_as(image))


@settings(deadline=None, max_examples=15)
@given(st.integers(3, 40), st.integers(17, 40), st.integers(17, 40), st.floats(0.4, 4.0))
def test_what_both_planes_agree_on_is_kept(x: int, y: int, z: int, slice_mm: float) -> None:
    image = volume((x, y, z), (slice_mm, 1.25, 1.25))
    image[:] = 0.25
    result = inferer(amp=True)(image, Seen(Rows(), planes=BOTH).eval())
    assert result.shape == (1, 2, x, y, z)
    torch.testing.assert_close(torch.as_tensor(result[:, :1]), torch.full((1, 1, x, y, z), 0.25), atol=2e-3, rtol=0)


def test_the_planes_to_read_can_be_given() -> None:
    image = volume((80, 80, 96), (2.5, 2.5, 2.5))
    for planes, axis in (("sagittal", 4), ("axial", 2)):
        result = inferer(planes=[planes])(image, Seen(Rows(), planes=BOTH).eval())
        rows = image.as_tensor().mean(axis, keepdim=True).expand_as(image)
        torch.testing.assert_close(torch.as_tensor(result[:, 1:]), rows)


@pytest.mark.parametrize(
    ("dims", "axis", "planes"), [(2, 0, ["coronal"]), (2, 2, ["axial"]), (3, 0, ["sagittal"]), (2, 0, [])]
)
def test_planes_that_cannot_be_read_are_refused(dims: int, axis: int, planes: list[str]) -> None:
    with pytest.raises(ConfigError, match="planes"):
        window_inferer(dims, (16,) * dims, axis, planes=planes)


def small(planes: tuple[str, ...] | None) -> SingleSegNet:
    return SingleSegNet(UNet(2, 1, 3, (4, 8), (2,), norm="BATCH"), planes=planes).eval()


def test_weights_say_their_planes(tmp_path: Path) -> None:
    torch.save(small(BOTH).state_dict(), tmp_path / "model.pt")
    reader = small(None)
    load_weights(reader, tmp_path / "model.pt")
    assert planes_of(reader) == set(BOTH)
    pair = DualSegNet(reader, small(None), planes=("axial",))
    assert planes_of(EachSubNetwork(pair)) == {"axial"}


def test_a_training_from_weights_keeps_its_own_planes(tmp_path: Path) -> None:
    torch.save(small(BOTH).state_dict(), tmp_path / "model.pt")
    learner = small(None)
    load_weights(learner, tmp_path / "model.pt", keep_planes=True)
    assert planes_of(learner) == set()


def test_older_weights_load_and_are_of_one_plane(tmp_path: Path) -> None:
    old = {name: value for name, value in small(BOTH).state_dict().items() if name != "seen_planes"}
    torch.save(old, tmp_path / "model.pt")
    reader = small(BOTH)
    load_weights(reader, tmp_path / "model.pt")
    assert planes_of(reader) == set()
    other = small(BOTH)
    other.load_state_dict(old)
    assert planes_of(other) == set()
    torch.testing.assert_close(other.state_dict(), reader.state_dict())


def test_an_unknown_plane_is_refused() -> None:
    with pytest.raises(ConfigError, match="planes: expected one or more of sagittal, coronal, axial, got oblique"):
        small(("oblique",))


def test_one_plane_needs_no_list_and_both_need_an_affine() -> None:
    assert planes_of(SingleSegNet(UNet(2, 1, 3, (4, 8), (2,)), planes="axial")) == {"axial"}
    image = volume((64, 64, 64), (2.5, 2.5, 2.5))
    one, listed = (inferer(planes=planes)(image, Seen(Rows()).eval()) for planes in ("axial", ["axial"]))
    torch.testing.assert_close(one, listed)
    with pytest.raises(ConfigError, match="planes: expected one or more of sagittal, axial, got coronal"):
        inferer(planes="coronal")
    with pytest.raises(ConfigError, match="need an image with an affine"):
        inferer(planes=BOTH)(image.as_tensor(), Seen(Rows()).eval())


class Grey(nn.Module):
    """Two classes: ``slope`` times the grey level, and nothing; what is seen from the left is seen brighter."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([[slope]]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side = torch.linspace(1, 2, x.shape[-1], device=x.device)
        return torch.cat((self.slope * x * side, torch.zeros_like(x)), dim=1)


def with_axial(network: nn.Module, slope: float) -> dict[str, torch.Tensor]:
    """The weights of ``network``, joined with those of a network for axial slices alone."""
    own = {"seen_planes": torch.tensor([1, 0, 2], dtype=torch.uint8), "axial.slope": torch.tensor([[slope]])}
    return network.state_dict() | own


def test_a_network_of_its_own_reads_axial_slices_and_their_mirror_images(tmp_path: Path) -> None:
    torch.save(with_axial(DualSegNet(Grey(1.0), Grey(3.0)), 5.0), tmp_path / "model.pt")
    network = DualSegNet(Grey(0.0), Grey(0.0)).eval()
    load_weights(network, tmp_path / "model.pt")
    assert planes_of(network) == planes_of(EachSubNetwork(network)) == set(BOTH)
    image = volume((64, 64, 16), (1.25, 1.25, 4.0))
    both = inferer()(image, EachSubNetwork(network)).as_tensor()  # type: ignore[attr-defined]
    slices, side = image.as_tensor(), torch.linspace(1, 2, 64)[:, None, None]
    torch.testing.assert_close(both[:, :1], torch.sigmoid(5.0 * slices * side))
    torch.testing.assert_close(both[:, 2:3], torch.sigmoid(5.0 * slices * side.flip(0)))
    mean = inferer()(image, network).as_tensor()  # type: ignore[attr-defined]
    torch.testing.assert_close(mean, (both[:, :2] + both[:, 2:]) / 2)
    cube = volume((80, 80, 80), (1.25, 1.25, 1.25))
    alone, joined = (inferer(**one)(cube, network).as_tensor() for one in ({"planes": "axial"}, {}))  # type: ignore[attr-defined]
    across = inferer(planes="sagittal")(cube, network).as_tensor()  # type: ignore[attr-defined]
    torch.testing.assert_close(joined, (across + 0.4 * alone) / 1.4)
    sagittal = inferer(planes="sagittal")(image, network).as_tensor()  # type: ignore[attr-defined]
    across = torch.linspace(1, 2, 16)
    expected = (torch.sigmoid(slices * across) + torch.sigmoid(3.0 * slices * across)) / 2
    torch.testing.assert_close(sagittal[:, :1], expected)


def test_any_program_that_loads_such_weights_gets_the_network_for_axial_slices_and_can_save_it() -> None:
    weights = with_axial(SingleSegNet(nn.Sequential(Grey(1.0))), 5.0)
    weights["axial.0.slope"] = weights.pop("axial.slope")
    network = SingleSegNet(nn.Sequential(Grey(0.0)))
    network.load_state_dict(weights)
    assert planes_of(network) == set(BOTH)
    torch.testing.assert_close(dict(network.state_dict()), weights)
    network.load_state_dict(SingleSegNet(nn.Sequential(Grey(2.0))).state_dict())
    assert planes_of(network) == set()
    assert "axial.0.slope" not in network.state_dict()


def test_a_training_from_such_weights_leaves_the_network_for_axial_slices_out(tmp_path: Path) -> None:
    torch.save(with_axial(SingleSegNet(Grey(1.0)), 5.0), tmp_path / "model.pt")
    learner = SingleSegNet(Grey(0.0), planes=("axial",))
    load_weights(learner, tmp_path / "model.pt", keep_planes=True)
    assert planes_of(learner) == {"axial"}
    assert list(learner.state_dict()) == ["seen_planes", "network.slope"]


def test_weights_of_another_kind_for_axial_slices_are_refused(tmp_path: Path) -> None:
    weights = with_axial(SingleSegNet(Grey(1.0)), 5.0)
    weights["axial.offset"] = weights.pop("axial.slope")
    torch.save(weights, tmp_path / "model.pt")
    network = SingleSegNet(Grey(0.0))
    with pytest.raises(WeightsError, match="1 of 3 weights are missing, 1 are unknown"):
        load_weights(network, tmp_path / "model.pt")
    assert list(network.state_dict()) == ["seen_planes", "network.slope"]


def test_what_the_weights_say_counts_only_with_a_network_that_can() -> None:
    network = SingleSegNet(Grey(1.0))
    network.seen_planes.copy_(torch.tensor([1, 0, 2]))
    assert planes_of(network) == {"sagittal"}
