"""Training on images of any contrast, by its file on the same configs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow

pytestmark = pytest.mark.slow

BUNDLE = "spine_semiseg"
NARROW = [4, 8, 16, 32, 64]
SMALL: dict[str, Any] = {
    **{"canvas": [64, 80], "patch_size": [48, 64], "batch_size": 4, "epochs": 2, "crops_per_case": 4},
    **{"val_interval": 2, "unet_channels": NARROW, "vnet_channels": NARROW},
}


@pytest.fixture
def datalist(cohort: Path, tmp_path: Path) -> Path:
    """The cases of the cohort, one of the two that teach without its CT."""
    content = json.loads((cohort / "datalist.json").read_text())
    content["labelled"][1].pop("ct")
    path = tmp_path / "any_contrast.json"
    path.write_text(json.dumps(content))
    return path


def test_cases_with_ct_and_mr_or_one_of_them_teach_a_network_of_one_channel(
    workflow: Callable[..., ConfigWorkflow], datalist: Path, tmp_path: Path
) -> None:
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval"), "datalist": str(datalist)}
    made = workflow(BUNDLE, "train.json", "any_contrast.json", **places, **SMALL)
    assert made.check_properties() == []
    trainer = made.parser.get_parsed_content("train#trainer")
    images: list[torch.Tensor] = []
    losses: list[float] = []

    def note(engine: Any) -> None:
        images.append(torch.stack([item["image"] for item in engine.state.output]))
        losses.append(float(engine.state.output[0]["loss"]))

    trainer.add_event_handler("ITERATION_COMPLETED", note)
    made.run()
    made.finalize()
    assert [tuple(batch.shape) for batch in images] == [(4, 1, 48, 64)] * 4  # 2 epochs of 2 cases x 4 crops / batch 4
    assert all(float(batch.min()) >= 0 and float(batch.max()) <= 1 for batch in images)
    assert not torch.equal(images[0], images[2])  # the epochs differ
    assert all(torch.isfinite(torch.tensor(losses)))

    weights = {"checkpoint": str(tmp_path / "models" / "model_final.pt"), "output_dir": str(tmp_path / "labels")}
    network = {"unet_norm": "BATCH"}
    shape = {"canvas": [64, 80], "unet_channels": NARROW, "vnet_channels": NARROW, "spacing_mm": [-1, 1.5, 1.5]}
    for key in ("ct", "mr"):
        labelled = {**weights, **network, **shape, "image_keys": [key], "output_dir": str(tmp_path / key)}
        workflow(BUNDLE, "inference.json", workflow_type="inference", **labelled).run()
        assert list((tmp_path / key).rglob("prediction.nii.gz"))
