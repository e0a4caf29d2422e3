from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from spinefuse_ext.cohort import prepare_cohort
from spinefuse_ext.cohort.plausibility import implausible_size, neighbour_spacing_mm
from spinefuse_ext.data import make_phantom
from spinefuse_ext.volumes import read_volume, write_volume


def discs(apart_mm: float, missing: tuple[int, ...] = (), number: int = 6, specks: bool = False) -> MetaTensor:
    """Discs (2) ``apart_mm`` from each other with vertebrae (1) between, on a sagittal grid of 1 x 1 x 4 mm."""
    values = np.zeros((24, 40, 260), np.float32)
    for place in range(number):
        middle = round(14 + place * apart_mm)
        values[6:18, 10:30, middle + 4 : middle + round(apart_mm) - 4] = 1
        if place not in missing:
            values[6:18, 10:30, middle - 3 : middle + 3] = 2
    if specks:
        values[2, 2, 5:250:9] = 2
    affine = np.array([[4.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return MetaTensor(
        torch.from_numpy(values)[None], affine=torch.from_numpy(affine), meta={"filename_or_obj": "l.nii"}
    )


@pytest.mark.parametrize("missing", [(), (2,), (1, 3)])
def test_discs_of_an_adult_are_plausible_even_where_some_are_not_labelled(missing: tuple[int, ...]) -> None:
    assert implausible_size(discs(36.0, missing)) == []
    assert implausible_size(discs(36.0, missing, specks=True)) == []


def test_discs_of_wrong_pixels_are_said_with_the_likely_factor() -> None:
    (said,) = implausible_size(discs(22.0))
    assert "l.nii: the centres of neighbouring discs lie 22.0 mm apart (median of 5), but 30 to 45 mm" in said
    assert "the voxels are probably not 4 x 1 x 1 mm but about 1.7 times as large; check PixelSpacing" in said
    assert "the centres of neighbouring discs lie 64.0 mm apart" in implausible_size(discs(64.0, number=4))[0]


@pytest.mark.parametrize(
    ("first", "apart_mm", "said"),
    [
        (20, 36.0, None),
        (20, 22.0, "vertebrae lie 22.0 mm apart (median of 4), but 30 to 45 mm in the lumbar spine"),
        (9, 24.0, None),
        (9, 12.0, "but 17 to 35 mm in the thoracic spine"),
        (2, 17.0, None),
        (2, 37.0, "but 13 to 24 mm in the cervical spine"),
    ],
)
def test_numbered_vertebrae_are_held_against_their_region(first: int, apart_mm: float, said: str | None) -> None:
    values = np.zeros((10, 10, 220), np.float32)
    for place in range(5):
        values[2:8, 2:8, 200 - round(place * apart_mm) : 206 - round(place * apart_mm)] = first + place
    label = MetaTensor(torch.from_numpy(values)[None], affine=torch.eye(4, dtype=torch.float64))
    found = implausible_size(label)
    assert found == [] if said is None else said in found[0]
    assert implausible_size(MetaTensor(label.as_tensor().flip(3), affine=label.affine)) == []  # counted from below


@pytest.mark.parametrize("cut", ["disc", "vertebra"])
def test_a_level_that_the_field_of_view_cuts_is_not_measured(cut: str) -> None:
    whole = discs(31.0, number=4).as_tensor()
    if cut == "vertebra":
        whole = torch.where(whole == 1, 23.0 - (torch.arange(whole.shape[3]) - 14) // 31, 0.0)
    middle = 14 + 31 if cut == "disc" else 14 + 15
    field = whole[..., middle + 1 : middle + 2 * 31]  # half of the lowest and the highest
    label = MetaTensor(field.contiguous(), affine=discs(31.0).affine)
    assert implausible_size(label) == []


def test_labels_that_say_nothing_of_levels_are_not_judged() -> None:
    for values in (np.zeros((4, 4, 4)), np.ones((4, 4, 4)), np.full((4, 4, 4), 201.0)):
        assert implausible_size(MetaTensor(torch.from_numpy(values)[None], affine=torch.eye(4))) == []


def test_distances_follow_the_line_of_the_spine_whatever_the_order() -> None:
    centres = np.array([[0, 0, 70.0], [0, 30, 110], [0, 0, 0], [0, 0, 35]])
    np.testing.assert_allclose(sorted(neighbour_spacing_mm(centres)), [35, 35, 50])
    assert neighbour_spacing_mm(centres[:1]).size == 0


def test_the_phantom_is_an_adult(tmp_path: Path) -> None:
    phantom = make_phantom(0, size_mm=(48, 64, 128), spacing_mm=2.0)
    nib.save(nib.Nifti1Image(phantom.label.numpy()[0], phantom.label.affine.numpy()), tmp_path / "label.nii.gz")
    label = read_volume(tmp_path / "label.nii.gz")
    assert (label == 2).any()
    assert implausible_size(label) == []
    label.affine = torch.diag(torch.tensor([0.64, 0.64, 0.64, 1.0], dtype=torch.float64)) @ label.affine
    assert "check PixelSpacing" in implausible_size(label)[0]


@pytest.mark.usefixtures("in_process")
def test_prepare_keeps_the_sentence_beside_the_case(phantoms: Path, write_table, tmp_path: Path) -> None:
    for name in ("ct", "mr", "label"):
        image = read_volume(phantoms / f"p1/{name}.nii.gz")
        if name == "label":  # three levels that lie whole in the small field
            image[:] = 0
            for middle in (5, 12, 19):
                image[..., middle : middle + 2] = 2
        image.affine = torch.diag(torch.tensor([0.6, 0.6, 0.6, 1.0], dtype=torch.float64)) @ image.affine
        write_volume(image, phantoms / f"p1/small_{name}.nii.gz")
    small = {name: f"p1/small_{name}.nii.gz" for name in ("ct", "mr", "label")}
    table = write_table(1, 2, p1={**small, "ct_landmarks": "", "mr_landmarks": ""}, p2={"label": "p2/label.nii.gz"})
    prepared = prepare_cohort(table, tmp_path / "out", validation=0, max_tre_mm=100, max_fre_mm=100, workers=1)
    warnings = [one.record["warnings"] if one.record else [] for one in prepared.outcomes]
    assert any("p1/small_label.nii.gz: the centres of neighbouring discs lie" in sentence for sentence in warnings[0])
    assert not any("neighbouring" in sentence for sentence in warnings[1])
