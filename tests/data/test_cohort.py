from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spinefuse_ext.data import load_datalist, make_datalist
from spinefuse_ext.formats import IMAGE_SUFFIXES
from spinefuse_ext.validation import DatalistError, MissingPathError


def cases(root: Path, count: int, labels: int) -> Path:
    """Folders ``case_0`` ..., the first ``labels`` of them with a label."""
    for number in range(count):
        folder = root / f"case_{number}"
        folder.mkdir(parents=True)
        for name in ("ct", "mr", *(["label"] if number < labels else [])):
            (folder / f"{name}.nii.gz").touch()
    return root


def read(path: Path) -> dict[str, list[dict[str, str]]]:
    content: dict[str, list[dict[str, str]]] = json.loads(path.read_text())
    return content


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(data=st.data())
def test_every_case_stands_in_one_section_and_labels_stay_where_they_belong(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    labels = data.draw(st.integers(1, 6), label="labels")
    count = labels + data.draw(st.integers(0, 4), label="without label")
    validation = data.draw(st.integers(0, labels), label="validation")
    test = data.draw(st.integers(0, labels - validation), label="test")
    labelled = data.draw(st.none() | st.integers(0, labels - validation - test), label="labelled")
    if validation + test >= count:
        return
    root = cases(tmp_path_factory.mktemp("cohort"), count, labels)
    seed = data.draw(st.integers(0, 99), label="seed")
    content = read(make_datalist(root, validation=validation, test=test, labelled=labelled, seed=seed))
    kept = labels - validation - test if labelled is None else labelled
    sizes = {section: len(items) for section, items in content.items()}
    rest = count - validation - test - kept
    assert sizes == {"labelled": kept, "unlabelled": rest, "validation": validation, "test": test}
    names = [item["patient"] for items in content.values() for item in items]
    assert sorted(names) == sorted(f"case_{number}" for number in range(count))
    for section, items in content.items():
        assert all(("label" in item) == (section != "unlabelled") for item in items)


def test_the_same_seed_draws_the_same_split(tmp_path: Path) -> None:
    root = cases(tmp_path, 6, 6)
    first, again, other = (
        read(make_datalist(root, tmp_path / f"{name}.json", test=2, seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again != other


def test_labels_of_unlabelled_cases_are_listed_when_asked_for(tmp_path: Path) -> None:
    root = cases(tmp_path, 4, 3)
    content = read(make_datalist(root, labelled=1, keep_labels=True))
    assert sorted("label" in item for item in content["unlabelled"]) == [False, True]
    (first, second) = load_datalist("datalist.json", ["unlabelled"], ["ct"], base_dir=root)
    assert "label" not in {**first, **second}


def test_the_list_is_read_back_with_paths_below_the_root(tmp_path: Path) -> None:
    path = make_datalist(cases(tmp_path, 3, 2), labelled=1)
    assert path == tmp_path / "datalist.json"
    (item,) = load_datalist("datalist.json", ["labelled"], ["ct", "mr", "label"], base_dir=tmp_path)
    assert Path(item["label"]) == tmp_path / item["patient"] / "label.nii.gz"


def test_other_file_types_are_found_and_other_folders_left_out(tmp_path: Path) -> None:
    cases(tmp_path, 2, 1)
    (tmp_path / "raw" / "ct_dicom").mkdir(parents=True)
    (tmp_path / "raw" / "mr.nrrd").touch()
    (tmp_path / "notes").mkdir()
    (tmp_path / "only_label").mkdir()
    (tmp_path / "only_label" / "label.nii.gz").touch()
    content = read(make_datalist(tmp_path))
    items = {item["patient"]: item for section in content.values() for item in section}
    assert items.keys() == {"case_0", "case_1", "raw"}
    assert items["raw"] == {"patient": "raw", "ct": "raw/ct_dicom", "mr": "raw/mr.nrrd"}


def test_a_split_file_is_followed(tmp_path: Path) -> None:
    root = cases(tmp_path, 4, 4)
    split = {"labelled": ["case_3"], "unlabelled": ["case_0"], "validation": ["case_1"], "test": ["case_2"]}
    (root / "split.json").write_text(json.dumps(split))
    content = read(make_datalist(root, split=root / "split.json"))
    assert {section: [item["patient"] for item in items] for section, items in content.items()} == split


def test_two_studies_of_one_patient_must_not_be_split(tmp_path: Path) -> None:
    root = cases(tmp_path, 3, 3)
    for number in (0, 1):
        (root / f"case_{number}" / "registration.json").write_text(json.dumps({"patient_id": "anna"}))
    split = {"labelled": ["case_0"], "validation": ["case_1"]}
    (root / "split.json").write_text(json.dumps(split))
    with pytest.raises(DatalistError, match="patient anna is in the sections labelled and validation"):
        make_datalist(root, split=root / "split.json")
    assert not (root / "datalist.json").exists()


def test_patients_are_drawn_so_that_studies_of_one_stay_together(tmp_path: Path) -> None:
    root = cases(tmp_path, 6, 5)  # the last has no label
    for number in range(6):
        (root / f"case_{number}" / "registration.json").write_text(json.dumps({"patient_id": f"p{number // 2}"}))
    for seed in range(8):
        content = read(make_datalist(root, tmp_path / "list.json", validation=1, seed=seed))
        patients = [{item["patient"] for item in content[name]} for name in ("labelled", "validation")]
        assert [len(found) for found in patients] == [2, 1]
        assert not patients[0] & patients[1]
        # case_5 could neither teach nor be scored, and its patient is not unlabelled
        assert sum(map(len, content.values())) == 5
    with pytest.raises(DatalistError, match=r"3 cases \(3 with a label\) are too few for 3 validation"):
        make_datalist(root, validation=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            {"validation": 3}, r"4 cases \(2 with a label\) are too few for 3 validation, 0 test", id="scored"
        ),
        pytest.param({"labelled": 2}, "too few for 1 validation, 0 test and 2 labelled", id="labelled"),
        pytest.param({"validation": -1}, "must not be negative", id="negative"),
    ],
)
def test_too_few_cases_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    root = cases(tmp_path, 4, 2)
    with pytest.raises(DatalistError, match=message):
        make_datalist(root, **options)
    assert not (root / "datalist.json").exists()


def test_labelled_cases_are_not_drawn_from_cases_without_a_label(tmp_path: Path) -> None:
    root = cases(tmp_path, 5, 0)
    content = read(make_datalist(root, validation=1, test=1))
    assert [len(content[name]) for name in ("labelled", "unlabelled", "validation", "test")] == [0, 3, 1, 1]
    with pytest.raises(DatalistError, match=r"5 cases \(0 with a label\) are too few .* and 2 labelled"):
        make_datalist(root, labelled=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"labelled": ["case_9"]}', "names cases that have no folder: case_9"),
        ("[1, 2]", "is not a split: expected JSON lists of case names by section"),
        ("labelled", "is not a split"),
        ('{"labelled": 3}', "is not a split"),
    ],
)
def test_a_wrong_split_is_refused(text: str, message: str, tmp_path: Path) -> None:
    root = cases(tmp_path, 2, 2)
    (root / "split.json").write_text(text)
    with pytest.raises(DatalistError, match=message):
        make_datalist(root, split=root / "split.json")


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatalistError, match=r"has no case folder; expected .*<case>/ct.nii.gz"):
        make_datalist(tmp_path)
    with pytest.raises(MissingPathError, match=r"The folder of cases .*absent does not exist"):
        make_datalist(tmp_path / "absent")


def test_unreadable_registration_notes_are_named(tmp_path: Path) -> None:
    root = cases(tmp_path, 2, 2)
    (root / "case_1" / "registration.json").write_text("{")
    with pytest.raises(DatalistError, match=r"case_1.registration.json is not what `spinefuse register` writes"):
        make_datalist(root)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_cases_are_found_with_every_ending_that_is_read(suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / "case_0"
    folder.mkdir()
    for name in ("ct", "mr"):
        (folder / f"{name}{suffix}").touch()
    listed = read(make_datalist(tmp_path, validation=0))["unlabelled"]
    assert listed == [{"patient": "case_0", "ct": f"case_0/ct{suffix}", "mr": f"case_0/mr{suffix}"}]


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "__MACOSX", "@eaDir"])
def test_a_hidden_folder_is_no_patient_and_is_named(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    root = cases(tmp_path, 2, 1)
    (root / "case_0").rename(root / "Pat #12  a")
    (root / name).mkdir()
    (root / name / "ct.nii.gz").touch()
    (root / "case_1" / "._ct.nii.gz").touch()
    content = read(make_datalist(root, validation=0))
    assert {item["patient"] for section in content.values() for item in section} == {"Pat #12 a", "case_1"}
    assert content["labelled"][0]["ct"] == "Pat #12  a/ct.nii.gz"
    assert f"Left out of the cases of {root}, for they are hidden or a system's: {name}" in caplog.text


def test_a_split_names_folders_however_a_disk_codes_their_accents(tmp_path: Path) -> None:
    apart, composed = (unicodedata.normalize(form, "Müller") for form in ("NFD", "NFC"))
    root = cases(tmp_path, 2, 2)
    (root / "case_0").rename(root / apart)
    (root / "split.json").write_text(json.dumps({"labelled": [composed], "validation": ["case_1"]}))
    (item,) = read(make_datalist(root, split=root / "split.json"))["labelled"]
    assert (item["patient"], item["ct"]) == (composed, f"{apart}/ct.nii.gz")
