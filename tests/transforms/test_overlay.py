from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from monai.data import MetaTensor
from numpy.typing import NDArray
from skimage.color import rgb2ycbcr

from spinefuse_ext.data import CaseLayout
from spinefuse_ext.transforms import SaveOverlayd
from spinefuse_ext.validation import ConfigError

SHAPE = (6, 20, 10)
SPACING_MM = (4.0, 1.0, 3.0)


def case(root: Path) -> dict[Hashable, Any]:
    """A dark volume with bone in the anterior superior quarter and MR signal in the posterior inferior one."""
    pair = torch.zeros(2, *SHAPE)
    pair[0, 1:5, 12:18, 6:9] = 0.9
    pair[1, 1:5, 2:8, 1:4] = 0.8
    meta = {"filename_or_obj": str(root / "anna" / "ct_dicom")}
    affine = torch.diag(torch.tensor([*SPACING_MM, 1.0], dtype=torch.float64))
    fused = MetaTensor(pair.amax(0, keepdim=True) * 0.5 + 0.1, affine=affine, meta=dict(meta))
    return {"image": MetaTensor(pair, affine=affine, meta=dict(meta)), "pred": fused}


def write(root: Path, **options: Any) -> list[Path]:
    layout = CaseLayout(root / "out", "overlay", root, extension="")
    SaveOverlayd("pred", "image", layout, **options)(case(root))
    return sorted((root / "out" / "anna" / "overlay").iterdir())


def picture(path: Path) -> NDArray[np.float64]:
    return np.asarray(imread(path), dtype=np.float64)[..., :3]


def saturation(image: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ptp(image, axis=-1)


@pytest.mark.parametrize(
    ("axis", "plane", "width_mm", "height_mm"),
    [(0, "sagittal", 20, 30), (1, "coronal", 24, 30), (2, "axial", 24, 20)],
)
def test_pictures_have_the_proportions_of_the_patient(
    axis: int, plane: str, width_mm: float, height_mm: float, tmp_path: Path
) -> None:
    paths = write(tmp_path, slice_axis=axis, slices=2)
    assert len(paths) == 2
    assert all(path.name.startswith(plane) for path in paths)
    height, width, _ = picture(paths[0]).shape
    assert max(height, width) == 768
    assert width / height == pytest.approx(width_mm / height_mm, rel=0.005)


def test_no_stored_pixel_is_lost(tmp_path: Path) -> None:
    data = {key: torch.nn.functional.interpolate(image[None], (1, 900, 40))[0] for key, image in case(tmp_path).items()}
    SaveOverlayd("pred", "image", CaseLayout(tmp_path, "overlay", tmp_path, extension=""), slices=1)({**data})
    assert imread(tmp_path / "anna" / "overlay" / "sagittal_000.png").shape[:2] == (120, 900)


def test_slices_are_evenly_spaced_over_those_that_show_both(tmp_path: Path) -> None:
    assert [path.name for path in write(tmp_path, slices=4)] == [f"sagittal_{index:03d}.png" for index in (1, 2, 3, 4)]
    assert [path.name for path in write(tmp_path, slices=2)] == ["sagittal_002.png", "sagittal_004.png"]
    assert [path.name for path in write(tmp_path, slices=1)] == ["sagittal_003.png"]
    assert len(write(tmp_path, slices=40)) == 4


def test_bone_is_outlined_anterior_left_and_superior_up_over_a_grey_picture(tmp_path: Path) -> None:
    image = picture(write(tmp_path, slices=1)[0])
    height, width, _ = image.shape
    coloured = saturation(image) > 0.1
    rows, columns = np.nonzero(coloured)
    assert rows.max() < height / 2
    assert columns.max() < width / 2
    assert 0 < coloured.mean() < 0.1  # an outline, not an area
    inside = image[int(height * 2.5 / 10), int(width * 5 / 20)]
    np.testing.assert_allclose(inside, 0.55, atol=0.01)


def test_bone_starts_at_150_hu_of_the_ct_window(tmp_path: Path) -> None:
    """The CT channel of 0.9 is 880 HU in a window up to 1000 HU, and 130 HU in one from -500 to 200 HU."""
    assert (saturation(picture(write(tmp_path, slices=1, ct_window_hu=(-200, 1000))[0])) > 0.1).any()
    assert not (saturation(picture(write(tmp_path, slices=1, ct_window_hu=(-500, 200))[0])) > 0.1).any()


def test_mr_gives_colour_and_the_fused_image_the_brightness(tmp_path: Path) -> None:
    image = picture(write(tmp_path, slices=1, style="mr_colour")[0])
    height, width, _ = image.shape
    bone, mr = image[height // 4, width // 4], image[int(height * 0.75), int(width * 0.75)]
    np.testing.assert_allclose(bone, 0.55, atol=0.01)
    assert mr[0] > mr[1] > mr[2]
    luma = (rgb2ycbcr(image)[..., 0] - 16) / 219
    assert luma[int(height * 0.75), int(width * 0.75)] == pytest.approx(0.5, abs=0.01)


def test_pictures_of_an_earlier_run_are_replaced(tmp_path: Path) -> None:
    write(tmp_path, slices=4)
    assert [path.name for path in write(tmp_path, slices=1, style="mr_colour")] == ["sagittal_003.png"]
    assert [path.name for path in (tmp_path / "out" / "anna").iterdir()] == ["overlay"]


def test_a_case_where_nothing_is_shown_still_gets_its_pictures(tmp_path: Path) -> None:
    layout = CaseLayout(tmp_path, "overlay", tmp_path, extension="")
    data: dict[Hashable, Any] = {key: image * 0 for key, image in case(tmp_path).items()}
    SaveOverlayd("pred", "image", layout, slices=3)(data)
    assert len(list((tmp_path / "anna" / "overlay").iterdir())) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slices": 0}, "slices is a whole number of at least 1, got 0"),
        ({"style": "rainbow"}, "style cannot be 'rainbow'.* one of bone_edges, mr_colour"),
        ({"ct_window_hu": (-160, 100)}, "Bone, from 150 HU, has no edge in a CT window from -160 to 100 HU"),
    ],
)
def test_unusable_settings_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        write(tmp_path, **options)


def test_volumes_of_two_grids_are_refused(tmp_path: Path) -> None:
    data = case(tmp_path)
    data["pred"] = data["pred"][..., 1:]
    with pytest.raises(ValueError, match="Expected one common shape"):
        SaveOverlayd("pred", "image", CaseLayout(tmp_path, "overlay", tmp_path, extension=""))(data)
