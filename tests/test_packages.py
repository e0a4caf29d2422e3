"""A machine that has MONAI and nothing else imports what plain inference needs, and is told what the rest needs."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from monai.utils import OptionalImportError

from spinefuse_ext.packages import installed, missing_sentence, names_without
from spinefuse_ext.plain_errors import plain_message
from spinefuse_ext.validation import MissingPackageError
from tests.hiding import HIDE


def run(code: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    script = HIDE + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False, cwd=folder
    )


def test_what_inference_names_imports_without_other_packages() -> None:
    done = run(
        """
        from spinefuse_ext.runs import check_run, log_run
        from spinefuse_ext.data import CaseLayout, ScaledNibabelWriter, AtomicNibabelWriter, load_datalist
        from spinefuse_ext.engines import FusionTrainer, SemiSupervisedTrainer
        from spinefuse_ext.networks import DualSegNet, SpineFusionNet, to_device, window_inferer
        from spinefuse_ext.transforms import ReadVolumed, RegisterPaird, SaveFusedd, SaveSegd, SaveTrustd
        print(HIDDEN & {name.partition(".")[0] for name in sys.modules})
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"


def test_the_rest_names_the_package_that_it_needs(tmp_path: Path) -> None:
    done = run(
        """
        from spinefuse_ext.__main__ import main
        from spinefuse_ext.plain_errors import plain_message
        names = ("dicom.read_series", "volumes.read_label", "data.make_phantom", "registration.fit_landmarks")
        for name in ("transforms.SaveOverlayd", *names):
            package, _, what = name.partition(".")
            try:
                exec(f"from spinefuse_ext.{package} import {what}")
            except Exception as error:
                print(plain_message(error))
        from pathlib import Path
        from spinefuse_ext.volumes.volume import read_volume
        from spinefuse_ext.networks import WaveletFusion
        Path("image.nrrd").touch()
        for use in (lambda: read_volume("image.nrrd"), lambda: WaveletFusion()):
            try:
                use()
            except Exception as error:
                print(plain_message(error))
        for verb in (["phantom", "out"], ["report", "run"]):
            try:
                main(verb)
            except SystemExit as end:
                print(end.code)
        """,
        tmp_path,
    )
    needs = "spinefuse_ext.{} needs the package {}, which is not installed; `pip install {}` brings it."
    assert done.stdout.splitlines() == [
        needs.format("transforms.SaveOverlayd", "matplotlib", "matplotlib"),
        needs.format("dicom.read_series", "itk", "itk"),
        needs.format("volumes.read_label", "itk", "itk"),
        needs.format("data.make_phantom", "itk", "itk"),
        needs.format("registration.fit_landmarks", "itk", "itk"),
        needs.replace("spinefuse_ext.", "").format("Reading image.nrrd", "itk", "itk"),
        missing_sentence("pywt"),
        *("2", "2"),
    ]
    assert done.stderr.splitlines()[-2:] == [
        f"spinefuse: {needs.format('data.write_phantoms', 'itk', 'itk')}",
        f"spinefuse: {missing_sentence('matplotlib')}",
    ]


def test_a_name_that_does_not_exist_is_no_missing_package() -> None:
    missing_name = names_without("spinefuse_ext.somewhere", ["known"], "surely_not_installed")
    with pytest.raises(AttributeError, match="no attribute unknown"):
        missing_name("unknown")
    with pytest.raises(MissingPackageError, match=r"somewhere\.known needs the package surely_not_installed"):
        missing_name("known")


def test_pip_calls_some_packages_otherwise() -> None:
    assert "pip install scikit-image" in missing_sentence("skimage")
    assert installed("numpy", "torch")
    assert not installed("numpy", "surely_not_installed")


def test_only_a_missing_package_of_others_gets_the_sentence() -> None:
    assert plain_message(ModuleNotFoundError("No module named 'gone'", name="gone.part")) == missing_sentence("gone")
    assert plain_message(ModuleNotFoundError("x", name="spinefuse_ext.gone")) is None
    assert plain_message(OptionalImportError("import gone (No module named 'gone').")) == missing_sentence("gone")
    assert plain_message(OptionalImportError("import torch (requires version 9).")) is None
    assert plain_message(ImportError("cannot import name", name="numpy")) is None
