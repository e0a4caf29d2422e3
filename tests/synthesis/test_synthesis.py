from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose

from spinefuse_ext.engines import PrepareTransformed
from spinefuse_ext.synthesis import (
    BatchTransform,
    Draws,
    RandContrastd,
    RandCutd,
    RandDistractorsd,
    RandPlacementd,
    RandScand,
    paint_labels,
)
from spinefuse_ext.validation import ConfigError

SIZE = {2: (48, 64), 3: (24, 24, 32)}
CLASSES = (1, 2, 3)


def batch(dims: int = 2, count: int = 3) -> dict[str, torch.Tensor]:
    """A CT-like and an MR-like channel; bodies (1), discs between (2) and a canal behind (3); 255 below is unknown."""
    size = SIZE[dims]
    label = torch.zeros((count, 1, *size), dtype=torch.int64)
    middle = [slice(None)] * (dims - 2)
    label[(slice(None), slice(None), *middle, slice(8, 14), slice(4, 24))] = 1
    label[(slice(None), slice(None), *middle, slice(8, 14), slice(24, 28))] = 2
    label[(slice(None), slice(None), *middle, slice(16, 19), slice(4, 28))] = 3
    label[(slice(None), slice(None), *middle, slice(None), slice(0, 2))] = 255
    noise = torch.rand((count, 2, *size), generator=torch.Generator().manual_seed(1))
    level = torch.tensor([0.3, 0.7, 0.5, 0.4])[label.clamp(max=3)]
    return {"image": level + 0.05 * noise, "label": label}


def all_transforms(dims: int) -> list[BatchTransform]:
    size = tuple(side - 8 for side in SIZE[dims])
    return [
        RandPlacementd(size, flip=(0.5,) * dims),
        RandDistractorsd(probability=1.0, classes=CLASSES),
        RandContrastd(dict.fromkeys(("real", "window", "remap", "filter", "paint"), 1.0), classes=CLASSES),
        RandScand(streaks=0.5, fold=0.5),
        RandCutd((6,) * dims, probability=1.0),
    ]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("place", range(5))
def test_each_transform_gives_the_same_for_one_seed_and_another_for_the_next(dims: int, place: int) -> None:
    results = []
    for seed in (0, 0, 1):
        transform = all_transforms(dims)[place]
        transform.set_random_state(seed)
        results.append(transform(batch(dims)))
    assert all(torch.isfinite(result["image"]).all() for result in results)
    torch.testing.assert_close(results[0]["image"], results[1]["image"], rtol=0, atol=0)
    torch.testing.assert_close(results[0]["label"], results[1]["label"], rtol=0, atol=0)
    assert not torch.equal(results[0]["image"], results[2]["image"])


@pytest.mark.parametrize("place", range(5))
def test_what_is_given_is_not_written_into(place: int) -> None:
    given_, kept = batch(), batch()
    all_transforms(2)[place](given_)
    assert torch.equal(given_["image"], kept["image"])
    assert torch.equal(given_["label"], kept["label"])


@pytest.mark.parametrize("dims", [2, 3])
@given(seed=st.integers(0, 2**31 - 1))
@settings(max_examples=15, deadline=None)
def test_a_chain_keeps_label_numbers_and_ends_between_0_and_1(dims: int, seed: int) -> None:
    chain = Compose(all_transforms(dims))
    chain.set_random_state(seed)
    result = chain(batch(dims))
    assert result["image"].shape == (3, 1, *(side - 8 for side in SIZE[dims]))
    assert result["label"].shape == result["image"].shape
    assert set(result["label"].unique().tolist()) <= {0, 1, 2, 3, 255}
    assert result["image"].min() >= 0
    assert result["image"].max() <= 1


def test_placement_without_freedom_cuts_the_middle() -> None:
    still = RandPlacementd((40, 56), rotation_deg=0, scale=(1, 1), shift=0, bend_px=0)
    result = still(batch())
    torch.testing.assert_close(result["image"], batch()["image"][..., 4:-4, 4:-4], atol=1e-5, rtol=0)
    assert torch.equal(result["label"], batch()["label"][..., 4:-4, 4:-4])


def test_placement_moves_image_and_label_together() -> None:
    transform = RandPlacementd((48, 64), flip=(0.5, 0.5))
    transform.set_random_state(3)
    data = batch(count=8)
    data["image"] = (data["label"] == 1).float()
    result = transform(data)
    bone, found = result["image"] > 0.5, result["label"] == 1
    overlap = 2 * (bone & found).sum() / (bone.sum() + found.sum())
    assert overlap > 0.93


def test_painting_gives_every_structure_one_level_apart_from_texture() -> None:
    data = batch(count=32)
    painted = paint_labels(data["label"], data["image"], CLASSES, Draws(5, data["image"]))
    levels = [
        torch.stack([image[mask].mean() for image, mask in zip(painted, data["label"] == number, strict=True)])
        for number in CLASSES
    ]
    contrast = (levels[0] - levels[1]).abs()
    assert contrast.median() > 0.1  # bone and disc differ in most images,
    assert (levels[0] > levels[1]).float().mean().item() == pytest.approx(0.5, abs=0.3)  # either one being brighter


def test_only_channels_that_hold_something_are_used() -> None:
    data = batch(count=16)
    data["image"][:, 0] = 0
    result = RandContrastd({"real": 1.0})(data)
    torch.testing.assert_close(result["image"], data["image"][:, 1:], rtol=0, atol=0)


def test_distractors_stay_away_from_structures_and_change_no_label() -> None:
    data = batch(count=8)
    transform = RandDistractorsd(count=12, probability=1.0, distance_px=3, classes=CLASSES)
    transform.set_random_state(0)
    result = transform(data)
    changed = (result["image"] != data["image"]).any(1, keepdim=True)
    assert changed.float().mean() > 0.1
    near = torch.nn.functional.max_pool2d((data["label"] > 0).float(), 7, 1, 3) > 0
    assert not (changed & near).any()
    assert torch.equal(result["label"], data["label"])


def test_what_is_cut_away_is_zero_in_image_and_label() -> None:
    data = batch(count=6)
    transform = RandCutd((10, 12), probability=1.0)
    transform.set_random_state(1)
    result = transform(data)
    gone = result["image"] == 0
    assert 0.05 < gone.float().mean() < 0.95
    assert (result["label"][gone.all(1, keepdim=True)] == 0).all()


def test_one_image_without_a_batch_axis_is_changed_alike() -> None:
    data = {key: MetaTensor(value[0]) for key, value in batch().items()}
    result = Compose([RandPlacementd((40, 56), batched=False), RandScand(batched=False)])(data)
    assert result["image"].shape == (2, 40, 56)
    assert result["label"].shape == (1, 40, 56)


@pytest.mark.parametrize("weights", [{"paints": 1.0}, {"paint": 0.0}, {}])
def test_an_unknown_source_of_contrast_is_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="real, window, remap, filter, paint"):
        RandContrastd(weights)


def test_prepare_batch_transforms_labelled_and_unlabelled_batches_differently() -> None:
    prepare = PrepareTransformed(RandPlacementd((40, 56)), RandScand())
    image, label = prepare(batch(), "cpu")
    assert label is not None
    assert (image.shape[2:], label.shape[2:]) == ((40, 56), (40, 56))
    plain = batch()["image"]
    image, label = prepare({"image": plain}, "cpu")
    assert label is None
    assert image.shape == plain.shape
    assert not torch.equal(image, plain)
    kept, _ = PrepareTransformed(RandScand())({"image": plain}, "cpu")
    assert torch.equal(kept, plain)


def test_draws_of_a_field_are_smooth_and_of_about_unit_variance() -> None:
    field = Draws(0, torch.zeros(4, 1, 96, 96)).field((10, 12), 8)
    assert field.shape == (4, 8, 96, 96)
    assert 0.4 < float(field.std()) < 1.2
    step = float((field[..., 1:] - field[..., :-1]).abs().mean())
    assert step < 0.2 * float(np.sqrt(2))
