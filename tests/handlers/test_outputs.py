from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from spinefuse_ext.handlers import case_meta, loss_terms


def test_every_scalar_loss_is_picked_and_nothing_else() -> None:
    output = {
        "loss": torch.tensor(3.0),
        "fusion_loss": torch.tensor([2.0]),
        "consistency_loss": 1,
        "pixel_loss": torch.zeros(2, 3),
        "pred": torch.zeros(1),
        "stage": 2,
    }
    expected = {"loss": 3.0, "fusion_loss": 2.0, "consistency_loss": 1.0}
    assert loss_terms()(output) == expected
    assert loss_terms()([output, {"loss": 9.0}]) == expected  # a decollated batch repeats the scalars


def test_further_scalars_are_picked_where_they_are() -> None:
    output = {"loss": 1.0, "disagreement": torch.tensor(0.5), "teacher": torch.tensor(1), "pred": torch.zeros(2)}
    expected = {"loss": 1.0, "disagreement": 0.5, "teacher": 1.0}
    assert loss_terms(also=["disagreement", "teacher", "switched", "pred"])(output) == expected


def test_loss_terms_read_the_output_of_an_engine() -> None:
    engine = Engine(lambda engine, batch: [{"loss": batch}])
    engine.run([torch.tensor(5.0)])
    assert loss_terms()(engine.state.output) == {"loss": 5.0}


def test_a_case_is_named_by_its_patient_or_by_its_file() -> None:
    image = MetaTensor(torch.zeros(1, 2, 2), meta={"filename_or_obj": "scans/x.nii.gz"})
    batch: list[dict[str, Any]] = [
        {"patient": "anna", "image": image},
        {"image": image},
        {"patient": "", "image": MetaTensor(torch.zeros(1, 2, 2))},
    ]
    assert case_meta()(batch) == [{"filename_or_obj": name} for name in ("anna", "scans/x.nii.gz", "case")]
