from __future__ import annotations

import sys
from collections.abc import Callable
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
from monai.transforms import LoadImage
from pydicom.uid import generate_uid

from spinefuse_ext.dicom import StudyHeader, read_seg, write_seg, write_series
from spinefuse_ext.labels import SNOMED_CT
from spinefuse_ext.validation import (
    GridMismatchError,
    ImageReadError,
    MissingPathError,
    SegError,
    SourceError,
    UnknownLabelError,
)
from spinefuse_ext.volumes import write_volume
from tests.dicom_files.enhanced import as_enhanced

STUDY = StudyHeader(patient_id="P-7", patient_name="Doe^Jo")
SHAPE = (7, 6, 5)
AXIAL = np.array([[0.7, 0, 0, -12.5], [0, 0.8, 0, 30.25], [0, 0, 2.5, 41], [0, 0, 0, 1]])
#: Columns run to posterior, rows to inferior, slices to the right.
SAGITTAL = np.array([[0, 0, 3.5, -12.5], [-0.8, 0, 0, 30.25], [0, -0.9, 0, 41], [0, 0, 0, 1]])


def _labels(affine: np.ndarray = AXIAL) -> MetaTensor:
    """One of each structure, of different sizes, none of them symmetric in the volume."""
    voxels = torch.zeros(1, *SHAPE, dtype=torch.uint8)
    voxels[0, 6, 5, 0] = 4
    voxels[0, 0:4, 1:3, 0:2], voxels[0, 5:7, 0:2, 1:4], voxels[0, 1, 4:6, 2:4] = 1, 2, 3
    return MetaTensor(voxels, affine=torch.as_tensor(affine))


def _series(folder: Path, affine: np.ndarray = AXIAL, shape: tuple[int, ...] = SHAPE, modality: str = "CT") -> Path:
    image = MetaTensor(torch.zeros(1, *shape), affine=torch.as_tensor(affine))
    return write_series(image, folder, modality=modality, study=STUDY)


def _places(labels: MetaTensor, label: int) -> np.ndarray:
    """Centres in RAS mm of the voxels of one label, sorted."""
    affine = labels.affine.numpy()
    places = np.argwhere(labels.numpy()[0] == label) @ affine[:3, :3].T + affine[:3, 3]
    return _sorted(places)


def _sorted(places: np.ndarray) -> np.ndarray:
    places = places.round(3) + 0.0
    return places[np.lexsort(places.T)]


def _decoded(path: Path, segment: int) -> np.ndarray:
    """The same of a segment of a SEG, decoded by highdicom."""
    volume = highdicom.seg.segread(path).get_volume(segment_numbers=[segment])
    affine = np.diag([-1, -1, 1, 1]) @ volume.affine
    return _sorted(np.argwhere(volume.array[..., 0]) @ affine[:3, :3].T + affine[:3, 3])


def _missing(folder: Path, tag: str) -> Path:
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        setattr(header, tag, "")
        header.save_as(path)
    return folder


@pytest.mark.parametrize("affine", [AXIAL, SAGITTAL], ids=["axial", "sagittal"])
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_every_voxel_lies_where_the_label_volume_has_it(affine: np.ndarray, modality: str, tmp_path: Path) -> None:
    labels = _labels(affine)
    out = write_seg(labels, _series(tmp_path / "series", affine, modality=modality), tmp_path / "seg.dcm")
    segments = read_seg(out)
    assert [segment.label for segment in segments] == ["vertebra", "disc", "canal", "sacrum"]
    for segment in segments:
        places = _places(labels, segment.number)
        np.testing.assert_allclose(_decoded(out, segment.number), places, atol=1e-3)
        np.testing.assert_allclose(segment.centroid_mm, places.mean(axis=0), atol=1e-3)
        assert segment.voxels == len(places)


def test_the_file_is_coded_and_refers_to_its_series(tmp_path: Path) -> None:
    series = _series(tmp_path / "series", SAGITTAL)
    images = [pydicom.dcmread(path) for path in sorted(series.iterdir())]
    seg = pydicom.dcmread(write_seg(_labels(SAGITTAL), series, tmp_path / "seg.dcm"))
    for tag in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "Rows", "Columns"):
        assert seg[tag].value == images[0][tag].value
    (referenced,) = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == images[0].SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence} == {
        image.SOPInstanceUID for image in images
    }
    for segment in seg.SegmentSequence:
        (code,) = segment.SegmentedPropertyTypeCodeSequence
        assert (code.CodeValue, code.CodingSchemeDesignator) == (SNOMED_CT[segment.SegmentLabel][0], "SCT")
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        assert segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "spinefuse"
        assert len(segment.RecommendedDisplayCIELabValue) == 3
    assert seg.SegmentationType == "BINARY"
    assert seg.NumberOfFrames == 2 + 3 + 2 + 1  # slices in which each structure lies; empty frames are left out


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.sampled_from(list(permutations(range(3)))),
    flips=st.tuples(*[st.booleans()] * 3),
    plane=st.sampled_from([AXIAL, SAGITTAL]),
)
def test_label_axes_in_any_order_and_direction_give_the_same_segments(
    order: tuple[int, ...], flips: tuple[bool, ...], plane: np.ndarray, tmp_path: Path
) -> None:
    labels = _labels(plane)
    turned = nib.Nifti1Image(labels.numpy()[0], plane).as_reoriented(
        np.array([[place, -1 if flip else 1] for place, flip in zip(order, flips, strict=True)])
    )
    path = tmp_path / "labels.nii.gz"
    nib.save(turned, path)
    out = write_seg(path, _series(tmp_path / "series", plane), tmp_path / "seg.dcm")
    for segment in read_seg(out):
        np.testing.assert_allclose(_decoded(out, segment.number), _places(labels, segment.number), atol=1e-3)


def test_another_grid_gets_the_nearest_label(tmp_path: Path) -> None:
    fine = MetaTensor(torch.zeros(1, 24, 24, 24), affine=torch.eye(4, dtype=torch.float64))
    fine[0, 4:16, 6:14, 8:20] = 2
    thick = np.diag([2.0, 2.0, 4.0, 1.0])
    thick[:3, 3] = 0.5, 0.5, 1.5
    out = write_seg(fine, _series(tmp_path / "series", thick, (12, 12, 6)), tmp_path / "seg.dcm")
    (disc,) = read_seg(out)
    assert (disc.number, disc.label, disc.voxels) == (1, "disc", 6 * 4 * 3)
    np.testing.assert_allclose(disc.centroid_mm, [9.5, 9.5, 13.5])


def test_what_lies_outside_the_images_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    short = AXIAL.copy()
    short[2, 3] += 2.5 * 4  # the series begins at the last slice of the labels
    labels = _labels()
    labels[0, 2, 2, 4] = 3
    (canal,) = read_seg(write_seg(labels, _series(tmp_path / "series", short), tmp_path / "seg.dcm"))
    assert (canal.label, canal.voxels) == ("canal", 1)
    np.testing.assert_allclose(canal.centroid_mm, (AXIAL @ [2, 2, 4, 1])[:3], atol=1e-3)
    assert "the vertebra lies outside the images" in caplog.text


def test_a_tilted_gantry_keeps_its_tilt(write_series: Callable[..., np.ndarray], tmp_path: Path) -> None:
    tags = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID")}
    write_series(tmp_path / "ct", tilt_mm=0.4, **tags)
    affine = np.array([[-0.75, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 3, 0], [0, 0, 0, 1]])
    affine[1, 2] = -0.4 * 3
    labels = MetaTensor(torch.zeros(1, 4, 5, 4), affine=torch.as_tensor(affine))
    labels[0, 1:3, 2:4, 1:4] = 1
    (vertebra,) = read_seg(write_seg(labels, tmp_path / "ct", tmp_path / "seg.dcm"))
    np.testing.assert_allclose(vertebra.centroid_mm, _places(labels, 1).mean(axis=0), atol=1e-6)
    assert vertebra.voxels == 12


def test_frames_of_an_enhanced_file_are_found_by_their_places(tmp_path: Path) -> None:
    labels = _labels()
    source = as_enhanced(_series(tmp_path / "series"), tmp_path / "enhanced")
    out = write_seg(labels, source, tmp_path / "seg.dcm")
    for segment in read_seg(out):
        np.testing.assert_allclose(_decoded(out, segment.number), _places(labels, segment.number), atol=1e-3)


def test_labels_may_be_numbered_otherwise_and_several_may_be_one_structure(tmp_path: Path) -> None:
    labels = _labels()
    out = write_seg(
        labels,
        _series(tmp_path / "s"),
        tmp_path / "seg.dcm",
        structures=dict.fromkeys((1, 3, 4), "disc") | {2: "vertebra"},
    )
    vertebra, disc = read_seg(out)
    assert (vertebra.label, vertebra.voxels) == ("vertebra", int((labels == 2).sum()))
    assert (disc.label, disc.voxels) == ("disc", int((labels > 0).sum() - (labels == 2).sum()))


def test_a_seg_may_lie_in_the_folder_of_its_series_and_be_written_again(tmp_path: Path) -> None:
    series = _series(tmp_path / "series")
    first = pydicom.dcmread(write_seg(_labels(), series, series / "seg.dcm")).SOPInstanceUID
    second = pydicom.dcmread(write_seg(_labels(), series, series / "seg.dcm"))
    assert second.SOPInstanceUID != first
    assert second.ReferencedSeriesSequence[0].SeriesInstanceUID != second.SeriesInstanceUID
    assert len(second.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == SHAPE[2]


def test_names_of_any_alphabet_are_kept(tmp_path: Path) -> None:
    series = _series(tmp_path / "series")
    for path in series.iterdir():
        image = pydicom.dcmread(path)
        image.SpecificCharacterSet, image.PatientName = "ISO_IR 100", "Müller^Zoë"
        image.save_as(path)
    seg = pydicom.dcmread(write_seg(_labels(), series, tmp_path / "seg.dcm"))
    assert seg.PatientName == "Müller^Zoë"


def _unknown_structure(folder: Path) -> Any:
    return write_seg(_labels(), _series(folder / "s"), folder / "seg.dcm", structures={1: "rib"})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda folder: write_seg(_labels() * 3, _series(folder / "s"), folder / "seg.dcm"),
            UnknownLabelError,
            "holds the label 6, 9, 12, but structures names only 1, 2, 3, 4; add what it means",
        ),
        (
            _unknown_structure,
            UnknownLabelError,
            "No code is known for rib; name structures of vertebra, disc, canal, sacrum",
        ),
        (
            lambda folder: write_seg(_labels() * 0, _series(folder / "s"), folder / "seg.dcm"),
            SegError,
            "holds no vertebra or disc or canal or sacrum within CT",
        ),
        (
            lambda folder: write_seg(_labels(np.diag([1, 1, 1, 1.0])), _series(folder / "s"), folder / "seg.dcm"),
            GridMismatchError,
            "lies wholly outside its image",
        ),
        (lambda folder: write_seg(_labels(), _series(folder / "s"), folder / "seg"), SegError, "ends in .dcm"),
        (
            lambda folder: write_seg(_labels(), _series(folder / "s"), folder / "s" / "CT_0001.dcm"),
            SegError,
            "is an image of the series itself",
        ),
        (lambda folder: write_seg(_labels(), folder / "gone", folder / "seg.dcm"), MissingPathError, "gone does not"),
        (
            lambda folder: write_seg(
                _labels(), _missing(_series(folder / "s"), "StudyInstanceUID"), folder / "seg.dcm"
            ),
            SourceError,
            "has no StudyInstanceUID, to which a DICOM SEG must refer",
        ),
        (
            lambda folder: write_seg(
                _labels(), _missing(_series(folder / "s"), "FrameOfReferenceUID"), folder / "seg.dcm"
            ),
            SourceError,
            "has no FrameOfReferenceUID",
        ),
    ],
)
def test_bad_input_writes_nothing(
    call: Callable[[Path], Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        call(tmp_path)
    assert not (tmp_path / "seg.dcm").exists()


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["slices", "rows", "columns"])
def test_a_file_that_says_something_else_than_the_labels_is_deleted(
    axis: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = highdicom.seg.Segmentation

    def mirrored(*, pixel_array: np.ndarray, **settings: Any) -> highdicom.seg.Segmentation:
        return right(pixel_array=np.flip(pixel_array, axis), **settings)

    monkeypatch.setattr(highdicom.seg, "Segmentation", mirrored)
    with pytest.raises(SegError, match=r"seg\.dcm was deleted, as its vertebra lies .* mm from that of the labels"):
        write_seg(_labels(), _series(tmp_path / "series"), tmp_path / "seg.dcm")
    assert [path.name for path in tmp_path.iterdir()] == ["series"]


def test_without_highdicom_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(SegError, match="pip install highdicom"):
        write_seg(_labels(), _series(tmp_path / "series"), tmp_path / "seg.dcm")


def test_what_is_no_seg_is_refused(tmp_path: Path) -> None:
    series = _series(tmp_path / "series")
    with pytest.raises(ImageReadError, match="should be a DICOM SEG of the type BINARY, but is CT"):
        read_seg(series / "CT_0001.dcm")
    write_volume(_labels(), tmp_path / "labels.nii.gz")
    with pytest.raises(ImageReadError, match="is no DICOM file"):
        read_seg(tmp_path / "labels.nii.gz")
    whole = pydicom.dcmread(write_seg(_labels(), series, tmp_path / "seg.dcm"))
    whole.NumberOfFrames = whole.NumberOfFrames + 400
    whole.save_as(tmp_path / "cut.dcm")
    with pytest.raises(ImageReadError, match="is no whole DICOM SEG"):
        read_seg(tmp_path / "cut.dcm")


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_validator_finds_no_error(modality: str, tmp_path: Path, validate: Callable[[Path], list[str]]) -> None:
    series = _series(tmp_path / "series", SAGITTAL, modality=modality)
    assert validate(write_seg(_labels(SAGITTAL), series, tmp_path / "seg.dcm")) == []


def _with_uids(series: Path, folder: Path) -> Path:
    """A copy of a series whose UIDs an anonymiser emptied, with UIDs again."""
    folder.mkdir()
    for path in series.iterdir():
        image = pydicom.dcmread(path)
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID
        image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3", "1.2.3.4"
        image.save_as(folder / path.name)
    return folder


@pytest.mark.assets
def test_a_real_ct_gives_the_same_voxels_as_the_nrrd_and_the_same_references_as_another_program(
    assets: Path, tmp_path: Path, validate: Callable[[Path], list[str]]
) -> None:
    folder = assets / "data/ct_spine/dcmqi_ct3slice_seg"
    out = write_seg(folder / "spine_seg.nrrd", folder / "ct-3slice", tmp_path / "seg.dcm", structures={2: "vertebra"})
    labels = LoadImage(reader="ITKReader", image_only=True, ensure_channel_first=True)(folder / "spine_seg.nrrd")
    places = _places(labels, 2)
    np.testing.assert_allclose(_decoded(out, 1), places, atol=2e-3)
    np.testing.assert_allclose(read_seg(out)[0].centroid_mm, places.mean(axis=0), atol=0.01)
    assert validate(out) == []
    ours, theirs = pydicom.dcmread(out), pydicom.dcmread(folder / "partial_overlaps.dcm")
    for tag in ("FrameOfReferenceUID", "StudyInstanceUID", "PatientID", "SOPClassUID", "Rows", "Columns"):
        assert ours[tag].value == theirs[tag].value
    references = [
        {item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
        for seg in (ours, theirs)
    ]
    assert references[0] == references[1]


@pytest.mark.assets
@pytest.mark.parametrize(("file", "label"), [(1, 1), (1, 4), (1, 5), (2, 2), (3, 3)])
def test_what_another_program_wrote_of_the_same_labels_lies_at_the_same_place(
    file: int, label: int, assets: Path, tmp_path: Path
) -> None:
    folder = assets / "data/ct_spine/dcmqi_ct3slice_seg"
    theirs = read_seg(folder / "partial_overlaps.dcm")[label - 1]
    labels = LoadImage(reader="ITKReader", image_only=True, ensure_channel_first=True)(
        folder / f"partial_overlaps-{file}.nrrd"
    )
    labels.set_array((labels == label).to(torch.uint8))
    (ours,) = read_seg(write_seg(labels, folder / "ct-3slice", tmp_path / "seg.dcm"))
    assert ours.voxels == theirs.voxels
    assert ours.frame_of_reference == theirs.frame_of_reference
    half_a_voxel = np.abs(labels.affine.numpy()[:3, :3]).sum(axis=1) / 2
    assert (np.abs(ours.centroid_mm - theirs.centroid_mm) < half_a_voxel).all()


@pytest.mark.assets
def test_the_seg_of_another_program_is_read_where_its_nrrd_lies(assets: Path) -> None:
    folder = assets / "data/ct_spine/dcmqi_ct3slice_seg"
    (liver,) = read_seg(folder / "liver.dcm")
    labels = LoadImage(reader="ITKReader", image_only=True, ensure_channel_first=True)(folder / "liver_seg.nrrd")
    places = _places(labels, 1)
    assert liver.voxels == len(places)
    np.testing.assert_allclose(liver.centroid_mm, places.mean(axis=0), atol=0.01)


@pytest.mark.assets
def test_labels_with_a_flipped_axis_come_right_on_a_jpeg_2000_series(
    assets: Path, tmp_path: Path, validate: Callable[[Path], list[str]]
) -> None:
    folder = assets / "data/ct_spine/totalseg_t11_t12_dicom"
    stored = nib.Nifti1Image.from_filename(folder / "example_seg_dicom.nii.gz")
    voxels = np.asarray(stored.dataobj)
    kept = nib.Nifti1Image(np.where(np.isin(voxels, (32, 33, 79)), voxels, 0).astype(np.uint8), stored.affine)
    nib.save(kept, tmp_path / "spine.nii.gz")
    named = {32: "vertebra", 33: "vertebra", 79: "canal"}
    with pytest.raises(SourceError, match="has no StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, SOPClassUID"):
        write_seg(tmp_path / "spine.nii.gz", folder / "series", tmp_path / "seg.dcm", structures=named)
    series = _with_uids(folder / "series", tmp_path / "series")
    out = write_seg(tmp_path / "spine.nii.gz", series, tmp_path / "seg.dcm", structures=named)
    assert validate(out) == []
    for segment, labels in zip(read_seg(out), ((32, 33), (79,)), strict=True):
        places = np.argwhere(np.isin(voxels, labels)) @ stored.affine[:3, :3].T + stored.affine[:3, 3]
        assert segment.voxels == len(places)
        np.testing.assert_allclose(segment.centroid_mm, places.mean(axis=0), atol=0.01)
