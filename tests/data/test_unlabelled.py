from __future__ import annotations

import json
from pathlib import Path

import pytest

from spinefuse_ext.data import load_unlabelled
from spinefuse_ext.validation import DatalistError


def images(folder: Path, *names: str) -> list[str]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return [str(folder / name) for name in names]


def test_what_a_server_did_not_label_is_unlabelled(tmp_path: Path) -> None:
    one, two, three, _ = images(tmp_path, "a_ct.nii.gz", "b_ct.nii.gz", "c_ct.nii.gz", "c_mr.nii.gz")
    labelled = [[{"image": one, "label": "x"}], [{"image": two, "label": "y"}]]
    assert load_unlabelled("none.json", ["fused"], labelled=labelled, repeat=2) == [{"image": three}] * 2


def test_another_folder_of_unlabelled_images(tmp_path: Path) -> None:
    (labelled,) = images(tmp_path / "labelled", "a.nii.gz")
    more = images(tmp_path / "more", "a.nii.gz", "b.nii.gz")
    found = load_unlabelled("none.json", ["fused"], labelled=[[{"image": labelled}]], folder=tmp_path / "more")
    assert [item["image"] for item in found] == more
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatalistError, match="holds no image"):
        load_unlabelled("none.json", ["fused"], labelled=[[{"image": labelled}]], folder=tmp_path / "empty")


def test_labelled_images_serve_when_all_have_labels(tmp_path: Path) -> None:
    (only,) = images(tmp_path, "a.nii.gz")
    assert load_unlabelled("none.json", ["fused"], labelled=[[{"image": only, "label": "x"}]]) == [{"image": only}]


def test_a_datalist_is_read_as_ever(tmp_path: Path) -> None:
    fused, _ = images(tmp_path, "a_fused.nii.gz", "b_fused.nii.gz")
    item = {"patient": "a", "fused": fused}
    (tmp_path / "list.json").write_text(json.dumps({"unlabelled": [item], "labelled": []}))
    labelled = [[{"patient": "b", "fused": "x", "label": "y"}], []]
    assert load_unlabelled("list.json", ["fused"], labelled=labelled, base_dir=tmp_path) == [item]


def test_what_a_system_put_there_is_no_image(tmp_path: Path) -> None:
    one, two, _ = images(tmp_path, "a_ct.nii.gz", "b_ct.nii.gz", "._b_ct.nii.gz")
    assert load_unlabelled("none.json", ["fused"], labelled=[[{"image": one}]]) == [{"image": two}]
