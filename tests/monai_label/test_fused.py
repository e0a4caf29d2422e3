from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from spinefuse_ext.monai_label.fused import FusedVolumes
from spinefuse_ext.validation import MissingPathError


class Fuse:
    """Stands for the fusion model: writes the number of the call."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, 0

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        self.calls += 1
        path = self.folder / f"made_{self.calls}.nii.gz"
        path.write_text(str(self.calls))
        return str(path), {}


@pytest.fixture
def fuse(tmp_path: Path) -> Fuse:
    for name in ("a_ct.nii.gz", "a_mr.nii.gz", "b_ct.nii.gz", "b_mr.nii.gz", "model.pt"):
        (tmp_path / name).write_text("x")
    return Fuse(tmp_path)


@pytest.fixture
def fused(fuse: Fuse, tmp_path: Path) -> FusedVolumes:
    return FusedVolumes(fuse, tmp_path / "model.pt", tmp_path / "fused")


def later(path: Path) -> None:
    about = path.stat()
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns + 1_000_000))


def test_a_volume_is_made_once(fused: FusedVolumes, fuse: Fuse, tmp_path: Path) -> None:
    first = fused.of({"image": str(tmp_path / "a_ct.nii.gz")})
    assert fused.of({"image": str(tmp_path / "a_ct.nii.gz"), "device": "cpu"}) == first
    assert fuse.calls == 1
    assert first.read_text() == "1"


@pytest.mark.parametrize("changed", ["a_ct.nii.gz", "a_mr.nii.gz", "model.pt"])
def test_a_changed_file_makes_a_new_one_and_the_old_goes(
    fused: FusedVolumes, fuse: Fuse, tmp_path: Path, changed: str
) -> None:
    request = {"image": str(tmp_path / "a_ct.nii.gz")}
    other = fused.of({"image": str(tmp_path / "b_ct.nii.gz")})
    old = fused.of(request)
    later(tmp_path / changed)
    new = fused.of(request)
    assert fuse.calls == 3
    assert set((tmp_path / "fused").iterdir()) == {new, other}
    assert old != new


def test_another_registration_makes_another(fused: FusedVolumes, fuse: Fuse, tmp_path: Path) -> None:
    for model in ("rigid", "affine", "affine"):
        fused.of({"image": str(tmp_path / "a_ct.nii.gz"), "registration_model": model})
    (tmp_path / "a_transform.h5").write_text("x")
    fused.of({"image": str(tmp_path / "a_ct.nii.gz"), "registration_model": "affine"})
    assert fuse.calls == 3


def test_no_pair_no_volume(fused: FusedVolumes, fuse: Fuse, tmp_path: Path) -> None:
    (tmp_path / "a_mr.nii.gz").unlink()
    with pytest.raises(MissingPathError, match="No MR was found"):
        fused.of({"image": str(tmp_path / "a_ct.nii.gz")})
    assert fuse.calls == 0
