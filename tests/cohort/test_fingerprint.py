from __future__ import annotations

import os
from pathlib import Path

import pytest

from spinefuse_ext.cohort import fingerprint


def test_an_absent_path_has_none(tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "absent.nii.gz") is None


@pytest.mark.parametrize("change", ["content", "time", "name", "added", "deeper"])
def test_every_change_of_a_series_changes_it(change: str, tmp_path: Path) -> None:
    folder = tmp_path / "series"
    (folder / "deep").mkdir(parents=True)
    for name in ("1.dcm", "2.dcm", "deep/3.dcm"):
        (folder / name).write_bytes(b"pixels")
    before = fingerprint(folder)
    assert before is not None
    assert (before["files"], before["bytes"]) == (3, 18)
    assert fingerprint(folder) == before
    assert fingerprint(folder / "1.dcm") == before  # a file of a series stands for its folder
    if change == "content":
        (folder / "1.dcm").write_bytes(b"pixels and more")
    elif change == "time":
        os.utime(folder / "2.dcm", ns=(0, 12345))
    elif change == "name":
        (folder / "2.dcm").rename(folder / "4.dcm")
    elif change == "added":
        (folder / "9.dcm").touch()
    else:
        os.utime(folder / "deep/3.dcm", ns=(0, 12345))
    assert fingerprint(folder) != before


def test_a_dicom_file_without_an_ending_stands_for_its_folder(tmp_path: Path) -> None:
    (tmp_path / "IM_0001").write_bytes(bytes(128) + b"DICM")
    before = fingerprint(tmp_path / "IM_0001")
    (tmp_path / "IM_0002").write_bytes(bytes(128) + b"DICM")
    assert fingerprint(tmp_path / "IM_0001") != before


def test_voxels_beside_their_header_count(tmp_path: Path) -> None:
    for name in ("a.mhd", "a.raw", "b.raw"):
        (tmp_path / name).write_bytes(b"1")
    before = fingerprint(tmp_path / "a.mhd")
    (tmp_path / "b.raw").write_bytes(b"22")
    assert fingerprint(tmp_path / "a.mhd") == before
    (tmp_path / "a.raw").write_bytes(b"22")
    assert fingerprint(tmp_path / "a.mhd") != before


def test_what_a_system_puts_into_a_folder_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "1.dcm").write_bytes(b"pixels")
    before = fingerprint(tmp_path)
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "@eaDir").mkdir()
    (tmp_path / "@eaDir" / "1.dcm").touch()
    assert fingerprint(tmp_path) == before
