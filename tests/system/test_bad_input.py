"""Every bad input that a user is likely to give, through the commands that a user types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from pydicom.data import get_testdata_file

from spinefuse_ext.__main__ import main
from spinefuse_ext.data import make_datalist
from spinefuse_ext.registration import Landmarks, write_landmarks

BUNDLES = Path(__file__).parents[2] / "bundles"
SMALL_FUSION = {
    "canvas": "[16,16]",
    "network_def#dim": "8",
    "network_def#num_blocks": "[1,1]",
    "network_def#num_heads": "2",
}
POINTS = np.array([[4.0, 5, 6], [12, 5, 6], [4, 15, 6], [4, 5, 12]])
NAMES = ("L1", "L2", "L3", "L4")


def scan(folder: Path, **tags: str) -> Path:
    """One of pydicom's own small scans as a folder, some tags changed."""
    folder.mkdir()
    image = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    for tag, value in tags.items():
        setattr(image, tag, value)
    image.save_as(folder / "slice.dcm")
    return folder


@pytest.fixture
def case(tmp_path: Path) -> dict[str, str]:
    """Options of a registration that would work."""
    for name in ("ct", "mr"):
        volume = np.random.default_rng(0).normal(size=(16, 18, 14)).astype(np.float32)
        nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / f"{name}.nii.gz")
        write_landmarks(Landmarks(NAMES, POINTS), tmp_path / f"{name}.mrk.json")
    images = {name: str(tmp_path / f"{name}.nii.gz") for name in ("ct", "mr")}
    landmarks = {f"{name}_landmarks": str(tmp_path / f"{name}.mrk.json") for name in ("ct", "mr")}
    return {**images, **landmarks, "out": str(tmp_path / "out")}


def register(options: dict[str, str]) -> list[str]:
    return ["register", *(part for name, value in options.items() for part in (f"--{name}", value))]


def refusal(stderr: str) -> str:
    """The one line that a refused command ends with; nothing of Python's is shown before it."""
    assert "Traceback" not in stderr, stderr
    lines = [line for line in stderr.splitlines() if line.startswith("spinefuse: ")]
    assert len(lines) == 1, stderr
    assert stderr.endswith(lines[0] + "\n"), stderr
    return lines[0]


def refused(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    return refusal(capfd.readouterr().err)


def left_over(folder: Path) -> list[str]:
    """What stands below ``folder``, hidden temporary names included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_registration_that_the_refusals_start_from_works(case: dict[str, str]) -> None:
    main(register(case))
    assert left_over(Path(case["out"])) == ["ct.nii.gz", "mr.nii.gz", "registration.json", "transform.tfm"]


@pytest.mark.parametrize("name", ["ct", "mr", "ct_landmarks", "mr_landmarks"])
def test_a_missing_path(name: str, case: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = left_over(tmp_path)
    gone = str(tmp_path / "gone" / ("x.fcsv" if "landmarks" in name else "x.nii.gz"))
    line = refused(register({**case, name: gone}), capfd)
    assert f"{gone} does not exist" in line
    assert "Check the path" in line
    assert left_over(tmp_path) == before


@pytest.mark.parametrize("name", ["ct", "mr"])
@pytest.mark.parametrize("content", [None, "report.pdf"])
def test_a_folder_without_dicom(
    name: str, content: str | None, case: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "papers"
    folder.mkdir()
    if content:
        (folder / content).write_text("not an image")
    before = left_over(tmp_path)
    line = refused(register({**case, name: str(folder)}), capfd)
    assert f"{folder} holds no DICOM image series; name the folder with the images of one scan" in line
    assert left_over(tmp_path) == before


def test_two_patients_and_the_flag_that_allows_them(
    case: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    images = {
        "ct": str(scan(tmp_path / "ct", PatientID="anna", FrameOfReferenceUID="1.2")),
        "mr": str(scan(tmp_path / "mr", PatientID="bert", FrameOfReferenceUID="1.2", Modality="MR")),
    }
    before = left_over(tmp_path)
    line = refused(register({**case, **images}), capfd)
    assert f"CT {images['ct']} is of patient anna, but MR {images['mr']} of patient bert" in line
    assert "--allow_different_patients" in line
    assert left_over(tmp_path) == before
    main([*register({**case, **images}), "--allow_different_patients"])
    noted = json.loads((Path(case["out"]) / "registration.json").read_text())
    assert (noted["same_patient"], noted["patient_id"]) == (False, "anna")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(("L1", "L2", "S1", "S2"), "only in the moving (MR) list: S1, S2; landmarks are", id="names"),
        pytest.param(("L1", "L2"), "only in the fixed (CT) list: L3, L4", id="fewer"),
    ],
)
def test_landmark_names_that_do_not_match(
    names: tuple[str, ...], message: str, case: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_landmarks(Landmarks(names, POINTS[: len(names)]), Path(case["mr_landmarks"]))
    before = left_over(tmp_path)
    line = refused(register(case), capfd)
    assert f"{case['ct_landmarks']} and {case['mr_landmarks']}: " in line
    assert message in line
    assert left_over(tmp_path) == before


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_landmark_pairs(
    count: int, case: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("ct_landmarks", "mr_landmarks"):
        write_landmarks(Landmarks(NAMES[:count], POINTS[:count]), Path(case[name]))
    before = left_over(tmp_path)
    line = refused(register(case), capfd)
    assert f"Expected at least 3 landmark pairs for the model rigid, got {count}" in line
    assert case["ct_landmarks"] in line
    assert "place more points" in line
    assert left_over(tmp_path) == before


def test_an_earlier_result_stays_when_the_next_run_is_refused(
    case: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    main(register(case))
    out = Path(case["out"])
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    refused(register({**case, "mr": str(out / "gone.nii.gz")}), capfd)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_misspelt_parent_of_a_setting(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--dataset_dir", str(tmp_path), "--out", str(tmp_path / "run"), "--networkdef#dim", "8"]
    line = refused(["train", "fusion", *options], capfd)
    assert "No config defines the setting networkdef#dim, so it would be ignored. Did you mean network_def?" in line
    assert left_over(tmp_path) == []


@pytest.fixture
def cohort(case: dict[str, str], tmp_path: Path) -> Path:
    """Three cases of one pair and label each, with a datalist."""
    root = tmp_path / "cohort"
    label = nib.Nifti1Image(np.ones((16, 18, 14), dtype=np.uint8), np.eye(4))
    for number in range(4):
        folder = root / f"case_{number}"
        folder.mkdir(parents=True)
        for name, source in (("ct", "ct"), ("mr", "mr"), ("fused", "mr")):
            (folder / f"{name}.nii.gz").write_bytes(Path(case[source]).read_bytes())
        nib.save(label, folder / "label.nii.gz")
    make_datalist(root, labelled=1)
    return root


def bundle_run(bundle: str, *configs: str, **options: str) -> subprocess.CompletedProcess[str]:
    files = [str(BUNDLES / bundle / "configs" / name) for name in configs]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files) if files[1:] else files[0]]
    command += ["--bundle_root", str(BUNDLES / bundle)]
    command += [part for name, value in options.items() for part in (f"--{name}", value)]
    environment = {name: value for name, value in os.environ.items() if name != "SPINEFUSE_DEBUG"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bundle", "options", "expected"),
    [
        pytest.param("spine_fusion", {"epoch": "3"}, ["setting epoch,", "Did you mean epochs?"], id="top-level"),
        pytest.param(
            "spine_semiseg",
            {"network_def#unet#chanels": "[4,8]"},
            ["setting network_def#unet#chanels,", "Did you mean network_def#unet#channels?"],
            id="leaf",
        ),
        pytest.param(
            "spine_fusion",
            {"dataset_dir": "gone", **SMALL_FUSION},
            ["The dataset folder (dataset_dir) gone does not exist", "Check the path"],
            id="missing-dataset",
        ),
        pytest.param(
            "spine_semiseg",
            {"datalist": "gone.json"},
            ["The datalist gone.json does not exist", "Check the path"],
            id="missing-datalist",
        ),
    ],
)
def test_a_training_that_cannot_do_what_was_asked(
    bundle: str, options: dict[str, str], expected: list[str], cohort: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    places = {"dataset_dir": str(cohort), "ckpt_dir": str(out / "models"), "output_dir": str(out / "eval")}
    done = bundle_run(bundle, "train.json", **{**places, **options})
    assert done.returncode == 2, done.stderr
    line = refusal(done.stderr)
    assert all(part in line for part in expected), line
    assert not out.exists()


@pytest.mark.slow
def test_a_checkpoint_of_another_network_for_inference(
    case: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.pt"
    torch.save({"model": torch.nn.Linear(3, 2).state_dict()}, other)
    before = left_over(tmp_path)
    options = ["--ct", case["ct"], "--mr", case["mr"], "--out", case["out"], "--checkpoint", str(other)]
    options += [part for name, value in SMALL_FUSION.items() for part in (f"--{name}", value)]
    line = refused(["fuse", *options], capfd)
    assert f"{other} belongs to another network" in line
    assert "Give the same network_def as in training, or the checkpoint of this network" in line
    assert left_over(tmp_path) == before


@pytest.mark.slow
def test_a_checkpoint_of_another_network_for_evaluation(cohort: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other.pt", tmp_path / "scores"
    torch.save({"model": torch.nn.Linear(3, 2).state_dict()}, other)
    options = {"dataset_dir": str(cohort), "output_dir": str(out), "checkpoint": str(other), "canvas": "[32,32]"}
    done = bundle_run("spine_semiseg", "train.json", "evaluate.json", **options)
    assert done.returncode == 2, done.stderr
    assert f"{other} belongs to another network" in refusal(done.stderr)
    assert not out.exists()


@pytest.mark.slow
def test_the_installed_command_is_the_same() -> None:
    command = [sys.executable, "-m", "spinefuse_ext", "register", "--ct", "gone", "--mr", "gone", "--out", "out"]
    command += ["--ct_landmarks", "gone.fcsv", "--mr_landmarks", "gone.fcsv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "gone.fcsv does not exist" in refusal(done.stderr)
    assert done.stderr.count("\n") == 1
