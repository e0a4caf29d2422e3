from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import FgBgToIndicesd, RandCropByPosNegLabeld

from spinefuse_ext.transforms import RandPatchd
from spinefuse_ext.validation import ConfigError, DatalistError

PLACES = {"indices": "label_fg_indices", "background_indices": "label_bg_indices"}


def case(shape: tuple[int, ...] = (6, 20, 24)) -> dict[str, Any]:
    """A volume whose values are its places, and a label of a box in its corner."""
    image = torch.arange(1.0, 1 + torch.Size(shape).numel()).view(1, *shape)
    label = torch.zeros_like(image)
    label[:, :2, :5, :5] = 1
    meta = {"filename_or_obj": "cases/anna/mr.nii.gz"}
    return dict(FgBgToIndicesd("label", image_key="image")({"image": MetaTensor(image, meta=meta), "label": label}))


def patches(cut: RandPatchd, count: int, data: dict[str, Any] | None = None) -> list[dict[Any, Any]]:
    cut.set_random_state(0)
    given = case() if data is None else data
    return [cut(given) for _ in range(count)]


@pytest.mark.parametrize("size", [(1, 8, 10), (4, 6, 6), (6, 20, 24)])
def test_patches_are_those_of_monai_for_the_same_seed(size: tuple[int, ...]) -> None:
    cut = RandPatchd(["image", "label"], size, **PLACES, pos=3, neg=1)
    of_monai = RandCropByPosNegLabeld(
        *(["image", "label"], "label", size, 3, 1, 1),
        fg_indices_key=PLACES["indices"],
        bg_indices_key=PLACES["background_indices"],
    )
    of_monai.set_random_state(0)
    given = case()
    for found in patches(cut, 30):
        expected = of_monai(given)[0]
        for key in ("image", "label"):
            assert type(found[key]) is torch.Tensor
            assert torch.equal(found[key], torch.as_tensor(expected[key].as_tensor()))


def test_a_slice_loses_its_axis_and_keeps_the_name_of_its_file() -> None:
    found = patches(RandPatchd(["image", "label"], (1, 8, 10), **PLACES, squeeze_axis=0), 1)[0]
    assert found["image"].shape == found["label"].shape == (1, 8, 10)
    assert set(found) == {"image", "label", "patient"}
    assert found["patient"] == "cases/anna/mr.nii.gz"


def test_the_given_case_is_not_changed() -> None:
    given = case()
    kept = {key: value.clone() for key, value in given.items()}
    patches(RandPatchd(["image", "label"], (1, 8, 10), **PLACES), 3, given)
    assert given.keys() == kept.keys()
    assert all(torch.equal(given[key], kept[key]) for key in kept)


def test_foreground_comes_as_often_as_its_weight_says() -> None:
    found = patches(RandPatchd(["image", "label"], (1, 1, 1), **PLACES, pos=3, neg=1), 400)
    assert 265 < sum(float(patch["label"].max()) for patch in found) < 335  # expected 300, deviation 8.7


def test_a_case_without_foreground_is_cut_about_its_background() -> None:
    given = {**case(), PLACES["indices"]: torch.zeros(0, dtype=torch.long)}
    assert all(
        not patch["label"].any() for patch in patches(RandPatchd(["image", "label"], (1, 1, 1), **PLACES), 9, given)
    )
    given[PLACES["background_indices"]] = torch.zeros(0, dtype=torch.long)
    with pytest.raises(DatalistError, match=r"none in cases/anna/mr.nii.gz; check its image and label"):
        patches(RandPatchd("image", (1, 8, 8), **PLACES), 1, given)


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match="got 0 and 0"):
        RandPatchd("image", (1, 8, 8), **PLACES, pos=0, neg=0)
    with pytest.raises(ConfigError, match=r"one voxel along axis 1, which is left out, got \[1, 8, 8\]"):
        RandPatchd("image", (1, 8, 8), **PLACES, squeeze_axis=1)
