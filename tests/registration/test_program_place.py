from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spinefuse_ext.registration import Landmarks, landmarks_from_labels, read_landmarks, register_case, write_landmarks
from spinefuse_ext.transforms import ReadVolumed, RegisterPaird
from spinefuse_ext.validation import LandmarkError
from spinefuse_ext.volumes import read_volume

AFFINE = np.array([[2.0, 0, 0, -23], [0, 2, 0, -21], [0, 0, 2, -19], [0, 0, 0, 1]])
#: Where the second form of the header puts the same voxels.
OTHER = np.array([[0, -2.0, 0, 30], [2, 0, 0, -40], [0, 0, 2, 5], [0, 0, 0, 1]])
SHAPE = (24, 22, 20)
POINTS = np.array([[4, 4, 4], [18, 6, 9], [7, 16, 12], [12, 10, 16], [17, 15, 3]])  # voxels
NAMES = tuple(f"p{number}" for number in range(len(POINTS)))


def values() -> np.ndarray:
    place = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij"))
    return (
        400 + 200 * place[0] - 150 * place[1] + 100 * place[2] + 300 * np.exp(-8 * ((place - 0.3) ** 2).sum(0))
    ).astype(np.int16)


def write(path: Path, data: np.ndarray, sform: np.ndarray | None, qform: np.ndarray | None, code: int = 2) -> Path:
    image = nib.Nifti1Image(data, None)
    image.header.set_qform(AFFINE if qform is None else qform, 0 if qform is None else 1)
    image.header.set_sform(sform, 0 if sform is None else code)
    nib.save(nib.Nifti1Image(data, None, image.header), path)
    return path


def at(affine: np.ndarray) -> Landmarks:
    return Landmarks(NAMES, POINTS @ affine[:3, :3].T + affine[:3, 3])


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, Path]:
    """CT and MR of the same voxels; the sform of the MR is right by chance, its qform is where ITK puts it."""
    ct = write(tmp_path / "ct.nii.gz", values() - 600, AFFINE, AFFINE)
    return {"ct": ct, "mr": write(tmp_path / "mr.nii.gz", values(), AFFINE, OTHER)}


def registered(folder: Path, pair: dict[str, Path], **options: object) -> tuple[np.ndarray, list[str]]:
    register_case(pair["ct"], pair["mr"], folder / "out", **options)
    report = json.loads((folder / "out" / "registration.json").read_text())
    return read_volume(folder / "out" / "mr.nii.gz").numpy()[0], report["warnings"]


@pytest.mark.parametrize("suffix", [".mrk.json", ".fcsv"])
def test_points_of_slicer_are_read_where_slicer_shows_the_image(
    suffix: str, pair: dict[str, Path], tmp_path: Path
) -> None:
    write_landmarks(at(AFFINE), tmp_path / f"c{suffix}")
    write_landmarks(at(OTHER), tmp_path / f"m{suffix}")
    files = {"ct_landmarks": tmp_path / f"c{suffix}", "mr_landmarks": tmp_path / f"m{suffix}"}
    mr, warnings = registered(tmp_path, pair, **files)
    np.testing.assert_allclose(mr, values(), atol=1)
    assert any("place the image up to" in sentence for sentence in warnings)
    assert any("mr.nii.gz: placed as ITK and 3D Slicer place it" in sentence for sentence in warnings)


def test_points_of_a_table_are_read_where_the_sform_puts_the_image(pair: dict[str, Path], tmp_path: Path) -> None:
    for name in "cm":
        write_landmarks(at(AFFINE), tmp_path / f"{name}.csv")
    files = {"ct_landmarks": tmp_path / "c.csv", "mr_landmarks": tmp_path / "m.csv"}
    mr, warnings = registered(tmp_path, pair, **files)
    np.testing.assert_allclose(mr, values(), atol=1)
    assert any("place the image up to" in sentence for sentence in warnings)


def test_a_transform_of_itk_is_applied_where_itk_puts_the_images(pair: dict[str, Path], tmp_path: Path) -> None:
    write_landmarks(at(AFFINE), tmp_path / "c.fcsv")
    write_landmarks(at(OTHER), tmp_path / "m.fcsv")
    mr, _ = registered(tmp_path, pair, ct_landmarks=tmp_path / "c.fcsv", mr_landmarks=tmp_path / "m.fcsv")
    again, _ = registered(tmp_path / "again", pair, transform=tmp_path / "out" / "transform.tfm")
    np.testing.assert_allclose(again, mr, atol=1)


def test_an_image_of_one_place_is_not_moved(pair: dict[str, Path], tmp_path: Path) -> None:
    pair["mr"] = write(tmp_path / "one.nii.gz", values(), AFFINE, None)
    for name in "cm":
        write_landmarks(at(AFFINE), tmp_path / f"{name}.fcsv")
    mr, warnings = registered(tmp_path, pair, ct_landmarks=tmp_path / "c.fcsv", mr_landmarks=tmp_path / "m.fcsv")
    np.testing.assert_allclose(mr, values(), atol=1)
    assert not any("place" in sentence for sentence in warnings)


def test_a_bundle_places_the_images_likewise(pair: dict[str, Path], tmp_path: Path) -> None:
    write_landmarks(at(AFFINE), tmp_path / "c.fcsv")
    write_landmarks(at(OTHER), tmp_path / "m.fcsv")
    case = {**pair, "ct_landmarks": tmp_path / "c.fcsv", "mr_landmarks": tmp_path / "m.fcsv"}
    read = ReadVolumed(["ct", "mr"], modality=["CT", "MR"])(case)
    found = RegisterPaird("mr", "ct")(read)
    np.testing.assert_allclose(found["mr"].numpy()[0], values(), atol=1)


def test_landmarks_of_labels_lie_where_slicer_shows_the_labels(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:8, 5:8, 5:8] = 1
    path = write(tmp_path / "label.nii.gz", labels, AFFINE, OTHER)
    for name, affine in (("l.fcsv", OTHER), ("l.csv", AFFINE)):
        landmarks_from_labels(path, tmp_path / name)
        expected = affine[:3, :3] @ [6, 6, 6] + affine[:3, 3]
        np.testing.assert_allclose(read_landmarks(tmp_path / name).points_mm[0], expected, atol=1e-3)


def test_an_image_without_any_place_is_no_reason_to_trust_its_header(pair: dict[str, Path], tmp_path: Path) -> None:
    pair["mr"] = write(tmp_path / "lost.nii.gz", values(), None, None)
    with pytest.raises(LandmarkError, match=r"The header of .*lost.nii.gz does not say where the image lies"):
        register_case(pair["ct"], pair["mr"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    lost = {"ct": write(tmp_path / "lost_ct.nii.gz", values() - 600, None, None), "mr": pair["mr"]}
    mr, warnings = registered(tmp_path, lost)  # one grid, voxel by voxel
    np.testing.assert_allclose(mr, values(), atol=1)
    assert sum("says no place and no orientation" in sentence for sentence in warnings) == 2


def test_points_of_slicer_place_an_image_that_says_no_place(pair: dict[str, Path], tmp_path: Path) -> None:
    pair["mr"] = write(tmp_path / "lost.nii.gz", values(), None, None)
    shown = np.diag([-2.0, -2.0, 2.0, 1.0])  # from 0 on, along LPS
    write_landmarks(at(AFFINE), tmp_path / "c.fcsv")
    mirrored = at(shown)
    write_landmarks(mirrored, tmp_path / "m.fcsv")
    read = read_volume(pair["mr"])
    assert read.meta["placed"] is False
    mr, _ = registered(tmp_path, pair, ct_landmarks=tmp_path / "c.fcsv", mr_landmarks=tmp_path / "m.fcsv")
    np.testing.assert_allclose(mr, values(), atol=1)
