from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinefuse_ext.data.find_case_files import (
    case_name,
    find_case_image,
    find_in_folder,
    find_named,
    find_registration,
    image_word,
)
from spinefuse_ext.validation import ImageReadError, MissingPathError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "word", "case"),
    [
        ("case_5_ct.nii.gz", "ct", "case_5"),
        ("CT.nrrd", "ct", ""),
        ("ct", "ct", ""),
        ("ct-007.nii", "ct", "007"),
        ("p1 MR.mha", "mr", "p1"),
        ("p1_fused.nii.gz", "fused", "p1"),
        ("ct_case_mr.nii.gz", "mr", "ct_case"),
        ("active_spectra.nii.gz", None, "active_spectra"),
        ("case_5.nii.gz", None, "case_5"),
    ],
)
def test_the_word_in_a_name(name: str, word: str | None, case: str) -> None:
    assert image_word(name) == word
    assert case_name(name) == case


@pytest.mark.parametrize(
    ("image", "mr"),
    [
        ("c_ct.nii.gz", "c_mr.nii.gz"),
        ("c_ct.nii.gz", "c_mr.nrrd"),
        ("c_ct.nii.gz", "mr/c_mr.nii.gz"),
        ("c_ct.nii.gz", "mr/c_ct.nii.gz"),
        ("c_ct.nii.gz", "mr/c.nii"),
        ("c.nii.gz", "c_mr.nii.gz"),
        ("c.nii.gz", "mr/c.nii.gz"),
        ("ct/c.nii.gz", "mr/c.nii.gz"),
        ("C_CT.nii.gz", "C_MR.nii.gz"),
        ("ct.nii.gz", "mr.nii.gz"),
    ],
)
def test_the_mr_of_an_image(tmp_path: Path, image: str, mr: str) -> None:
    touch(tmp_path, image, mr, "d_ct.nii.gz", "d_mr.nii.gz")
    assert find_case_image(tmp_path / image, "mr") == tmp_path / mr


@given(st.from_regex(r"[a-z][a-z0-9]{0,6}(_[0-9]{1,3})?", fullmatch=True), st.sampled_from(["_", "-", ".", " "]))
def test_ct_and_mr_lead_to_each_other(tmp_path_factory: pytest.TempPathFactory, case: str, sign: str) -> None:
    root = tmp_path_factory.mktemp("pair")
    names = [f"{case}{sign}{word}.nii.gz" for word in ("ct", "mr")]
    touch(root, *names)
    assert find_case_image(root / names[0], "mr") == root / names[1]
    assert find_case_image(root / names[1], "ct") == root / names[0]


def test_a_dicom_folder_can_be_the_mr(tmp_path: Path) -> None:
    touch(tmp_path, "c_ct.nii.gz", "c_mr/1.dcm")
    assert find_case_image(tmp_path / "c_ct.nii.gz", "mr") == tmp_path / "c_mr"


def test_a_missing_mr_says_where_it_was_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, "c_ct.nii.gz", "d_mr.nii.gz")
    with pytest.raises(MissingPathError, match=r"No MR was found for .*c_ct\.nii\.gz: looked for .*/c_mr, .*/mr/c_mr"):
        find_case_image(tmp_path / "c_ct.nii.gz", "mr")


def test_two_that_fit_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "c_ct.nii.gz", "c_mr.nii.gz", "mr/c.nii.gz")
    with pytest.raises(ImageReadError, match=r"c_mr\.nii\.gz, .*mr/c\.nii\.gz; leave one"):
        find_case_image(tmp_path / "c_ct.nii.gz", "mr")


@pytest.mark.parametrize("name", ["t2.nii.gz", "t2", "{root}/mr/t2.nii.gz"])
def test_a_named_mr(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "c_ct.nii.gz", "mr/t2.nii.gz")
    found = find_named(name.format(root=tmp_path), tmp_path / "c_ct.nii.gz", "mr")
    assert found == tmp_path / "mr" / "t2.nii.gz"


def test_a_named_mr_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="The MR t2 does not exist"):
        find_named("t2", tmp_path / "c_ct.nii.gz", "mr")


def test_a_folder_that_holds_one_case(tmp_path: Path) -> None:
    touch(tmp_path, "x/a_ct.nii.gz", "x/b_mr.nii.gz", "x/notes.txt", "dicom/1.dcm")
    assert find_in_folder(tmp_path / "x", ["ct", "mr"]) == {
        "ct": tmp_path / "x" / "a_ct.nii.gz",
        "mr": tmp_path / "x" / "b_mr.nii.gz",
    }
    assert set(find_in_folder(tmp_path / "dicom", ["ct", "mr"]).values()) == {tmp_path / "dicom"}
    touch(tmp_path, "packed/a_ct.zip", "packed/a_mr.zip")
    assert find_in_folder(tmp_path / "packed", ["ct", "mr"]) == {
        "ct": tmp_path / "packed" / "a_ct.zip",
        "mr": tmp_path / "packed" / "a_mr.zip",
    }
    with pytest.raises(MissingPathError, match="0 images with the word 'fused'"):
        find_in_folder(tmp_path / "x", ["fused"])


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["c_ct_landmarks.mrk.json", "c_mr_landmarks.fcsv"], ("c_ct_landmarks.mrk.json", "c_mr_landmarks.fcsv", None)),
        (["c_ct.fcsv", "mr/c_mr.csv"], ("c_ct.fcsv", "mr/c_mr.csv", None)),
        (["c_transform.h5"], (None, None, "c_transform.h5")),
        (["d_ct.fcsv", "d_mr.fcsv", "transform.h5"], (None, None, None)),
    ],
)
def test_landmarks_and_transforms_beside_a_pair(
    tmp_path: Path, files: list[str], found: tuple[str | None, ...]
) -> None:
    touch(tmp_path, *files)
    names = zip(("landmarks_ct", "landmarks_mr", "transform"), found, strict=True)
    expected = {name: str(tmp_path / file) for name, file in names if file}
    assert find_registration(tmp_path / "c_ct.nii.gz", tmp_path / "c_mr.nii.gz") == expected


def test_landmarks_of_a_case_folder(tmp_path: Path) -> None:
    touch(tmp_path, "ct_landmarks.mrk.json", "mr_landmarks.mrk.json")
    assert set(find_registration(tmp_path / "ct.nii.gz", tmp_path / "mr.nii.gz")) == {"landmarks_ct", "landmarks_mr"}


def test_what_a_system_puts_beside_the_images_of_a_case_is_none(tmp_path: Path) -> None:
    touch(tmp_path, "a_ct.nii.gz", "a_mr.nii.gz", "._a_ct.nii.gz", ".a_mr.nii.gz", ".DS_Store")
    assert find_in_folder(tmp_path, ["ct", "mr"]) == {"ct": tmp_path / "a_ct.nii.gz", "mr": tmp_path / "a_mr.nii.gz"}
