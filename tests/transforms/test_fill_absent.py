from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from spinefuse_ext.transforms import FillAbsentd
from spinefuse_ext.validation import ImageReadError

AFFINE = torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0]))


def image(value: float) -> MetaTensor:
    return MetaTensor(torch.full((1, 2, 3, 4), value), affine=AFFINE)


def test_an_absent_image_becomes_a_constant_of_the_size_and_place_of_the_other() -> None:
    filled = FillAbsentd(("ct", "mr"), value=(-1000, 0))({"mr": image(7), "label": 1})
    assert isinstance(filled["ct"], MetaTensor)
    assert (filled["ct"] == -1000).all()
    torch.testing.assert_close(filled["ct"].affine, filled["mr"].affine)
    assert (filled["mr"] == 7).all()
    assert filled["label"] == 1


def test_images_that_are_there_stay() -> None:
    data = {"ct": image(3), "mr": image(7)}
    filled = FillAbsentd(("ct", "mr"), value=-1000)(data)
    assert filled["ct"] is data["ct"]
    assert filled["mr"] is data["mr"]


def test_a_case_without_any_image_is_refused() -> None:
    with pytest.raises(ImageReadError, match="Expected one of the images ct, mr, got label"):
        FillAbsentd(("ct", "mr"))({"label": 1})
