from __future__ import annotations

import ast
from pathlib import Path

import pytest

import spinefuse_ext
from spinefuse_ext.formats import (
    DICOM_SUFFIXES,
    IMAGE_SUFFIXES,
    data_paths,
    header_of,
    image_stem,
    image_suffix,
    images_named,
    is_image_file,
    is_system_name,
)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_ending_is_known_in_capitals_too(suffix: str) -> None:
    assert image_suffix(f"a.b{suffix}") == suffix
    assert is_image_file(Path("x") / f"CT{suffix.upper()}")
    assert not is_image_file(f"._ct{suffix}")


@pytest.mark.parametrize(
    "name",
    [".ipynb_checkpoints", ".DS_Store", "._ct.nii.gz", "__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini", "lost+found"],
)
def test_what_a_system_puts_there_is_no_data(name: str) -> None:
    assert is_system_name(name)
    assert list(data_paths([Path("cases") / name, Path("cases/P 1")])) == [Path("cases/P 1")]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("case_5_ct.NII.GZ", "case_5_ct"),
        ("a.seg.nrrd", "a"),
        ("ct.hdr.gz", "ct"),
        ("ct.img", "ct"),
        ("study.zip", "study"),
        ("IM_0001", "IM_0001"),
        ("notes.txt", "notes.txt"),
    ],
)
def test_the_stem_is_what_other_files_of_an_image_share(name: str, stem: str) -> None:
    assert image_stem(name) == stem


def test_either_file_of_a_pair_leads_to_its_header_whatever_its_capitals(tmp_path: Path) -> None:
    for name in ("a.hdr", "a.img", "B.HDR", "B.IMG", "c.hdr.gz", "c.img.gz", "d.img"):
        (tmp_path / name).touch()
    headers = [header_of(tmp_path / name).name for name in ("a.img", "a.hdr", "B.IMG", "c.img.gz", "d.img")]
    assert headers == ["a.hdr", "a.hdr", "B.HDR", "c.hdr.gz", "d.img"]


def test_a_name_without_its_ending_finds_files_before_dicom(tmp_path: Path) -> None:
    for folder in ("mr", "mr_dicom"):
        (tmp_path / folder).mkdir()
    assert images_named(tmp_path, "mr") == [tmp_path / "mr_dicom", tmp_path / "mr"]
    (tmp_path / "mr.zip").touch()
    assert images_named(tmp_path, "mr")[0] == tmp_path / "mr.zip"
    (tmp_path / "mr.hdr").touch()
    assert images_named(tmp_path, "mr") == [tmp_path / "mr.hdr"]


def _ending_lists(path: Path) -> list[str]:
    """Collections of two or more endings of images that a module writes down."""
    endings = {*IMAGE_SUFFIXES, *DICOM_SUFFIXES}
    listed = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        parts = node.elts if isinstance(node, (ast.Tuple, ast.List, ast.Set)) else getattr(node, "keys", [])
        held = {part.value for part in parts if isinstance(part, ast.Constant)} & endings
        listed += [f"{path}:{node.lineno}: {sorted(held)}"] if len(held) > 1 else []
    return listed


def test_endings_of_images_are_listed_in_one_place_alone() -> None:
    package = Path(spinefuse_ext.__file__).parent
    others = [path for path in sorted(package.rglob("*.py")) if path.name != "formats.py"]
    assert [found for path in others for found in _ending_lists(path)] == []
    assert _ending_lists(package / "formats.py")


def test_pixels_are_read_in_one_place_alone() -> None:
    """Neither a config nor a module has a reader beside ``read_volume`` and what it is made of."""
    root = Path(spinefuse_ext.__file__).parents[1]
    configs = sorted(root.glob("bundles/*/configs/*.json"))
    assert configs
    assert not [path for path in configs if "LoadImage" in path.read_text() or "ITKReader" in path.read_text()]
    modules = [path for path in sorted((root / "spinefuse_ext").rglob("*.py")) if "LoadImaged" in path.read_text()]
    assert modules == []
