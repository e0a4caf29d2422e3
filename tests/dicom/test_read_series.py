from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch

from spinefuse_ext.dicom import find_series, read_series, read_volume
from spinefuse_ext.registration import resample, trust_headers
from spinefuse_ext.validation import ImageReadError, MissingPathError


def test_values_are_hounsfield_units_at_their_place_in_ras(tmp_path: Path, write_series) -> None:
    stored = write_series(tmp_path / "ct")
    image = read_series(tmp_path / "ct")
    assert image.shape == (1, 4, 5, 4)
    np.testing.assert_array_equal(image.numpy()[0], 2 * stored.T - 1024)  # (slice, row, column) -> (x, y, z)
    # x steps along columns, 0.75 mm to the patient's left (-R); y along rows, 0.5 mm to the back (-A)
    expected = [[-0.75, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 3, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(image.affine.numpy(), expected)
    assert image.meta["patient_id"] == "p1"
    assert image.meta["frame_of_reference"] == "1.2.3"
    assert len(image.meta["source_files"]) == 4


@pytest.mark.parametrize("heights", [(9.0, 0.0, 6.0, 3.0), (9.0, 6.0, 3.0, 0.0)])
def test_slices_are_ordered_by_position(heights: tuple[float, ...], tmp_path: Path, write_series) -> None:
    stored = write_series(tmp_path, heights)
    np.testing.assert_array_equal(read_series(tmp_path).numpy()[0], 2 * stored[np.argsort(heights)].T - 1024)


def test_a_tilted_gantry_keeps_its_shear(tmp_path: Path, write_series) -> None:
    write_series(tmp_path, tilt_mm=0.2)
    np.testing.assert_allclose(read_series(tmp_path).affine.numpy()[:3, 2], [0, -0.2 * 3, 3], atol=1e-9)


def test_one_slice_takes_its_thickness(tmp_path: Path, write_series) -> None:
    write_series(tmp_path, (5.0,))
    image = read_series(tmp_path)
    assert image.shape == (1, 4, 5, 1)
    np.testing.assert_allclose(image.affine.numpy()[:3, 2], [0, 0, 3])


def test_series_are_found_in_folders_below_and_other_files_passed_over(tmp_path: Path, write_series) -> None:
    write_series(tmp_path / "a", modality="MR", patient="p7")
    write_series(tmp_path / "b")
    (tmp_path / "notes.txt").write_text("no image")
    found = find_series(tmp_path)
    assert [(s.modality, s.description, s.patient_id, s.number_of_files) for s in found] == [
        ("CT", "small CT", "p1", 4),
        ("MR", "small MR", "p7", 4),
    ]
    assert read_series(tmp_path, "MR").meta["patient_id"] == "p7"
    assert read_series(tmp_path, uid=found[0].uid).meta["modality"] == "CT"


def test_a_choice_is_never_guessed(tmp_path: Path, write_series) -> None:
    write_series(tmp_path / "a", modality="MR")
    write_series(tmp_path / "b")
    with pytest.raises(
        ImageReadError, match=r"exactly one series, but 2 fit; it holds CT 'small CT' .4 files.*MR 'small MR'"
    ):
        read_series(tmp_path)
    with pytest.raises(ImageReadError, match=r"exactly one PT series, but 0 fit; it holds CT"):
        read_series(tmp_path, "PT")


def test_folders_without_a_series_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ImageReadError, match="holds no DICOM image series"):
        read_series(tmp_path)
    with pytest.raises(MissingPathError, match=r"DICOM folder .*absent does not exist"):
        read_series(tmp_path / "absent")


@pytest.mark.parametrize(
    ("heights", "message"),
    [
        ((0.0, 3.0, 9.0, 12.0), r"3.000 mm apart, but gaps reach from 3.000 to 6.000 mm; a slice is missing"),
        ((0.0, 3.0, 3.0, 6.0), "several images at one position"),
    ],
)
def test_incomplete_stacks_are_refused(heights: tuple[float, ...], message: str, tmp_path: Path, write_series) -> None:
    write_series(tmp_path, heights)
    with pytest.raises(ImageReadError, match=message):
        read_series(tmp_path)


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        ("ImagePositionPatient", None, "has no ImagePositionPatient"),
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, -1], "has another orientation, spacing or size"),
        ("PixelSpacing", [1, 1], "has another orientation, spacing or size"),
        ("NumberOfFrames", 2, "holds several frames"),
        ("PixelData", b"", "cannot be decoded"),
    ],
)
def test_a_slice_that_does_not_belong_is_refused(
    tag: str, value: object, message: str, tmp_path: Path, write_series
) -> None:
    write_series(tmp_path)
    path = tmp_path / "CT3"
    image = pydicom.dcmread(path)
    setattr(image, tag, value)
    image.save_as(path)
    with pytest.raises(ImageReadError, match=message):
        read_series(tmp_path)


@pytest.mark.assets
def test_a_compressed_clinical_series_lies_where_its_label_says(assets: Path) -> None:
    folder = assets / "data/ct_spine/totalseg_t11_t12_dicom"
    ct = read_series(folder, "CT")
    label = read_volume(next(folder.glob("*seg*.nii.gz")))
    assert np.sign(ct.affine[1, 1]) != np.sign(label.affine[1, 1])  # the label is stored with y flipped
    on_label = resample(ct, trust_headers(), label)
    vertebrae = (label == 32) | (label == 33)  # T12 and T11
    placed = on_label[vertebrae].mean()
    misplaced = [torch.flip(on_label, [axis])[vertebrae].mean() for axis in (1, 2, 3)]
    misplaced += [torch.roll(on_label, 20, axis)[vertebrae].mean() for axis in (1, 2)]
    assert placed > 250  # HU: bone
    assert max(misplaced) < 200


@pytest.mark.assets
def test_slices_stored_downwards_match_a_mask_stored_upwards(assets: Path) -> None:
    folder = assets / "data/ct_spine/dcmqi_ct3slice_seg"
    ct, mask = read_series(folder, "CT"), read_volume(folder / "spine_seg.nrrd")
    np.testing.assert_allclose(ct.affine, mask.affine, atol=1e-3)
    assert ct[mask > 0].mean() > 150 > torch.flip(ct, [2])[mask > 0].mean()


@pytest.mark.assets
def test_an_oblique_series_keeps_its_directions(assets: Path) -> None:
    image = read_series(assets / "data/mr_spine/fnndsc_head_neck_sag_dicom")
    assert image.shape == (1, 256, 256, 41)
    np.testing.assert_allclose(np.linalg.norm(image.affine.numpy()[:3, :3], axis=0), [0.859, 0.859, 0.9], atol=1e-3)
    directions = image.affine.numpy()[:3, :2] / 0.859375 * [[-1], [-1], [1]]
    np.testing.assert_allclose(directions.T, [[0.054, 0.965, 0.257], [0.018, 0.256, -0.967]], atol=1e-3)
