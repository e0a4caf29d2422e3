from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from spinefuse_ext.__main__ import main
from spinefuse_ext.cohort import Prepared, Verdict, prepare_cohort
from spinefuse_ext.data import load_datalist
from spinefuse_ext.registration import register_case
from spinefuse_ext.validation import CohortError, DatalistError
from spinefuse_ext.volumes import read_volume, write_volume

WriteTable = Callable[..., Path]
LOOSE: dict[str, Any] = {"workers": 1, "max_fre_mm": 20, "max_tre_mm": 20, "max_spacing_mm": 20}


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def verdicts(prepared: Prepared) -> dict[str, str]:
    return {one.case.case: str(one.verdict) for one in prepared.outcomes}


def done_now(prepared: Prepared) -> set[str]:
    return {one.case.case for one in prepared.outcomes if one.done_now}


def test_a_cohort_gives_pairs_a_datalist_tables_and_a_page(write_table: WriteTable, tmp_path: Path) -> None:
    dicom = {"ct": "p0/ct_dicom", "mr": "p0/mr_dicom", "model": "per_vertebra"}
    labels = {f"p{number}": {"label": f"p{number}/label.nii.gz"} for number in range(3)}
    table = write_table(0, 1, 2, 3, **{**labels, "p0": {**dicom, **labels["p0"]}})
    out = tmp_path / "out"
    prepared = prepare_cohort(table, out, labelled=1, validation=1, **LOOSE)
    assert prepared.exit_status == 0
    assert set(verdicts(prepared).values()) == {"passed"}
    assert {path.name for path in out.iterdir()} == {
        *("cases", "cohort.csv", "cohort.html", "cohort.json", "datalist.json", ".lock")
    }
    assert {path.name for path in (out / "cases").iterdir()} == {"p0", "p1", "p2", "p3"}
    assert (out / "cases/p0/transform.h5").is_file()
    sizes = {section: len(items) for section, items in read(out / "datalist.json").items()}
    assert sizes == {"labelled": 1, "unlabelled": 2, "validation": 1, "test": 0}
    items = load_datalist("datalist.json", ["labelled", "validation"], ["ct", "mr", "label"], base_dir=out)
    assert {item["patient"] for item in items} < {"patient 0", "patient 1", "patient 2"}
    ct, mr, label = (read_volume(items[0][name]) for name in ("ct", "mr", "label"))
    assert ct.shape == mr.shape == label.shape
    with (out / "cohort.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == ["p0", "p1", "p2", "p3"]
    report = read(out / "cases/p1/registration.json")
    assert float(rows[1]["fre_rms_mm"]) == report["fre_rms_mm"]
    assert float(rows[1]["tre_largest_mm"]) == max(point["tre_mm"] for point in report["points"].values())
    page = (out / "cohort.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 4


def test_a_pair_is_what_register_writes(write_table: WriteTable, phantoms: Path, tmp_path: Path) -> None:
    prepare_cohort(write_table(1), tmp_path / "out", model="affine", **LOOSE)
    points = {f"{name}_landmarks": phantoms / f"p1/{name}_landmarks.fcsv" for name in ("ct", "mr")}
    register_case(phantoms / "p1/ct.nii.gz", phantoms / "p1/mr.nii.gz", tmp_path / "one", model="affine", **points)
    for name in ("ct", "mr"):
        pair = [read_volume(folder / f"{name}.nii.gz") for folder in (tmp_path / "one", tmp_path / "out/cases/p1")]
        np.testing.assert_array_equal(pair[0].numpy(), pair[1].numpy())
    assert read(tmp_path / "out/cases/p1/registration.json")["model"] == "affine"


def test_broken_cases_are_told_and_cost_only_themselves(
    write_table: WriteTable, phantoms: Path, tmp_path: Path
) -> None:
    points = (phantoms / "p1/mr_landmarks.fcsv").read_text()
    (phantoms / "p1/renamed.fcsv").write_text(re.sub(r",([LST])(?=\d)", r",other \1", points))
    whole = (phantoms / "p2/mr.nii.gz").read_bytes()
    (phantoms / "p2/mr.nii.gz").write_bytes(whole[: len(whole) // 2])
    table = write_table(0, 1, 2, 3, p0={"mr": "p0/absent.nii.gz"}, p1={"mr_landmarks": "p1/renamed.fcsv"})
    prepared = prepare_cohort(table, tmp_path / "out", **LOOSE)
    assert verdicts(prepared) == {"p0": "failed", "p1": "failed", "p2": "failed", "p3": "passed"}
    assert prepared.exit_status == 3
    errors = [one.error for one in prepared.outcomes]
    assert errors[0].startswith("MR p0/absent.nii.gz does not exist")
    assert errors[1].startswith("p1/ct_landmarks.fcsv and p1/renamed.fcsv: Expected at least 3 landmark pairs")
    assert errors[2].startswith("p2/mr.nii.gz cannot be read as an image")
    assert [path.name for path in (tmp_path / "out/cases").iterdir()] == ["p3"]
    page = (tmp_path / "out/cohort.html").read_text(encoding="utf-8")
    assert all(error.split(";")[0] in page for error in errors)
    assert sum(map(len, read(tmp_path / "out/datalist.json").values())) == 1


def test_only_what_changed_is_done_again(write_table: WriteTable, phantoms: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    table = write_table(1, 2, 3)
    assert done_now(prepare_cohort(table, out, **LOOSE)) == {"p1", "p2", "p3"}
    times = {name: (out / f"cases/{name}/ct.nii.gz").stat().st_mtime_ns for name in ("p1", "p2", "p3")}
    assert done_now(prepare_cohort(table, out, **LOOSE)) == set()
    assert prepare_cohort(table, out, **{**LOOSE, "max_fre_mm": 0.01}).exit_status == 3  # limits redo nothing
    os.utime(phantoms / "p1/mr_landmarks.fcsv")
    (out / "cases/p2/mr.nii.gz").write_bytes(b"half")
    assert done_now(prepare_cohort(table, out, **LOOSE)) == {"p1", "p2"}
    assert (out / "cases/p3/ct.nii.gz").stat().st_mtime_ns == times["p3"]
    table = write_table(1, 2, 3, p3={"model": "similarity"})
    assert done_now(prepare_cohort(table, out, **LOOSE)) == {"p3"}
    moved = Path(shutil.move(phantoms, tmp_path / "elsewhere"))  # the table and its files move together
    assert done_now(prepare_cohort(moved / "cohort.csv", out, **LOOSE)) == set()


def test_a_case_that_turns_bad_leaves_no_stale_pair(write_table: WriteTable, phantoms: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    table = write_table(1, 2)
    prepare_cohort(table, out, **LOOSE)
    (out / "cases/p1/fused.nii.gz").write_bytes(b"a day of work")
    (phantoms / "p1/mr_landmarks.fcsv").unlink()
    (phantoms / "p2/mr_landmarks.fcsv").unlink()
    prepared = prepare_cohort(table, out, **LOOSE)
    assert verdicts(prepared) == {"p1": "failed", "p2": "failed"}
    assert "holds files made from the earlier pair (fused.nii.gz); move or delete" in prepared.outcomes[0].error
    assert (out / "cases/p1/fused.nii.gz").read_bytes() == b"a day of work"
    assert not (out / "cases/p2").exists()
    assert sum(map(len, read(out / "datalist.json").values())) == 0


def test_fused_volumes_are_listed_by_the_next_run(write_table: WriteTable, tmp_path: Path) -> None:
    out = tmp_path / "out"
    table = write_table(1)
    prepare_cohort(table, out, **LOOSE)
    (out / "cases/p1/fused.nii.gz").touch()
    assert done_now(prepare_cohort(table, out, **LOOSE)) == set()
    (item,) = read(out / "datalist.json")["unlabelled"]
    assert item["fused"] == "cases/p1/fused.nii.gz"


def test_left_overs_of_a_killed_run_go_away(write_table: WriteTable, tmp_path: Path) -> None:
    left = [tmp_path / f"out/{name}" for name in ("cases/.p1.abc", ".cohort.html.abc")]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "half.nii.gz").touch()
    prepare_cohort(write_table(1), tmp_path / "out", **LOOSE)
    assert not any(folder.exists() for folder in left)


def test_limits_and_a_persons_word_keep_cases_out_of_the_list(write_table: WriteTable, tmp_path: Path) -> None:
    out = tmp_path / "out"
    table = write_table(1, 2, p2={"reject": "moved during the scan"})
    tight = {**LOOSE, "max_fre_mm": 0.01}
    prepared = prepare_cohort(table, out, **tight)
    assert verdicts(prepared) == {"p1": "outside limits", "p2": "rejected"}
    assert (prepared.exit_status, dict(prepared.sections)) == (3, {})
    assert not (out / "cases/p2").exists()
    prepared = prepare_cohort(table, out, keep_outside=True, **tight)
    assert (prepared.exit_status, dict(prepared.sections)) == (0, {"p1": "unlabelled"})
    assert "Rejected: moved during the scan." in (out / "cohort.html").read_text(encoding="utf-8")


def test_the_table_may_give_the_sections(write_table: WriteTable, tmp_path: Path) -> None:
    table = write_table(1, 2, p1={"section": "test"}, p2={"section": "unlabelled", "label": "p2/label.nii.gz"})
    prepared = prepare_cohort(table, tmp_path / "out", **LOOSE)
    assert dict(prepared.sections) == {"p1": "test", "p2": "unlabelled"}
    (item,) = read(tmp_path / "out/datalist.json")["unlabelled"]
    assert "label" not in item


def test_one_patient_id_under_two_patients_is_warned_of(write_table: WriteTable, tmp_path: Path) -> None:
    dicom = {"ct": "p0/ct_dicom", "mr": "p0/mr_dicom"}
    table = write_table(
        0, 1, p0=dicom, p1={**dicom, "ct_landmarks": "p0/ct_landmarks.fcsv", "mr_landmarks": "p0/mr_landmarks.fcsv"}
    )
    prepared = prepare_cohort(table, tmp_path / "out", **LOOSE)
    warning = (
        "the images' PatientID PHANTOM-0000 stands under the patients patient 0, patient 1 of the table; correct one"
    )
    assert [one.warnings[-1] for one in prepared.outcomes] == [warning] * 2


def test_a_label_of_another_grid_comes_onto_that_of_the_ct(
    write_table: WriteTable, phantoms: Path, tmp_path: Path
) -> None:
    label = read_volume(phantoms / "p1/label.nii.gz")
    turned = label.flip(1)  # stored the other way round, in the same place
    affine = label.affine.clone()
    affine[:3, 3] += affine[:3, 0] * (label.shape[1] - 1)
    affine[:3, 0] *= -1
    turned.affine = affine
    write_volume(turned, phantoms / "p1/turned.nii.gz")
    write_volume(label * 0.5, phantoms / "p2/fraction.nii.gz")
    write_volume(label * 0, phantoms / "p3/empty.nii.gz")
    table = write_table(
        *(1, 2, 3),
        p1={"label": "p1/turned.nii.gz"},
        p2={"label": "p2/fraction.nii.gz"},
        p3={"label": "p3/empty.nii.gz"},
    )
    prepared = prepare_cohort(table, tmp_path / "out", **LOOSE)
    written = read_volume(tmp_path / "out/cases/p1/label.nii.gz")
    np.testing.assert_array_equal(written.numpy(), label.numpy())
    assert [one.error for one in prepared.outcomes] == [
        "",
        "p2/fraction.nii.gz is no label: it holds 0.5, 1.5; expected whole numbers from 0 up; export the "
        "segmentation again.",
        "p3/empty.nii.gz holds no labelled voxel; leave the cell label empty for a case without a label.",
    ]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": "elastic"}, CohortError, "model out of rigid, .*, got elastic"),
        ({"workers": 0}, CohortError, "workers from 1 up, got 0"),
        ({"max_fre_mm": -1}, CohortError, "limit max_fre_mm must be a number"),
        ({"validation": 2}, DatalistError, "too few for 2 validation"),
    ],
)
def test_wrong_options_are_refused_before_any_work(
    options: dict[str, Any], error: type[Exception], message: str, write_table: WriteTable, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        prepare_cohort(write_table(1, 2), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_two_runs_do_not_share_a_folder(write_table: WriteTable, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out/.lock"), pytest.raises(CohortError, match="Another run is writing into"):
        prepare_cohort(write_table(1), tmp_path / "out")


def test_the_command_ends_with_the_status_that_the_page_explains(
    write_table: WriteTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(1, p1={"ct": ""})
    with pytest.raises(SystemExit) as stopped:
        main(["prepare", str(table), str(tmp_path / "out"), "--workers", "1"])
    assert stopped.value.code == 3
    assert Verdict.FAILED in read(tmp_path / "out/cohort.json")["cases"][0]["verdict"]
    assert "The cell ct of case p1 is empty" in (tmp_path / "out/cohort.html").read_text(encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(["prepare", str(table), str(tmp_path / "out"), "--worker", "1"])
    assert stopped.value.code == 2
    assert "has no option --worker; did you mean --workers?" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_half_made_and_the_next_one_goes_on(
    write_table: WriteTable, tmp_path: Path
) -> None:
    table, out = write_table(1, 2, 3), tmp_path / "out"
    options = ["--workers", "1", "--max_fre_mm", "20", "--max_tre_mm", "20", "--max_spacing_mm", "20"]
    command = [sys.executable, "-m", "spinefuse_ext", "prepare", str(table), str(out), *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not list(out.glob("cases/p*")) and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    time.sleep(1)  # for the worker to see that its parent is gone
    folders = {path.name: sorted(file.name for file in path.iterdir()) for path in out.glob("cases/p*")}
    assert 1 <= len(folders) < 3
    files = ["ct.nii.gz", "mr.nii.gz", "prepare.json", "registration.json", "strip.jpg", "transform.tfm"]
    assert all(found == files for found in folders.values())
    assert not (out / "cohort.html").exists()
    times = {name: (out / "cases" / name / "ct.nii.gz").stat().st_mtime_ns for name in folders}
    assert subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0
    assert {path.name for path in (out / "cases").iterdir()} == {"p1", "p2", "p3"}
    assert all((out / "cases" / name / "ct.nii.gz").stat().st_mtime_ns == when for name, when in times.items())


def test_a_row_may_give_a_transform_or_ask_for_refining(
    write_table: WriteTable, phantoms: Path, tmp_path: Path
) -> None:
    points = {f"{name}_landmarks": phantoms / f"p1/{name}_landmarks.fcsv" for name in ("ct", "mr")}
    register_case(phantoms / "p1/ct.nii.gz", phantoms / "p1/mr.nii.gz", tmp_path / "one", **points)
    shutil.copy(tmp_path / "one/transform.tfm", phantoms / "p1/t.tfm")
    by_file = {"transform": "p1/t.tfm", "ct_landmarks": "", "mr_landmarks": ""}
    table = write_table(1, 2, 3, p1=by_file, p2={"refine": "yes"}, p3={"refine": "no"})
    prepared = prepare_cohort(table, tmp_path / "out", **LOOSE)
    assert set(verdicts(prepared).values()) == {"passed"}
    records = [one.record or {} for one in prepared.outcomes]
    assert [record["refinement"] is not None for record in records] == [False, True, False]
    assert records[0]["measured"]["fre_rms_mm"] is None
    assert "no landmarks: errors are not known" in (tmp_path / "out/cohort.html").read_text(encoding="utf-8")
    pair = [read_volume(folder / "mr.nii.gz").numpy() for folder in (tmp_path / "one", tmp_path / "out/cases/p1")]
    np.testing.assert_allclose(*pair, atol=1e-2)
    again = prepare_cohort(table, tmp_path / "out", refine=True, **LOOSE)
    assert done_now(again) == {"p1"}  # the others say themselves whether they are refined


def test_files_of_a_table_are_found_below_names_that_look_equal(
    write_table: WriteTable, phantoms: Path, tmp_path: Path
) -> None:
    """Two blanks in a folder of macOS, whose accents are coded apart, typed with one sign; the output is a link."""
    apart, composed = (unicodedata.normalize(form, "Müller  01") for form in ("NFD", "NFC"))
    (phantoms / "p1").rename(phantoms / apart)
    names = {"ct": "ct.nii.gz", "mr": "mr.nii.gz", "ct_landmarks": "ct_landmarks.fcsv"}
    cells = {name: f"{composed}/{file}" for name, file in names.items()}
    cells["mr_landmarks"] = f"{composed}/mr_landmarks.fcsv "
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    prepared = prepare_cohort(write_table(1, p1=cells), tmp_path / "out", **LOOSE)
    assert verdicts(prepared) == {"p1": "passed"}
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "cases" / "p1" / "mr.nii.gz").is_file()
    again = prepare_cohort(write_table(1, p1=cells), tmp_path / "out", **LOOSE)
    assert done_now(again) == set()
