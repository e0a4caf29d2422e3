"""What `spinefuse fuse` makes of a pair on any canvas, in half precision, and where the MR does not reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from numpy.typing import NDArray

from spinefuse_ext.__main__ import main

pytestmark = pytest.mark.slow

SLICES, FIRST, LAST = 6, 1, 4  # of the CT, and those that the MR reaches


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A CT of 6 sagittal slices of 40 x 44 pixels with air, and an MR of the second to the fourth of them."""
    folder = tmp_path_factory.mktemp("pair")
    rng = np.random.default_rng(0)
    ct = rng.normal(200, 150, (SLICES, 40, 44))
    ct[:, :, :6] = -1000
    placed = np.eye(4)
    placed[0, 3] = FIRST
    nib.save(nib.Nifti1Image(ct.astype(np.float32), np.eye(4)), folder / "ct.nii.gz")
    mr = rng.uniform(50, 400, (LAST - FIRST, 40, 44)).astype(np.float32)
    nib.save(nib.Nifti1Image(mr, placed), folder / "mr.nii.gz")
    return folder / "ct.nii.gz", folder / "mr.nii.gz"


def fused(pair: tuple[Path, Path], out: Path, *options: str) -> NDArray[np.float64]:
    main(["fuse", "--ct", str(pair[0]), "--mr", str(pair[1]), "--out", str(out), *options])
    return nib.nifti1.load(out / "fused.nii.gz").get_fdata()


def test_a_pair_is_fused_alike_on_every_canvas_and_slices_without_mr_are_the_ct(
    pair: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    default = fused(pair, tmp_path / "default")
    said = "".join(capfd.readouterr())
    assert f"{SLICES - (LAST - FIRST)} of {SLICES} slices show no MR and are copied from the CT." in said
    np.testing.assert_allclose(fused(pair, tmp_path / "small", "--canvas", "[40,44]"), default, atol=1e-5)
    ct = (nib.nifti1.load(pair[0]).get_fdata() + 200) / 1200
    copied = [number for number in range(SLICES) if not FIRST <= number < LAST]
    np.testing.assert_allclose(default[copied], ct[copied].clip(0, 1), atol=1e-6)
    assert np.abs(default[FIRST:LAST] - ct[FIRST:LAST].clip(0, 1)).mean() > 0.01


@pytest.mark.parametrize("amp", [False, True])
def test_the_network_runs_on_a_cpu_in_the_precision_that_the_log_tells(
    amp: bool, pair: tuple[Path, Path], tmp_path: Path, workflow: Callable[..., ConfigWorkflow]
) -> None:
    item = dict(zip(("ct", "mr"), map(str, pair), strict=True))
    settings: dict[str, Any] = {"amp": amp, "dataset#data": [item], "output_dir": str(tmp_path)}
    made = workflow("spine_fusion", "inference.json", workflow_type="infer", **settings)
    network = made.parser.get_parsed_content("network")
    seen: set[torch.dtype] = set()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _, inputs, output: seen.add(output.dtype))
    made.run()
    assert seen == {torch.bfloat16 if amp else torch.float32}
    (line,) = [step for step in made.parser.get_parsed_content("initialize") if "Running on" in str(step)]
    assert f"mixed precision {'bfloat16' if amp else 'off'}" in line
