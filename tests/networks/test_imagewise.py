from __future__ import annotations

import torch
from torch.nn import functional as F

from spinefuse_ext.networks import DualSegNet, ImagewiseSegNet, VNet, each_sub_network


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
