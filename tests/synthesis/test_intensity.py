from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import AdjustContrast, Affine, Compose, GaussianSmooth, RandBiasField, Transform

from spinefuse_ext.engines import PreparePair
from spinefuse_ext.synthesis import (
    BatchTransform,
    Draws,
    IntensityTransform,
    RandAffined,
    RandBlurd,
    RandFactord,
    RandFlipd,
    RandGammad,
    RandNoised,
    RandOffsetd,
    RandShadingd,
)
from spinefuse_ext.validation import ConfigError

SIZE = {2: (20, 26), 3: (12, 14, 10)}
both_dims = pytest.mark.parametrize("dims", [2, 3])


def batch(dims: int = 2, count: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((count, 2, *SIZE[dims]), generator=generator)
    return {"image": image, "label": (image[:, :1] > 0.6).long() * 255}


def intensity_transforms(probability: float) -> list[IntensityTransform]:
    return [
        RandGammad((0.4, 2.5), probability),
        RandFactord(0.4, probability),
        RandOffsetd(0.2, probability),
        RandShadingd((0.0, 0.3), probability=probability),
        RandBlurd((0.5, 1.0), probability),
        RandNoised(0.1, probability),
    ]


def seeded(transform: BatchTransform, seed: int = 3) -> BatchTransform:
    transform.set_random_state(seed)
    return transform


@both_dims
@pytest.mark.parametrize("place", range(6))
def test_intensities_change_by_seed_each_image_in_its_own_way_and_labels_stay(dims: int, place: int) -> None:
    data = batch(dims)
    data["image"] = data["image"][:1].repeat(6, *[1] * (dims + 1))
    first, again = (seeded(intensity_transforms(1.0)[place])(data) for _ in range(2))
    other = seeded(intensity_transforms(1.0)[place], 4)(data)
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["label"], data["label"])
    assert not torch.equal(first["image"], other["image"])
    assert all(not torch.equal(first["image"][0], image) for image in first["image"][1:])
    assert first["image"].shape == data["image"].shape


@pytest.mark.parametrize("place", range(6))
def test_as_many_images_change_as_the_probability_says(place: int) -> None:
    data = batch(count=300)
    changed = (seeded(intensity_transforms(0.3)[place])(data)["image"] != data["image"]).flatten(1).any(1)
    assert 60 < int(changed.sum()) < 120  # expected 90, deviation 8
    assert torch.equal(seeded(intensity_transforms(0.0)[place])(data)["image"], data["image"])


@both_dims
@pytest.mark.parametrize(
    ("ours", "of_monai"),
    [
        (RandGammad((1.7, 1.7), 1.0), AdjustContrast(1.7)),
        (RandBlurd((0.8, 0.8), 1.0), GaussianSmooth(0.8)),
        (RandShadingd((0.2, 0.2), probability=1.0), RandBiasField(coeff_range=(0.2, 0.2), prob=1.0)),
    ],
    ids=["gamma", "blur", "shading"],
)
def test_a_drawn_number_does_what_it_does_in_monai(dims: int, ours: BatchTransform, of_monai: Transform) -> None:
    data = batch(dims)
    expected = torch.stack([torch.as_tensor(of_monai(image)) for image in data["image"]])
    torch.testing.assert_close(ours(data)["image"], expected, atol=2e-4, rtol=1e-4)


def test_numbers_are_drawn_evenly_from_the_whole_range() -> None:
    ones = {"image": torch.ones(2000, 1, 4, 4)}
    factor = seeded(RandFactord(0.4, 1.0))(ones)["image"][:, 0, 0, 0] - 1
    offset = seeded(RandOffsetd(0.2, 1.0))(ones)["image"][:, 0, 0, 0] - 1
    for drawn, largest in ((factor, 0.4), (offset, 0.2)):
        assert drawn.abs().max() <= largest + 1e-6
        assert float(drawn.std()) == pytest.approx(largest / 3**0.5, rel=0.05)
    noise = seeded(RandNoised(0.1, 1.0))({"image": torch.ones(500, 1, 20, 20)})["image"].flatten(1).std(1)
    assert float(noise.mean()) == pytest.approx(0.05, rel=0.1)
    assert noise.max() < 0.12


@both_dims
def test_a_pose_is_the_one_that_monai_gives_for_the_same_numbers(dims: int) -> None:
    data = batch(dims)
    ranges = ([0.4, 0.3, 0.2][: 1 if dims == 2 else 3], [0.15, 0.3], [3.0, 2.0])
    result = seeded(RandAffined(*ranges, probability=1.0), 7)(data)
    draws = Draws(int(np.random.RandomState(7).randint(2**31 - 1)), data["image"])
    draws.chance(1.0)
    numbers = [[draws.uniform(-largest, largest).flatten() for largest in given] for given in ranges]
    for place in range(len(data["image"])):
        turn, zoom, shift = ([float(number[place]) for number in kind] for kind in numbers)
        pose = {"rotate_params": turn, "scale_params": [1 + part for part in zoom], "translate_params": shift}
        for key, mode in (("image", "bilinear"), ("label", "nearest")):
            moved = Affine(**pose, padding_mode="zeros", mode=mode, image_only=True)(data[key][place].float())
            close = (result[key][place].float() - moved.as_tensor()).abs() < 1e-3
            assert float(close.float().mean()) > (0.999 if key == "image" else 0.99)  # a tie of nearest voxels


def test_images_that_are_not_chosen_keep_their_pose_exactly() -> None:
    data = batch(count=200)
    result = seeded(RandAffined([0.2], [0.15], [8], probability=0.8))(data)
    kept = (result["image"] == data["image"]).flatten(1).all(1)
    assert 20 < int(kept.sum()) < 60  # expected 40, deviation 5.7
    assert torch.equal(result["label"][kept], data["label"][kept])
    assert set(result["label"].unique().tolist()) == {0, 255}


@both_dims
def test_mirror_images_take_their_label_along(dims: int) -> None:
    data = batch(dims, count=400)
    result = seeded(RandFlipd([0.0, 0.5]))(data)
    mirrored = (result["image"] == data["image"].flip(3)).flatten(1).all(1)
    assert 150 < int(mirrored.sum()) < 250
    assert torch.equal(result["image"][~mirrored], data["image"][~mirrored])
    assert torch.equal(result["label"][mirrored], data["label"][mirrored].flip(3))


def test_the_pairs_of_a_fusion_batch_are_changed_on_the_device() -> None:
    pair = batch()["image"]
    image, target = PreparePair(transform=Compose([RandFlipd([1.0])]))({"image": pair}, "cpu")
    assert torch.equal(image, pair.flip(2))
    assert image is target


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandGammad((0.0, 2.0)), "gamma is a number above 0, got 0.0"),
        (lambda: RandBlurd((2.0, 1.0)), r"sigma_px is a smallest and a largest number, got \[2.0, 1.0\]"),
        (lambda: RandShadingd((0.0, 0.3), degree=0), "degree is a whole number of at least 1, got 0"),
        (lambda: RandNoised(0.1, 1.5), "probability is a number from 0 to 1, got 1.5"),
        (lambda: RandAffined(probability=-1), "probability is a number from 0 to 1, got -1"),
        (lambda: RandFlipd([0.5, 2]), "probability is a number from 0 to 1, got 2"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]
