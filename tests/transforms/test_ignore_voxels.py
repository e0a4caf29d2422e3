from __future__ import annotations

import torch
from monai.data import MetaTensor
from monai.metrics import compute_dice
from monai.transforms import AsDiscreted, Compose

from spinefuse_ext.transforms import IgnoreVoxelsd


def _item() -> dict[str, torch.Tensor]:
    label = torch.zeros(1, 4, 6)
    label[0, :, 1:4] = 1
    label[0, :2] = 255
    probability = torch.zeros(2, 4, 6)
    probability[1, :, 1:4] = 0.9  # right in the lower half
    probability[1, :2] = 0.9  # and foreground all over the unknown upper half
    probability[0] = 1 - probability[1]
    return {"pred": MetaTensor(probability), "pred_unet": MetaTensor(probability.flip(1)), "label": MetaTensor(label)}


def test_unknown_voxels_do_not_count_in_a_score() -> None:
    discrete = AsDiscreted(keys=["pred", "label"], argmax=[True, False], to_onehot=2)
    done = Compose([IgnoreVoxelsd(["pred", "pred_unet", "pred_vnet"], 255), discrete])(_item())
    assert done["label"].shape == (2, 4, 6)
    assert compute_dice(done["pred"][None], done["label"][None], include_background=False).item() == 1
    assert (done["pred_unet"][0, :2] == 1).all()
    assert torch.equal(done["pred"].affine, torch.eye(4, dtype=torch.float64))


def test_without_an_ignored_value_nothing_changes() -> None:
    item = _item()
    done = IgnoreVoxelsd(["pred"], None)(item)
    assert all(torch.equal(done[key], item[key]) for key in item)
    assert "label" not in IgnoreVoxelsd(["pred"], 255)({"pred": item["pred"]})
