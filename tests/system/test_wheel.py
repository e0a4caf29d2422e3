"""What pip installs works far from the checkout: the package, its commands, both bundles and their weights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
from importlib import metadata
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("setup.cfg", "pyproject.toml", "MANIFEST.in", "constraints.txt", "README.md", "LICENSE")
NAMES = ("spine_fusion", "spine_semiseg")
BESIDE = shutil.ignore_patterns("__pycache__", "*.ts", "*.onnx", "model_*.pt", "eval")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``python -m build`` makes of a copy of this checkout: an sdist, and the wheel made of that."""
    try:
        metadata.version("build")  # its folder may be taken for the package
    except metadata.PackageNotFoundError:
        pytest.skip("the extra dev brings build")
    copy = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        shutil.copy(ROOT / name, copy)
    for name in ("spinefuse_ext", "bundles", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=BESIDE)
    made = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(made), str(copy)]
    done = subprocess.run(build, check=False, capture_output=True, text=True, cwd=made)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return made


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (archive,) = dist.glob("*.whl")
    return archive


@pytest.fixture(scope="module")
def sdist(dist: Path) -> Path:
    (archive,) = dist.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("scan") / "mr.nii.gz"
    voxels = np.random.default_rng(0).uniform(0, 300, (3, 40, 48)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([4.0, 1.25, 1.25, 1.0])), file)
    return file


def check_segments(python: str, folder: Path, scan: Path, **environment: str) -> None:
    """A scan is labelled by that Python's command, from a folder that holds nothing, by what it installed."""
    folder.mkdir()
    out = folder / "out"
    code = "import sys; from spinefuse_ext.__main__ import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [python, "-W", "ignore", "-c", code, "segment", "--image", str(scan), "--out", str(out)],
        **{"cwd": folder, "env": {**os.environ, "OMP_NUM_THREADS": "1", **environment}},
        **{"capture_output": True, "text": True, "check": False},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert str(ROOT) not in done.stdout + done.stderr
    assert nib.load(out / "prediction.nii.gz").shape == nib.load(scan).shape


def test_an_installed_wheel_brings_both_bundles_and_segments(wheel: Path, scan: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    subprocess.run([*PIP, "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)], check=True)
    code = "import json; from spinefuse_ext.verbs.commands import installed_bundles; print(*installed_bundles())"
    asked: dict[str, Any] = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(site)}, "text": True}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, **asked)
    bundles = Path(told.stdout.strip())
    assert bundles.is_relative_to(site)
    for name in NAMES:
        ours, theirs = ROOT / "bundles" / name, bundles / name
        files = subprocess.run(["git", "-C", str(ours), "ls-files"], capture_output=True, text=True, check=True)
        for file in files.stdout.split():
            assert (theirs / file).read_bytes() == (ours / file).read_bytes(), file
        assert json.loads((theirs / "configs" / "metadata.json").read_text())["version"]
    check_segments(sys.executable, tmp_path / "nowhere", scan, PYTHONPATH=str(site))


def test_the_sdist_holds_both_bundles_and_what_pins_the_packages(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    ours = subprocess.run(["git", "-C", str(ROOT), "ls-files", "bundles"], capture_output=True, text=True, check=True)
    assert set(ours.stdout.split()) <= held
    assert {"bundles/spine_semiseg/models/model.pt", "constraints.txt", "README.md", "LICENSE"} <= held
    assert not [name for name in held if name.startswith("tests")]


@pytest.mark.skipif("SPINEFUSE_REHEARSE" not in os.environ, reason="installs PyTorch and MONAI: make rehearse")
def test_wheel_and_sdist_run_in_a_fresh_environment(wheel: Path, sdist: Path, scan: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "fresh", with_pip=True)
    python = str(tmp_path / "fresh" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*install, str(wheel)], check=True)
    check_segments(python, tmp_path / "from_wheel", scan, PYTHONPATH="")
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "spinefuse"], check=True)
    subprocess.run([*install, str(sdist)], check=True)
    check_segments(python, tmp_path / "from_sdist", scan, PYTHONPATH="")
