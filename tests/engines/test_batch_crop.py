from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.utils import set_determinism

from spinefuse_ext.engines import PreparePair, RandomBatchCrop
from spinefuse_ext.validation import ConfigError

BUNDLE = Path(__file__).parents[2] / "bundles" / "spine_fusion" / "configs"


def numbered(batch: int, size: tuple[int, ...]) -> torch.Tensor:
    """A batch in which every voxel of the first channel tells its place; the second is half of it."""
    voxels = torch.arange(torch.Size(size).numel()).reshape(1, 1, *size) + 1.0
    return torch.cat((voxels, voxels / 2), dim=1).repeat(batch, *[1] * (len(size) + 1))


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_every_crop_of_a_batch_is_a_part_of_its_image_and_holds_its_only_foreground(data: st.DataObject) -> None:
    axes = data.draw(st.integers(2, 3))
    size = data.draw(st.tuples(*[st.integers(4, 12)] * axes))
    smaller = data.draw(st.tuples(*(st.integers(1, length - 1) for length in size)))
    images, single = torch.zeros(3, 2, *size), []
    for image in images:
        place = data.draw(st.tuples(*(st.integers(0, length - 1) for length in size)))
        image[(0, *place)] = 0.5
        image[1] = numbered(1, size)[0, 0]
        single.append(image[(1, *place)].item())
    cropped = RandomBatchCrop([smaller], seed=data.draw(st.integers(0, 9)))(images)
    assert cropped.shape == (3, 2, *smaller)
    for crop, number in zip(cropped, single, strict=True):
        assert crop[1][crop[0] == 0.5].tolist() == [number]
        steps = [crop[1].diff(dim=axis).unique().tolist() for axis in range(axes)]
        whole = [numbered(1, size)[0, 0].diff(dim=axis).unique().tolist() for axis in range(axes)]
        assert all(step in ([], [stride]) for step, (stride,) in zip(steps, whole, strict=True))


def test_sizes_are_drawn_anew_for_each_batch_with_equal_chance() -> None:
    crop = RandomBatchCrop([(4, 6), (6, 9), (8, 12)], seed=0)
    seen = Counter(tuple(crop(numbered(2, (8, 12))).shape) for _ in range(300))
    assert set(seen) == {(2, 2, 4, 6), (2, 2, 6, 9), (2, 2, 8, 12)}
    assert min(seen.values()) > 70  # expected 100, deviation 8.2


def test_one_size_leaves_the_batch_alone() -> None:
    images = MetaTensor(torch.zeros(2, 2, 5, 5))  # without any foreground to look for
    assert RandomBatchCrop([[5, 5]])(images) is images


def test_the_same_seed_gives_the_same_crops_whatever_else_is_drawn() -> None:
    """As on two ranks: what one of them draws elsewhere must not part them."""
    images = numbered(2, (16, 16))
    torch.manual_seed(1)
    first = [RandomBatchCrop([(4, 4), (8, 8)], seed=3)(images)]
    torch.rand(5)
    again = RandomBatchCrop([(4, 4), (8, 8)], seed=3)
    assert torch.equal(again(images), first[0])
    many = [RandomBatchCrop([(4, 4), (8, 8)], seed=seed)(images) for seed in range(12)]
    assert len({(len(crop[0, 0]), float(crop[0, 0, 0, 0])) for crop in many}) > 6


def test_without_a_seed_the_run_s_own_decides() -> None:
    images, crops = numbered(2, (16, 16)), []
    for seed in (5, 5, 6):
        set_determinism(seed)
        crop = RandomBatchCrop([(3, 3), (5, 5)])
        crops.append([crop(images) for _ in range(6)])
    set_determinism(None)
    same, other = (
        [one.shape == two.shape and torch.equal(one, two) for one, two in zip(crops[0], crops[at], strict=True)]
        for at in (1, 2)
    )
    assert all(same)
    assert not all(other)


def test_a_batch_is_cropped_before_it_becomes_the_pair() -> None:
    images = numbered(2, (8, 8))
    pair, target = PreparePair(swap_probability=1, crop=RandomBatchCrop([(4, 4)], seed=0))({"image": images}, "cpu")
    assert pair is target
    assert type(pair) is torch.Tensor
    torch.testing.assert_close(pair[:, 0], pair[:, 1] / 2)  # the sources changed places
    assert pair.shape == (2, 2, 4, 4)


def test_no_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="sizes is a list of at least one size, got"):
        RandomBatchCrop([])


@pytest.mark.parametrize(
    ("files", "patch", "scales", "crop", "sizes"),
    [
        (["train.json"], [32, 48], [1.0], (1, 32, 48), {(32, 48)}),
        (["train.json"], [32, 48], [1.5, 0.5], (1, 48, 72), {(16, 24), (48, 72)}),
        (["train.json", "u2fusion_train.json"], [32, 48], [0.5, 1], (1, 32, 48), {(16, 24), (32, 48)}),
        (["train.json", "volume_3d.json"], [16, 16, 24], [0.75, 1], (16, 16, 24), {(12, 12, 18), (16, 16, 24)}),
    ],
)
def test_the_bundle_loads_the_largest_crop_and_cuts_batches_to_every_scale(
    files: list[str], patch: list[int], scales: list[float], crop: tuple[int, ...], sizes: set[tuple[int, ...]]
) -> None:
    parser = ConfigParser(ConfigParser.load_config_files([str(BUNDLE / file) for file in files]))
    parser.update({"patch_size": patch, "patch_scales": scales})
    loaded = parser.get_parsed_content("train#crop_size")
    assert loaded == crop
    images = numbered(1, tuple(length for length in loaded if length > 1))
    prepare = parser.get_parsed_content("train#trainer#prepare_batch")
    assert {tuple(prepare({"image": images}, "cpu")[0].shape[2:]) for _ in range(20)} == sizes


@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize("base", ["train.json", "inference.json"])
def test_checkpointing_reaches_every_stack_of_blocks(flag: bool, base: str) -> None:
    for delta in ([], ["cddfuse.json"]):
        parser = ConfigParser(ConfigParser.load_config_files([str(BUNDLE / file) for file in (base, *delta)]))
        parser.update({"checkpointing": flag, "network_def#dim": 8, "network_def#num_blocks": [1, 1]})
        network = parser.get_parsed_content("network_def")
        assert [network.encoder.shared.checkpointing, network.decoder.blocks.checkpointing] == [flag, flag]
