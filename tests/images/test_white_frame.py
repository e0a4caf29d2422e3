from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from spinefuse_ext.volumes import read_volume, write_volume


def picture(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 200, (9, 8, 7)).astype(np.float32)


def read_back(values: np.ndarray, folder: Path, modality: str | None = "MR") -> MetaTensor:
    write_volume(MetaTensor(torch.from_numpy(values)[None], affine=torch.eye(4)), folder / "mr.nii.gz")
    return read_volume(folder / "mr.nii.gz", modality)


@pytest.mark.parametrize("width", [1, 3])
def test_a_white_frame_on_some_sides_gets_the_voxels_beside_it(
    width: int, rng: np.random.Generator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = picture(rng)
    framed = values.copy()
    framed[-width:], framed[:, -width:] = 255, 255
    image = read_back(framed, tmp_path)
    inside = framed[: 9 - width, : 8 - width]
    np.testing.assert_array_equal(image.numpy()[0], np.pad(inside, ((0, width), (0, width), (0, 0)), mode="edge"))
    (warning,) = image.meta["warnings"]
    assert "mr.nii.gz: a white frame (axis 0 high, axis 1 high: " in warning
    assert f"{width} voxel" in warning
    assert warning in caplog.text


def test_a_frame_on_every_side_goes_too(rng: np.random.Generator, tmp_path: Path) -> None:
    values = picture(rng)
    framed = np.pad(values, 1, constant_values=255.0)
    np.testing.assert_array_equal(read_back(framed, tmp_path).numpy()[0], np.pad(values, 1, mode="edge"))


def test_a_bright_side_that_is_not_the_brightest_is_named_and_kept(rng: np.random.Generator, tmp_path: Path) -> None:
    values = picture(rng)
    values[0], values[4, 4, 4] = 250, 255
    image = read_back(values, tmp_path)
    np.testing.assert_array_equal(image.numpy()[0], values)
    assert "a bright frame (axis 0 low: 1 voxel of 250) was kept" in image.meta["warnings"][0]


@pytest.mark.parametrize("case", ["black-side", "wide", "label", "flat", "common-value"])
def test_other_images_are_left_as_they_are(case: str, rng: np.random.Generator, tmp_path: Path) -> None:
    values = picture(rng)
    if case == "black-side":
        values[0] = 0
    elif case == "wide":
        values[-4:] = 255  # more than a frame
    elif case == "common-value":
        values[:, :, :] = 255
        values[1] = 0  # a dark plane inside a bright image
    elif case == "flat":
        values[:] = 7
    else:
        values[-1] = 255
    image = read_back(values, tmp_path, None if case == "label" else "MR")
    np.testing.assert_array_equal(image.numpy()[0], values)
    assert image.meta["warnings"] == []


@pytest.mark.assets
def test_published_images_lose_their_white_frame(assets: Path) -> None:
    folder = assets / "data/mr_spine/fastcleverseg_lumbar_1mm"
    image = read_volume(folder / "VB1_DzZ_T1_image.nii.gz", "MR")
    assert "(axis 0 high, axis 1 high, axis 2 high: 1 voxel of 255)" in image.meta["warnings"][0]
    voxels = image.numpy()[0]
    for axis in range(3):
        last, before = (np.take(voxels, place, axis) for place in (-1, -2))
        np.testing.assert_array_equal(last, before)
    assert read_volume(folder / "VB2_pat05_T2_image.nii.gz", "MR").meta["warnings"] == []
