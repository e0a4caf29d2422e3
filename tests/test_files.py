from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import Any

import pytest

from spinefuse_ext.files import (
    atomic_folder,
    atomic_write,
    check_apart,
    check_output_file,
    check_output_folder,
    empty_folder,
)
from spinefuse_ext.validation import OutputError


def test_a_file_appears_when_it_is_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "new" / "image.nii.gz"
    for text in ("first", "second"):
        with atomic_write(target) as temporary:
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
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "table.csv"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_when_it_is_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "case"
    for name in ("first.txt", "second.txt"):
        with atomic_folder(target) as temporary:
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
    with atomic_folder(tmp_path / "case") as folder:
        (folder / "x.txt").touch()
    assert (tmp_path / "case").stat().st_mode == (tmp_path / "plain").stat().st_mode


def _write_half(target: Path) -> None:
    with atomic_write(target) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")


def _fill_half(target: Path) -> None:
    with atomic_folder(target) as temporary:
        (temporary / "half.txt").touch()
        raise KeyboardInterrupt


@pytest.mark.parametrize("write", [atomic_write, atomic_folder])
def test_a_link_stays_and_what_it_leads_to_is_written(write: Any, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "real")
    for text in ("first", "second"):
        with write(tmp_path / "out") as temporary:
            (temporary / "x" if write is atomic_folder else temporary).write_text(text)
        assert (tmp_path / "out").is_symlink()
        real = tmp_path / "disk" / "real"
        assert (real / "x" if write is atomic_folder else real).read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "out"]
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["real"]


@pytest.fixture(params=["mount point", "working folder", "folder of somebody else", "busy"])
def staying(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that cannot be renamed away; it holds a file of before and one of the system."""
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("old.txt", ".DS_Store"):
        (folder / name).touch()
    if request.param == "mount point":
        monkeypatch.setattr("os.path.ismount", lambda path: Path(path) == folder)
    elif request.param == "folder of somebody else":
        monkeypatch.setattr("os.access", lambda path, mode: Path(path) != folder.parent)
    elif request.param == "working folder":
        monkeypatch.chdir(folder)
    else:
        rename = Path.rename

        def refuse(path: Path, target: Path) -> Path:
            if path == folder:
                raise OSError(errno.EBUSY, "Device or resource busy")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", refuse)
    return folder


def test_a_folder_that_has_to_stay_is_written_into(staying: Path) -> None:
    before = staying.stat().st_ino
    with atomic_folder(staying) as temporary:
        (temporary / "new.txt").touch()
        assert (staying / "old.txt").exists()
    assert sorted(path.name for path in staying.iterdir()) == [".DS_Store", "new.txt"]
    assert staying.stat().st_ino == before
    assert list(staying.parent.iterdir()) == [staying]


def test_a_folder_that_has_to_stay_is_as_before_after_an_error(staying: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _fill_half(staying)
    assert sorted(path.name for path in staying.rglob("*")) == [".DS_Store", "old.txt"]


def test_a_folder_keeps_its_rights_and_what_the_system_put_there(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir(mode=0o700)
    target.chmod(0o2770)
    (target / ".DS_Store").touch()
    with atomic_folder(target) as temporary:
        (temporary / "new.txt").touch()
    assert stat.S_IMODE(target.stat().st_mode) == 0o2770
    assert sorted(path.name for path in target.iterdir()) == [".DS_Store", "new.txt"]


def _refusals(tmp_path: Path) -> dict[str, tuple[Path, Path, str]]:
    """A target for a file and one for a folder that cannot be, and what is said of both, by what stands in the way."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return {
        "other kind": (tmp_path / "folder", tmp_path / "file", "name a file|name a folder"),
        "below a file": (tmp_path / "file" / "a" / "x", tmp_path / "file" / "a", "file is a file and no folder"),
        "long name": (tmp_path / ("n" * 300), tmp_path / ("n" * 300) / "a", "longer than 255 bytes|too long"),
        "loop": (tmp_path / "loop", tmp_path / "loop", "a loop of links|is a file"),
        "device": (Path("/dev/null"), Path("/dev/null"), "a device|is a file"),
        "zero byte": (tmp_path / "a\0b", tmp_path / "a\0b", "null byte"),
    }


@pytest.mark.parametrize("case", ["other kind", "below a file", "long name", "loop", "device", "zero byte"])
def test_a_target_that_cannot_be_is_one_sentence_before_and_after_the_work(case: str, tmp_path: Path) -> None:
    file, folder, message = _refusals(tmp_path)[case]
    before = sorted(tmp_path.rglob("*"))
    for check, write, target in (
        (check_output_file, atomic_write, file),
        (check_output_folder, atomic_folder, folder),
    ):
        for call in (check, lambda path, write=write: write(path).__enter__()):
            with pytest.raises(OutputError, match=message) as refused:
                call(target)
            assert "\n" not in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_write_protected_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("kept")
    (tmp_path / "x.json").chmod(0o444)
    with pytest.raises(OutputError, match=r"x.json is write-protected; allow writing, or name another file"):
        check_output_file(tmp_path / "x.json")
    assert (tmp_path / "x.json").read_text() == "kept"


@pytest.mark.parametrize("check", [check_output_file, check_output_folder])
def test_a_check_leaves_nothing_behind(check: Any, tmp_path: Path) -> None:
    assert check(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_sentence_and_leaves_no_trace(number: int, tmp_path: Path) -> None:
    def write() -> None:
        with atomic_folder(tmp_path / "a" / "out") as folder:
            (folder / "half.txt").touch()
            raise OSError(number, "no room")

    with pytest.raises(OutputError, match=r"out cannot be written, for the disk is full or over its quota"):
        write()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_found_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(OutputError, match="the disk is full"):
        check_output_folder(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_an_input_that_cannot_be_read_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "x") as temporary:
        temporary.write_text((tmp_path / "gone").read_text())


def test_a_long_name_that_the_disk_allows_is_written(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 250)
    with atomic_write(target) as temporary:
        temporary.touch()
    assert list(tmp_path.iterdir()) == [target]


def test_an_emptied_folder_stays_itself(tmp_path: Path) -> None:
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "real" / "x").touch()
    (tmp_path / "real" / "link").symlink_to(tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    empty_folder(tmp_path / "out")
    assert not list((tmp_path / "real").iterdir())
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "other").is_dir()


def test_an_output_never_replaces_an_input(tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "ct.nii").touch()
    (tmp_path / "link").symlink_to(tmp_path / "case")
    inputs = [None, tmp_path / "case" / "ct.nii"]
    for output in ("case", "link", "link/ct.nii"):
        with pytest.raises(OutputError, match=r"would replace the input .*ct.nii; name another place"):
            check_apart(tmp_path / output, inputs)
    check_apart(tmp_path / "case" / "out", [*inputs, tmp_path / "case"])
