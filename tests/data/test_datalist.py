from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinefuse_ext.data import HalvesSampler, check_patients_apart, load_datalist
from spinefuse_ext.enums import Section
from spinefuse_ext.validation import DatalistError, MissingPathError

SECTIONS = [str(section) for section in Section]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with two patients' files and a datalist of them."""
    for name in ("ct", "mr", "label"):
        for patient in ("anna", "bert"):
            (tmp_path / f"{patient}_{name}.nii.gz").touch()
    write(tmp_path, {"labelled": [item("anna")], "unlabelled": [item("bert", "ct", "mr")], "test": []})
    return tmp_path


def item(patient: str, *names: str) -> dict[str, str]:
    files = {name: f"{patient}_{name}.nii.gz" for name in names or ("ct", "mr", "label")}
    return {"patient": patient, **files}


def write(root: Path, content: Any) -> None:
    (root / "datalist.json").write_text(json.dumps(content))


def test_items_hold_the_asked_keys_with_absolute_paths(root: Path) -> None:
    read = load_datalist("datalist.json", ["unlabelled", "labelled"], ["ct", "mr"], base_dir=root)
    assert read == [
        {"patient": name, "ct": str(root / f"{name}_ct.nii.gz"), "mr": str(root / f"{name}_mr.nii.gz")}
        for name in ("bert", "anna")
    ]


def test_items_repeat_as_a_whole_list(root: Path) -> None:
    read = load_datalist("datalist.json", ["labelled", "unlabelled"], ["ct"], base_dir=root, repeat=3)
    assert [entry["patient"] for entry in read] == ["anna", "bert"] * 3


def test_an_unlabelled_item_has_no_label_key_even_where_the_file_has_one(root: Path) -> None:
    write(root, {"unlabelled": [item("anna")]})
    (entry,) = load_datalist("datalist.json", ["unlabelled"], ["ct"], base_dir=root)
    assert entry.keys() == {"patient", "ct"}


@pytest.mark.parametrize("names", [("ct_landmarks", "mr_landmarks"), ("landmarks_ct", "landmarks_mr")])
@pytest.mark.parametrize("asked", [("ct_landmarks", "mr_landmarks"), ("landmarks_ct", "landmarks_mr")])
def test_landmarks_have_one_key_by_either_name(root: Path, names: tuple[str, str], asked: tuple[str, str]) -> None:
    for name in names:
        (root / f"anna_{name}.nii.gz").touch()
    write(root, {"labelled": [item("anna", "ct", "mr", *names)]})
    (read,) = load_datalist("datalist.json", ["labelled"], ["ct"], optional=asked, base_dir=root)
    assert (read["landmarks_ct"], read["landmarks_mr"]) == tuple(str(root / f"anna_{name}.nii.gz") for name in names)
    assert not {"ct_landmarks", "mr_landmarks"} & set(read)


@pytest.mark.parametrize(
    ("further", "said"),
    [
        ({"ct_landmarks": "gone.fcsv"}, "the ct_landmarks of patient anna .*gone.fcsv does not exist"),
        ({"landmarks_ct": 3}, "the ct_landmarks of patient anna must be a path, got 3"),
        (
            {"ct_landmarks": "a", "landmarks_ct": "b"},
            "anna names ct_landmarks and landmarks_ct, .* leave landmark",
        ),
    ],
)
def test_landmarks_that_cannot_be_meant_are_refused_by_their_name(root: Path, further: Any, said: str) -> None:
    write(root, {"labelled": [{**item("anna"), **further}]})
    with pytest.raises((DatalistError, MissingPathError), match=said):
        load_datalist("datalist.json", ["labelled"], ["ct"], optional=["ct_landmarks"], base_dir=root)


def test_the_series_of_a_folder_comes_with_its_path_as_text(root: Path) -> None:
    write(root, {"labelled": [{**item("anna"), "series_ct": 4, "series_mr": "7/stack2", "series_dicom": "none asked"}]})
    (read,) = load_datalist("datalist.json", ["labelled"], ["ct", "mr"], base_dir=root)
    assert (read["series_ct"], read["series_mr"]) == ("4", "7/stack2")
    assert "series_dicom" not in read
    write(root, {"labelled": [{**item("anna"), "series_ct": ["4"]}]})
    with pytest.raises(DatalistError, match="series_ct of patient anna must be the number, description or UID"):
        load_datalist("datalist.json", ["labelled"], ["ct"], base_dir=root)


def test_halves_take_patients_in_turn_and_keep_a_patient_together(root: Path) -> None:
    for patient in ("carl", "dora"):
        (root / f"{patient}_ct.nii.gz").touch()
    patients = ("bert", "anna", "bert", "carl", "anna", "dora")
    write(root, {"labelled": [item(name, "ct") for name in patients]})
    read = load_datalist("datalist.json", ["labelled"], ["ct"], base_dir=root, repeat=2, halves=True)
    assert [(entry["patient"], entry["half"]) for entry in read] == 2 * [
        *(("bert", 0), ("anna", 1), ("bert", 0)),
        *(("carl", 0), ("anna", 1), ("dora", 1)),
    ]


def test_one_patient_has_no_two_halves(root: Path) -> None:
    write(root, {"labelled": [item("anna"), item("anna")]})
    message = r"datalist.json: the sections labelled hold one patient, anna, but two halves need two; add another"
    with pytest.raises(DatalistError, match=message):
        load_datalist("datalist.json", ["labelled"], ["ct"], base_dir=root, halves=True)


@given(st.lists(st.integers(0, 1), min_size=2, max_size=30).filter(lambda halves: 0 < sum(halves) < len(halves)))
def test_the_sampler_pairs_the_halves_and_leaves_no_item_out(halves: list[int]) -> None:
    sampler = HalvesSampler([{"half": half} for half in halves], seed=3)
    for _ in range(2):
        order = list(sampler)
        assert len(order) == len(sampler)
        assert [halves[index] for index in order] == [0, 1] * (len(order) // 2)
        assert set(order) == set(range(len(halves)))
    assert len(order) == 2 * max(sum(halves), len(halves) - sum(halves))


def test_the_sampler_changes_its_order_and_repeats_it_with_the_seed() -> None:
    data = [{"half": number % 2} for number in range(40)]
    first, second = HalvesSampler(data, seed=1), HalvesSampler(data, seed=1)
    passes = [list(first) for _ in range(2)]
    assert passes[0] != passes[1]
    assert passes == [list(second) for _ in range(2)]


def test_the_sampler_refuses_items_without_two_halves() -> None:
    for data in ([{"half": 0}, {}, {"half": 1}], [{"half": 1}]):
        with pytest.raises(DatalistError, match="items of 'half' 0 and 1, got"):
            HalvesSampler(data)


def test_the_datalist_may_lie_elsewhere(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    moved = (root / "datalist.json").rename(tmp_path_factory.mktemp("lists") / "mine.json")
    assert len(load_datalist(moved, ["labelled"], ["ct"], base_dir=root)) == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        pytest.param({"base_dir": "absent"}, r"dataset folder \(dataset_dir\) .*absent does not exist", id="folder"),
        pytest.param({"datalist": "no.json"}, r"The datalist .*no.json does not exist", id="datalist"),
        pytest.param(
            {"datalist": "gone.json"}, r"gone.json: the ct of patient carl .*carl_ct.nii.gz does not", id="file"
        ),
    ],
)
def test_a_missing_path_is_named(asked: dict[str, str], message: str, root: Path) -> None:
    (root / "gone.json").write_text(json.dumps({"labelled": [item("carl")]}))
    options = {"datalist": "datalist.json", **asked}
    base_dir = root / options.pop("base_dir", ".")
    with pytest.raises(MissingPathError, match=message):
        load_datalist(options["datalist"], ["labelled"], ["ct"], base_dir=base_dir)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param([1], "expected sections by name at the top, got a list", id="no-sections"),
        pytest.param({"labelled": {"a": 1}}, "section labelled must be a list of items", id="no-list"),
        pytest.param({"labelled": [{"ct": "x"}]}, "items that each have the key 'patient'", id="no-patient"),
        pytest.param({"labelled": []}, "the sections labelled are empty; add at least one case", id="empty"),
        pytest.param({"test": []}, "has no section labelled; it has test", id="no-such-section"),
        pytest.param({"labelled": [item("anna", "mr")]}, r"patient anna has no 'ct' \(it has mr\); add", id="no-key"),
        pytest.param({"labelled": [{"patient": "anna"}]}, r"anna has no 'ct' \(it has nothing\)", id="nothing"),
        pytest.param({"labelled": [{"patient": "anna", "ct": None}]}, "ct of patient anna must be a path", id="null"),
        pytest.param(
            {"labelled": [item("anna")], "test": [item("anna")]},
            "patient anna is in the sections labelled and test; a patient may stand in one section only",
            id="leak",
        ),
    ],
)
def test_an_unusable_datalist_is_refused(content: Any, message: str, root: Path) -> None:
    write(root, content)
    with pytest.raises(DatalistError, match=message):
        load_datalist("datalist.json", ["labelled"], ["ct"], base_dir=root)


def test_a_file_that_is_not_json_is_refused(root: Path) -> None:
    (root / "datalist.json").write_text("labelled:\n  - anna\n")
    with pytest.raises(DatalistError, match=r"datalist.json is not a JSON file .*write it with `spinefuse datalist`"):
        load_datalist("datalist.json", ["labelled"], ["ct"], base_dir=root)


@given(st.lists(st.lists(st.integers(0, 30), max_size=6), min_size=4, max_size=4))
def test_the_guard_refuses_exactly_the_splits_that_share_a_patient(patients: list[list[int]]) -> None:
    """A patient may have several items, but in one section only; a number and its spelling are one patient."""
    content = {
        section: [{"patient": str(number) if number % 2 else number} for number in numbers]
        for section, numbers in zip(SECTIONS, patients, strict=True)
    }
    shared = {number for i, one in enumerate(patients) for other in patients[i + 1 :] for number in {*one} & {*other}}
    if not shared:
        check_patients_apart(content, "list.json")
        return
    with pytest.raises(DatalistError, match=r"list.json: patient") as caught:
        check_patients_apart(content, "list.json")
    assert int(str(caught.value).split()[2]) in shared


def test_a_patient_is_one_however_the_accents_are_coded(root: Path) -> None:
    apart, composed = (unicodedata.normalize(form, "Müller") for form in ("NFD", "NFC"))
    with pytest.raises(DatalistError, match=f"patient {composed} is in the sections labelled and test"):
        check_patients_apart({"labelled": [{"patient": apart}], "test": [{"patient": composed}]}, "list")
    (root / f"{apart}_ct.nii.gz").touch()
    write(root, {"labelled": [{"patient": apart, "ct": f"{composed}_ct.nii.gz"}]})
    (read,) = load_datalist("datalist.json", ["labelled"], ["ct"], base_dir=root)
    assert read == {"patient": composed, "ct": str(root / f"{apart}_ct.nii.gz")}
