"""``spinefuse register`` without a click: by labels, and (slow) by the network of the bundle."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from spinefuse_ext.data.phantom import make_phantom, make_phantom_labels, write_phantom
from spinefuse_ext.registration import read_transform
from spinefuse_ext.report.fit_file import read_fit
from spinefuse_ext.validation import ConfigError, GridMismatchError, LevelsError, PatientMismatchError, SpinefuseError
from spinefuse_ext.verbs.commands import register
from spinefuse_ext.volumes.volume import read_volume, write_volume

SIZE_MM = (104.0, 110.0, 130.0)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom as DICOM and NIfTI, with labels on the grids of both scanners."""
    folder = tmp_path_factory.mktemp("pair")
    write_phantom(make_phantom(5, size_mm=SIZE_MM, spacing_mm=2.0), folder / "case")
    labels = make_phantom_labels(5, size_mm=SIZE_MM, spacing_mm=2.0, scanned=True)
    write_volume(labels.label, folder / "ct_label.nii.gz", dtype=np.uint8)
    write_volume(labels.moved_label, folder / "mr_label.nii.gz", dtype=np.uint8)
    return folder


def by_labels(work: Path, out: Path, **options: object) -> dict[str, object]:
    case = work / "case"
    given: dict[str, object] = {
        "ct_label": work / "ct_label.nii.gz",
        "mr_label": work / "mr_label.nii.gz",
        **options,
    }
    register(case / "ct_dicom", case / "mr_dicom", out, **given)  # type: ignore[arg-type]
    report: dict[str, object] = json.loads((out / "registration.json").read_text())
    return report


def test_labels_register_each_bone_and_landmarks_prove_it(
    work: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    case = work / "case"
    points = {f"{name}_landmarks": case / f"{name}_landmarks.mrk.json" for name in ("ct", "mr")}
    report = by_labels(work, tmp_path / "out", **points)
    assert report["method"] == "bones"
    assert report["model"] == "per_vertebra"
    bones = report["bones"]
    assert isinstance(bones, dict)
    assert {"L2", "L3", "L4"} <= set(bones)
    assert all(each["uncertainty_mm"] > 0 for each in bones.values())
    assert set(read_fit(tmp_path / "out" / "registration.json").bones_mm) == set(bones)
    assert "(uncertainty: how far a planned pedicle screw moves" in caplog.text
    held_out = report["held_out"]
    assert isinstance(held_out, dict)
    assert held_out["median_mm"] < 2.5  # clicks are off by 1 mm in either scan, and slices of the MR 6 mm thick
    truth = json.loads((case / "truth.json").read_text())["targets"]
    transform = read_transform(tmp_path / "out" / "transform.h5")
    errors = np.linalg.norm(transform(np.array(truth["ct_mm"])) - np.array(truth["mr_mm"]), axis=1)
    assert np.median(errors) < 1.2
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"ct.nii.gz", "mr.nii.gz", "transform.h5", "ct_levels.nii.gz", "mr_levels.nii.gz"} <= names
    levels = read_volume(tmp_path / "out" / "mr_levels.nii.gz")
    assert levels.shape == read_volume(case / "mr.nii.gz").shape


def test_exchanged_labels_are_refused_and_nothing_is_written(work: Path, tmp_path: Path) -> None:
    swapped = {"ct_label": work / "mr_label.nii.gz", "mr_label": work / "ct_label.nii.gz"}
    with pytest.raises(GridMismatchError, match=r"was given for the CT .*--mr_label are probably exchanged"):
        by_labels(work, tmp_path / "out", **swapped)
    assert not (tmp_path / "out").exists()


def test_a_label_without_a_vertebra_is_refused(work: Path, tmp_path: Path) -> None:
    empty = read_volume(work / "mr_label.nii.gz") * 0
    write_volume(empty, tmp_path / "empty.nii.gz", dtype=np.uint8)
    with pytest.raises(LevelsError, match=r"empty.nii.gz holds no vertebra"):
        by_labels(work, tmp_path / "out", mr_label=tmp_path / "empty.nii.gz")
    assert not (tmp_path / "out").exists()


def test_a_label_whose_classes_are_exchanged_is_named(work: Path, tmp_path: Path) -> None:
    label = read_volume(work / "ct_label.nii.gz")
    exchanged = torch.where(label == 1, 2, torch.where(label == 2, 1, label))
    write_volume(exchanged, tmp_path / "exchanged.nii.gz", dtype=np.uint8)
    with pytest.raises(LevelsError, match=r"exchanged\.nii\.gz of the CT has more disc than vertebra .* exchanged"):
        by_labels(work, tmp_path / "out", ct_label=tmp_path / "exchanged.nii.gz")
    assert not (tmp_path / "out").exists()


def test_two_patients_are_refused_before_the_work(work: Path, tmp_path: Path) -> None:
    other = write_phantom(make_phantom(6, size_mm=(40.0, 40.0, 40.0), spacing_mm=4.0), tmp_path / "other")
    with pytest.raises(PatientMismatchError, match=r"PHANTOM-0005, but MR .* of patient PHANTOM-0006"):
        register(work / "case" / "ct_dicom", other / "mr_dicom", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"headers": True, "bones": True}, "--headers trusts the images alone", id="headers-and-bones"),
        pytest.param({"bones": True, "transform": "t.tfm"}, "by bones takes no --transform", id="transform"),
        pytest.param({"bones": True, "refine": True}, "by bones takes no --refine", id="refine"),
        pytest.param({"bones": True, "scheme": "verse"}, "give --ct_label or --mr_label", id="scheme-of-nothing"),
        pytest.param({"bones": True, "model": "spline"}, "Expected a registration model out of", id="model"),
        pytest.param({"ct_anchor": "L3"}, "An anchor is a level and a point", id="anchor"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    work: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    case = work / "case"
    with pytest.raises(SpinefuseError, match=message):
        register(case / "ct_dicom", case / "mr_dicom", tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_headers_are_trusted_when_asked(work: Path, tmp_path: Path) -> None:
    image = work / "case" / "ct.nii.gz"
    register(image, image, tmp_path / "out", headers=True)
    report = json.loads((tmp_path / "out" / "registration.json").read_text())
    assert report["method"] == "no landmarks: headers trusted"


def test_headers_beside_landmarks_are_refused(work: Path, tmp_path: Path) -> None:
    image = work / "case" / "ct.nii.gz"
    with pytest.raises(ConfigError, match="leave it out"):
        register(image, image, tmp_path / "out", headers=True, ct_landmarks="a.fcsv", mr_landmarks="b.fcsv")


@pytest.mark.slow
def test_two_scans_and_nothing_else(tmp_path: Path) -> None:
    phantom = make_phantom(7)
    case = write_phantom(phantom, tmp_path / "case")
    fit = register(case / "ct_dicom", case / "mr_dicom", tmp_path / "out")
    errors = np.linalg.norm(fit.mapping(phantom.targets.ct.points_mm) - phantom.targets.mr.points_mm, axis=1)
    assert np.median(errors) < 1.0
    report = json.loads((tmp_path / "out" / "registration.json").read_text())
    assert report["method"] == "bones"
    assert len(report["bones"]) >= 3


def test_one_file_for_both_scans_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "ct.nii.gz").touch()
    with pytest.raises(ConfigError, match=r"CT and MR are one file, .*ct\.nii\.gz; give the MR of the patient as --mr"):
        register(tmp_path / "ct.nii.gz", tmp_path / "ct.nii.gz", tmp_path / "out")
