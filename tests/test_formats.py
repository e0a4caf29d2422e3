from __future__ import annotations

from pathlib import Path

import pytest

from spinefuse_ext.formats import IMAGE_SUFFIXES, data_paths, image_suffix, is_image_file, is_system_name


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
