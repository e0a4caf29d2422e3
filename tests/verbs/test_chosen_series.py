"""``fuse`` reads the series and the stack of a DICOM folder that are named, and its DICOM output refers to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest
import torch
from monai.data import MetaTensor

from spinefuse_ext.data import CaseLayout
from spinefuse_ext.dicom import StudyHeader, write_series
from spinefuse_ext.transforms import ReadVolumed, SaveFusedSeriesd
from spinefuse_ext.validation import ConfigError, ImageReadError
from spinefuse_ext.verbs.commands import fuse, segment
from spinefuse_ext.volumes import read_volume


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder with two CTs (values 100 and 200) and an MR of two echoes (values 10 and 20)."""
    study, folder = StudyHeader("p", "Doe^Jo"), tmp_path / "scans"
    for number, (modality, value) in enumerate([("CT", 100), ("CT", 200), ("MR", 10), ("MR", 20)], 1):
        image = MetaTensor(torch.full((1, 6, 5, 4), float(value)), affine=torch.eye(4))
        write_series(image, folder / str(number), modality=modality, study=study, series_number=min(number, 3))
    for echo, name in ((20, "3"), (90, "4")):
        for path in (folder / name).iterdir():
            header = pydicom.dcmread(path)
            header.EchoTime, header.SeriesInstanceUID, header.FrameOfReferenceUID = echo, "1.2.3.4", "1.2.3"
            header.save_as(path)
    return folder


@pytest.fixture
def items(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The case of every bundle run that a verb starts; nothing is really run."""
    found: list[dict[str, str]] = []

    @contextmanager
    def note(bundle: Path, configs: Sequence[str], overrides: dict[str, Any]) -> Iterator[Any]:
        found.extend(overrides["dataset#data"])
        yield SimpleNamespace(run=lambda: None, finalize=lambda: None)

    monkeypatch.setattr("spinefuse_ext.runs.run.open_workflow", note)
    return found


def test_the_case_that_fuse_hands_over_reads_what_was_named(
    scans: Path, items: list[dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "model.pt").touch()
    weights = str(tmp_path / "model.pt")
    fuse(str(scans), str(scans), str(tmp_path / "out"), checkpoint=weights, ct_series=2, mr_series="3/stack2")
    (item,) = items
    case = ReadVolumed(["ct", "mr"], ["CT", "MR"])(item)
    assert (case["ct"] == 200).all()
    assert (case["mr"] == 20).all()
    layout = CaseLayout(tmp_path / "fused", "fused_dicom", tmp_path, "")
    fused = MetaTensor(torch.full((1, 6, 5, 4), 0.5), affine=case["ct"].affine, meta=dict(case["ct"].meta))
    SaveFusedSeriesd("pred", folder_layout=layout)({**case, "pred": fused})
    (image, *_) = (pydicom.dcmread(path) for path in sorted((tmp_path / "fused").rglob("*.dcm")))
    referred = {reference.ReferencedSOPInstanceUID for reference in image.SourceImageSequence}
    own = {pydicom.dcmread(path).SOPInstanceUID for name in "24" for path in (scans / name).iterdir()}
    assert referred <= own
    assert len(referred) == 5  # one image of the CT, four of the MR


def test_without_a_name_the_advice_names_an_option_that_fuse_has(scans: Path) -> None:
    with pytest.raises(ImageReadError, match=r"exactly one CT series, but 2 fit.*\(--ct_series\)"):
        read_volume(scans, "CT")
    with pytest.raises(ImageReadError, match=r"3/stack2 .axial, 4 slices.*echo time 90.*--mr_series 3/stack1"):
        read_volume(scans, "MR")
    assert {"ct_series", "mr_series"} <= set(fuse.__kwdefaults__) & set(segment.__kwdefaults__)


@pytest.mark.parametrize(
    ("key", "option", "value"), [("fused", "series", 10), ("ct", "ct_series", 200), ("mr", "series", 20)]
)
def test_segment_of_an_image_reads_the_series_that_its_own_refusal_asks_for(
    key: str, option: str, value: int, scans: Path, items: list[dict[str, str]], tmp_path: Path
) -> None:
    with pytest.raises(ImageReadError, match=rf"--{option}\b" if key != "mr" else "--mr_series"):
        ReadVolumed(key)({key: str(scans)})
    (tmp_path / "model.pt").touch()
    name = {"fused": "3/stack1", "ct": "2", "mr": "3/stack2"}[key]
    settings = {"checkpoint": str(tmp_path / "model.pt"), "image_keys": f"['{key}']", option: name}
    segment(str(scans), str(tmp_path / "out"), **settings)
    assert (ReadVolumed(key)(items[0])[key] == value).all()
    with pytest.raises(ConfigError, match="--series with --image; of a pair name --ct_series"):
        segment(None, str(tmp_path / "out"), ct=str(scans), mr=str(scans), series="1")


def test_segment_of_a_pair_hands_the_series_on_to_its_dicom_seg(
    scans: Path, items: list[dict[str, str]], tmp_path: Path
) -> None:
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).touch()
    weights = {"checkpoint": str(tmp_path / "a.pt"), "fusion_checkpoint": str(tmp_path / "b.pt")}
    segment(out=str(tmp_path / "out"), ct=str(scans), mr=str(scans), ct_series="2", mr_series="3/stack1", **weights)
    fusion, segmentation = items
    assert (fusion["series_ct"], fusion["series_mr"]) == ("2", "3/stack1")
    assert (segmentation["dicom"], segmentation["series_dicom"]) == (str(scans), "2")
    with pytest.raises(ConfigError, match=r"--image or a pair, got --image and --ct_series"):
        segment(image=str(scans), out=str(tmp_path / "out"), ct_series="2", checkpoint=weights["checkpoint"])
