from __future__ import annotations

import pytest
import torch
from monai.transforms import Compose
from monai.utils import CommonKeys

from spinefuse_ext.synthesis import RandGammad, RandMissingd, RandNoised, RandOffsetd
from spinefuse_ext.validation import ConfigError


def test_each_image_loses_one_channel_as_often_as_asked() -> None:
    transform = RandMissingd([0.2, 0.3])
    transform.set_random_state(0)
    image, label = torch.rand(2000, 2, 4, 4) + 0.1, torch.ones(2000, 1, 4, 4)
    result = transform({"image": image, "label": label})
    there = (result["image"] != 0).flatten(2).any(2)
    assert there.any(1).all()
    assert (~there).float().mean(0).tolist() == pytest.approx([0.2, 0.3], abs=0.04)
    assert torch.equal(result["image"][there], image[there])
    assert torch.equal(result["label"], label)


def test_the_only_image_stays() -> None:
    transform = RandMissingd([0.5, 0.5])
    transform.set_random_state(0)
    image = torch.rand(50, 2, 4, 4) + 0.1
    image[:, 1] = 0
    assert torch.equal(transform({"image": image})[CommonKeys.IMAGE], image)


def test_a_missing_image_stays_missing_under_changes_of_intensity() -> None:
    changes = Compose([RandGammad([0.5, 2], 1.0), RandOffsetd(0.5, 1.0), RandNoised(0.3, 1.0)])
    image = torch.rand(4, 2, 8, 8)
    image[2:, 0] = 0
    result = changes({"image": image})["image"]
    assert (result[2:, 0] == 0).all()
    assert (result[:2] != image[:2]).any()
    assert (result[2:, 1] != image[2:, 1]).any()


@pytest.mark.parametrize("probability", [[], [0.7, 0.7], [-0.1, 0.2], [1.5, 0]])
def test_what_is_no_probability_is_refused(probability: list[float]) -> None:
    with pytest.raises(ConfigError, match="probability"):
        RandMissingd(probability)


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ConfigError, match="probability has 2 numbers, the images have 1 channels"):
        RandMissingd([0.2, 0.2])({"image": torch.rand(1, 1, 4, 4)})
