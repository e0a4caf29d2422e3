from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from monai.apps import extractall

from spinefuse_ext.unpack import unpack
from spinefuse_ext.validation import ArchiveError

OUT = ["../out", "a/../../out", "/tmp/spinefuse_out", "..", "a\\..\\..\\out", "C:/out"]


@pytest.mark.parametrize("name", OUT)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_that_leads_out_stops_the_whole_archive(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("fine.txt", "x")
            packed.writestr(zipfile.ZipInfo(name), "x")
    else:
        with tarfile.open(path, "w") as archive:
            for each in ("fine.txt", name):
                archive.addfile(tarfile.TarInfo(each))
    folder = tmp_path / "in" / "folder"
    with pytest.raises(ArchiveError, match=f"^{path} holds .* leads out of its folder; nothing was unpacked"):
        unpack(path, folder)
    assert not folder.exists()
    assert not list(tmp_path.rglob("*out"))


@pytest.mark.parametrize("name", OUT[:4])
def test_so_does_monai_when_it_downloads_a_bundle(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(zipfile.ZipInfo(name), "x")
    with pytest.raises(ValueError, match="Unsafe path"):
        extractall(path, tmp_path / "in")
    assert not list(tmp_path.rglob("*out"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, None])
def test_links_and_devices_are_refused(kind: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "a"
    if kind is None:
        info = zipfile.ZipInfo("link")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr(info, "/etc/passwd")
    else:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = kind, "/etc/passwd"
        with tarfile.open(path, "w") as archive:
            archive.addfile(member)
    with pytest.raises(ArchiveError, match="holds link, which is a link"):
        unpack(path, tmp_path / "folder")


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(3):
            packed.writestr(f"{number}", bytes(100 * 2**20))
    with pytest.raises(ArchiveError, match="far larger"):
        unpack(path, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 torn"])
def test_what_is_no_archive_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ArchiveError, match="is no zip or tar that can be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "folder")


def test_right_archives_are_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("a/..b/c.txt", "zip")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("a/c.txt")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"tar"))
    unpack(tmp_path / "a.zip", tmp_path / "zip")
    unpack(tmp_path / "a.tar.gz", tmp_path / "tar")
    assert (tmp_path / "zip/a/..b/c.txt").read_text() == "zip"
    assert (tmp_path / "tar/a/c.txt").read_text() == "tar"
