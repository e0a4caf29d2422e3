"""Variants keep image and truth on one grid, and say the truth about it or lie, as they claim."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from spinefuse_ext.benchmark.variants import VARIANTS, chosen_variants, varied
from spinefuse_ext.report.views import turn_to_ras
from spinefuse_ext.validation import ConfigError

SHAPE = (4, 24, 30)


def volumes() -> tuple[MetaTensor, dict[str, MetaTensor]]:
    """A bright block in a ramp, stored from the head down, with the block as truth."""
    affine = torch.tensor([[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    block = torch.zeros(1, *SHAPE)
    block[:, :, 6:18, 4:16] = 1
    ramp = torch.linspace(-1000, 0, SHAPE[2]).expand(1, *SHAPE)
    return MetaTensor(ramp + 1000 * block, affine=affine), {"vertebra": MetaTensor(block, affine=affine)}


@pytest.mark.parametrize("name", VARIANTS)
def test_image_and_truth_stay_on_one_grid(name: str) -> None:
    image, truths = varied(name, *volumes())
    assert image.shape == truths["vertebra"].shape
    torch.testing.assert_close(image.affine, truths["vertebra"].affine)
    assert set(truths["vertebra"].unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("name", [name for name in VARIANTS if name.startswith("flip")])
def test_a_flip_is_the_same_image_stored_otherwise(name: str) -> None:
    image, truths = volumes()
    flipped, _ = varied(name, image, truths)
    assert not torch.equal(flipped.affine, turn_to_ras(image).affine)
    torch.testing.assert_close(turn_to_ras(flipped), turn_to_ras(image))


@pytest.mark.parametrize("name", [name for name in VARIANTS if name.startswith("mirror")])
def test_a_mirrored_image_has_the_affine_of_before(name: str) -> None:
    image, truths = volumes()
    mirrored, _ = varied(name, image, truths)
    torch.testing.assert_close(mirrored.affine, turn_to_ras(image).affine)


def test_a_mirror_head_feet_turns_the_voxels_over() -> None:
    image, truths = volumes()
    mirrored, _ = varied("mirror_head_feet", image, truths)
    torch.testing.assert_close(mirrored.as_tensor(), turn_to_ras(image).as_tensor().flip(3))


def test_pixels_have_the_size_asked_for_and_slices_stay() -> None:
    image, truths = varied("pixel_2", *volumes())
    assert image.pixdim.tolist() == pytest.approx([2.0, 2.0, 2.0])
    assert image.shape[1] == SHAPE[0]
    volume_ml = float(truths["vertebra"].sum()) * 8 / 1000
    assert volume_ml == pytest.approx(4 * 12 * 12 * 2 / 1000, rel=0.2)


def test_cropped_is_the_middle_half_of_the_height() -> None:
    image, _ = varied("cropped", *volumes())
    assert image.shape == (1, 4, 24, 15)


def test_rotated_shows_nothing_brighter_than_air_where_nothing_was() -> None:
    image, truths = volumes()
    turned, moved = varied("rotated", image, truths)
    assert float(turned.min()) >= float(image.min()) - 1
    assert not torch.equal(moved["vertebra"].as_tensor(), turn_to_ras(truths["vertebra"]).as_tensor())


def test_noise_is_5_percent_of_the_range_and_the_same_each_time() -> None:
    image, truths = volumes()
    noisy, _ = varied("noisy", image, truths)
    again, _ = varied("noisy", image, truths)
    torch.testing.assert_close(noisy, again)
    difference = noisy.as_tensor() - turn_to_ras(image).as_tensor()
    low, high = image.as_tensor().quantile(0.01), image.as_tensor().quantile(0.99)
    assert float(difference.std()) == pytest.approx(0.05 * float(high - low), rel=0.1)


def test_all_means_every_variant_and_an_unknown_one_is_refused() -> None:
    assert chosen_variants("all") == list(VARIANTS)
    with pytest.raises(ConfigError, match="There is no variant pixel_4; choose from native"):
        chosen_variants(["pixel_4"])
