from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spinefuse_ext.data import make_phantom, write_phantom
from spinefuse_ext.registration import (
    Landmarks,
    fit_landmarks,
    landmarks_from_labels,
    read_landmarks,
    register_case,
    write_landmarks,
)
from spinefuse_ext.transforms import ReadVolumed, RegisterPaird
from spinefuse_ext.validation import LandmarkError
from spinefuse_ext.volumes import read_volume, write_volume

OTHER = np.array([-1.0, -1, 1])
AWAY_MM = {"ct": np.array([120.0, -90, 300]), "mr": np.array([-150.0, 60, -80])}
Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom whose CT and MR frames lie far apart, as those of two scanners may: no image is near the origin."""
    made = make_phantom(5, size_mm=(80, 96, 112), spacing_mm=2.0, landmarks_per_vertebra=4)
    folder = write_phantom(made, tmp_path_factory.mktemp("p") / "p", dicom=False)
    centres = landmarks_from_labels(folder / "vertebrae.nii.gz", folder / "ct_centres.csv")
    write_landmarks(Landmarks(centres.names, made.ct_to_mr(centres.points_mm)), folder / "mr_centres.csv")
    apart = folder.with_name("apart")
    apart.mkdir()
    for name, way in AWAY_MM.items():
        image = read_volume(folder / f"{name}.nii.gz")
        image.affine[:3, 3] += torch.from_numpy(way)
        write_volume(image, apart / f"{name}.nii.gz")
        points = read_landmarks(folder / f"{name}_landmarks.fcsv")
        write_landmarks(Landmarks(points.names, points.points_mm + way), apart / f"{name}_landmarks.fcsv")
    return folder


def inputs(folder: Path) -> dict[str, Path]:
    images = {name: folder / f"{name}.nii.gz" for name in ("ct", "mr")}
    return {**images, **{f"{name}_landmarks": folder / f"{name}_landmarks.fcsv" for name in ("ct", "mr")}}


def changed(given: dict[str, Path], folder: Path, **changes: Change) -> dict[str, Path]:
    """The inputs with the points of some lists changed, under the names ``ct.csv`` and ``mr.csv``."""
    for name, change in changes.items():
        points = read_landmarks(given[f"{name}_landmarks"])
        given[f"{name}_landmarks"] = folder / f"{name}.csv"
        write_landmarks(Landmarks(points.names, change(points.points_mm)), folder / f"{name}.csv")
    return given


def warnings(out: Path) -> list[str]:
    report: dict[str, Any] = json.loads((out / "registration.json").read_text())
    return report["warnings"]


def as_transform(matrix: np.ndarray, path: Path) -> Path:
    """An ITK file of a (4, 4) map in LPS."""
    numbers = " ".join(map(repr, [*matrix[:3, :3].ravel().tolist(), *matrix[:3, 3].tolist()]))
    path.write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: 0 0 0\n"
    )
    return path


def true_map_lps(folder: Path) -> np.ndarray:
    ct, mr = (read_landmarks(folder / f"{name}_landmarks.fcsv") for name in ("ct", "mr"))
    flip = np.diag([*OTHER, 1.0])
    return np.asarray(flip @ fit_landmarks(ct, mr).matrix @ flip)


@pytest.mark.parametrize("model", ["rigid", "affine", "per_vertebra"])
def test_right_landmarks_raise_no_doubt(model: str, phantom: Path, tmp_path: Path) -> None:
    for folder in (phantom, phantom.with_name("apart")):
        register_case(**inputs(folder), out=tmp_path / folder.name, model=model, field_spacing_mm=10)
        assert warnings(tmp_path / folder.name) == []


@pytest.mark.parametrize(
    ("changes", "condition"),
    [
        pytest.param({"mr": lambda p: p * OTHER}, "the points of .*mr.csv are read with x and y negated", id="mr-lps"),
        pytest.param({"ct": lambda p: p * OTHER}, "the points of .*ct.csv are read with x and y negated", id="ct-lps"),
        pytest.param(
            {"ct": lambda p: p * OTHER, "mr": lambda p: p * OTHER},
            "the points of both lists are read with x and y negated",
            id="both-lps",
        ),
        pytest.param({"ct": lambda p: p / 10}, "the points of .*ct.csv are read in centimetres", id="ct-cm"),
        pytest.param(
            {"ct": lambda p: p / 1000, "mr": lambda p: p / 1000},
            "the points of both lists are read in metres",
            id="both-metres",
        ),
    ],
)
def test_another_reading_of_points_is_named_where_it_explains_the_images(
    changes: dict[str, Change], condition: str, phantom: Path, tmp_path: Path
) -> None:
    register_case(**changed(inputs(phantom), tmp_path, **changes), out=tmp_path / "out")
    found = " ".join(warnings(tmp_path / "out"))
    assert re.search(f"if {condition}.*edge alignment 0.[0-9]+ instead of 0.[0-9]+", found)
    with pytest.raises(LandmarkError, match=f"lies wholly outside CT .*; they overlap if {condition}"):
        register_case(**changed(inputs(phantom.with_name("apart")), tmp_path, **changes), out=tmp_path / "out2")
    assert not (tmp_path / "out2").exists()


def test_voxel_indices_and_exchanged_lists_are_named(phantom: Path, tmp_path: Path) -> None:
    def indices(name: str) -> Change:
        inverse = np.linalg.inv(read_volume(phantom / f"{name}.nii.gz").affine.numpy())
        return lambda points: points @ inverse[:3, :3].T + inverse[:3, 3]

    given = changed(inputs(phantom), tmp_path, ct=indices("ct"), mr=indices("mr"))
    register_case(**given, out=tmp_path / "voxels")
    assert "if the points of both lists are read as voxel indices" in " ".join(warnings(tmp_path / "voxels"))
    given = inputs(phantom)
    given |= {"ct_landmarks": given["mr_landmarks"], "mr_landmarks": given["ct_landmarks"]}
    register_case(**given, out=tmp_path / "out")
    assert any("if the two point lists are exchanged" in sentence for sentence in warnings(tmp_path / "out"))


def test_levels_counted_from_another_vertebra_are_named(phantom: Path, tmp_path: Path) -> None:
    given = inputs(phantom)
    given |= {f"{role}_landmarks": phantom / f"{role}_centres.csv" for role in ("ct", "mr")}
    register_case(**given, out=tmp_path / "right")
    assert "each landmark" not in " ".join(warnings(tmp_path / "right"))
    points = read_landmarks(given["mr_landmarks"])  # the uppermost vertebra is missing, V01 is the next
    given["mr_landmarks"] = tmp_path / "mr.csv"
    write_landmarks(Landmarks(points.names[:-1], points.points_mm[1:]), given["mr_landmarks"])
    register_case(**given, out=tmp_path / "out")
    found = " ".join(warnings(tmp_path / "out"))
    assert "if each landmark of the MR is taken one level higher, the images agree better" in found


def test_a_transform_in_the_other_direction_or_system_is_named_and_the_direction_always_said(
    phantom: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images, right = {name: phantom / f"{name}.nii.gz" for name in ("ct", "mr")}, true_map_lps(phantom)
    flip = np.diag([*OTHER, 1.0])
    given = {"right": right, "inverse": np.linalg.inv(right), "ras": flip @ right @ flip}
    for name, matrix in given.items():
        with caplog.at_level(logging.INFO, logger="spinefuse_ext"):
            transform = as_transform(matrix, tmp_path / f"{name}.tfm")
            register_case(**images, transform=transform, out=tmp_path / name)
        report = json.loads((tmp_path / name / "registration.json").read_text())
        assert report["direction"].startswith("from CT (fixed) to MR (moving) points")
        assert "Direction of the transform: taken from CT (fixed) to MR (moving) points" in caplog.text
        assert "inverted, it gives edge alignment 0." in caplog.text
        caplog.clear()
    assert warnings(tmp_path / "right") == []
    assert "if the transform is inverted (it maps MR to CT points), the images" in " ".join(
        warnings(tmp_path / "inverse")
    )
    assert "if the transform is read in RAS, not LPS, the images agree" in " ".join(warnings(tmp_path / "ras"))


def test_implausible_poses_are_said_with_their_figures(phantom: Path, tmp_path: Path) -> None:
    images, right = {name: phantom / f"{name}.nii.gz" for name in ("ct", "mr")}, true_map_lps(phantom)
    middle = np.eye(4)
    middle[:3, 3] = (read_volume(phantom / "ct.nii.gz").affine.numpy() @ [20, 24, 20, 1])[:3] * OTHER
    turned, larger, far = np.diag([-1.0, 1, -1, 1]), np.diag([1.5, 1.5, 1.5, 1]), np.eye(4)
    far[2, 3] = 115.0
    for name, about in (("turned", turned), ("larger", larger)):
        matrix = right @ middle @ about @ np.linalg.inv(middle)
        register_case(**images, transform=as_transform(matrix, tmp_path / f"{name}.tfm"), out=tmp_path / name)
    register_case(**images, transform=as_transform(right @ far, tmp_path / "far.tfm"), out=tmp_path / "far")
    found = {name: " ".join(warnings(tmp_path / name)) for name in ("turned", "larger", "far")}
    assert "turns the MR by 17" in found["turned"] or "turns the MR by 180" in found["turned"]
    assert "stretches the patient by factors of 1.50 to 1.50, but a body keeps its size" in found["larger"]
    assert "CT and MR hardly overlap after registration" in found["far"]


def test_points_outside_their_own_image_are_named(phantom: Path, tmp_path: Path) -> None:
    def one_off(points: np.ndarray) -> np.ndarray:
        return np.vstack([points[:1] + np.array([0, 0, 150]), points[1:]])

    given = changed(inputs(phantom), tmp_path, mr=one_off)
    register_case(**given, out=tmp_path / "out")
    name = read_landmarks(given["mr_landmarks"]).names[0]
    found = " ".join(warnings(tmp_path / "out"))
    assert f"1 of 16 landmarks of {tmp_path / 'mr.csv'} lie outside the image" in found
    assert f"that they should be set on ({name} by 40 mm)" in found
    assert "probably meant" not in found  # one wrong point is no wrong file


def test_the_step_of_a_config_says_the_same(phantom: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = changed(inputs(phantom), tmp_path, mr=lambda points: points * OTHER)
    case = {f"landmarks_{name}": str(given[f"{name}_landmarks"]) for name in ("ct", "mr")}
    read = ReadVolumed(["ct", "mr"], modality=["CT", "MR"])
    with caplog.at_level(logging.INFO, logger="spinefuse_ext"):
        RegisterPaird("mr", "ct")(read({"ct": str(given["ct"]), "mr": str(given["mr"]), **case}))
    assert "mr.csv are read with x and y negated" in caplog.text
