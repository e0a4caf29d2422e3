from __future__ import annotations

import json
from pathlib import Path

import itk
import numpy as np
import pytest
from monai.data import MetaTensor

from spinefuse_ext.registration import (
    Landmarks,
    fit_landmarks,
    read_transform,
    register_case,
    use_transform,
    write_landmarks,
    write_transform,
)
from spinefuse_ext.validation import LandmarkError, MissingPathError, SpinefuseError, TransformError
from spinefuse_ext.volumes import write_volume

CT_POINTS = np.array([[4.0, 5, 16], [12, -5, -6], [-14, 15, 6], [4, 5, -20], [0, 0, 3]])
NAMES = ("L1", "L2", "L3", "L4", "L5")


@pytest.fixture
def images(fixed: MetaTensor, tmp_path: Path) -> dict[str, Path]:
    for name in ("ct", "mr"):
        write_volume(fixed, tmp_path / f"{name}.nii.gz")
    return {"ct": tmp_path / "ct.nii.gz", "mr": tmp_path / "mr.nii.gz", "out": tmp_path / "out"}


def bent() -> np.ndarray:
    return CT_POINTS + [2, -1, 0.5] + 0.004 * CT_POINTS[:, 2:] ** 2 * [1, 0, 0]


@pytest.mark.parametrize(("model", "name"), [("affine", "t.tfm"), ("thin_plate", "t.h5")])
def test_what_register_wrote_gives_the_same_registration_again(
    model: str, name: str, images: dict[str, Path], fixed: MetaTensor, tmp_path: Path
) -> None:
    fit = fit_landmarks(Landmarks(NAMES, CT_POINTS), Landmarks(NAMES, bent()), model)
    write_transform(fit, tmp_path / name, grid=fixed)
    again = register_case(**images, transform=tmp_path / name)
    report = json.loads((images["out"] / "registration.json").read_text())
    assert (report["method"], report["model"]) == ("transform file", "transform_file")
    assert report["transform"] == str(tmp_path / name)
    assert again.is_linear == (model == "affine")
    np.testing.assert_allclose(again.mapping(CT_POINTS), fit.mapping(CT_POINTS), atol=1e-6 if again.is_linear else 0.1)
    assert (images["out"] / ("transform.tfm" if again.is_linear else "transform.h5")).is_file()
    written = read_transform(images["out"] / ("transform.tfm" if again.is_linear else "transform.h5"))
    np.testing.assert_allclose(written(CT_POINTS), again.mapping(CT_POINTS), atol=0.1)


def test_the_matrix_of_a_bent_transform_is_the_rigid_map_nearest_to_it(fixed: MetaTensor, tmp_path: Path) -> None:
    fit = fit_landmarks(Landmarks(NAMES, CT_POINTS), Landmarks(NAMES, CT_POINTS + np.array([3, 4, 5])), "thin_plate")
    write_transform(fit, tmp_path / "t.h5", grid=fixed)
    np.testing.assert_allclose(
        use_transform(tmp_path / "t.h5", fixed).matrix[:3], np.c_[np.eye(3), [3, 4, 5]], atol=1e-6
    )


def write_affine(path: Path, diagonal: list[float], offset: list[float]) -> Path:
    transform = itk.AffineTransform[itk.D, 3].New()
    transform.SetMatrix(itk.matrix_from_array(np.diag(diagonal)))
    transform.SetOffset(offset)
    itk.transformwrite(transform, str(path))
    return path


def test_transforms_that_no_patient_makes_are_refused(images: dict[str, Path], tmp_path: Path) -> None:
    mirror = write_affine(tmp_path / "mirror.tfm", [-1.0, 1, 1], [0, 0, 0])
    with pytest.raises(TransformError, match=r"mirror.tfm mirrors the patient \(negative determinant\)"):
        register_case(**images, transform=mirror)
    far = write_affine(tmp_path / "far.tfm", [1.0, 1, 1], [0, 0, 500])
    with pytest.raises(LandmarkError, match=r"far.tfm brings the MR .* wholly outside CT .*, so invert it"):
        register_case(**images, transform=far)
    with pytest.raises(MissingPathError, match=r"Transform file .*none.tfm does not exist"):
        register_case(**images, transform=tmp_path / "none.tfm")
    assert not images["out"].exists()


def test_a_transform_beside_landmarks_is_refused(images: dict[str, Path], tmp_path: Path) -> None:
    write_landmarks(Landmarks(NAMES, CT_POINTS), tmp_path / "p.csv")
    still = write_affine(tmp_path / "still.tfm", [1.0, 1, 1], [0, 0, 0])
    with pytest.raises(SpinefuseError, match=r"Expected landmarks or a transform file, got both \(.*still.tfm and"):
        register_case(**images, transform=still, ct_landmarks=tmp_path / "p.csv", mr_landmarks=tmp_path / "p.csv")


def test_a_model_without_landmarks_is_named_in_the_warnings(images: dict[str, Path], tmp_path: Path) -> None:
    register_case(**images, transform=write_affine(tmp_path / "t.tfm", [1.0, 1, 1], [0, 0, 0]), model="affine")
    report = json.loads((images["out"] / "registration.json").read_text())
    assert report["warnings"] == ["the model affine was not used, because no landmarks were given"]
