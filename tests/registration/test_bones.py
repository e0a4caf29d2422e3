"""Bones of one phantom in two postures, by their true labels on the grids of both scanners."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from spinefuse_ext.data.phantom import PhantomLabels, make_phantom_labels
from spinefuse_ext.registration.bone_fit import fit_bones
from spinefuse_ext.registration.bone_motions import Bone, bone_motions
from spinefuse_ext.registration.bone_surface import Numbered, bone_surface
from spinefuse_ext.registration.linear import LinearMap
from spinefuse_ext.registration.models import Model
from spinefuse_ext.validation import LandmarkError

LEVELS = ("L2", "L3", "L4")


@pytest.fixture(scope="module")
def phantom() -> PhantomLabels:
    return make_phantom_labels(5, size_mm=(104, 110, 130), spacing_mm=2.0, scanned=True)


def volumes(phantom: PhantomLabels) -> list[Numbered]:
    return [
        Numbered(image.numpy()[0].astype(np.int32), image.affine.numpy())
        for image in (phantom.vertebrae, phantom.moved_vertebrae)
    ]


def bones_of(phantom: PhantomLabels, ct: Numbered, mr: Numbered) -> list[Bone]:
    """L2, L3 and L4, from the head down."""
    found = []
    for rank, name in enumerate(LEVELS):
        place = [bone.name for bone in phantom.spine.vertebrae].index(name)
        number = phantom.spine.vertebrae[place].number
        surfaces = [bone_surface(volume, number) for volume in (ct, mr)]
        assert surfaces[0] is not None
        assert surfaces[1] is not None
        centres = (posture.frames[place, :3, 3] for posture in (phantom.motion.fixed, phantom.motion.moved))
        found.append(Bone(name, rank, surfaces[0], surfaces[1], *centres))
    return found


def true_matrix(phantom: PhantomLabels, name: str) -> NDArray[np.float64]:
    place = [bone.name for bone in phantom.spine.vertebrae].index(name)
    return np.asarray(phantom.motion.matrices[place])


def apart_mm(bone: Bone, one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(LinearMap(one)(bone.fixed.points) - LinearMap(other)(bone.fixed.points), axis=1).max())


def test_surfaces_bring_each_bone_to_its_place(phantom: PhantomLabels) -> None:
    for motion in bone_motions(bones_of(phantom, *volumes(phantom))):
        assert motion.trusted
        assert motion.alignment is not None
        assert apart_mm(motion.bone, motion.alignment.matrix, true_matrix(phantom, motion.bone.name)) < 1.0


def test_a_thicker_label_moves_nothing(phantom: PhantomLabels) -> None:
    ct, mr = volumes(phantom)
    bone = bones_of(phantom, ct, mr)[1]
    inner = replace(bone.moving, _distances=bone.moving._distances + np.float32(0.8))
    motions = bone_motions([replace(bone, moving=inner), bones_of(phantom, ct, mr)[2]])
    assert motions[0].alignment is not None
    assert motions[0].alignment.thicker_mm < -0.3
    assert apart_mm(bone, motions[0].alignment.matrix, true_matrix(phantom, bone.name)) < 1.5


def test_what_hardly_is_labelled_follows_its_neighbours_and_is_named(phantom: PhantomLabels) -> None:
    ct, mr = volumes(phantom)
    bones = bones_of(phantom, ct, mr)
    number = int(ct.numbers[tuple(np.rint(np.linalg.inv(ct.affine) @ [*bones[0].fixed_centre_mm, 1])[:3].astype(int))])
    numbers = mr.numbers.copy()
    places = np.argwhere(numbers == number)
    gone = places[places[:, 0] > np.quantile(places[:, 0], 0.2)]
    numbers[tuple(gone.T)] = 0
    part = bone_surface(Numbered(numbers, mr.affine), number)
    assert part is not None
    found = fit_bones([replace(bones[0], moving=part), *bones[1:]])
    assert [record.follows for record in found.records] == [True, False, False]
    assert len(found.fit.warnings) == 1
    assert found.fit.warnings[0].startswith("L2 follows its neighbours, for ")
    assert found.fit.names == ("L3", "L4")
    assert apart_mm(bones[0], found.records[0].matrix, true_matrix(phantom, "L2")) < 8.0


def test_what_moves_unlike_its_neighbours_follows_them(phantom: PhantomLabels) -> None:
    bones = bones_of(phantom, *volumes(phantom))
    motions = bone_motions(bones)
    assert motions[2].alignment is not None
    wrong = motions[2].alignment.matrix.copy()
    wrong[0, 3] += 15.0
    motions[2] = replace(motions[2], alignment=replace(motions[2].alignment, matrix=wrong))
    found = fit_bones(bones, motions=motions)
    assert any("unlike its neighbours" in warning for warning in found.fit.warnings)
    assert sum(record.follows for record in found.records) == 1


@pytest.mark.parametrize("model", list(Model))
def test_bones_carry_every_model(phantom: PhantomLabels, model: Model) -> None:
    found = fit_bones(bones_of(phantom, *volumes(phantom)), model)
    assert found.fit.model == model
    assert found.fit.names == LEVELS
    assert found.fit.is_linear == (model in (Model.RIGID, Model.SIMILARITY, Model.AFFINE))
    assert found.fit.fre_mm.max() < 4.0
    assert np.isfinite(found.fit.tre_mm).all()
    report = found.records[0].to_dict()
    assert 0 < report["uncertainty_mm"] < 4
    assert "uncertainty mm" in found.summary()


def test_without_a_bone_that_fits_it_is_refused(phantom: PhantomLabels) -> None:
    bones = bones_of(phantom, *volumes(phantom))
    motions = [replace(each, doubts=("it is a test",)) for each in bone_motions(bones)]
    with pytest.raises(LandmarkError, match=r"No vertebra of the CT can be laid.*L2: it is a test.*check the labels"):
        fit_bones(bones, motions=motions)
