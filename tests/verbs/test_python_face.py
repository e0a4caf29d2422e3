"""``import spinefuse_ext as sf``: paths or images in; arrays, scores and files out."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

import spinefuse_ext as sf
from spinefuse_ext.data.phantom import make_phantom
from spinefuse_ext.data.phantom.write import write_phantom
from spinefuse_ext.registration import read_landmarks
from spinefuse_ext.validation import (
    ConfigError,
    ImageReadError,
    LandmarkError,
    MissingPathError,
    PatientMismatchError,
    SpinefuseError,
)

Bundle = Callable[[str, Path], Path]
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "python.md"
PAIR = ("ct.nii.gz", "mr.nii.gz")


@pytest.fixture(scope="module")
def folder(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both bundles with small networks, and a phantom's scans and landmarks."""
    folder = tmp_path_factory.mktemp("face")
    for name in ("spine_fusion", "spine_semiseg"):
        small_bundle(name, folder / "bundles")
    case = write_phantom(make_phantom(3, size_mm=(32, 64, 64), spacing_mm=2.0), folder / "case", dicom=False)
    for name in ("ct", "mr"):
        shutil.copy(case / f"{name}.nii.gz", folder)
        shutil.copy(case / f"{name}_landmarks.mrk.json", folder / f"{name}.mrk.json")
    return folder


@pytest.fixture
def work(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working folder; temporary files go to one of their own."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return folder


def test_importing_the_package_imports_neither_torch_nor_monai() -> None:
    code = "import sys, spinefuse_ext as sf; print(sorted({'torch', 'monai', 'numpy'} & set(sys.modules)), *dir(sf))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith("[] ")
    assert {"read_volume", "register", "fuse", "segment"} <= set(told.split())
    with pytest.raises(AttributeError, match="no attribute segmentt"):
        _ = sf.segmentt


def test_two_scans_and_landmarks_become_a_label_in_five_lines(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = re.search(r"```python\n(import spinefuse_ext as sf.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert example
    code = [line for line in example[1].splitlines() if line]
    assert len(code) == 5
    before = sorted(path.name for path in work.iterdir())
    names: dict[str, Any] = {}
    exec("\n".join(code), names)
    pair, fused, label = names["pair"], names["fused"], names["label"]
    ct = nib.load("ct.nii.gz")
    for volume in (pair.ct, pair.mr, fused.image, label.labels):
        assert volume.array.shape == ct.shape
        assert np.allclose(volume.affine, ct.affine, atol=1e-4)
    assert pair.names
    assert len(pair.fre_mm) == len(pair.tre_mm) == len(pair.names)
    assert pair.fre_rms_mm == pytest.approx(np.sqrt(np.mean(pair.fre_mm**2)))
    voxel_ml = abs(np.linalg.det(label.affine[:3, :3])) / 1000
    for name, volume_ml in label.volumes_ml.items():
        assert volume_ml == pytest.approx(label.mask(name).sum() * voxel_ml)
    assert set(label.trust) == set(label.volumes_ml) == set(label.names[1:])
    assert label.disagreement.array.dtype == bool
    assert not pair.paths | fused.paths | label.paths
    assert sorted(path.name for path in work.iterdir()) == before
    assert not list(tmp_path.iterdir())
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1  # the example's own line
    assert shown.err == ""


def test_an_image_in_memory_is_what_its_file_is(work: Path) -> None:
    files = sf.fuse(*PAIR, ct_landmarks="ct.mrk.json", mr_landmarks="mr.mrk.json").image
    assert not np.array_equal(files.array, sf.fuse(*PAIR).image.array)
    points = read_landmarks("ct.mrk.json"), read_landmarks("mr.mrk.json")
    images: list[Any] = [nib.load(path) for path in PAIR]
    pairs = {
        "nibabel": images,
        "arrays": [(image.get_fdata(), image.affine) for image in images],
        "volumes": [sf.read_volume(path, name) for path, name in zip(PAIR, ("CT", "MR"), strict=True)],
    }
    for kind, pair in pairs.items():
        fused = sf.fuse(*pair, ct_landmarks=points[0], mr_landmarks=points[1])
        assert np.allclose(fused.image.array, files.array, atol=1e-4), kind


def test_with_out_the_files_of_the_verb_stay(work: Path, tmp_path: Path) -> None:
    image = nib.load("ct.nii.gz")
    pair = sf.register(image, "mr.nii.gz", ct_landmarks="ct.mrk.json", mr_landmarks="mr.mrk.json", out=tmp_path / "r")
    assert {"ct.nii.gz", "mr.nii.gz", "registration.json", "transform.tfm"} == set(pair.paths)
    assert pair.report["ct"] == "(ct, from memory)"
    assert str(tmp_path / "spinefuse.") not in pair.paths["registration.json"].read_text()
    both = {"ct": pair.paths["ct.nii.gz"], "mr": pair.paths["mr.nii.gz"]}
    label = sf.segment(**both, fused=True, out=tmp_path / "s", save_trust=False)
    assert {"prediction.nii.gz", "disagreement.nii.gz", "fused.nii.gz"} == set(label.paths)
    assert np.array_equal(np.asarray(nib.load(label.paths["prediction.nii.gz"]).dataobj), label.labels.array)
    assert label.fused is not None
    assert np.allclose(sf.fuse(pair.ct, pair.mr).image.array, label.fused.array, atol=1e-5)
    assert not label.trust
    saved = label.labels.save(tmp_path / "mine.nii.gz")
    assert np.array_equal(np.asarray(nib.load(saved).dataobj), label.labels.array)


def test_the_random_numbers_of_the_caller_go_on(work: Path) -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002

    def begin() -> None:
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002
        torch.manual_seed(5)

    begin()
    expected = draw()
    begin()
    sf.fuse(*PAIR, delta="max.json")
    assert draw() == expected


def test_verbose_shows_what_the_verb_shows(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sf.fuse(*PAIR, delta="max.json", verbose=True)
    assert capsys.readouterr().out.startswith("$ python -m monai.bundle run")


ARRAY = np.zeros((10, 10, 10), np.float32)
REFUSED: dict[str, tuple[type[SpinefuseError], str, Callable[[], Any]]] = {
    "file": (MissingPathError, "The image none.nii.gz does not exist", lambda: sf.segment("none.nii.gz")),
    "argument": (ConfigError, r"segment\(\) has no argument imag,.* did you mean image", lambda: sf.segment(imag="x")),
    "setting": (ConfigError, "Did you mean canvas", lambda: sf.segment("ct.nii.gz", canvass=[64, 64])),
    "kind": (ImageReadError, "Expected image to be a path.* got int", lambda: sf.segment(5)),  # type: ignore[arg-type]
    "affine": (ImageReadError, "affine of ct as an invertible", lambda: sf.fuse((ARRAY, np.zeros((4, 4))), PAIR[1])),
    "shape": (ImageReadError, r"\(X, Y, Z\) of numbers, got the shape \(10, 10\)", lambda: sf.segment((ARRAY[0], 1))),
    "points": (LandmarkError, "mr_landmarks is missing", lambda: sf.register(*PAIR, ct_landmarks="ct.mrk.json")),
    "content": (ImageReadError, r"\(ct, from memory\)", lambda: sf.register((ARRAY, np.eye(4)), PAIR[1], headers=True)),
    "arguments": (ConfigError, "args_file", lambda: sf.fuse(*PAIR, args_file="x.json")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_verbs_refuse_is_an_exception_of_one_sentence(work: Path, name: str) -> None:
    kind, words, call = REFUSED[name]
    with pytest.raises(kind, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert tempfile.gettempdir() not in str(caught.value)


def test_two_patients_in_memory_are_two_patients(work: Path) -> None:
    ct, mr = sf.read_volume(PAIR[0], "CT"), sf.read_volume(PAIR[1], "MR")
    ct.meta["patient_id"], mr.meta["patient_id"] = "A", "B"
    with pytest.raises(PatientMismatchError):
        sf.fuse(ct, mr)
    with pytest.raises(PatientMismatchError):
        sf.register(ct, mr)
