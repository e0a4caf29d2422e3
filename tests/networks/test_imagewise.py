from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from spinefuse_ext.networks import DualSegNet, ImagewiseSegNet, VNet, each_sub_network
from spinefuse_ext.validation import ConfigError


def networks() -> tuple[ImagewiseSegNet, DualSegNet]:
    torch.manual_seed(0)
    made = ImagewiseSegNet(VNet(2, 1, 3, (4, 8)), VNet(2, 1, 3, (4, 8)))
    same = DualSegNet(made.unet, made.vnet)
    return made.eval(), same.eval()


def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ct, mr = (torch.rand((2, 1, 16, 96), generator=generator) + 0.1 for _ in range(2))
    return ct, mr


def test_one_image_is_segmented_as_by_the_network_itself() -> None:
    made, same = networks()
    ct, _ = images()
    with torch.inference_mode():
        torch.testing.assert_close(made(ct), same(ct))


def test_two_images_are_averaged_where_both_show_the_place() -> None:
    made, same = networks()
    ct, mr = images()
    with torch.inference_mode():
        both = made(torch.cat((ct, mr), 1))
        torch.testing.assert_close(both, (same(ct) + same(mr)) / 2)
    torch.testing.assert_close(both.sum(1), torch.ones_like(both[:, 0]))


def test_outside_the_field_of_one_image_the_other_decides() -> None:
    made, same = networks()
    ct, mr = images()
    mr = F.pad(mr[..., :30], (0, 66))
    with torch.inference_mode():
        both, alone = made(torch.cat((ct, mr), 1)), same(ct)
    torch.testing.assert_close(both[..., 46:], alone[..., 46:], atol=2e-3, rtol=0)  # 30 and 15 pixels around
    assert (both[..., :30] - alone[..., :30]).abs().max() > 0.01


def test_the_sub_networks_of_two_images_have_that_mean_too() -> None:
    made, _ = networks()
    pair = torch.cat(images(), 1)
    with torch.inference_mode():
        each = each_sub_network(made).eval()(pair)
        torch.testing.assert_close((each[:, :3] + each[:, 3:]) / 2, made(pair))


def test_training_sees_one_image() -> None:
    made, _ = networks()
    ct, _ = images()
    assert made.train()(ct).shape == (2, 2, 3, 16, 96)


def test_it_holds_the_weights_of_the_plain_pair() -> None:
    made, same = networks()
    assert set(made.state_dict()) == set(same.state_dict())


def test_an_image_counts_by_its_weight() -> None:
    made, same = networks()
    made.image_weights = (3.0, 1.0)
    ct, mr = images()
    with torch.inference_mode():
        torch.testing.assert_close(made(torch.cat((ct, mr), 1)), 0.75 * same(ct) + 0.25 * same(mr))
        torch.testing.assert_close(made(ct), same(ct))


def test_weights_that_do_not_fit_the_images_are_refused() -> None:
    made, _ = networks()
    with pytest.raises(ConfigError, match="image_weights is a number above 0, got 0"):
        ImagewiseSegNet(made.unet, made.vnet, image_weights=[1, 0])
    made.image_weights = (1.0, 1.0, 1.0)
    with pytest.raises(ConfigError, match="image_weights is a list of 2 numbers, got"):
        made(torch.cat(images(), 1))


def test_axial_slices_of_two_images_are_averaged_too() -> None:
    made, same = networks()
    axial = {f"axial.{name}": value for name, value in made.vnet.state_dict().items()}
    weights = {**made.state_dict(), **axial, "seen_planes": torch.tensor([1, 0, 2])}
    for network in (made, same):
        network.load_state_dict(weights)
    ct, mr = images()
    with torch.inference_mode():
        both = made.each_axial(torch.cat((ct, mr), 1))
        torch.testing.assert_close(both, (same.each_axial(ct) + same.each_axial(mr)) / 2)
