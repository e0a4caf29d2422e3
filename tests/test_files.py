from __future__ import annotations

from pathlib import Path

import pytest

from spinefuse_ext.files import whole_file, whole_folder


def test_a_file_appears_when_it_is_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "new" / "image.nii.gz"
    for text in ("first", "second"):
        with whole_file(target) as temporary:
            temporary.write_text(text)
            assert temporary.name.endswith("image.nii.gz")  # writers choose the format by the name
            assert not target.exists() or target.read_text() == "first"
        assert target.read_text() == text
    assert list(target.parent.iterdir()) == [target]


def test_a_file_that_fails_leaves_the_old_one_and_no_trace(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(OSError, match="disk full"):
        _write_half(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_forgetting_to_write_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "table.csv"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_when_it_is_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "case"
    for name in ("first.txt", "second.txt"):
        with whole_folder(target) as temporary:
            (temporary / name).write_text(name)
            assert not (target / name).exists()
        assert [path.name for path in target.iterdir()] == [name]
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_that_fails_leaves_the_old_one_and_no_trace(tmp_path: Path) -> None:
    target = tmp_path / "case"
    target.mkdir()
    (target / "old.txt").touch()
    with pytest.raises(KeyboardInterrupt):
        _fill_half(target)
    assert list(tmp_path.rglob("*")) == [target, target / "old.txt"]


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    """A colleague who may read a plain new folder may read this one."""
    (tmp_path / "plain").mkdir()
    with whole_folder(tmp_path / "case") as folder:
        (folder / "x.txt").touch()
    assert (tmp_path / "case").stat().st_mode == (tmp_path / "plain").stat().st_mode


def _write_half(target: Path) -> None:
    with whole_file(target) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")


def _fill_half(target: Path) -> None:
    with whole_folder(target) as temporary:
        (temporary / "half.txt").touch()
        raise KeyboardInterrupt
