"""Both bundles in 3-D, by ``volume_3d.json`` and sizes alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow
from torch import nn

pytestmark = pytest.mark.slow

SMALL: dict[str, dict[str, Any]] = {
    "spine_fusion": {
        "patch_size": [8, 16, 16],
        "stage1_epochs": 1,
        "network_def#dim": 8,
        "network_def#num_blocks": [1, 1],
        "network_def#num_heads": 2,
    },
    "spine_semiseg": {
        "network_def#unet#channels": [4, 8, 8, 8, 8],
        "network_def#vnet#channels": [4, 8, 8, 8, 8],
    },
}


@pytest.mark.parametrize(("bundle", "name"), [("spine_fusion", "fused"), ("spine_semiseg", "prediction")])
def test_a_3d_network_trains_and_gives_volumes_on_the_cases_own_grid(
    bundle: str, name: str, workflow: Callable[..., ConfigWorkflow], cohort: Path, tmp_path: Path
) -> None:
    sizes = {"canvas": [16, 48, 48], "batch_size": 2, "crops_per_case": 1, **SMALL[bundle]}
    paths = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    training = workflow(bundle, "train.json", "volume_3d.json", epochs=2, val_interval=1, **paths, **sizes)
    assert {len(layer.kernel_size) for layer in training.network_def.modules() if isinstance(layer, nn.Conv3d)} == {3}
    assert not any(isinstance(layer, nn.Conv2d) for layer in training.network_def.modules())
    training.run()
    network = {key: value for key, value in sizes.items() if key.startswith(("network_def", "canvas"))}
    settings = {"checkpoint": str(tmp_path / "models/model.pt"), "output_dir": str(tmp_path), "sections": ["test"]}
    files = ("inference.json", "volume_3d.json")
    workflow(bundle, *files, workflow_type="infer", **settings, **network).run()
    result, ct = nib.load(tmp_path / "case_5" / f"{name}.nii.gz"), nib.load(cohort / "case_5" / "ct.nii.gz")
    assert result.shape == ct.shape
    np.testing.assert_allclose(result.affine, ct.affine, atol=1e-4)
