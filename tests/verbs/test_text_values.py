"""Paths and descriptions on the command line are text, whatever they look like; a mixed folder is read by modality."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor

from spinefuse_ext.__main__ import main
from spinefuse_ext.dicom import StudyHeader, read_seg, write_series
from spinefuse_ext.transforms import ReadVolumed

SERIES = {"2.50": 100, "AX,BONE": 200}


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder with an MR and two CTs whose descriptions look like a number and like a list."""
    study, folder = StudyHeader("p", "Doe^Jo"), tmp_path / "scans"
    rng = np.random.default_rng(0)
    for number, (name, shape) in enumerate({"mr": (1, 4, 40, 36), **dict.fromkeys(SERIES, (1, 6, 44, 32))}.items(), 1):
        values = SERIES.get(name, 0) + rng.uniform(0, 50, shape)
        image = MetaTensor(torch.from_numpy(values.astype(np.float32)), affine=torch.diag(torch.tensor([4.0, 1, 1, 1])))
        write_series(image, folder / name, modality="MR" if name == "mr" else "CT", study=study, series_number=number)
        for path in (folder / name).iterdir():
            header = pydicom.dcmread(path)
            header.SeriesDescription, header.FrameOfReferenceUID = name, "1.2.3"
            header.save_as(path)
    return folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings of every bundle run that a verb starts; nothing is really run."""
    found: list[dict[str, Any]] = []

    @contextmanager
    def note(bundle: Path, configs: Sequence[str], overrides: dict[str, Any]) -> Iterator[Any]:
        found.append(overrides)
        yield SimpleNamespace(run=lambda: None, finalize=lambda: None)

    monkeypatch.setattr("spinefuse_ext.runs.run.open_workflow", note)
    return found


@pytest.mark.parametrize("name", ["2024", "2024_05", "Doe,John", "1e5", "12345", "2.50", "[a]", "None"])
def test_paths_of_a_pair_reach_the_run_as_they_were_typed(
    name: str, scans: Path, started: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They ended in a TypeError, or another folder was written."""
    monkeypatch.chdir(tmp_path)
    (scans / "AX,BONE").rename(tmp_path / name)
    main(["fuse", "--ct", name, "--mr", "scans/mr", "--out", f"{name}_out"])
    (settings,) = started
    assert settings["output_dir"] == str(tmp_path / f"{name}_out")
    (item,) = settings["dataset#data"]
    assert item["ct"] == str(tmp_path / name)
    assert 200 <= ReadVolumed("ct")(item)["ct"].min() < 210


@pytest.mark.parametrize(("description", "value"), SERIES.items())
def test_the_series_of_a_description_is_read_whatever_it_looks_like(
    description: str, value: int, scans: Path, started: list[dict[str, Any]], tmp_path: Path
) -> None:
    line = ["fuse", "--ct", str(scans), "--mr", str(scans), "--ct_series", description, "--out", str(tmp_path / "out")]
    main(line)
    (item,) = started[0]["dataset#data"]
    assert value <= ReadVolumed("ct")(item)["ct"].min() < value + 10


def test_the_mr_of_a_mixed_folder_is_labelled_on_its_own_grid(
    scans: Path, small_bundle: Callable[[str, Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first series, a CT, was labelled as the MR, and its labels stayed when the DICOM SEG was refused."""
    bundle, out = small_bundle("spine_semiseg", tmp_path / "bundles"), tmp_path / "out"
    line = ["--image", str(scans), "--image_keys", "['mr']", "--out", str(out)]
    main(["segment", *line, "--bundle", str(bundle), "--checkpoint", str(bundle / "models" / "model.pt")])
    prediction = nib.load(out / "prediction.nii.gz")
    assert sorted(prediction.shape) == [4, 36, 40]
    assert read_seg(out / "prediction.dcm") is not None
    referred = pydicom.dcmread(out / "prediction.dcm").ReferencedSeriesSequence[0].SeriesInstanceUID
    assert referred == pydicom.dcmread(next((scans / "mr").iterdir())).SeriesInstanceUID


def test_cases_of_metaimage_files_are_listed(tmp_path: Path) -> None:
    """`spinefuse datalist` said that the folder has no case, though `register` read them."""
    for name in ("ct.mhd", "mr.mhd", "ct.raw", "mr.raw"):
        (tmp_path / "cases" / "a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "cases" / "a" / name).touch()
    main(["datalist", str(tmp_path / "cases"), "--validation", "0"])
    assert '"ct": "a/ct.mhd"' in (tmp_path / "cases" / "datalist.json").read_text()
