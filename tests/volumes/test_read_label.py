"""Labels by their names: what a file says of its values decides, not their numbers; what is no label is refused."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor

from spinefuse_ext.dicom import StudyHeader, read_seg, write_seg, write_series
from spinefuse_ext.validation import ConfigError, GridMismatchError, ImageReadError, UnknownLabelError
from spinefuse_ext.volumes import LabelScheme, label_for, read_label
from tests.label_files.segmentation import write_seg_nrrd

SHAPE = (6, 5, 4)
AFFINE = np.array([[2.0, 0, 0, -40], [0, 2, 0, -40], [0, 0, 2, -30], [0, 0, 0, 1]])
#: A column of each of the values 1 to 3.
VALUES = np.zeros(SHAPE, np.uint8)
VALUES[1], VALUES[2], VALUES[3] = 1, 2, 3
ORDER = (("disc", 1, 0), ("canal", 2, 0), ("vertebra", 3, 0))
#: What these are by the names: 1 is a disc (2), 2 the canal (3), 3 a vertebra (1).
BY_NAME = np.array([0, 2, 3, 1])[VALUES]


def nifti(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def image(affine: np.ndarray = AFFINE, shape: tuple[int, ...] = SHAPE) -> MetaTensor:
    meta = {"filename_or_obj": "fused.nii.gz"}
    return MetaTensor(torch.zeros(1, *shape), affine=torch.as_tensor(affine), meta=meta)


def _extension(folder: Path) -> Path:
    names = "".join(f'<Label Key="{value}"><![CDATA[{name}]]></Label>' for name, value, _ in ORDER)
    made = nib.Nifti1Image(VALUES, AFFINE)
    text = f"<CaretExtension><VolumeInformation><LabelTable>{names}</LabelTable></VolumeInformation></CaretExtension>"
    made.header.extensions.append(nib.nifti1.Nifti1Extension(0, text.encode()))
    nib.save(made, folder / "label.nii.gz")
    return folder / "label.nii.gz"


def _beside(name: str, text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        place = folder / "labelsTr"
        place.mkdir()
        (place / name).resolve().write_text(text, encoding="utf-8")
        return nifti(place / "label.nii.gz", VALUES)

    return write


NNUNET = json.dumps({"labels": {"background": 0, "disc": 1, "canal": [2], "vertebra": 3}})
FLOATS = json.dumps({"labels": {"background": 0.0, "disc": 1.0, "canal": 2.0, "vertebra": 3.0}})
REGIONS = json.dumps(
    {
        "labels": {
            "background": 0,
            "whole spine": [1, 2, 3],
            "disc": [1, 2],
            "canal": 2,
            "bone": [1, 2, 3],
            "vertebra": [3],
        }
    }
)
DECATHLON = json.dumps({"labels": {"0": "background", "1": "disc", "2": "canal", "3": "vertebra"}})
COLOURS = "# Slicer\n0 Background 0 0 0 0\n1 Intervertebral_disc 1 2 3 255\n2 canal 4 5 6 255\n3 vertebra 7 8 9 255\n"
SNAP = '    0     0    0    0        0  0  0    "Clear Label"\n' + "".join(
    f'    {value}   255    0    0        1  1  1    "{name}"\n' for name, value, _ in ORDER
)


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda folder: write_seg_nrrd(folder / "l.seg.nrrd", [VALUES], ORDER), id="seg-nrrd"),
        pytest.param(_extension, id="nifti-extension"),
        pytest.param(_beside("../dataset.json", NNUNET), id="nnunet-above"),
        pytest.param(_beside("dataset.json", DECATHLON), id="decathlon-beside"),
        pytest.param(_beside("dataset.json", FLOATS), id="numbers-with-a-point"),
        pytest.param(_beside("dataset.json", REGIONS), id="nnunet-regions"),
        pytest.param(_beside("label_ColorTable.ctbl", COLOURS), id="slicer-colours"),
        pytest.param(_beside("label.label", SNAP), id="itk-snap"),
        pytest.param(_beside("label.tsv", "index\tname\n1\tdisc\n2\tcanal\n3\tvertebra\n"), id="bids"),
    ],
)
def test_names_decide_wherever_they_stand(write: Callable[[Path], Path], tmp_path: Path) -> None:
    label = read_label(write(tmp_path))
    np.testing.assert_array_equal(label.numpy()[0], BY_NAME)
    np.testing.assert_allclose(label.affine.numpy(), AFFINE)
    (sentence,) = label.meta["warnings"]
    assert "isc (1) is 2 disc, canal (2) is 3 canal, vertebra (3) is 1 vertebra" in sentence


def test_a_value_that_nothing_names_is_its_class(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"labels": ["not", "of", "nnU-Net"]}')
    label = read_label(nifti(tmp_path / "label.nii.gz", VALUES))
    np.testing.assert_array_equal(label.numpy()[0], VALUES)
    assert label.meta["warnings"] == []


def test_regions_that_no_value_has_to_itself_are_refused_by_their_names(tmp_path: Path) -> None:
    path = nifti(tmp_path / "label.nii.gz", VALUES)
    (tmp_path / "dataset.json").write_text(
        json.dumps({"labels": {"background": 0, "disc": [1, 2], "canal": [2, 3], "spine": [1, 2, 3]}})
    )
    with pytest.raises(
        UnknownLabelError, match=r"disc or canal \(2\) is none of the labels .* names disc \(1\), disc or"
    ):
        read_label(path)
    relabel: dict[str | int, str | int] = {2: "vertebra"}
    np.testing.assert_array_equal(
        read_label(path, LabelScheme(relabel=relabel)).numpy()[0], np.array([0, 2, 1, 3])[VALUES]
    )


def test_a_damaged_list_of_names_is_refused_instead_of_left_out(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "disc": 1,}}')
    path = nifti(tmp_path / "label.nii.gz", VALUES)
    with pytest.raises(ImageReadError, match=r"dataset.json cannot be read .*; correct it or move it away"):
        read_label(path)


def test_an_example_of_relabel_names_a_value_without_a_name_by_its_number(tmp_path: Path) -> None:
    path = write_seg_nrrd(tmp_path / "m.seg.nrrd", [VALUES], ORDER[:2])
    with pytest.raises(UnknownLabelError, match=r"--relabel \"\{3: 'vertebra'\}\""):
        read_label(path)
    np.testing.assert_array_equal(read_label(path, LabelScheme(relabel={3: "vertebra"})).numpy()[0], BY_NAME)


@pytest.mark.parametrize("name", ["VERTEBRAE", "vertebrae_L4", "L4", "Vertebra", "vertebra-3"])
def test_other_words_for_a_structure_are_known(name: str, tmp_path: Path) -> None:
    segments = ((name, 1, 0), ("Intervertebral Discs", 2, 0), ("spinal_canal", 3, 0))
    np.testing.assert_array_equal(
        read_label(write_seg_nrrd(tmp_path / "l.seg.nrrd", [VALUES], segments)).numpy()[0], VALUES
    )


@pytest.mark.parametrize("name", ["Segment_1", "spinal cord", "vertebral body", "Wirbel"])
def test_unknown_names_are_refused_with_what_is_there_and_what_is_known(name: str, tmp_path: Path) -> None:
    path = write_seg_nrrd(tmp_path / "l.seg.nrrd", [VALUES], ((name, 1, 0), *ORDER[1:]))
    with pytest.raises(UnknownLabelError) as refused:
        read_label(path)
    assert str(path) in str(refused.value)
    assert f"{name} (1) is none of the labels 0 background, 1 vertebra, 2 disc, 3 canal, 4 sacrum" in str(refused.value)
    assert f"its header names {name} (1), canal (2), vertebra (3)" in str(refused.value)
    relabel = {unicodedata.normalize("NFD", name.upper()): "disc"}
    np.testing.assert_array_equal(read_label(path, LabelScheme(relabel=relabel)).numpy()[0], BY_NAME)


def test_an_unknown_name_without_a_voxel_does_not_matter_and_a_voxel_without_a_name_does(tmp_path: Path) -> None:
    path = write_seg_nrrd(tmp_path / "l.seg.nrrd", [VALUES], (*ORDER, ("scratch", 9, 0)))
    np.testing.assert_array_equal(read_label(path).numpy()[0], BY_NAME)
    path = write_seg_nrrd(tmp_path / "m.seg.nrrd", [VALUES], ORDER[:2])
    with pytest.raises(UnknownLabelError, match=r"no name \(3\) is none of the labels"):
        read_label(path)


def test_a_code_says_what_a_name_does_not_and_a_contradiction_is_refused(tmp_path: Path) -> None:
    tags = "Segmentation.Status:inprogress|TerminologyEntry:Any~SCT^123037004^Anatomical~SCT^51282000^Vertebra~^^~x|"
    only = (VALUES == 1).astype(np.uint8) * 5
    path = write_seg_nrrd(tmp_path / "l.seg.nrrd", [only], (("Segment_1", 5, 0),), tags)
    assert read_label(path).unique().tolist() == [0, 1]
    path = write_seg_nrrd(tmp_path / "m.seg.nrrd", [only], (("disc", 5, 0),), tags)
    with pytest.raises(UnknownLabelError, match="calls a segment disc, but its code 51282000 means vertebra"):
        read_label(path)


def test_segments_that_overlap_are_said_and_those_of_one_class_are_joined(tmp_path: Path) -> None:
    first, second = np.zeros((2, *SHAPE), np.uint8)
    first[0:4], second[3:6] = 1, 1
    segments = (("L4", 1, 0), ("L4-L5", 1, 1))
    label = read_label(write_seg_nrrd(tmp_path / "l.seg.nrrd", [first, second], segments))
    assert [int(value) for value in label[0, :, 0, 0]] == [1, 1, 1, 2, 2, 2]
    np.testing.assert_allclose(label.affine.numpy(), AFFINE)
    assert "20 voxels are both vertebra and disc; they count as disc" in label.meta["warnings"][-1]
    joined = read_label(write_seg_nrrd(tmp_path / "m.seg.nrrd", [first, second], (("L4", 1, 0), ("L5", 1, 1))))
    assert joined.unique().tolist() == [1]
    second[:] = 1
    with pytest.raises(ImageReadError, match="more than half of one of them; export"):
        read_label(write_seg_nrrd(tmp_path / "n.seg.nrrd", [first, second], segments))


@pytest.fixture
def series(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    voxels = MetaTensor(torch.from_numpy(rng.integers(0, 90, (1, *SHAPE))).float(), affine=torch.as_tensor(AFFINE))
    return write_series(voxels, tmp_path / "ct", modality="CT", study=StudyHeader("p", "p"))


def test_our_own_dicom_seg_is_read_back_in_its_place(series: Path, tmp_path: Path) -> None:
    sparse = VALUES.copy()
    sparse[..., 1] = 0  # a plane without a frame in between
    out = write_seg(nifti(tmp_path / "label.nii.gz", sparse), series, tmp_path / "seg" / "out.dcm")
    below = tmp_path / "export" / "SEG" / "1"
    below.mkdir(parents=True)
    shutil.copy(out, below / "1-1.dcm")
    for path in (out, out.parent, tmp_path / "export"):
        placed, found = label_for(path, image())
        np.testing.assert_array_equal(placed.numpy()[0], sparse)
        assert all("its axes are flipped" in sentence for sentence in found)


def test_a_dicom_seg_of_another_order_is_read_by_names_and_codes(series: Path, tmp_path: Path) -> None:
    seg = pydicom.dcmread(write_seg(nifti(tmp_path / "label.nii.gz", VALUES), series, tmp_path / "out.dcm"))
    vertebra, disc, canal = seg.SegmentSequence
    vertebra.SegmentLabel, vertebra.SegmentedPropertyTypeCodeSequence = (
        "Segment 1",
        disc.SegmentedPropertyTypeCodeSequence,
    )
    disc.SegmentLabel, disc.SegmentedPropertyTypeCodeSequence = "Spinal Canal", canal.SegmentedPropertyTypeCodeSequence
    canal.SegmentLabel, canal.SegmentedPropertyTypeCodeSequence[0].CodeValue = "VERTEBRAE", "85756007"  # tissue
    disc.SegmentedPropertyTypeCodeSequence = canal.SegmentedPropertyTypeCodeSequence
    seg.save_as(tmp_path / "turned")  # DICOM is known by its content
    np.testing.assert_array_equal(label_for(tmp_path / "turned", image())[0].numpy()[0], BY_NAME)
    vertebra.SegmentLabel, vertebra.SegmentedPropertyTypeCodeSequence = "x", canal.SegmentedPropertyTypeCodeSequence
    seg.save_as(tmp_path / "unknown.dcm")
    with pytest.raises(UnknownLabelError, match=r"x \(1, code 85756007\) is none of the labels"):
        read_label(tmp_path / "unknown.dcm")


def test_dicom_that_is_no_label_is_refused_in_a_sentence(series: Path, tmp_path: Path) -> None:
    out = write_seg(nifti(tmp_path / "label.nii.gz", VALUES), series, tmp_path / "out.dcm")
    seg = pydicom.dcmread(out)
    (tmp_path / "two").mkdir()
    for name in ("a.dcm", "b.dcm"):
        seg.save_as(tmp_path / "two" / name)
    with pytest.raises(ImageReadError, match=r"holds 2 DICOM SEG files \(a.dcm, b.dcm\); name one"):
        read_label(tmp_path / "two")
    out.write_bytes(out.read_bytes()[:-40])
    with pytest.raises(ImageReadError, match=r"out.dcm is no whole DICOM SEG .*; export it again"):
        read_label(out)
    seg.Modality = "RTSTRUCT"
    seg.save_as(tmp_path / "rt.dcm")
    with pytest.raises(ImageReadError, match=r"rt.dcm is an RT structure set, .* export the label as DICOM SEG"):
        read_label(tmp_path / "rt.dcm")


def test_what_rounding_left_is_rounded_and_all_else_is_refused_by_value(tmp_path: Path) -> None:
    floats = VALUES.astype(np.float32)
    floats[VALUES == 3] = 2.9999998
    np.testing.assert_array_equal(read_label(nifti(tmp_path / "label.nii.gz", floats)).numpy()[0], VALUES)
    for odd, told in ((2.5, "2.5"), (np.nan, "nan"), (2.99, "2.99")):
        floats[3, 0, 0] = odd
        with pytest.raises(ImageReadError, match=rf"label.nii.gz is no label: it holds {told}; expected whole"):
            read_label(nifti(tmp_path / "label.nii.gz", floats))


@pytest.mark.parametrize("value", [5, -1, 255])
def test_values_outside_the_labels_are_refused_by_value_and_can_be_mapped_or_ignored(
    value: int, tmp_path: Path
) -> None:
    path = nifti(tmp_path / "label.nii.gz", np.where(VALUES == 3, value, VALUES.astype(np.int16)))
    known = "0 background, 1 vertebra, 2 disc, 3 canal, 4 sacrum"
    with pytest.raises(UnknownLabelError, match=rf"label.nii.gz holds the values {value}, but the labels are {known}"):
        read_label(path)
    relabel = {str(value): "canal", 1: 1, 2: "disc"}
    np.testing.assert_array_equal(read_label(path, LabelScheme(relabel=relabel)).numpy()[0], VALUES)
    with pytest.raises(UnknownLabelError, match="holds the values 1, 2, which relabel does not name; add them"):
        read_label(path, LabelScheme(relabel={value: 3}))
    assert read_label(path, LabelScheme(ignore_index=value)).unique().tolist() == sorted([0, 1, 2, value])


def test_labels_of_ones_own_are_known_by_their_names(tmp_path: Path) -> None:
    scheme = LabelScheme.of(["background", "L4", "L5"])
    path = write_seg_nrrd(tmp_path / "l.seg.nrrd", [VALUES], (("l5", 1, 0), ("vertebrae_L4", 2, 0), ("L4", 3, 0)))
    np.testing.assert_array_equal(read_label(path, scheme).numpy()[0], np.array([0, 2, 1, 1])[VALUES])


@pytest.mark.parametrize("relabel", [{"x": "rib"}, {1: 9}, "x: disc"])
def test_a_relabel_that_leads_nowhere_is_refused_at_once(relabel: Any) -> None:
    with pytest.raises(ConfigError, match=r"relabel .*"):
        LabelScheme(relabel=relabel)


@pytest.mark.parametrize(
    ("affine", "why"),
    [
        pytest.param(np.eye(4), "its header says no place", id="identity"),
        pytest.param(np.diag([-1.0, -1, 1, 1]), "its header says no place", id="identity-of-itk"),
        pytest.param(np.diag([2.0, 2, 2, 1]), "its header says no place", id="spacing-alone"),
        pytest.param(
            np.vstack([np.c_[np.eye(3), AFFINE[:3, 3]], [0, 0, 0, 1]]), "its header lost the voxel size", id="size"
        ),
        pytest.param(np.diag([-1.0, -1, 1, 1]) @ AFFINE, r"negated along x and y \(RAS and LPS mixed up\)", id="lps"),
        pytest.param(np.diag([-1.0, 1, 1, 1]) @ AFFINE, "negated along x ", id="mirrored"),
    ],
)
def test_a_label_that_lost_its_place_is_refused_with_both_affines(affine: np.ndarray, why: str, tmp_path: Path) -> None:
    path = nifti(tmp_path / "label.nii.gz", VALUES, affine)
    with pytest.raises(GridMismatchError, match=why) as refused:
        label_for(path, image())
    told = str(refused.value)
    assert told.startswith(f"{path} has as many voxels as its image fused.nii.gz, but ")
    assert "that of the image [2 0 0 -40; 0 2 0 -40; 0 0 2 -30]. Save it with the affine of its image" in told


def test_the_origin_alone_can_be_lost(tmp_path: Path) -> None:
    oblique = np.eye(4)
    oblique[:3, :3] = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) * 2
    placed = oblique.copy()
    placed[:3, 3] = 5, 6, 7
    with pytest.raises(GridMismatchError, match="its header lost the origin"):
        label_for(nifti(tmp_path / "label.nii.gz", VALUES, oblique), image(placed))


def test_turned_cropped_and_finer_labels_lie_where_they_were_and_it_is_said(tmp_path: Path) -> None:
    whole = nib.Nifti1Image(VALUES, AFFINE)
    turned = whole.as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
    cropped = whole.slicer[1:5]
    finer_affine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    finer_affine[:3, 3] -= 0.5
    finer = nib.Nifti1Image(VALUES.repeat(2, 0).repeat(2, 1).repeat(2, 2), finer_affine)
    for name, made, told in (
        ("turned", turned, "its axes are in another order"),
        ("cropped", cropped, "along axis 0 it has 1 slices before and 1 after those of the image missing"),
        ("finer", finer, "lies on another grid than the image and was placed by the affines"),
    ):
        nib.save(made, tmp_path / f"{name}.nii.gz")
        placed, found = label_for(tmp_path / f"{name}.nii.gz", image())
        np.testing.assert_array_equal(placed.numpy()[0], VALUES)
        assert any(told in sentence for sentence in found), found


def test_a_label_a_part_of_a_voxel_off_is_placed_though_its_image_lies_around_zero(tmp_path: Path) -> None:
    centred = np.diag([2.0, 2, 2, 1])
    centred[:3, 3] = 1.0 - np.array(SHAPE)
    moved = centred.copy()
    moved[0, 3] += 0.6  # 0.3 of a voxel
    placed, found = label_for(nifti(tmp_path / "label.nii.gz", VALUES, moved), image(centred))
    np.testing.assert_array_equal(placed.numpy()[0], VALUES)
    assert any("lies on another grid than the image and was placed by the affines" in sentence for sentence in found)
    moved[0, 3] += 2
    with pytest.raises(GridMismatchError, match="the header of the image says no place"):
        label_for(nifti(tmp_path / "label.nii.gz", VALUES, moved), image(centred))


def test_a_label_partly_or_wholly_beside_its_image_is_said_or_refused(tmp_path: Path) -> None:
    beside = AFFINE.copy()
    beside[0, 3] -= 2 * 2  # two voxels: of the columns 1 to 3 one is outside, 1 of 3
    _, found = label_for(nifti(tmp_path / "label.nii.gz", VALUES, beside), image())
    assert found[-1].endswith("33% of the labelled volume lies outside the image")
    beside[0, 3] -= 2 * 2
    with pytest.raises(GridMismatchError, match=r"No labelled voxel of .* lies on its image"):
        label_for(nifti(tmp_path / "label.nii.gz", VALUES, beside), image())


@pytest.mark.assets
def test_a_dicom_seg_of_dcmqi_lies_where_its_tags_say(assets: Path) -> None:
    path = assets / "data/ct_spine/dcmqi_ct3slice_seg/liver.dcm"
    (liver,) = read_seg(path)
    label = read_label(path, LabelScheme.of(["background", "organ"], relabel={"liver": "organ"}))
    places = np.array(np.nonzero(label.numpy()[0]))
    centroid = label.affine.numpy()[:3, :3] @ places.mean(axis=1) + label.affine.numpy()[:3, 3]
    assert places.shape[1] == liver.voxels
    np.testing.assert_allclose(centroid, liver.centroid_mm, atol=0.01)
    with pytest.raises(UnknownLabelError, match=r"Liver \(1, code T-62000\) is none of the labels"):
        read_label(path)
