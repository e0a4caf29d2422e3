from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from pydicom.data import get_testdata_file

from spinefuse_ext.dicom import find_series, read_series
from spinefuse_ext.registration import resample, trust_headers
from spinefuse_ext.validation import ImageReadError, MissingPathError
from spinefuse_ext.volumes import read_volume


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


def test_a_tilted_gantry_is_set_upright(tmp_path: Path, write_series, caplog: pytest.LogCaptureFixture) -> None:
    ramp = np.broadcast_to(np.arange(0, 200, 10)[:, None], (4, 20, 4)).copy()  # value 20 * (y / 0.5 mm) - 1024
    write_series(tmp_path, tilt_mm=0.2, stored=ramp)
    with caplog.at_level(logging.INFO):
        image = read_series(tmp_path)
    np.testing.assert_allclose(image.affine.numpy()[:3, 2], [0, 0, 3], atol=1e-9)
    assert "tilted by 11.3 degrees" in caplog.text  # atan(0.2)
    values = image.numpy()[0]
    assert values.shape == (4, 24, 4)  # 1.8 mm of drift are 3.6 pixels of 0.5 mm
    voxels = np.argwhere(values > -1000 - 1e-3)
    posterior_mm = -(image.affine.numpy() @ np.c_[voxels, np.ones(len(voxels))].T)[1]
    in_slice_mm = posterior_mm - (-20 + 0.2 * voxels[:, 2] * 3)  # from the first row of the slice, which drifts
    whole = (in_slice_mm >= 0) & (in_slice_mm <= 9.5)
    assert whole.sum() >= 4 * 4 * 18
    np.testing.assert_allclose(values[tuple(voxels[whole].T)], 40 * in_slice_mm[whole] - 1024, atol=1e-2)


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
        ImageReadError, match=r"exactly one series, but 2 fit; it holds CT 'small CT' .4 slices.*MR 'small MR'"
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
        (
            (0.0, 3.0, 9.0, 12.0),
            r"3.000 mm apart, but gaps reach from 3.000 to 6.000 mm; 1 slice is missing between CT2 and CT0",
        ),
        ((0.0, 3.0, 7.0, 10.0), "the slices are unevenly spaced or shifted"),
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
        ("PixelData", b"", r"CT. is damaged: .* but it has 0"),
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


def _edit(path: Path, **tags: object) -> None:
    image = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(image, name, value)
    image.save_as(path)


def test_a_series_is_chosen_by_description_number_or_uid(tmp_path: Path, write_series) -> None:
    write_series(tmp_path / "a", SeriesDescription="Bone", SeriesNumber=3, SeriesInstanceUID="1.2.3", patient="p3")
    write_series(tmp_path / "b", SeriesDescription="Soft", SeriesNumber=4, SeriesInstanceUID="1.2.4", patient="p4")
    uids = {series.patient_id: series.uid for series in find_series(tmp_path)}
    for name, patient in (("bone", "p3"), ("4", "p4"), (uids["p4"], "p4")):
        assert read_volume(tmp_path, "CT", series=name).meta["patient_id"] == patient
    with pytest.raises(ImageReadError, match=r"'Bone' .number 3, 4 slices.*'Soft' .number 4, .*number, description or"):
        read_series(tmp_path, "CT")
    with pytest.raises(ImageReadError, match="exactly one CT series lung, but 0 fit"):
        read_series(tmp_path, "CT", series="lung")


def test_scouts_are_passed_over_as_series_and_inside_one(
    tmp_path: Path, write_series, caplog: pytest.LogCaptureFixture
) -> None:
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
    stored = write_series(tmp_path / "ct", SeriesInstanceUID="1.2.3.4")
    write_series(tmp_path / "scout", (0.0,), SeriesInstanceUID="1.2.3.5", **scout)
    np.testing.assert_array_equal(read_series(tmp_path, "CT").numpy()[0], 2 * stored.T - 1024)
    write_series(tmp_path / "inside", (0.0, 3.0), SeriesInstanceUID="1.2.3.4", **scout)
    np.testing.assert_array_equal(read_series(tmp_path, "CT").numpy()[0], 2 * stored.T - 1024)
    assert "localizer images" in caplog.text
    write_series(tmp_path / "turned", (0.0,), SeriesInstanceUID="1.2.3.4", ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    with pytest.raises(ImageReadError, match=r"CT0 .1 of 5 images. has another orientation"):
        read_series(tmp_path, "CT")


def test_copies_of_an_image_count_once_but_empty_uids_are_no_copies(tmp_path: Path, write_series) -> None:
    stored = write_series(tmp_path)
    shutil.copy(tmp_path / "CT1", tmp_path / "CT1 copy")
    np.testing.assert_array_equal(read_series(tmp_path).numpy()[0], 2 * stored.T - 1024)
    (tmp_path / "CT1 copy").unlink()
    for path in tmp_path.iterdir():
        _edit(path, SOPInstanceUID="")
    np.testing.assert_array_equal(read_series(tmp_path).numpy()[0], 2 * stored.T - 1024)


def test_padding_that_the_header_names_becomes_air_at_the_edge_only(tmp_path: Path, write_series) -> None:
    stored = np.full((4, 5, 4), 500)
    stored[:, 0], stored[:, 2, 2] = 7, 7  # a row at the edge and a voxel inside, both 2 * 7 - 1024
    write_series(tmp_path, stored=stored, PixelPaddingValue=7)
    for path in tmp_path.iterdir():
        image = pydicom.dcmread(path)
        image["PixelPaddingValue"].VR = "SS"
        image.save_as(path)
    values = read_series(tmp_path).numpy()[0]
    assert (values[:, 0] == -1000).all()
    assert (values[2, 2] == 2 * 7 - 1024).all()


@pytest.mark.parametrize(
    ("modality", "photometric", "message"),
    [("MR", "MONOCHROME1", r"grey values inverted .MONOCHROME1."), ("CT", "PALETTE COLOR", "is a colour picture")],
)
def test_pictures_that_are_no_plain_grey_are_refused(
    modality: str, photometric: str, message: str, tmp_path: Path, write_series
) -> None:
    write_series(tmp_path, modality=modality, PhotometricInterpretation=photometric)
    with pytest.raises(ImageReadError, match=message):
        read_series(tmp_path)


def test_a_ct_displayed_inverted_keeps_its_hounsfield_units(tmp_path: Path, write_series) -> None:
    stored = write_series(tmp_path, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_series(tmp_path).numpy()[0], 2 * stored.T - 1024)


def test_a_cut_off_file_is_refused_in_one_sentence(tmp_path: Path, write_series) -> None:
    write_series(tmp_path, stored=np.zeros((4, 40, 40), int))
    (tmp_path / "CT1").write_bytes((tmp_path / "CT1").read_bytes()[:-1600])
    with pytest.raises(ImageReadError, match=r"CT1 is damaged: .* 3200 bytes, but it has 1600"):
        read_series(tmp_path)
    (tmp_path / "CT1").write_bytes((tmp_path / "CT2").read_bytes()[:220])
    with pytest.raises(ImageReadError, match=r"CT1 .CT Image Storage. breaks off in its header"):
        read_series(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom describes the damage
def test_a_damaged_header_is_refused_in_one_sentence(tmp_path: Path) -> None:
    content = Path(get_testdata_file("CT_small.dcm")).read_bytes()
    damaged = content.replace(b"\x10\x00\x20\x00LO", b"\x10\x00\x20\x00L\x8b")  # the type of the PatientID
    (tmp_path / "x.dcm").write_bytes(damaged)
    with pytest.raises(ImageReadError, match=r"x.dcm begins as DICOM, but its header is damaged; export it again"):
        find_series(tmp_path)
    (tmp_path / "x.dcm").write_bytes(content.replace(b"UI", b"??", 3))  # not even the kind of file can be read
    with pytest.raises(ImageReadError, match="holds no DICOM image series"):
        read_series(tmp_path)


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm"])
def test_compressed_images_hold_what_the_plain_one_holds(name: str, tmp_path: Path) -> None:
    plain = pydicom.dcmread(get_testdata_file("MR_small.dcm", download=False))
    shutil.copy(get_testdata_file(name, download=False), tmp_path)
    np.testing.assert_array_equal(read_series(tmp_path).numpy()[0, ..., 0], plain.pixel_array.T)


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


@pytest.mark.parametrize("cut", ["pixels", "file", "element"])
def test_pixels_that_are_too_few_are_refused_by_the_file(cut: str, tmp_path: Path, write_series) -> None:
    write_series(tmp_path)
    path = tmp_path / "CT2"
    if cut == "file":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        image = pydicom.dcmread(path)
        image.PixelData = image.PixelData[:-10]
        if cut == "element":
            del image.PixelData
        image.save_as(path)
    said = "holds no pixels, or is cut off" if cut == "element" else "claims 4 x 5 pixels in 40 bytes, but it has 30"
    with pytest.raises(ImageReadError, match=f"CT2 .*{said}"):
        read_series(tmp_path)


def test_a_number_with_a_decimal_comma_is_refused_by_file_and_tag(tmp_path: Path, write_series) -> None:
    write_series(tmp_path, PixelSpacing=[2.5, 2.5])
    path = tmp_path / "CT2"
    path.write_bytes(path.read_bytes().replace(b"2.5\\2.5", b"2,5\\2.5"))
    with pytest.raises(ImageReadError, match=r"CT2 has .*2,5.* for its PixelSpacing, which is no number"):
        read_series(tmp_path)


@pytest.mark.parametrize("shifted", [True, False])
def test_values_stored_in_the_upper_bits_are_refused_but_not_a_wrong_high_bit(
    shifted: bool, tmp_path: Path, write_series
) -> None:
    stored = np.random.default_rng(1).integers(0, 1000, (4, 5, 4))
    write_series(tmp_path, stored=stored * 16 if shifted else stored, BitsStored=12, HighBit=15, PixelRepresentation=0)
    if shifted:
        with pytest.raises(ImageReadError, match=r"CT. is damaged: its values are stored 4 bits too high"):
            read_series(tmp_path)
    else:
        np.testing.assert_array_equal(read_series(tmp_path).numpy()[0], 2 * stored.T - 1024)
