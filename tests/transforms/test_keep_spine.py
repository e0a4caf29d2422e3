from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.transforms import KeepSpined
from spinefuse_ext.validation import ConfigError

LABELS = list(STRUCTURES.values())
SHAPE = (20, 24, 40)


def spine() -> NDArray[np.int64]:
    """Three vertebrae and two discs above each other, and the canal behind them with a gap of one voxel."""
    classes = np.zeros(SHAPE, np.int64)
    for level in range(3):
        classes[8:12, 10:16, 4 + 12 * level : 12 + 12 * level] = 1
        classes[8:12, 10:16, 12 + 12 * level : 16 + 12 * level] = 2 if level < 2 else 0
    classes[9:11, 7:9, 2:38] = 3
    return classes


def probability(classes: NDArray[np.int64], spacing_mm: float = 1.0, affine: NDArray[Any] | None = None) -> MetaTensor:
    one_hot = torch.nn.functional.one_hot(torch.as_tensor(classes), len(LABELS)).movedim(-1, 0)
    matrix = np.diag([spacing_mm] * 3 + [1.0]) if affine is None else affine
    return MetaTensor(one_hot * 0.9 + 0.1 / len(LABELS), affine=matrix, meta={"filename_or_obj": "x.nii"})


def kept(classes: NDArray[np.int64], spacing_mm: float = 1.0, **settings: Any) -> NDArray[np.int64]:
    given = probability(classes, spacing_mm, settings.pop("affine", None))
    found = KeepSpined("pred", labels=LABELS, **settings)({"pred": given})["pred"]
    torch.testing.assert_close(found.sum(0).as_tensor(), torch.ones(classes.shape))
    return np.asarray(found.argmax(0))


def test_a_spine_without_islands_stays_as_it_is() -> None:
    given = probability(spine())
    found = KeepSpined("pred", labels=LABELS)({"pred": given})["pred"]
    torch.testing.assert_close(found, given)
    assert found.meta["islands"] == {"dropped": 0, "ml": 0, "largest_ml": 0}


def test_islands_become_background_are_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    classes = spine()
    classes[0:2, 0:2, 0:2] = 1
    classes[17:19, 20:23, 30:32] = 3
    given = probability(classes, 2.0)
    with caplog.at_level(logging.INFO):
        found = KeepSpined("pred", labels=LABELS)({"pred": given})["pred"]
    assert (np.asarray(found.argmax(0)) == spine()).all()
    assert found.meta["islands"] == {"dropped": 2, "ml": 0.16, "largest_ml": 0.096}  # 8 + 12 voxels of 8 mm3
    assert "x.nii: islands apart from the spine were dropped: 2, 0.2 ml in all, the largest 0.1 ml" in caplog.text
    assert "set keep_spine" not in caplog.text
    assert given.argmax(0)[0, 0, 0] == 1  # the given prediction is not changed


def test_the_spine_is_what_holds_canal_and_vertebra_not_what_is_largest(caplog: pytest.LogCaptureFixture) -> None:
    classes = spine()
    classes[:, 19:, :] = 1  # larger than the spine: a table, bowel
    classes[15:18, 0:2, :] = 3  # more canal than in the spine
    assert (kept(classes, gap_mm=2) == spine()).all()
    assert "If the largest belongs to it, set keep_spine to false" in caplog.text


def test_much_canal_with_little_bone_is_no_spine() -> None:
    classes = spine()
    classes[15:, :, :] = 3  # fat of the belly, twenty times the canal of the spine
    classes[15:, :6, :6] = 1  # and a rib
    assert (classes[15:] == 1).sum() * (classes[15:] == 3).sum() > (spine() == 1).sum() * (spine() == 3).sum()
    assert (kept(classes, gap_mm=2) == spine()).all()


def test_a_large_part_of_which_the_network_is_not_sure_is_no_spine() -> None:
    classes = spine()
    classes[15:, :, :] = 1
    classes[15:, 20:, 20:] = 3  # a liver with more of vertebra and canal than the spine has
    given = probability(classes)
    one_hot = torch.nn.functional.one_hot(torch.as_tensor(classes[15:]), len(LABELS)).movedim(-1, 0)
    given[:, 15:] = one_hot * 0.3 + 0.7 / len(LABELS)
    found = KeepSpined("pred", labels=LABELS, gap_mm=2)({"pred": given})["pred"]
    assert (np.asarray(found.argmax(0)) == spine()).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_without_a_canal_what_reaches_farthest_along_the_body_stays(axis: int) -> None:
    classes = np.where(spine() == 3, 0, spine())
    expected = classes.copy()
    classes[15:20, 0:6, 0:20] = 2  # more voxels, shorter
    affine = np.eye(4)
    affine[:3, :3] = np.roll(np.eye(3), axis + 1, axis=1)  # S is voxel axis `axis`, whatever the order of the axes
    turned, wanted = (np.moveaxis(each, 2, axis) for each in (classes, expected))
    assert int(np.abs(affine[2, :3]).argmax()) == axis
    assert (kept(turned, affine=affine, gap_mm=1) == wanted).all()


def test_vertebrae_alone_are_a_column_though_nothing_joins_them() -> None:
    column = np.zeros((20, 24, 80), np.int64)
    for number in range(4):  # bodies 12 mm high, 8 mm apart, each 2 mm further to the front
        column[6:14, 6 + 2 * number : 16 + 2 * number, 20 * number : 20 * number + 12] = 1
    classes = column.copy()
    classes[16:20, 0:24, 40:51] = 1  # a table beside them, with more voxels than one of them
    classes[8:10, 8:10, 14:17] = 1  # a crumb between two of them
    assert (kept(classes, gap_mm=1) == column).all()


@pytest.mark.assets
@pytest.mark.parametrize("patient", ["VB1_AKs6_T1", "VB2_pat19_T2"])
def test_vertebral_bodies_of_a_real_lumbar_spine_all_stay(patient: str, assets: Path) -> None:
    file = nib.nifti1.load(assets / f"data/mr_spine/fastcleverseg_lumbar_1mm/{patient}_vertebrae.nii.gz")
    found = KeepSpined("pred", labels=LABELS).parts((np.asarray(file.dataobj) > 0).astype(np.int64), file.affine)
    assert found is not None
    assert found.islands == []


def test_a_canal_apart_from_all_bone_is_no_spine() -> None:
    classes = np.zeros(SHAPE, np.int64)
    classes[8:12, 10:16, 4:20] = 1
    bone = classes.copy()
    classes[0, 0, :] = 3
    assert (kept(classes) == bone).all()


def test_the_sacrum_belongs_to_the_spine_and_stays_with_it() -> None:
    classes = spine()
    classes[8:12, 10:16, 4:12] = 4  # the lowest of the three
    assert (kept(classes) == classes).all()
    alone = np.where(np.isin(classes, (3, 4)), classes, 0)  # below the last vertebra that the image shows
    with_island = alone.copy()
    with_island[17:19, 20:23, 30:32] = 1
    assert (kept(with_island) == alone).all()


@pytest.mark.parametrize(("gap", "stays"), [(3, True), (12, False)])
def test_a_gap_in_the_column_is_bridged_up_to_some_millimetres(gap: int, stays: bool) -> None:
    classes = np.zeros((10, 12, 60), np.int64)
    classes[3:7, 4:8, 0:24] = 1
    classes[3:7, 2, 0:24] = 3
    classes[3:7, 4:8, 24 + gap : 40 + gap] = 1
    assert (kept(classes) == classes).all() == stays
    assert (kept(classes, 0.2) == classes).all()  # 0.6 or 2.4 mm


def test_what_touches_at_a_corner_is_one_part_without_any_gap() -> None:
    classes = np.zeros((8, 8, 8), np.int64)
    classes[1:3, 1:3, 1:3], classes[3, 3, 3], classes[6, 6, 6] = 1, 3, 2
    found = kept(classes, gap_mm=0)
    assert found[3, 3, 3] == 3
    assert found[6, 6, 6] == 0


@pytest.mark.parametrize("left", [(), (3,)], ids=["nothing", "canal-only"])
def test_a_prediction_without_a_column_stays(left: tuple[int, ...]) -> None:
    classes = np.where(np.isin(spine(), left), spine(), 0)
    assert (kept(classes) == classes).all()


def test_other_labels_and_missing_keys_are_left_alone_and_a_negative_gap_is_refused() -> None:
    given = {"pred": probability(spine())}
    assert KeepSpined("pred", labels=["background", "a", "b", "c"])(given)["pred"] is given["pred"]
    assert KeepSpined("pred", labels=LABELS, allow_missing_keys=True)({}) == {}
    with pytest.raises(ConfigError, match="gap_mm is a number of at least 0, got -1"):
        KeepSpined("pred", labels=LABELS, gap_mm=-1)


def test_without_scipy_nothing_is_dropped_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("spinefuse_ext.transforms.keep_spine.installed", lambda package: False)
    classes = spine()
    classes[0, 0, 0] = 1
    assert (kept(classes) == classes).all()
    assert "needs the package scipy" in caplog.text
