from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spinefuse_ext.__main__ import main


@pytest.mark.slow
def test_the_demo_does_the_whole_job_and_leaves_a_report(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    sizes = ["--cases", "5", "--size_mm", "112", "--spacing_mm", "1.6", "--fusion_epochs", "3", "--semiseg_epochs", "2"]
    run = subprocess.run(
        [sys.executable, "-m", "spinefuse_ext", "demo", "--out", str(out), *sizes],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    assert run.stdout.rstrip().endswith(f"Open {out / 'report.html'}")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= 5
    assert "http://" not in page.replace("http://www.w3.org", "")
    _check_held_out_case(out)


def _check_held_out_case(out: Path) -> None:
    listed = json.loads((out / "cases" / "datalist.json").read_text(encoding="utf-8"))
    assert [len(listed[name]) for name in ("labelled", "unlabelled", "validation", "test")] == [2, 1, 1, 1]
    assert "label" not in listed["unlabelled"][0]
    case = (out / "cases" / listed["test"][0]["ct"]).parent
    ct, fused, prediction = (nib.load(case / f"{name}.nii.gz") for name in ("ct", "fused", "prediction"))
    for image in (fused, prediction):
        assert image.shape == ct.shape
        np.testing.assert_allclose(image.affine, ct.affine, atol=1e-4)
    assert 0 <= fused.get_fdata().min() < fused.get_fdata().max() <= 1
    assert set(np.unique(prediction.get_fdata())) <= {0, 1, 2, 3}


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert "is not empty and no demo wrote it" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_too_few_cases_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--out", str(tmp_path / "demo"), "--cases", "4"])
    assert stop.value.code == 2
    assert "needs 5 cases" in capsys.readouterr().err
