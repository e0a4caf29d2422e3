from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.transforms import ScaleByModalityd
from spinefuse_ext.transforms.body import body_mask
from spinefuse_ext.validation import ConfigError


def volume(voxels: NDArray[Any], **meta: str) -> MetaTensor:
    return MetaTensor(torch.as_tensor(np.asarray(voxels, np.float32))[None], meta={"filename_or_obj": "x.nii", **meta})


def scaled(voxels: NDArray[Any], key: str = "fused", *, modality: str = "", **settings: Any) -> NDArray[np.float32]:
    return ScaleByModalityd(key, **settings)({key: volume(voxels, modality=modality)})[key].as_tensor()[0].numpy()


def ct() -> NDArray[np.float32]:
    """Air at -1000 around soft tissue of 40 with a bone of 700."""
    image = np.full((12, 16, 16), -1000.0, np.float32)
    image[:, 4:12, 4:12] = 40
    image[:, 7:9, 7:9] = 700
    return image


def mr(rng: np.random.Generator, noise: float = 4.0) -> NDArray[np.float32]:
    """A body of 100 to 300 with dark bone and a bright canal inside, in the noise of air."""
    image = np.abs(rng.normal(0, noise, (12, 40, 40))).astype(np.float32) + 0.5
    image[:, 8:32, 8:32] = rng.uniform(100, 300, (12, 24, 24))
    image[2:10, 16:20, 16:24] = rng.uniform(5, 20, (8, 4, 8))
    image[2:10, 22:24, 16:24] = rng.uniform(800, 1000, (8, 2, 8))
    return image


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("key", "modality"),
    [("ct", ""), ("fused", "CT"), ("fused", ""), ("ct", "CT")],
    ids=["key", "dicom", "values", "key-and-dicom"],
)
def test_a_ct_is_scaled_by_its_window_however_it_is_known(key: str, modality: str) -> None:
    found = scaled(ct(), key, modality=modality)
    assert np.unique(found) == pytest.approx([0, 240 / 1200, 900 / 1200])  # (v + 200) / 1200, air clipped
    soft = scaled(ct(), key, modality=modality, ct_window_hu=(-160, 240))
    assert np.unique(soft) == pytest.approx([0, 0.5, 1])


def test_what_the_values_decide_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        scaled(ct())
        assert "x.nii has air at -1000, so it is taken as a CT in HU" in caplog.text
        caplog.clear()
        scaled(np.where(ct() < 0, -120, ct()))  # cropped inside the patient: fat, no air
        assert "values down to -120 but no air at -1000" in caplog.text
        assert "image key ct" in caplog.text
        caplog.clear()
        scaled(ct(), "ct")
        scaled(np.where(ct() < 0, 0, ct()))
        assert not caplog.text


def test_a_padded_mr_that_looks_like_a_ct_and_a_shifted_ct_are_warned_of(
    rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    patient = np.concatenate([ct(), np.full((12, 16, 4), -100.0)], axis=2)  # with fat
    scaled(patient)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    scaled(np.where(mr(rng) < 20, -1024, mr(rng)))
    assert "taken as a CT in HU" in caplog.text
    assert "no fat, so this may be padding; give an MR the image key mr" in caplog.text
    caplog.clear()
    assert scaled(patient + 1024).max() == 1
    assert "x.nii looks like a CT whose values lie 1024 too high (intercept missing)" in caplog.text
    assert "image key ct" in caplog.text


def test_padding_far_below_air_is_still_a_ct_and_signed_mr_is_none(rng: np.random.Generator) -> None:
    padded = ct()
    padded[:, :2] = -3024
    assert np.unique(scaled(padded)) == pytest.approx([0, 240 / 1200, 900 / 1200])
    phase = rng.uniform(-4096, 4096, (12, 24, 24))
    assert 0.4 < scaled(phase).mean() < 0.6  # by a window nearly half would be 1 and half 0


def test_the_key_or_the_header_of_an_mr_keep_it_from_the_window(rng: np.random.Generator) -> None:
    image = mr(rng) - 1000  # air that looks like that of a CT
    assert scaled(image, "mr")[:, 10:30, 10:30].std() > 0.1
    assert scaled(image, "fused", modality="MR") == pytest.approx(scaled(image, "mr"))


@pytest.mark.parametrize("value", [0.0, -3.0, 0.5, None], ids=["zeros", "negative", "air", "lowest-value"])
@pytest.mark.parametrize("width", [3, 30])
def test_padding_of_an_mr_changes_nothing(rng: np.random.Generator, value: float | None, width: int) -> None:
    image = mr(rng)
    if value == -3.0:
        image = image - 3.5  # an image with values below 0, padded with its air
        value = float(np.quantile(image, 0.3))
    padded = np.pad(image, width, constant_values=image.min() if value is None else value)
    inside = tuple(slice(width, -width) for _ in range(3))
    assert scaled(padded)[inside] == pytest.approx(scaled(image), abs=1e-6)


def test_more_air_with_the_noise_of_the_scanner_changes_nothing(rng: np.random.Generator) -> None:
    image = mr(rng)
    wide = np.abs(rng.normal(0, 4, [3 * size for size in image.shape])).astype(np.float32) + 0.5
    inside = tuple(slice(size, 2 * size) for size in image.shape)
    wide[inside] = image
    assert scaled(wide)[inside] == pytest.approx(scaled(image), abs=1e-6)


def test_the_body_has_its_dark_bone_and_no_air(rng: np.random.Generator) -> None:
    body = body_mask(mr(rng))
    expected = np.zeros_like(body)
    expected[:, 8:32, 8:32] = True
    assert (body == expected).all()


def test_air_above_zero_and_bright_fat_do_not_hide_the_body(rng: np.random.Generator) -> None:
    image = mr(rng, noise=1.0) + 35  # a stored offset
    image[:, 8:12, 8:32] = rng.uniform(500, 1200, (12, 4, 24))
    body = body_mask(image)
    assert body[:, 8:32, 8:32].all()
    assert body.mean() < 0.4


def test_percentiles_by_hand() -> None:
    image = np.zeros((2, 12, 12), np.float32)
    image[:, 1:11, 1:11] = 200
    image[:, 2:10, 2:10] = np.arange(101, 165).reshape(8, 8)  # 200 voxels of body, 72 of them 200
    found = scaled(image, percentiles=(0, 100))[0]
    assert (found[2, 2], found[1, 1]) == (0, 1)
    assert found[2, 3] == pytest.approx(1 / 99)
    narrow = scaled(image, percentiles=(10, 90))[0]
    assert narrow[3, 5] == pytest.approx((112 - 110.9) / (200 - 110.9), abs=1e-5)  # rank 19.9 of 101, 101, 102, 102 ...


def test_a_change_of_unit_changes_nothing(rng: np.random.Generator) -> None:
    image = mr(rng)
    assert scaled(7.5 * image) == pytest.approx(scaled(image), abs=1e-5)


@pytest.mark.parametrize("value", [0.0, 100.0, -1000.0])
def test_a_constant_image_becomes_zero_and_one_of_two_values_zero_and_one(value: float) -> None:
    image = np.full((4, 8, 8), value)
    assert not scaled(image, "mr").any()
    image[1:3, 2:6, 2:6] = value + 5
    assert sorted(np.unique(scaled(image, "mr"))) == [0, 1]


def test_a_single_slice_and_slices_alone(rng: np.random.Generator) -> None:
    image = mr(rng)
    assert scaled(image[5:6]) == pytest.approx(scaled(image[5:6].transpose(1, 2, 0)).transpose(2, 0, 1))
    assert body_mask(image[5:6])[0, 8:32, 8:32].all()


def test_meta_type_and_other_keys_stay_and_the_item_too(rng: np.random.Generator) -> None:
    image = volume(mr(rng), modality="MR").double()
    before = image.clone()
    found = ScaleByModalityd(["mr", "ct"], allow_missing_keys=True)({"mr": image, "patient": "p"})
    assert found["patient"] == "p"
    assert found["mr"].meta == image.meta
    assert found["mr"].dtype == torch.float32
    torch.testing.assert_close(image, before)
    assert (found["mr"].min(), found["mr"].max()) == (0, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ct_window_hu": (100, 100)}, "ct_window_hu needs a lower and a higher number"),
        ({"ct_window_hu": "wide"}, "ct_window_hu needs a lower and a higher number, got wide"),
        ({"percentiles": (99, 1)}, "percentiles needs a lower and a higher number"),
        ({"percentiles": (-1, 99)}, "percentiles needs numbers from 0 to 100"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScaleByModalityd("mr", **settings)
