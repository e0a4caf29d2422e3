from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import ResampleToMatch

from spinefuse_ext.transforms import ResampleToGridd


def image(shape: tuple[int, ...], affine: torch.Tensor, name: str) -> MetaTensor:
    return MetaTensor(torch.rand(2, *shape), affine=affine, meta={"filename_or_obj": name})


def turned(angle: float, sizes: tuple[float, float, float], origin: tuple[float, float, float]) -> torch.Tensor:
    affine = torch.eye(4, dtype=torch.float64)
    affine[:2, :2] = torch.tensor([[1, -angle], [angle, 1]], dtype=torch.float64) / (1 + angle**2) ** 0.5
    affine[:3, :3] *= torch.tensor(sizes, dtype=torch.float64)
    affine[:3, 3] = torch.tensor(origin, dtype=torch.float64)
    return affine


@pytest.mark.parametrize("slab", [1, 300, 10**6])
@pytest.mark.parametrize(
    "affine",
    [
        turned(0, (1, 1, 1), (0, 0, 0)),
        turned(0.3, (2.1, 0.7, 0.9), (4, -3, 2)),
        turned(-0.9, (-1.3, 1, 1.2), (9, 2, -1)),
        turned(0, (1, 1, 1), (500, 0, 0)),
    ],
    ids=["same", "turned", "mirrored", "elsewhere"],
)
def test_it_equals_monai_whatever_the_slabs(slab: int, affine: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spinefuse_ext.transforms.resample_to_grid.SLAB_VOXELS", slab)
    torch.manual_seed(0)
    ct = image((14, 11, 9), turned(0.1, (1, 1.5, 1), (-2, -3, 0)), "ct")
    mr = image((8, 12, 10), affine, "mr")
    expected = ResampleToMatch(mode="bilinear", padding_mode="zeros")(mr, img_dst=ct)
    assert isinstance(expected, MetaTensor)
    placed = ResampleToGridd("mr", key_dst="ct")({"ct": ct, "mr": mr})["mr"]
    torch.testing.assert_close(placed.as_tensor(), expected.as_tensor(), atol=1e-5, rtol=0)
    torch.testing.assert_close(placed.affine, ct.affine)
    assert placed.meta["filename_or_obj"] == "mr"
    assert placed.dtype == torch.float32


def test_an_image_that_touches_only_the_border_of_a_slab_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spinefuse_ext.transforms.resample_to_grid.SLAB_VOXELS", 1)
    ct = MetaTensor(torch.zeros(1, 12, 4, 4), affine=torch.eye(4))
    for place in (3.4, 3.6, 4.0, -0.6, 11.6):
        mr = MetaTensor(torch.ones(1, 1, 4, 4), affine=turned(0, (1, 1, 1), (place, 0, 0)))
        expected = ResampleToMatch(mode="bilinear", padding_mode="zeros")(mr, img_dst=ct)
        placed = ResampleToGridd("mr", key_dst="ct")({"ct": ct, "mr": mr})["mr"]
        torch.testing.assert_close(placed.as_tensor(), torch.as_tensor(expected), atol=1e-6, rtol=0)
        assert placed.sum() > 0
