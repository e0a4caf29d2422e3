from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spinefuse_ext.registration import read_landmarks
from spinefuse_ext.validation import LandmarkError


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "points.csv"
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("name,x,y,z\nL1,1.5,2,3\n", [1.5, 2, 3], id="ras-when-nothing-is-said"),
        pytest.param("# CoordinateSystem = LPS\nname,x,y,z\nL1,1.5,2,3\n", [-1.5, -2, 3], id="lps-comment"),
        pytest.param("label,l,p,s\nL1,1.5,2,3\n", [-1.5, -2, 3], id="lps-letters"),
        pytest.param("label,r,a,s,defined\nL1,1.5,2,3,1\nL2,0,0,0,0\n", [1.5, 2, 3], id="slicer-table-with-unplaced"),
        pytest.param("Z (mm),Name,X (mm),Y (mm)\n3,L1,1.5,2\n", [1.5, 2, 3], id="any-order-with-units"),
        pytest.param("name,x_lps,y_lps,z_lps\nL1,1.5,2,3\n", [-1.5, -2, 3], id="lps-in-the-header"),
        pytest.param("sep=;\nname;x;y;z\nL1;1,5;2;3,0\n", [1.5, 2, 3], id="decimal-commas"),
        pytest.param("name;x;y;z\nL1;1.5;2;3\n;;;\n", [1.5, 2, 3], id="semicolons-and-an-empty-row"),
        pytest.param("name\tx\ty\tz\r\nL1\t1.5\t2\t3\r\n", [1.5, 2, 3], id="tabs"),
        pytest.param("name,x,y,z,,\nL1,1.5,2,3,,\n,,,,,\n", [1.5, 2, 3], id="empty-columns-of-a-spreadsheet"),
        pytest.param("name,x,y,z\nL1,\u22121.5,\u22122,3\n", [-1.5, -2, 3], id="typographic-minus"),
    ],
)
def test_the_ways_a_table_spells_a_point(text: str, expected: list[float], tmp_path: Path) -> None:
    landmarks = read_landmarks(table(tmp_path, text, "utf-8-sig"))
    assert landmarks.names == ("L1",)
    np.testing.assert_array_equal(landmarks.points_mm, [expected])


def test_the_caller_may_say_which_system_but_not_contradict_the_file(tmp_path: Path) -> None:
    path = table(tmp_path, "name,x,y,z\nL1,1,2,3\n")
    np.testing.assert_array_equal(read_landmarks(path, "LPS").points_mm, [[-1, -2, 3]])
    path = table(tmp_path, "# coordinate system: RAS\nname,x,y,z\nL1,1,2,3\n")
    with pytest.raises(LandmarkError, match="expected one coordinate system, RAS or LPS, got LPS, RAS"):
        read_landmarks(path, "LPS")
    (tmp_path / "p.fcsv").write_text("")
    with pytest.raises(ValueError, match=r"only with a .csv table, got LPS"):
        read_landmarks(tmp_path / "p.fcsv", "LPS")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "is empty; expected a header name,x,y,z", id="empty"),
        pytest.param(
            "L1,1,2,3\n", "line 1: expected a header with the columns name, x, y and z, got L1", id="headless"
        ),
        pytest.param("name,x,y\nL1,1,2\n", "line 1: expected a header", id="no-z"),
        pytest.param("name,x,y,z,x\nL1,1,2,3,4\n", "line 1: expected a header", id="x-twice"),
        pytest.param("name,x (cm),y (cm),z (cm)\nL1,1,2,3\n", "expected coordinates in mm, got cm", id="centimetres"),
        pytest.param("name,x,y,z\nL1,1,5,2,3\n", "line 2: expected 4 columns, got 5", id="decimal-comma"),
        pytest.param('name,x,y,z\nL1,"1,5",2,3\n', "line 2: expected one sign for decimals", id="quoted-comma"),
        pytest.param("name;x;y;z\nL1;1.234,5;2;3\n", "line 2: expected one sign for decimals", id="thousands"),
        pytest.param("name;x;y;z\nL1;1,5;2.5;3\n", "line 2: expected one sign for decimals", id="point-and-comma"),
        pytest.param(
            "name,x,y,z\nL1,1,2,3\n L1 ,1,2,4\n", "line 3: the name L1 was already used at line 2", id="twice"
        ),
        pytest.param("name,x,y,z\nL1,1,,3\n", r"line 2 \(L1\): expected three finite", id="gap"),
        pytest.param("# CoordinateSystem = IJK\nname,x,y,z\nL1,1,2,3\n", "RAS or LPS, got IJK", id="ijk"),
        pytest.param("name,x,y,z\n", "holds no placed landmark", id="only-a-header"),
    ],
)
def test_malformed_tables_are_refused_with_their_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LandmarkError, match=f"points.csv.*{message}"):
        read_landmarks(table(tmp_path, text))


def test_a_table_in_another_encoding_is_told_how_to_be_saved(tmp_path: Path) -> None:
    path = table(tmp_path, "name,x,y,z\nKörper,1,2,3\n", "cp1252")
    with pytest.raises(LandmarkError, match=r"points.csv is no text file in UTF-8; save the table as CSV UTF-8\."):
        read_landmarks(path)
