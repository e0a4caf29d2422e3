"""The levels of a phantom's CT and MR, paired by name or by bones and images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from spinefuse_ext.data.phantom import make_phantom, make_phantom_labels
from spinefuse_ext.levels import Levels, find_levels
from spinefuse_ext.levels.pairing import NumberedScan, pair_levels
from spinefuse_ext.registration.bone_surface import Numbered
from spinefuse_ext.validation import LevelsError

SIZE_MM = (104.0, 110.0, 130.0)


@pytest.fixture(scope="module")
def scans() -> tuple[NumberedScan, NumberedScan]:
    """L2 to L5 in both, the sacrum at the edge; the CT's levels are counted, the MR's named by the sacrum."""
    phantom = make_phantom(5, size_mm=SIZE_MM, spacing_mm=2.0)
    labels = make_phantom_labels(5, size_mm=SIZE_MM, spacing_mm=2.0, scanned=True)
    ct, mr = (
        scan(name, image, label)
        for name, image, label in (("ct", phantom.ct, labels.label), ("mr", phantom.mr, labels.moved_label))
    )
    return ct, mr


def scan(name: str, image: MetaTensor, label: MetaTensor) -> NumberedScan:
    affine = label.affine.numpy()
    numbers, levels = find_levels(label.numpy()[0].astype(np.uint8), affine, name=name)
    return NumberedScan(name, image, Numbered(numbers.astype(np.int32), affine), levels)


def renamed(levels: Levels, names: tuple[str, ...]) -> Levels:
    """The vertebrae with these names, as if a sacrum had told."""
    bones = iter(names)
    kept = [replace(each, name=next(bones)) for each in levels.levels if each.kind == "vertebra"]
    return replace(levels, levels=tuple(kept), relative=False, named_by="the sacrum")


def test_counted_levels_are_paired_by_bones_and_images(scans: tuple[NumberedScan, NumberedScan]) -> None:
    found = pair_levels(*scans)
    assert [bone.name for bone in found.bones][:4] == ["L2", "L3", "L4", "L5"]
    assert found.evidence.startswith("bones and images decided; mutual information ")
    assert not found.doubts


def test_names_pair_levels_and_one_that_the_images_contradict_is_refused(
    scans: tuple[NumberedScan, NumberedScan],
) -> None:
    ct, mr = scans
    right = replace(ct, levels=renamed(ct.levels, ("L2", "L3", "L4", "L5")))
    other = replace(mr, levels=renamed(mr.levels, ("L2", "L3", "L4", "L5")))
    found = pair_levels(right, other)
    assert [bone.name for bone in found.bones] == ["L2", "L3", "L4", "L5"]
    assert found.evidence.startswith("both scans are named (the sacrum; the sacrum)")
    shifted = replace(mr, levels=renamed(mr.levels, ("L1", "L2", "L3", "L4")))
    with pytest.raises(LevelsError, match=r"contradict the images.*one level above the right ones.*--ct_anchor"):
        pair_levels(right, shifted)
    told = pair_levels(replace(right, given=True), replace(shifted, given=True))
    assert len(told.doubts) == 1
    assert "look at both scans" in told.doubts[0]


def test_what_images_do_not_tell_is_refused(scans: tuple[NumberedScan, NumberedScan]) -> None:
    ct, mr = scans
    noise = MetaTensor(torch.rand_like(mr.image.as_tensor().float()), affine=mr.image.affine)
    with pytest.raises(LevelsError, match=r"Nothing tells surely which vertebra of the CT ct is which of the MR mr"):
        pair_levels(ct, replace(mr, image=noise))


def test_scans_of_two_parts_of_a_spine_are_refused(scans: tuple[NumberedScan, NumberedScan]) -> None:
    ct, mr = scans
    neck = replace(ct, levels=renamed(ct.levels, ("C3", "C4", "C5", "C6")))
    loins = replace(mr, levels=renamed(mr.levels, ("L2", "L3", "L4", "L5")))
    with pytest.raises(LevelsError, match=r"No vertebra is seen in both scans: the CT ct shows C3, .* the MR mr L2, "):
        pair_levels(neck, loins)
