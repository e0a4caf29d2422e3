from __future__ import annotations

import shutil
from pathlib import Path

import itk
import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy.interpolate import RBFInterpolator

from spinefuse_ext.registration import read_transform
from spinefuse_ext.validation import MissingPathError, TransformError

LPS = np.array([-1.0, -1.0, 1.0])
HEADER = "#Insight Transform File V1.0\n"
POINTS = np.array([[0.0, 0.0, 0.0], [12.0, -30.0, 44.0], [-25.0, 8.0, -3.0]])


def text(*transforms: tuple[str, ArrayLike, ArrayLike]) -> str:
    """An ITK text file of (kind, parameters, fixed parameters)."""
    parts = [HEADER]
    for number, (kind, parameters, fixed) in enumerate(transforms):
        rows = (" ".join(map(repr, np.ravel(values).tolist())) for values in (parameters, fixed))
        parts.append(
            f"#Transform {number}\nTransform: {kind}\n" + "Parameters: {}\nFixedParameters: {}\n".format(*rows)
        )
    return "".join(parts)


def linear(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    matrix = np.eye(3) + 0.1 * rng.standard_normal((3, 3))
    return matrix, rng.standard_normal(3) * 10


def landmarks(rng: np.random.Generator, count: int = 7) -> tuple[np.ndarray, np.ndarray]:
    source = rng.uniform(-50, 50, (count, 3))
    return source, source + rng.standard_normal((count, 3)) * 4


def thin_plate(source: np.ndarray, target: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Bookstein's spline with the kernel of 3-D, U(r) = r, and an affine part, from its formula."""
    return RBFInterpolator(source, target, kernel="linear", degree=1)(points)


@pytest.mark.parametrize(
    "kind", ["AffineTransform_double_3_3", "Rigid3DTransform_double_3_3", "MatrixOffsetTransformBase_double_3_3"]
)
def test_a_linear_transform_works_on_ras_points(kind: str, rng: np.random.Generator, tmp_path: Path) -> None:
    matrix, offset = linear(rng)
    (tmp_path / "t.tfm").write_text(text((kind, [*matrix.ravel(), *offset], [0, 0, 0])))
    found = read_transform(tmp_path / "t.tfm")(POINTS)
    np.testing.assert_allclose(found, ((POINTS * LPS) @ matrix.T + offset) * LPS, atol=1e-9)


def test_a_thin_plate_transform_is_its_formula_and_meets_its_landmarks(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    source, target = landmarks(rng)
    (tmp_path / "t.tfm").write_text(text(("ThinPlateSplineKernelTransform_double_3_3", source, target)))
    transform = read_transform(tmp_path / "t.tfm")
    np.testing.assert_allclose(transform(source * LPS), target * LPS, atol=1e-9)
    np.testing.assert_allclose(transform(POINTS), thin_plate(source, target, POINTS * LPS) * LPS, atol=1e-8)


@pytest.mark.parametrize("suffix", [".h5", ".tfm"])
def test_a_thin_plate_inside_a_composite_applies_after_the_one_added_later(
    suffix: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    source, target = landmarks(rng)
    (tmp_path / "plate.tfm").write_text(text(("ThinPlateSplineKernelTransform_double_3_3", source, target)))
    shift = itk.AffineTransform[itk.D, 3].New()
    shift.Translate([1.0, 2.0, 3.0])
    composite = itk.CompositeTransform[itk.D, 3].New()
    composite.AddTransform(read_transform(tmp_path / "plate.tfm").transform)
    composite.AddTransform(shift)
    itk.transformwrite(composite, str(tmp_path / f"t{suffix}"))
    found = read_transform(tmp_path / f"t{suffix}")(POINTS)
    expected = thin_plate(source, target, POINTS * LPS + [1, 2, 3]) * LPS
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_an_old_bspline_is_added_to_its_affine_part(rng: np.random.Generator, tmp_path: Path) -> None:
    matrix, offset = linear(rng)
    coefficients = rng.standard_normal(3 * 6**3)
    grid = [6, 6, 6, -100, -100, -100, 40, 40, 40, *np.eye(3).ravel()]
    old = ("BSplineDeformableTransform_double_3_3", coefficients, grid)
    (tmp_path / "warp.tfm").write_text(text(old))
    (tmp_path / "both.tfm").write_text(text(old, ("AffineTransform_double_3_3", [*matrix.ravel(), *offset], [0, 0, 0])))
    displacement = read_transform(tmp_path / "warp.tfm")(POINTS) - POINTS
    assert np.abs(displacement).max() > 0.1
    expected = ((POINTS * LPS) @ matrix.T + offset) * LPS + displacement
    np.testing.assert_allclose(read_transform(tmp_path / "both.tfm")(POINTS), expected, atol=1e-8)


def test_a_displacement_field_moves_by_its_vectors(tmp_path: Path) -> None:
    upwards = np.tile([0.0, 0.0, 5.0], 27)  # in LPS and RAS alike
    grid = [3, 3, 3, -50, -50, -50, 50, 50, 50, *np.eye(3).ravel()]
    (tmp_path / "t.tfm").write_text(text(("DisplacementFieldTransform_double_3_3", upwards, grid)))
    itk.transformwrite(read_transform(tmp_path / "t.tfm").transform, str(tmp_path / "t.h5"))
    for name in ("t.tfm", "t.h5"):
        np.testing.assert_allclose(read_transform(tmp_path / name)(POINTS), POINTS + np.array([0, 0, 5]), atol=1e-9)


IDENTITY = [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]
PLATE = "ThinPlateSplineKernelTransform_double_3_3"
AFFINE = "AffineTransform_double_3_3"
FLAT = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 7, 0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("", "is no transform file that ITK reads", id="empty"),
        pytest.param("<html></html>", "is no transform file that ITK reads", id="html"),
        pytest.param(HEADER, "is no transform file that ITK reads, or it is damaged|holds 0 transforms", id="headed"),
        pytest.param(text((AFFINE, IDENTITY[:7], [0, 0, 0])), "ITK reads, or it is damaged", id="short"),
        pytest.param(text(("AffineTransform_double_2_2", [1, 0, 0, 1, 0, 0], [0, 0])), "holds a 2-D", id="2-d"),
        pytest.param(text((AFFINE, IDENTITY, [0] * 3), (AFFINE, IDENTITY, [0] * 3)), "holds 2 transforms", id="list"),
        pytest.param(text((AFFINE, [0] * 12, [0, 0, 0])), "flattens space", id="singular"),
        pytest.param(text((f"Inverse{PLATE}", FLAT, FLAT)), "holds only the inverse .*press Invert", id="inverse"),
        pytest.param(text((PLATE, FLAT, FLAT)), "lie in one plane", id="flat-landmarks"),
        pytest.param(text((PLATE, FLAT, FLAT[:3])), "got 12 and 9 coordinates", id="unequal-landmarks"),
        pytest.param(
            text(("BSplineDeformableTransform_double_3_3", np.zeros(90), [6] * 9 + [1, 0, 0, 0, 1, 0, 0, 0, 1])),
            r"got 90 for the grid \[6, 6, 6\]",
            id="bspline-cut-off",
        ),
        pytest.param(text(("SwirlTransform_double_3_3", [1], [0])), "of the kind SwirlTransform_double_3_3", id="kind"),
    ],
)
def test_malformed_files_are_refused_in_one_sentence(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.tfm").write_text(content)
    with pytest.raises(TransformError, match=f"bad.tfm.*({message})") as caught:
        read_transform(tmp_path / "bad.tfm")
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.nii").write_text("")
    with pytest.raises(TransformError, match=r"expected a name that ends in .tfm, .h5, .hdf5, .txt, .mat"):
        read_transform(tmp_path / "t.nii")
    with pytest.raises(MissingPathError, match=r"Transform file .*absent.tfm does not exist"):
        read_transform(tmp_path / "absent.tfm")
    (tmp_path / "t.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40))
    with pytest.raises(TransformError, match=r"t.h5 is no transform file that ITK reads"):
        read_transform(tmp_path / "t.h5")


def test_points_of_another_shape_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.tfm").write_text(text((AFFINE, IDENTITY, [0, 0, 0])))
    transform = read_transform(tmp_path / "t.tfm")
    assert transform(np.empty((0, 3))).shape == (0, 3)
    with pytest.raises(ValueError, match=r"points \(N, 3\), got \(3,\)"):
        transform(np.zeros(3))


@pytest.mark.assets
def test_published_transforms_are_read(assets: Path, tmp_path: Path) -> None:
    folder = assets / "data/landmarks_transforms"
    plate = read_transform(folder / "slicer_transforms/TpsTransform.h5")
    source, target = (
        np.array(list(values)).reshape(-1, 3) * LPS
        for values in (plate.transform.GetParameters(), plate.transform.GetFixedParameters())
    )
    assert len(source) == 9
    np.testing.assert_allclose(plate(source), target, atol=1e-9)
    turn = read_transform(folder / "slicer_transforms/rotation.tfm")(np.array([[0.0, 0.0, 10.0]]))
    np.testing.assert_allclose(turn, [[0, 5, 10 * np.sqrt(3) / 2]], atol=1e-9)  # 30 degrees about x
    text_form, binary = (
        read_transform(folder / f"slicer_transforms/{name}")
        for name in ("BSplineLinearCompositeTransform.h5", "Bspline-f-m.tfm")
    )
    assert np.isfinite(text_form(POINTS)).all()
    assert np.isfinite(binary(POINTS)).all()
    shutil.copy(folder / "elastix_transforms/TransformParameters.txt", tmp_path)
    with pytest.raises(TransformError, match="is a parameter file of elastix, not a transform of ITK"):
        read_transform(tmp_path / "TransformParameters.txt")
