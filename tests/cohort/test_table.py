from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from spinefuse_ext.cohort import CohortCase, read_cohort
from spinefuse_ext.cohort.paths import find_cell
from spinefuse_ext.validation import CohortError, MissingPathError

HEADER = "case,patient,ct,mr"


def table(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "cohort.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_plain_table_gives_its_cells(tmp_path: Path) -> None:
    header = "case,patient,ct,mr,ct_landmarks,mr_landmarks,model,section,refine"
    text = f"{header}\na,p,x/ct,x/mr,c.fcsv,m.fcsv,Affine,test,yes\n"
    assert read_cohort(table(tmp_path, text)) == [
        CohortCase(
            *(2, "a", "p", "x/ct", "x/mr", "c.fcsv", "m.fcsv"), model="affine", section="test", refine=True, reject=""
        )
    ]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("case,patient,ct,mr\na,p,c,m\n", id="plain"),
        pytest.param(b"\xef\xbb\xbfcase;patient;ct;mr\r\na;p;c;m\r\n", id="excel"),
        pytest.param("sep=;\ncase;patient;ct;mr\na;p;c;m\n", id="sep-line"),
        pytest.param("case\tpatient\tct\tmr\na\tp\tc\tm", id="tabs"),
        pytest.param("\n;;;;\nCase;Patient;CT;MR;\n\na;p;c;m;\n;;;;\n", id="empty-lines-and-columns"),
        pytest.param('"case","patient","ct","mr"\n" a ","p","c","m"\n', id="quotes"),
        pytest.param("mr,ct,patient,case\nm,c,p,a\n", id="order"),
    ],
)
def test_what_spreadsheets_save_reads_alike(text: str | bytes, tmp_path: Path) -> None:
    (case,) = read_cohort(table(tmp_path, text))
    assert (case.case, case.patient, case.ct, case.mr, case.refine) == ("a", "p", "c", "m", None)


def test_quoted_cells_hold_separators_and_lines_are_counted_in_the_file(tmp_path: Path) -> None:
    text = f'{HEADER},reject\na,p,"c,1",m,"blurred,\nmoved"\n\nb,p,c,m,\n'
    first, second = read_cohort(table(tmp_path, text))
    assert (first.ct, first.reject, second.line) == ("c,1", "blurred, moved", 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "is empty; expected a header with case, patient, ct, mr", id="empty"),
        pytest.param(f"{HEADER}\n", "has a header but no case", id="no-case"),
        pytest.param(
            "case,patient,ct,mr,ct_landmark\na,p,c,m,l\n", "no column ct_landmark; did you mean ct_landmarks", id="typo"
        ),
        pytest.param("case,patient,ct,mr,zzz\na,p,c,m,l\n", "no column zzz; known are case, patient", id="unknown"),
        pytest.param("case,patient,ct,mr,,label\na,p,c,m,,l\n", r"no column \(without a name\)", id="no-name"),
        pytest.param("case,patient,ct,mr,CT\na,p,c,m,l\n", "column ct stands there more than once", id="twice"),
        pytest.param("case,ct,mr\na,c,m\n", "column patient is missing, got case, ct, mr", id="missing"),
        pytest.param(f"{HEADER}\na,p,c\n", "line 2: expected 4 cells as in the header, got 3", id="few"),
        pytest.param(f"{HEADER}\na,p,c,m\nb,p,c,m,x\n", "line 3: expected 4 cells .* got 5", id="many"),
        pytest.param(f"{HEADER}\n,p,c,m\n", "line 2: the cell case is empty", id="no-name-of-case"),
        pytest.param(f"{HEADER}\na,,c,m\n", "line 2: the cell patient is empty", id="no-patient"),
        pytest.param(f"{HEADER}\na,p,c,m\na,q,c,m\n", "line 3: the case a stands in line 2 too", id="same-case"),
        pytest.param(
            f"{HEADER},model\na,p,c,m,elastic\n", "line 2: expected a model out of rigid, .*, got elastic", id="model"
        ),
        pytest.param(
            f"{HEADER},section\na,p,c,m,train\n", "expected a section out of labelled, .*, got train", id="section"
        ),
        pytest.param(f"{HEADER},section\na,p,c,m,test\nb,q,c,m,\n", "line 3: the cell section is empty", id="half"),
        pytest.param(
            f"{HEADER},section\na,p,c,m,test\nb,p,c,m,unlabelled\n",
            "line 3: patient p is in the section unlabelled, but in line 2 in test",
            id="patient-apart",
        ),
        pytest.param(
            f"{HEADER},section\na,p,c,m,labelled\n",
            "line 2: case a is in the section labelled, but has no label",
            id="unlabelled",
        ),
        pytest.param(
            f"{HEADER},refine\na,p,c,m,maybe\n", "line 2: expected yes or no in the column refine, got maybe", id="word"
        ),
        pytest.param(f'{HEADER}\na,p,"c,m\n', "line 2: no row of a table", id="open-quote"),
        pytest.param("fälle,ö\n".encode("latin-1"), "is no text in UTF-8; in Excel save it as", id="encoding"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=message):
        read_cohort(table(tmp_path, text))


def test_a_table_must_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match=r"The table of cases .*absent.csv does not exist"):
        read_cohort(tmp_path / "absent.csv")
    with pytest.raises(CohortError, match="is no file that can be read"):
        read_cohort(tmp_path)


def test_paths_stay_as_they_are_typed_and_names_take_one_form(tmp_path: Path) -> None:
    apart = unicodedata.normalize("NFD", "Müller")
    text = f"{HEADER},label,ct_series\n{apart} ,\ufeff p  1,Patient  01/ct,m,x  y ,T2  sag \n"
    (case,) = read_cohort(table(tmp_path, text))
    assert (case.case, case.patient) == ("Müller", "p 1")
    assert (case.ct, case.mr, case.label, case.ct_series) == ("Patient  01/ct", "m", "x  y ", "T2  sag")


def test_one_case_or_patient_in_two_forms_is_one(tmp_path: Path) -> None:
    apart = unicodedata.normalize("NFD", "Müller")
    with pytest.raises(CohortError, match="line 3: the case Müller stands in line 2 too"):
        read_cohort(table(tmp_path, f"{HEADER}\nMüller,p,c,m\n{apart},q,c,m\n"))
    with pytest.raises(CohortError, match="patient Müller is in the section unlabelled, but in line 2 in test"):
        read_cohort(table(tmp_path, f"{HEADER},section\na,Müller,c,m,test\nb,{apart},c,m,unlabelled\n"))


@pytest.mark.skipif(os.name == "nt", reason="there these are paths")
@pytest.mark.parametrize("cell", [r"C:\data\ct.nii.gz", "d:/data/ct", r"\\server\share\ct", r'"""C:\x\ct.nii"""'])
def test_a_path_of_windows_is_refused_with_its_line(cell: str, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"line 2: .* is a path of Windows, and this system has no drives; write it"):
        read_cohort(table(tmp_path, f"{HEADER}\na,p,{cell},m\n"))


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("P  1/ct.nii", "P  1/ct.nii"),
        ("P  1/ct.nii ", "P  1/ct.nii"),
        ("end /x ", "end /x "),
        ("\u202aP  1/ct.nii", "P  1/ct.nii"),
        ("'P  1/ct.nii'", "P  1/ct.nii"),
        (unicodedata.normalize("NFD", "Grün/ct.nii"), unicodedata.normalize("NFD", "Grün/ct.nii")),
        (" gone  x ", "gone  x"),
        pytest.param(r"P  1\ct.nii", "P  1/ct.nii", marks=pytest.mark.skipif(os.name == "nt", reason="one path there")),
    ],
)
def test_a_cell_finds_its_file(cell: str, found: str, tmp_path: Path) -> None:
    for name in ("P  1/ct.nii", "end /x ", "Grün/ct.nii"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_cell(cell, tmp_path) == found
