"""Needs MONAI Label, which lives in an environment of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("monailabel")


def test_what_a_system_put_among_the_studies_is_no_case(tmp_path: Path) -> None:
    from spinefuse_ext.monai_label.store import CaseDatastore

    for name in ("a_ct.nii.gz", "a_mr.nii.gz", "._a_ct.nii.gz", ".b_ct.nii.gz"):
        (tmp_path / name).write_bytes(b"x")
    assert CaseDatastore(str(tmp_path), extensions=["*.nii.gz"], auto_reload=False).list_images() == ["a_ct"]
