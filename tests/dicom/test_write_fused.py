from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from itertools import permutations
from pathlib import Path
from typing import Any

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from nibabel.eulerangles import euler2mat
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from spinefuse_ext.dicom import StudyHeader, read_series, write_fused, write_seg, write_series
from spinefuse_ext.validation import (
    FusedSeriesError,
    GridMismatchError,
    ImageReadError,
    MissingPathError,
    OutputError,
    PatientMismatchError,
    SourceError,
)
from spinefuse_ext.volumes import write_volume
from tests.dicom_files.enhanced import as_enhanced

STUDY = StudyHeader(patient_id="P-7", patient_name="Doe^Jo", patient_sex="F")
SHAPE = (7, 6, 5)
AXIAL = np.array([[0.7, 0, 0, -12.5], [0, 0.8, 0, 30.25], [0, 0, 2.5, 41], [0, 0, 0, 1]])
SAGITTAL = np.array([[0, 0, 3.5, -12.5], [-0.8, 0, 0, 30.25], [0, -0.9, 0, 41], [0, 0, 0, 1]])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = euler2mat(0.3, -0.2, 0.5) @ np.diag([0.7, 0.8, 2.5])
OBLIQUE[:3, 3] = -12, 30, 41
PLANES = {"axial": AXIAL, "sagittal": SAGITTAL, "oblique": OBLIQUE}
HALF_STEP = 0.5 / 10000 + 1e-6

Validate = Callable[[Path], list[str]]


def _fused(affine: np.ndarray = AXIAL, shape: tuple[int, ...] = SHAPE) -> MetaTensor:
    voxels = np.random.default_rng(3).random((1, *shape), dtype=np.float32)
    return MetaTensor(torch.from_numpy(voxels), affine=torch.as_tensor(affine))


def _series(folder: Path, affine: np.ndarray = AXIAL, *, modality: str = "CT", study: StudyHeader = STUDY) -> Path:
    image = MetaTensor(torch.zeros(1, *SHAPE), affine=torch.as_tensor(affine))
    return write_series(image, folder, modality=modality, study=study, series_description=f"{modality} spine")


def _images(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def _edited(folder: Path, **tags: Any) -> Path:
    for path in folder.iterdir():
        image = pydicom.dcmread(path)
        for name, value in tags.items():
            setattr(image, name, value)
        image.save_as(path)
    return folder


def _points(fused: MetaTensor) -> dict[tuple[float, ...], float]:
    """Value by place in RAS mm of each voxel."""
    affine = fused.affine.numpy()
    places = np.argwhere(np.ones(fused.shape[1:])) @ affine[:3, :3].T + affine[:3, 3]
    return dict(zip(map(tuple, places.round(2) + 0.0), fused.numpy()[0].ravel().tolist(), strict=True))


def _decoded(folder: Path) -> dict[tuple[float, ...], float]:
    """The same of a DICOM series, decoded, scaled and placed by highdicom."""
    volume = highdicom.get_volume_from_series(_images(folder))
    affine = torch.as_tensor(np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine)
    return _points(MetaTensor(torch.from_numpy(volume.array[None]), affine=affine))


def _check_same(found: dict[tuple[float, ...], float], wanted: dict[tuple[float, ...], float]) -> None:
    assert found.keys() == wanted.keys()
    assert max(abs(found[place] - value) for place, value in wanted.items()) <= HALF_STEP


@pytest.mark.parametrize("plane", PLANES)
def test_every_voxel_has_its_place_and_value_and_every_image_that_of_the_ct(plane: str, tmp_path: Path) -> None:
    ct = _series(tmp_path / "ct", PLANES[plane])
    fused = _fused(PLANES[plane])
    out = write_fused(fused, ct, tmp_path / "fused")
    _check_same(_decoded(out), _points(fused))
    ours, theirs = _images(out), _images(ct)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"):
            assert one[tag].value == other[tag].value
        for tag in ("PatientID", "PatientName", "PatientSex", "StudyInstanceUID", "StudyID", "FrameOfReferenceUID"):
            assert one[tag].value == other[tag].value
        assert one.InstanceNumber == other.InstanceNumber


def test_the_images_say_what_they_are_and_how_to_show_them(tmp_path: Path) -> None:
    ct = _series(tmp_path / "ct")
    images = _images(write_fused(_fused(), ct, tmp_path / "fused"))
    assert len({image.SOPInstanceUID for image in images}) == SHAPE[2]
    assert len({image.SeriesInstanceUID for image in images}) == 1
    assert images[0].SeriesInstanceUID != _images(ct)[0].SeriesInstanceUID
    for image in images:
        assert image.SOPClassUID == image.file_meta.MediaStorageSOPClassUID == SecondaryCaptureImageStorage
        assert image.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert (image.Modality, list(image.ImageType)) == ("OT", ["DERIVED", "SECONDARY"])
        assert "research only" in image.SeriesDescription
        assert "not for diagnosis" in str(image["ImageComments"].value)
        assert "fused by spinefuse" in image.DerivationDescription
        assert [code.CodeValue for code in image.DerivationCodeSequence] == ["FUSION", "113085"]
        assert (image.WindowCenter, image.WindowWidth) == (5000, 10000)
        assert "RescaleSlope" not in image
        (meaning,) = image.RealWorldValueMappingSequence
        assert meaning.RealWorldValueSlope == pytest.approx(1e-4)
        assert image.LossyImageCompression == "00"
        (scanner,) = image.ContributingEquipmentSequence
        assert scanner.ContributionDescription == "CT CT spine"


@pytest.mark.parametrize("study_id", ["1", "2"], ids=["one study", "two studies"])
def test_each_image_refers_to_its_ct_image_and_to_the_mr(study_id: str, tmp_path: Path) -> None:
    ct = _series(tmp_path / "ct")
    study = StudyHeader(patient_id="P-7", patient_name="Doe^Jo", study_id=study_id)
    mr = _series(tmp_path / "mr", SAGITTAL, modality="MR", study=study)
    out = write_fused(_fused(), ct, tmp_path / "fused", mr=mr)
    mr_uids = {image.SOPInstanceUID for image in _images(mr)}
    for image, source in zip(_images(out), _images(ct), strict=True):
        first, *others = image.SourceImageSequence
        assert (first.ReferencedSOPInstanceUID, first.SpatialLocationsPreserved) == (source.SOPInstanceUID, "YES")
        assert {item.ReferencedSOPInstanceUID for item in others} == mr_uids
        assert {item.SpatialLocationsPreserved for item in others} == {"NO"}
        purposes = {item.PurposeOfReferenceCodeSequence[0].CodeValue for item in image.SourceImageSequence}
        assert purposes == {"121322"}
        series = list(image.ReferencedSeriesSequence)
        assert series[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        if study_id == "2":
            (other,) = image.StudiesContainingOtherReferencedInstancesSequence
            assert other.StudyInstanceUID == study.study_uid
            series += other.ReferencedSeriesSequence
        assert len(series) == 2
        assert {item.ReferencedSOPInstanceUID for item in series[1].ReferencedInstanceSequence} == mr_uids
        assert len(image.ContributingEquipmentSequence) == 2


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.sampled_from(list(permutations(range(3)))),
    flips=st.tuples(*[st.booleans()] * 3),
    plane=st.sampled_from(list(PLANES)),
)
def test_axes_in_any_order_and_direction_give_the_same_images(
    order: tuple[int, ...], flips: tuple[bool, ...], plane: str, tmp_path: Path
) -> None:
    fused = _fused(PLANES[plane])
    turned = nib.Nifti1Image(fused.numpy()[0], PLANES[plane]).as_reoriented(
        np.array([[place, -1 if flip else 1] for place, flip in zip(order, flips, strict=True)])
    )
    nib.save(turned, tmp_path / "fused.nii.gz")
    ct = _series(tmp_path / "ct", PLANES[plane])
    _check_same(_decoded(write_fused(tmp_path / "fused.nii.gz", ct, tmp_path / "out")), _points(fused))


def test_a_ct_stored_from_head_to_feet_keeps_the_numbers_of_its_images(tmp_path: Path) -> None:
    ct = _series(tmp_path / "ct")
    for path in ct.iterdir():
        image = pydicom.dcmread(path)
        image.InstanceNumber = SHAPE[2] + 1 - image.InstanceNumber
        image.save_as(path)
    out = write_fused(_fused(), ct, tmp_path / "fused")
    places = {image.InstanceNumber: list(image.ImagePositionPatient) for image in _images(out)}
    assert places == {image.InstanceNumber: list(image.ImagePositionPatient) for image in _images(ct)}
    assert places[1][2] > places[2][2]
    _check_same(_decoded(out), _points(_fused()))


@pytest.mark.parametrize("number", [None, 3], ids=["none", "all the same"])
def test_images_without_numbers_of_their_own_are_counted_along_the_patient(number: int | None, tmp_path: Path) -> None:
    ct = _edited(_series(tmp_path / "ct"), InstanceNumber=number)
    images = _images(write_fused(_fused(), ct, tmp_path / "fused"))
    assert [image.InstanceNumber for image in images] == [1, 2, 3, 4, 5]
    heights = [image.ImagePositionPatient[2] for image in images]
    assert heights == sorted(heights)


def test_of_a_tilted_gantry_the_images_lie_on_the_upright_grid_on_which_it_is_fused(
    write_series: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    tags = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID")}
    write_series(tmp_path / "ct", tilt_mm=0.4, **tags)
    ct = read_series(tmp_path / "ct")
    assert ct.shape[2] > 5
    fused = _fused(ct.affine.numpy(), tuple(ct.shape[1:]))
    out = write_fused(fused, tmp_path / "ct", tmp_path / "fused")
    _check_same(_decoded(out), _points(fused))
    heights = {float(image.ImagePositionPatient[2]) for image in _images(out)}
    assert heights == {0.0, 3.0, 6.0, 9.0}


def test_frames_of_an_enhanced_ct_become_images_with_references_to_them(tmp_path: Path) -> None:
    as_enhanced(_series(tmp_path / "ct"), tmp_path / "enhanced")
    out = write_fused(_fused(), tmp_path / "enhanced", tmp_path / "fused")
    _check_same(_decoded(out), _points(_fused()))
    assert [image.SourceImageSequence[0].ReferencedFrameNumber for image in _images(out)] == [2, 4, 5, 1, 3]


def test_a_single_image_is_a_series_too(tmp_path: Path) -> None:
    ct = _series(tmp_path / "ct")
    for path in sorted(ct.iterdir())[1:]:
        path.unlink()
    fused = _fused(shape=(*SHAPE[:2], 1))
    _check_same(_decoded(write_fused(fused, ct, tmp_path / "fused")), _points(fused))


def test_what_the_source_lost_by_compression_is_said(tmp_path: Path) -> None:
    ct = _edited(
        _series(tmp_path / "ct"),
        LossyImageCompression="01",
        LossyImageCompressionRatio="10",
        LossyImageCompressionMethod="ISO_15444_1",
    )
    image = _images(write_fused(_fused(), ct, tmp_path / "fused"))[0]
    assert (image.LossyImageCompression, image.LossyImageCompressionRatio) == ("01", 10)
    assert image.LossyImageCompressionMethod == "ISO_15444_1"


@pytest.mark.parametrize(
    ("tags", "part"),
    [
        ({"BodyPartExamined": "CHEST", "Laterality": ""}, "CHEST"),
        ({"BodyPartExamined": "PARTIALBODY"}, "SPINE"),
        ({"BodyPartExamined": None}, "SPINE"),
        ({"BodyPartExamined": "HIP", "Laterality": "L"}, "HIP"),
        ({"BodyPartExamined": "LSPINE", "Laterality": "L"}, "LSPINE"),
    ],
)
def test_a_body_part_that_needs_a_side_is_kept_with_its_side_only(
    tags: dict[str, Any], part: str, tmp_path: Path, validate: Validate
) -> None:
    out = write_fused(_fused(), _edited(_series(tmp_path / "ct"), **tags), tmp_path / "fused")
    image = _images(out)[0]
    assert image.BodyPartExamined == part
    assert image.get("Laterality") == ("L" if part == "HIP" else None)
    assert validate(out / "fused_0001.dcm") == []


def test_names_of_any_alphabet_are_kept(tmp_path: Path) -> None:
    ct = _edited(_series(tmp_path / "ct"), SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Zoë")
    assert _images(write_fused(_fused(), ct, tmp_path / "fused"))[0].PatientName == "Müller^Zoë"


def test_it_may_be_written_again_and_lie_with_the_ct_which_is_still_found(tmp_path: Path) -> None:
    ct = _series(tmp_path / "all" / "ct")
    first = _images(write_fused(_fused(), ct, tmp_path / "all" / "fused"))
    second = _images(write_fused(_fused() / 2, tmp_path / "all", tmp_path / "all" / "fused"))
    assert first[0].SeriesInstanceUID != second[0].SeriesInstanceUID
    assert len(second) == SHAPE[2]
    labels = (_fused() > 0.5).to(torch.uint8)
    assert write_seg(labels, tmp_path / "all", tmp_path / "seg.dcm").exists()  # of the CT, though no modality is named
    assert read_series(tmp_path / "all").meta["modality"] == "CT"


def test_the_series_alone_is_read_as_an_image(tmp_path: Path) -> None:
    out = write_fused(_fused(), _series(tmp_path / "ct"), tmp_path / "fused")
    read = read_series(out)
    values = MetaTensor(read.as_tensor() / 10000, affine=read.affine)
    _check_same(_points(values), _points(_fused()))


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("with_mr", [True, False], ids=["with MR", "CT alone"])
def test_a_validator_finds_no_error(plane: str, with_mr: bool, tmp_path: Path, validate: Validate) -> None:
    ct = _series(tmp_path / "ct", PLANES[plane])
    mr = _series(tmp_path / "mr", SAGITTAL, modality="MR") if with_mr else None
    out = write_fused(_fused(PLANES[plane]), ct, tmp_path / "fused", mr=mr)
    for path in sorted(out.iterdir())[:2]:
        assert validate(path) == []


def _moved(affine: np.ndarray) -> np.ndarray:
    moved = affine.copy()
    moved[2, 3] += 1.0
    return moved


def _in_foreign_folder(folder: Path) -> Any:
    (folder / "out").mkdir()
    (folder / "out" / "notes.txt").touch()
    return write_fused(_fused(), _series(folder / "ct"), folder / "out")


def _over_the_ct(folder: Path) -> Any:
    return write_fused(_fused(), _series(folder / "ct"), folder / "ct")


def _over_a_fused_ct(folder: Path) -> Any:
    ct = _series(folder / "ct")
    for number, path in enumerate(sorted(ct.iterdir()), 1):
        path.rename(ct / f"fused_{number:04d}.dcm")
    return write_fused(_fused(), ct, ct)


def _onto_a_file(folder: Path) -> Any:
    (folder / "out.dcm").touch()
    return write_fused(_fused(), _series(folder / "ct"), folder / "out.dcm")


def _with_nan(folder: Path) -> Any:
    fused = _fused()
    fused[0, 0, 0, 0] = torch.nan
    return write_fused(fused, _series(folder / "ct"), folder / "out")


def _of_another_patient(folder: Path) -> Any:
    mr = _series(folder / "mr", modality="MR", study=StudyHeader(patient_id="P-8", patient_name="Roe^Jo"))
    return write_fused(_fused(), _series(folder / "ct"), folder / "out", mr=mr)


def _of_two_series(folder: Path) -> Any:
    _series(folder / "ct" / "a")
    _series(folder / "ct" / "b", OBLIQUE)
    return write_fused(_fused(), folder / "ct", folder / "out")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda folder: write_fused(_fused(_moved(AXIAL)), _series(folder / "ct"), folder / "out"),
            GridMismatchError,
            r"fused volume does not lie on the grid of CT 'CT spine' .*from \(.*, 42\.0\) mm, not 7 x 6 x 5",
        ),
        (
            lambda folder: write_fused(_fused(shape=(7, 6, 4)), _series(folder / "ct"), folder / "out"),
            GridMismatchError,
            "7 x 6 x 4 voxels from .* not 7 x 6 x 5 voxels .* name the CT that it was fused with",
        ),
        (
            lambda folder: write_fused(_fused() * 255, _series(folder / "ct"), folder / "out"),
            FusedSeriesError,
            "should hold values from 0 to 1, but has",
        ),
        (_with_nan, FusedSeriesError, "values that are not finite; fuse again"),
        (_in_foreign_folder, FusedSeriesError, "holds notes.txt already and would be replaced as a whole"),
        (_over_the_ct, FusedSeriesError, "holds CT_0001.dcm already"),
        (_over_a_fused_ct, FusedSeriesError, "holds fused_0001.dcm already"),
        (_onto_a_file, OutputError, "The output folder .*out.dcm is a file; name a folder"),
        (lambda folder: write_fused(_fused(), folder / "gone", folder / "out"), MissingPathError, "gone does not"),
        (
            lambda folder: write_fused(folder / "f.nii", _series(folder / "ct"), folder / "out"),
            MissingPathError,
            "f.nii does not exist",
        ),
        (
            lambda folder: write_fused(_fused(), _series(folder / "mr", modality="MR"), folder / "out"),
            ImageReadError,
            "should hold exactly one CT series, but 0 fit; it holds MR 'MR spine'",
        ),
        (_of_two_series, ImageReadError, "exactly one CT series, but 2 fit; it holds CT"),
        (_of_another_patient, PatientMismatchError, "The CT is of patient P-7, the MR of P-8"),
        (
            lambda folder: write_fused(_fused(), _edited(_series(folder / "ct"), SOPInstanceUID=""), folder / "out"),
            SourceError,
            "has no SOPInstanceUID, to which a derived series must refer",
        ),
        (
            lambda folder: write_fused(
                _fused(), _edited(_series(folder / "ct"), SOPInstanceUID="1.2.3"), folder / "out"
            ),
            SourceError,
            "several images have one SOPInstanceUID",
        ),
    ],
)
def test_bad_input_writes_nothing_and_deletes_nothing(
    call: Callable[[Path], Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        call(tmp_path)
    assert not list(tmp_path.glob("out/fused_*"))
    assert len(list(tmp_path.glob("ct/*"))) in (0, 2, SHAPE[2])


def test_a_series_may_be_named_where_there_are_several(tmp_path: Path) -> None:
    _series(tmp_path / "scans" / "a")
    _edited(_series(tmp_path / "scans" / "b", OBLIQUE), SeriesDescription="bone")
    _edited(_series(tmp_path / "scans" / "c", modality="MR"), SeriesDescription="T1")
    _edited(_series(tmp_path / "scans" / "d", SAGITTAL, modality="MR"), SeriesNumber=7)
    scans = tmp_path / "scans"
    out = write_fused(_fused(OBLIQUE), scans, tmp_path / "fused", series="Bone", mr=scans, mr_series=7)
    image = _images(out)[0]
    assert {item.ReferencedSOPInstanceUID for item in list(image.SourceImageSequence)[1:]} == {
        each.SOPInstanceUID for each in _images(scans / "d")
    }


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        ("ImagePositionPatient", [0, 0, 0], "7 x 6 x 5 voxels from .0.0, 0.0"),
        ("PixelSpacing", [1, 1], "7 x 6 x 5 voxels from"),
        ("FrameOfReferenceUID", "1.2.3", "another frame of reference"),
        ("PixelData", bytes(7 * 6 * 2), "values that differ by"),
    ],
)
def test_files_that_say_something_else_are_not_kept(
    tag: str, value: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("spinefuse_ext.dicom.write_fused")
    right = module.save_instance

    def wrong(image: pydicom.Dataset, path: Path) -> None:
        image[tag].value = value
        if tag == "ImagePositionPatient":
            image[tag].value = [0, 0, image.InstanceNumber]
        right(image, path)

    monkeypatch.setattr(module, "save_instance", wrong)
    with pytest.raises(FusedSeriesError, match=f"fused was not kept, as read back it has .*{message}"):
        write_fused(_fused(), _series(tmp_path / "ct"), tmp_path / "fused")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ct"]


@pytest.mark.assets
def test_a_real_jpeg_2000_ct_gets_a_fused_series_on_its_images(
    assets: Path, tmp_path: Path, validate: Validate
) -> None:
    folder = assets / "data/ct_spine/totalseg_t11_t12_dicom"
    ct = read_series(folder / "series")
    fused = MetaTensor(((ct.as_tensor() + 200) / 1200).clip(0, 1), affine=ct.affine)
    with pytest.raises(SourceError, match="has no StudyInstanceUID"):
        write_fused(fused, folder / "series", tmp_path / "fused")
    shutil.copytree(folder / "series", tmp_path / "series")
    for path in (tmp_path / "series").iterdir():
        image = pydicom.dcmread(path)
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID
        image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3", "1.2.3.4"
        image.save_as(path)
    out = write_fused(fused, tmp_path / "series", tmp_path / "fused")
    for image in _images(out):
        corner = np.array([-1, -1, 1]) * np.array(image.ImagePositionPatient, dtype=float)
        column, row, place = np.linalg.inv(fused.affine.numpy()) @ [*corner, 1] @ np.eye(4, 3)
        assert (column, row, place) == pytest.approx((0, 0, round(place)), abs=0.01)
        pixels = fused.numpy()[0, ..., round(place)].T
        np.testing.assert_allclose(image.pixel_array / 10000, pixels, atol=HALF_STEP)
    assert validate(next(out.iterdir())) == []


@pytest.mark.assets
def test_a_real_ct_read_from_its_nifti_gets_a_fused_series(assets: Path, tmp_path: Path, validate: Validate) -> None:
    ct = assets / "data/ct_spine/dcmqi_ct3slice_seg/ct-3slice"
    image = read_series(ct)
    write_volume(MetaTensor(((image.as_tensor() + 200) / 1200).clip(0, 1), affine=image.affine), tmp_path / "f.nii.gz")
    out = write_fused(tmp_path / "f.nii.gz", ct, tmp_path / "fused")
    theirs = {json.dumps(list(map(float, each.ImagePositionPatient))) for each in _images(ct)}
    assert {json.dumps(list(map(float, each.ImagePositionPatient))) for each in _images(out)} == theirs
    assert [error for path in out.iterdir() for error in validate(path)] == []
