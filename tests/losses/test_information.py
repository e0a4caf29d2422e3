from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import convolve

from spinefuse_ext.losses import PyramidInformation, gradient_energy, information_measure


@pytest.mark.parametrize("size", [(7, 9), (5, 6, 4)])
def test_gradient_energy_equals_the_plain_kernel(size: tuple[int, ...], rng: np.random.Generator) -> None:
    maps = rng.random((2, 3, *size))
    kernel = np.full((3,) * len(size), 1 / (3 ** len(size) - 1))  # 1/8 in 2-D
    kernel[(1,) * len(size)] = -1
    expected = [np.mean([convolve(channel, kernel, mode="same") ** 2 for channel in image]) for image in maps]
    np.testing.assert_allclose(gradient_energy(torch.from_numpy(maps)), expected, rtol=1e-12)


def test_energy_of_one_bright_pixel() -> None:
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 2, 2] = 1
    assert gradient_energy(image).item() == pytest.approx((1 + 8 / 64) / 25)  # centre -1, eight neighbours 1/8


@pytest.mark.parametrize("size", [(16, 12), (8, 8, 9)])
def test_the_pyramid_averages_the_energy_of_halved_images(size: tuple[int, ...]) -> None:
    image = torch.rand(2, 1, *size)
    half = torch.nn.functional.interpolate(image, size=[n // 2 for n in size], mode="area")
    if len(size) == 3:
        half = torch.nn.functional.avg_pool3d(image, 2)  # an odd axis loses its last voxel
    expected = (gradient_energy(image) + gradient_energy(half)) / 2
    torch.testing.assert_close(PyramidInformation(levels=2)(image), expected)


def test_more_contrast_is_more_information_at_the_square() -> None:
    image = torch.rand(1, 1, 32, 32)
    measure = PyramidInformation()
    torch.testing.assert_close(measure(0.5 * image), 0.25 * measure(image))


def test_a_black_image_holds_none_and_a_small_one_ends_the_pyramid() -> None:
    measure = PyramidInformation()
    assert measure(torch.zeros(2, 1, 32, 32)).tolist() == [0, 0]
    assert len(measure.maps(torch.rand(1, 1, 32, 32))) == 5
    assert len(measure.maps(torch.rand(1, 1, 5, 64))) == 3  # 5, 2, 1
    assert measure(torch.rand(1, 1, 1, 1)).isfinite().all()


def test_the_measure_gives_no_gradient() -> None:
    image = torch.rand(1, 1, 16, 16, requires_grad=True)
    assert not PyramidInformation()(image).requires_grad


def test_without_a_weight_file_the_substitute_is_used() -> None:
    assert isinstance(information_measure(), PyramidInformation)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="levels is a whole number of at least 1, got 0"):
        PyramidInformation(levels=0)
    with pytest.raises(ValueError, match=r"temperature is a number above 0, got -0.1"):
        PyramidInformation(temperature=-0.1)
