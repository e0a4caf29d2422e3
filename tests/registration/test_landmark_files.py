from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinefuse_ext.registration import Landmarks, read_landmarks, write_landmarks
from spinefuse_ext.validation import LandmarkError, MissingPathError

HEADER = (
    "# Markups fiducial file version = 4.6\n# CoordinateSystem = 0\n"
    "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
)


def fcsv(*rows: tuple[str, str]) -> str:
    """Slicer 4 text with one row per (coordinates, label)."""
    return HEADER + "".join(f"n{i},{xyz},0,0,0,1,1,1,0,{name},,\n" for i, (xyz, name) in enumerate(rows))


def markup(*points: dict[str, object], **fields: object) -> str:
    return json.dumps({"markups": [{"type": "Fiducial", "controlPoints": list(points), **fields}]})


coordinates = st.floats(-1e4, 1e4, allow_nan=False)
names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
landmark_lists = st.lists(
    st.tuples(names, st.tuples(coordinates, coordinates, coordinates)),
    min_size=1,
    max_size=6,
    unique_by=lambda item: unicodedata.normalize("NFC", item[0]),
).map(lambda items: Landmarks(tuple(name for name, _ in items), np.array([point for _, point in items])))


@pytest.mark.parametrize("suffix", [".mrk.json", ".fcsv", ".csv"])
@settings(max_examples=60, deadline=None)
@given(landmarks=landmark_lists)
def test_what_is_written_is_read_back_exactly(
    landmarks: Landmarks, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("round") / f"points{suffix}"
    write_landmarks(landmarks, path)
    back = read_landmarks(path)
    assert back.names == landmarks.names
    np.testing.assert_array_equal(back.points_mm, landmarks.points_mm)


@pytest.mark.parametrize("name", ["L1, left", 'a "quoted" name', "L1 #2", "横突 L4"])
@pytest.mark.parametrize("suffix", [".mrk.json", ".fcsv", ".csv"])
def test_names_with_punctuation_survive(name: str, suffix: str, tmp_path: Path) -> None:
    write_landmarks(Landmarks((name,), np.ones((1, 3))), tmp_path / f"points{suffix}")
    assert read_landmarks(tmp_path / f"points{suffix}").names == (name,)


@pytest.mark.parametrize(
    ("system", "expected"),
    [("0", [1, 2, 3]), ("RAS", [1, 2, 3]), ("1", [-1, -2, 3]), ("LPS", [-1, -2, 3])],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_fcsv_coordinate_systems_become_ras(system: str, expected: list[float], line_end: str, tmp_path: Path) -> None:
    text = fcsv(("1,2,3", "L1")).replace("CoordinateSystem = 0", f"CoordinateSystem = {system}")
    path = tmp_path / "points.fcsv"
    path.write_bytes(text.replace("\n", line_end).encode())
    np.testing.assert_array_equal(read_landmarks(path).points_mm, [expected])


@pytest.mark.parametrize(("system", "expected"), [("LPS", [-1, -2, 3]), ("RAS", [1, 2, 3]), (None, [-1, -2, 3])])
def test_json_coordinate_systems_become_ras(system: str | None, expected: list[float], tmp_path: Path) -> None:
    fields = {"coordinateSystem": system} if system else {}
    (tmp_path / "p.mrk.json").write_text(markup({"label": "L1", "position": [1, 2, 3]}, **fields))
    np.testing.assert_array_equal(read_landmarks(tmp_path / "p.mrk.json").points_mm, [expected])


def test_slicer_3_files_name_the_point_first(tmp_path: Path) -> None:
    (tmp_path / "old.fcsv").write_text("# columns = label,x,y,z,sel,vis\nmid,12.5,-93.5,7.5,1,1\n")
    landmarks = read_landmarks(tmp_path / "old.fcsv")
    assert landmarks.names == ("mid",)
    np.testing.assert_array_equal(landmarks.points_mm, [[12.5, -93.5, 7.5]])


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n", "n,-1,-2,3,0,0,0,1,1,1,0,L1,,\n"),
        ("# Fiducial List file points.fcsv\n# name = points\n", "L1,1,2,3,1,1\n"),
    ],
    ids=["slicer-4", "slicer-3"],
)
def test_without_a_columns_line_the_version_says_which_columns_stand(header: str, row: str, tmp_path: Path) -> None:
    (tmp_path / "p.fcsv").write_text(header + row)
    landmarks = read_landmarks(tmp_path / "p.fcsv")
    assert landmarks.names == ("L1",)
    np.testing.assert_array_equal(landmarks.points_mm, [[1, 2, 3]])


def test_several_point_lists_in_one_file_are_one_each_in_its_own_system(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lists = [
        {"type": "Fiducial", "coordinateSystem": s, "controlPoints": [{"label": n, "position": [1, 2, 3]}]}
        for s, n in (("LPS", "L1"), ("RAS", "L2"))
    ]
    (tmp_path / "p.mrk.json").write_text(json.dumps({"markups": [*lists, {"type": "Line"}]}))
    landmarks = read_landmarks(tmp_path / "p.mrk.json")
    assert landmarks.names == ("L1", "L2")
    np.testing.assert_array_equal(landmarks.points_mm, [[-1, -2, 3], [1, 2, 3]])
    assert "markups of type Line are not" in caplog.text
    lists[1]["controlPoints"][0]["label"] = " L1 "
    (tmp_path / "p.mrk.json").write_text(json.dumps({"markups": lists}))
    with pytest.raises(LandmarkError, match="list 2, control point 1: the name L1 was already used at list 1"):
        read_landmarks(tmp_path / "p.mrk.json")


def test_points_never_placed_are_left_out(tmp_path: Path) -> None:
    points = [{"label": "L1", "position": [1, 2, 3]}, {"label": "L2", "positionStatus": "undefined"}]
    (tmp_path / "p.mrk.json").write_text(markup(*points))
    row = "n,4,5,6,0,0,0,1,1,1,0,{},,,{},0\n"  # Slicer 5 appends the status: 2 is defined, 0 is not
    (tmp_path / "p.fcsv").write_text(HEADER + row.format("L1", 2) + row.format("L2", 0))
    assert read_landmarks(tmp_path / "p.mrk.json").names == ("L1",)
    assert read_landmarks(tmp_path / "p.fcsv").names == ("L1",)


def test_lps_is_written_with_the_schema_slicer_reads(tmp_path: Path) -> None:
    write_landmarks(Landmarks(("L1",), np.array([[1.0, 2.0, 3.0]])), tmp_path / "p.mrk.json")
    content = json.loads((tmp_path / "p.mrk.json").read_text())
    point = content["markups"][0]["controlPoints"][0]
    assert content["@schema"].endswith("markups-schema-v1.0.3.json#")
    assert content["markups"][0]["coordinateSystem"] == "LPS"
    assert (point["label"], point["position"], point["positionStatus"]) == ("L1", [-1.0, -2.0, 3.0], "defined")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(fcsv(("1,2,Inf", "L1")), r"line 4 \(L1\).*finite", id="infinite"),
        pytest.param(fcsv(("1,2,dummy", "L1")), r"line 4 \(L1\).*dummy", id="text"),
        pytest.param(
            fcsv(("1,2,3", "L1"), ("1,2,4", "L1")), "line 5: the name L1 was already used at line 4", id="twice"
        ),
        pytest.param(fcsv(("1,2,3", "")), "line 4: expected a name", id="no-name"),
        pytest.param(HEADER + "n,1,2,3\n", "line 4: expected 14 columns, got 4", id="short-row"),
        pytest.param(HEADER.replace("label", "title") + "n,1,2,3\n", "names no column label", id="no-label-column"),
        pytest.param(HEADER, "holds no placed landmark", id="empty"),
        pytest.param("<html>\n</html>\n", "is no Slicer point list", id="html"),
        pytest.param(fcsv(("1,2,3", "L1")).replace("= 4.6", "= 3.5"), "claims markups version 3.5", id="version"),
        pytest.param(fcsv(("1,2,3", "L1")).replace("System = 0", "System = 2"), "coordinate system 2", id="ijk"),
    ],
)
def test_malformed_fcsv_is_refused_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.fcsv").write_text(text)
    with pytest.raises(LandmarkError, match=f"bad.fcsv.*{message}"):
        read_landmarks(tmp_path / "bad.fcsv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "is no JSON file", id="cut-off"),
        pytest.param("[]", "must hold a point list under", id="a-list"),
        pytest.param('{"markups": []}', "must hold a point list", id="no-markup"),
        pytest.param(markup(type="Plane"), "type Plane", id="a-plane"),
        pytest.param(markup(coordinateUnits="um"), "in um, expected mm", id="micrometres"),
        pytest.param(markup(coordinateSystem="IJK"), "coordinate system IJK", id="ijk"),
        pytest.param('{"markups": [{"type": "Fiducial"}]}', "no list 'controlPoints'", id="no-points"),
        pytest.param(markup(), "no placed landmark", id="empty"),
        pytest.param(markup({"label": "L1"}), "control point 1: expected a position", id="no-position"),
        pytest.param(markup({"label": "L1", "position": [1, 2]}), "control point 1 .L1.: expected three", id="2-d"),
        pytest.param(markup({"label": "L1", "position": [1, 2, None]}), "expected three", id="null"),
        pytest.param(markup({"label": "L1", "position": [1, 2, float("nan")]}), "expected three finite", id="nan"),
        pytest.param(markup({"label": " ", "position": [1, 2, 3]}), "expected a name", id="no-name"),
    ],
)
def test_malformed_json_is_refused_with_its_point(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.mrk.json").write_text(text)
    with pytest.raises(LandmarkError, match=f"bad.mrk.json.*{message}"):
        read_landmarks(tmp_path / "bad.mrk.json")


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "points.acsv").write_text("point|1|2|3|1|1")
    with pytest.raises(
        LandmarkError, match=r"points.acsv is an annotation of Slicer 4.0 to 4.2, .* save the points as"
    ):
        read_landmarks(tmp_path / "points.acsv")
    (tmp_path / "points.xml").write_text("<points/>")
    with pytest.raises(LandmarkError, match=r"expected a name that ends in .mrk.json, .fcsv or .csv"):
        read_landmarks(tmp_path / "points.xml")
    (tmp_path / "points.fcsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LandmarkError, match="no text file in UTF-8"):
        read_landmarks(tmp_path / "points.fcsv")
    with pytest.raises(MissingPathError, match=r"Landmark file .*absent.fcsv does not exist"):
        read_landmarks(tmp_path / "absent.fcsv")


@pytest.mark.parametrize("name", ["", " L1", "a\nb", "a\x00b"])
def test_names_that_no_file_can_hold_are_refused(name: str) -> None:
    with pytest.raises(LandmarkError, match="one line of text"):
        Landmarks((name,), np.zeros((1, 3)))


def test_landmarks_check_themselves() -> None:
    with pytest.raises(LandmarkError, match="unique, but L1"):
        Landmarks(("L1", "L1"), np.zeros((2, 3)))
    with pytest.raises(LandmarkError, match="finite"):
        Landmarks(("L1",), np.full((1, 3), np.nan))
    with pytest.raises(ValueError, match=r"points_mm \(1, 3\), got \(2, 3\)"):
        Landmarks(("L1",), np.zeros((2, 3)))


@pytest.mark.assets
@pytest.mark.parametrize(
    ("pattern", "count", "name"),
    [
        ("afids_fcsv/*.fcsv", 32, "1"),
        ("slicermorph_mrk_json/*.mrk.json", 51, "1"),
        ("slicer_fcsv_acsv/slicer3.fcsv", 56, "midsag2"),
        ("slicer_fcsv_acsv/L1.fcsv", 2, "L1-P1"),
    ],
)
def test_published_files_are_read(assets: Path, pattern: str, count: int, name: str) -> None:
    paths = sorted((assets / "data/landmarks_transforms").glob(pattern))
    assert paths
    for path in paths:
        landmarks = read_landmarks(path)
        assert len(landmarks.names) == count
        assert landmarks.names[0] == name


@pytest.mark.assets
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("infinite_coord", "line 5.*Inf"),
        ("invalid_coord", "line 5.*dummy"),
        ("too_few_columns", "line 5: expected 14 columns, got 13"),
        ("invalid_version", "version 3.5"),
        ("invalid_content", "no Slicer point list"),
    ],
)
def test_published_malformed_files_are_refused(assets: Path, name: str, message: str) -> None:
    with pytest.raises(LandmarkError, match=message):
        read_landmarks(assets / f"data/landmarks_transforms/afids_fcsv_malformed/{name}.fcsv")


@pytest.mark.assets
def test_all_105_published_sets_match_by_name(assets: Path) -> None:
    paths = sorted((assets / "data/landmarks_transforms/afids_fcsv").glob("*.fcsv"))
    sets = [read_landmarks(path) for path in paths]
    pairs = [(first, second) for place, first in enumerate(sets) for second in sets[:place]]
    assert len(pairs) == 105
    assert all(set(first.names) == set(second.names) for first, second in pairs)


def test_names_match_however_their_accents_are_coded(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        (tmp_path / f"{form}.csv").write_text(f"name,x,y,z\n{unicodedata.normalize(form, 'Wirbelkörper  1')},1,2,3\n")
    first, second = (read_landmarks(tmp_path / f"{form}.csv").names for form in ("NFC", "NFD"))
    assert first == second == ("Wirbelkörper 1",)


@pytest.mark.parametrize("units", [None, "", ["mm"], ["mm", "mm", "mm"]])
def test_a_length_unit_that_is_empty_or_said_per_axis_is_the_millimetre(units: object, tmp_path: Path) -> None:
    (tmp_path / "p.mrk.json").write_text(markup({"label": "L1", "position": [1, 2, 3]}, coordinateUnits=units))
    np.testing.assert_array_equal(read_landmarks(tmp_path / "p.mrk.json").points_mm, [[-1, -2, 3]])
