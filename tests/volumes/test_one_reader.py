"""One study in every form that it may come in: whoever reads it, by whatever name, gets one volume."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from pydicom.fileset import FileSet

from spinefuse_ext.cohort import fingerprint
from spinefuse_ext.data import load_datalist, make_datalist
from spinefuse_ext.data.label_check import check_labels
from spinefuse_ext.dicom import StudyHeader, read_seg, write_fused, write_seg, write_series
from spinefuse_ext.images.image_files import image_files
from spinefuse_ext.images.nifti import stored_grid
from spinefuse_ext.registration import Landmarks, register_case, write_landmarks
from spinefuse_ext.transforms import FindImagesd, ReadVolumed
from spinefuse_ext.validation import ArchiveError, ImageReadError
from spinefuse_ext.volumes import read_volume, write_volume
from spinefuse_ext.volumes.read_label import read_label

DICOM = ("folder", "file", "dicomdir", "zip", "study folder", "study zip")
PAIRS = ("pair", "voxels of a pair", "compressed pair")
AFFINE = torch.tensor([[-1.5, 0, 0, 30], [0, -1.5, 0, 40], [0, 0, 3, -20], [0, 0, 0, 1]], dtype=torch.float64)


def packed(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))
    return archive


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A CT and an MR of one patient, each as a DICOM series below ``study`` and as NIfTI beside it."""
    rng = np.random.default_rng(0)
    ct = rng.integers(-1000, 1500, (1, 12, 14, 6)).astype(np.float32)
    mr = rng.integers(0, 900, (1, 10, 12, 5)).astype(np.float32)
    for name, voxels in (("CT", ct), ("MR", mr)):
        image = MetaTensor(torch.from_numpy(voxels), affine=AFFINE)
        write_series(image, tmp_path / "study" / name.lower(), modality=name, study=StudyHeader("p1", "Doe^Jo"))
        write_volume(image, tmp_path / f"plain_{name.lower()}.nii.gz")
    return tmp_path / "study"


def given_as(form: str, key: str, study: Path) -> Path:
    """The path by which somebody names the image ``key`` of the study."""
    folder, root = study / key, study.parent
    if form in ("folder", "study folder"):
        return folder if form == "folder" else study
    if form == "file":
        return sorted(folder.iterdir())[2]
    if form == "dicomdir":
        medium = FileSet()
        for file in sorted(study.rglob("*.dcm")):
            medium.add(file)
        medium.write(root / "medium")
        return root / "medium" / "DICOMDIR"
    if form == "zip":
        return packed(folder, root / f"{key}.zip")
    if form == "study zip":
        return packed(study, root / "study.zip")
    image = nib.load(root / f"plain_{key}.nii.gz")
    header, voxels = (".hdr.gz", ".img.gz") if form == "compressed pair" else (".hdr", ".img")
    nib.save(nib.Nifti1Pair(np.asanyarray(image.dataobj), image.affine, image.header), root / f"a_{key}{voxels}")
    return root / f"a_{key}{voxels if form.startswith('voxels') else header}"


def check_same(image: MetaTensor, key: str, study: Path) -> None:
    expected = read_volume(study.parent / f"plain_{key}.nii.gz", key.upper())
    np.testing.assert_array_equal(image.numpy(), expected.numpy())
    np.testing.assert_allclose(image.affine, expected.affine, atol=1e-4)


@pytest.mark.parametrize("key", ["ct", "mr"])
@pytest.mark.parametrize("form", DICOM + PAIRS)
def test_the_reader_and_the_bundles_get_one_volume(form: str, key: str, study: Path) -> None:
    path = given_as(form, key, study)
    check_same(read_volume(path, key.upper()), key, study)
    case = ReadVolumed([key])({key: str(path)})
    check_same(case[key], key, study)
    assert case[key].meta["filename_or_obj"] == str(path)


@pytest.mark.parametrize("form", ["dicomdir", "zip", "study folder", "study zip", *PAIRS])
def test_a_server_that_names_one_image_gets_both(form: str, study: Path) -> None:
    ct, _ = (given_as(form, key, study) for key in ("ct", "mr"))
    case = ReadVolumed(["ct", "mr"])(FindImagesd(["ct", "mr"])({"image": str(ct)}))
    for key in ("ct", "mr"):
        check_same(case[key], key, study)


@pytest.mark.parametrize("form", ["folder", "dicomdir", "zip", "study zip", "pair", "compressed pair"])
def test_a_case_folder_may_hold_it_and_the_datalist_leads_to_one_volume(form: str, study: Path) -> None:
    case = study.parent / "cases" / "case_0"
    case.mkdir(parents=True)
    for key in ("ct", "mr"):
        path = given_as(form, key, study)
        if form == "dicomdir":
            shutil.copytree(path.parent, case / f"{key}_dicom")
        elif form == "folder":
            shutil.copytree(path, case / key)
        else:
            for file in image_files(path)[1]:
                shutil.copy(file, case / file.name.replace(path.name.partition(".")[0], key))
    make_datalist(case.parent, validation=0)
    (item,) = load_datalist("datalist.json", ["unlabelled"], ["ct", "mr"], base_dir=case.parent)
    for key in ("ct", "mr"):
        check_same(ReadVolumed([key])(item)[key], key, study)


@pytest.mark.parametrize("form", DICOM)
def test_labels_and_fused_volumes_are_written_on_it(form: str, study: Path) -> None:
    ct, mr = (given_as(form, key, study) for key in ("ct", "mr"))
    image = read_volume(study.parent / "plain_ct.nii.gz")
    label = torch.zeros_like(image)
    label[:, 3:8, 4:9, 1:4] = 1
    out = study.parent / "out"
    out.mkdir()
    write_volume(MetaTensor(label, affine=image.affine), out / "label.nii.gz", dtype=np.uint8)
    write_seg(out / "label.nii.gz", ct, out / "label.dcm", modality="CT")
    (segment,) = read_seg(out / "label.dcm")
    assert (segment.label, segment.voxels) == ("vertebra", 75)
    fused = MetaTensor(((image - image.min()) / (image.max() - image.min())).as_tensor(), affine=image.affine)
    write_fused(fused, ct, out / "fused", mr=mr)
    assert len(list((out / "fused").iterdir())) == image.shape[-1]
    told = check_labels([{"ct": str(ct), "label": str(out / "label.dcm")}], ["ct"], labels=["background", "vertebra"])
    assert told == []


def test_a_label_may_be_packed_as_well(study: Path) -> None:
    image = read_volume(study.parent / "plain_ct.nii.gz")
    label = torch.zeros_like(image)
    label[:, 3:8, 4:9, 1:4] = 2
    write_seg(MetaTensor(label.as_tensor(), affine=image.affine), study / "ct", study.parent / "seg" / "s.dcm")
    archive = packed(study.parent / "seg", study.parent / "label.zip")
    read = read_label(archive)
    assert read.meta["filename_or_obj"] == str(archive / "s.dcm")
    assert int((read == 2).sum()) == 75


def test_two_archives_are_registered_and_nothing_of_them_stays_behind(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (study.parent / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(study.parent / "tmp"))
    ct, mr = (given_as("zip", key, study) for key in ("ct", "mr"))
    points = Landmarks(
        ("L1", "L2", "L3", "L4"), np.array([[24.0, 30, -18], [20, 30, -18], [24, 26, -18], [24, 30, -9]])
    )
    for name in ("ct", "mr"):
        write_landmarks(points, study.parent / f"{name}.csv")
    landmarks = {f"{name}_landmarks": study.parent / f"{name}.csv" for name in ("ct", "mr")}
    register_case(ct, mr, study.parent / "out", **landmarks)
    check_same(read_volume(study.parent / "out" / "ct.nii.gz", "CT"), "ct", study)
    report = (study.parent / "out" / "registration.json").read_text()
    assert str(study.parent / "tmp") not in report
    assert json.loads(report)["patient_id"] == "p1"
    assert list((study.parent / "tmp").iterdir()) == []


def test_sentences_on_an_archive_name_it_and_not_where_it_was_unpacked(
    study: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = given_as("study zip", "ct", study)
    with pytest.raises(ImageReadError, match=r"study\.zip should hold exactly one series, but 2 fit") as raised:
        read_volume(archive)
    assert tempfile.gettempdir() + "/spinefuse-" not in str(raised.value)
    sorted((study / "ct").iterdir())[2].unlink()
    with pytest.raises(ImageReadError, match=r"ct\.zip: slices of CT .* 1 slice is missing"):
        read_volume(given_as("zip", "ct", study), "CT")
    with zipfile.ZipFile(study.parent / "notes.zip", "w") as file:
        file.writestr("notes.txt", "no image")
    with pytest.raises(ImageReadError, match=r"notes\.zip holds no DICOM image series"):
        read_volume(study.parent / "notes.zip", "CT")
    with zipfile.ZipFile(study.parent / "out.zip", "w") as file:
        file.writestr("../out.dcm", "")
    with pytest.raises(ArchiveError, match=r"out\.zip holds .*leads out of its folder; nothing was unpacked"):
        read_volume(study.parent / "out.zip", "CT")
    assert "/spinefuse-" not in caplog.text


@pytest.mark.parametrize("form", ["zip", "pair", "voxels of a pair", "file", "dicomdir"])
def test_a_change_of_any_file_of_it_is_noticed(form: str, study: Path) -> None:
    path = given_as(form, "ct", study)
    before = fingerprint(path)
    files = image_files(path)[1]
    for file in files:
        file.write_bytes(file.read_bytes() + b" ")
        after = fingerprint(path)
        assert after != before
        before = after
    assert len(files) >= {"zip": 1, "pair": 2, "voxels of a pair": 2}.get(form, 6)


def test_half_a_pair_says_which_half_is_missing(study: Path) -> None:
    header = given_as("pair", "ct", study)
    header.with_suffix(".img").rename(study.parent / "b.img")
    with pytest.raises(ImageReadError, match=r"header of a NIfTI pair, and its voxels, a_ct\.img, are not beside it"):
        read_volume(header, "CT")
    with pytest.raises(ImageReadError, match=r"b\.img holds voxels alone, and no header of the same name"):
        read_volume(study.parent / "b.img", "CT")


def test_the_check_of_labels_looks_at_the_series_that_the_item_names(study: Path) -> None:
    image = read_volume(study.parent / "plain_ct.nii.gz")
    smaller = MetaTensor(image.as_tensor()[:, :6, :6, :4].clone(), affine=image.affine)
    write_series(smaller, study / "other", modality="CT", study=StudyHeader("p1", "Doe^Jo", study_id="2"))
    label = torch.ones_like(image.as_tensor())
    write_volume(MetaTensor(label, affine=image.affine), study.parent / "label.nii.gz", dtype=np.uint8)
    item = {"ct": str(study), "label": str(study.parent / "label.nii.gz")}
    with pytest.raises(ImageReadError, match="exactly one CT series, but 2 fit"):
        check_labels([item], ["ct"], labels=["background", "bone"])
    uid = read_volume(study / "ct", "CT").meta["series_uid"]
    assert check_labels([{**item, "series_ct": uid}], ["ct"], labels=["background", "bone"]) == []


def test_the_grid_of_a_header_alone_is_that_of_the_reader(study: Path) -> None:
    path = study.parent / "two_places.nii.gz"
    image = nib.load(study.parent / "plain_ct.nii.gz")
    moved = image.affine.copy()
    moved[:3, 3] += 30
    two = nib.Nifti1Image(np.asanyarray(image.dataobj), None, image.header)
    two.set_sform(image.affine, code=2)
    two.set_qform(moved, code=1)
    nib.save(two, path)
    for named in (path, given_as("pair", "ct", study)):
        shape, affine = stored_grid(named) or ((), np.eye(4))
        read = read_volume(named)
        assert shape == tuple(read.shape[1:])
        np.testing.assert_array_equal(affine, read.affine.numpy())
    assert stored_grid(given_as("zip", "ct", study)) is None
