"""Tables of overlap in the report: what the truth does not hold is said, and is no row."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from monai.data import MetaTensor

from spinefuse_ext.report.segmentation_section import overlaps, segmentation_facts, segmentation_section


def case(name: str, label: list[int], prediction: list[int]) -> Any:
    volumes = {"label": label, "prediction": prediction}
    held = {key: MetaTensor(torch.tensor(values).view(1, -1, 1, 1)) for key, values in volumes.items()}
    return SimpleNamespace(
        name=name, has=lambda *names: set(names) <= set(held), volumes=lambda *names: {key: held[key] for key in names}
    )


def test_what_the_truth_lacks_is_said_and_what_nobody_predicts_is_no_column() -> None:
    cases = [case("a", [1, 1, 2, 0, 9], [1, 1, 2, 0, 0]), case("b", [1, 1, 0, 0, 9], [1, 0, 2, 0, 0])]
    scores = overlaps(cases)
    dice = segmentation_section(SimpleNamespace(metrics=lambda task: {}), cases, scores).tables[0]  # type: ignore[arg-type]
    assert dice.header == ("Case", "vertebra", "disc", "mean")  # no canal, and nothing of the truth's class 9
    assert dice.rows[0] == ("a", 1.0, 1.0, 1.0)
    assert dice.rows[1][2] == "not in the truth"
    assert abs(dice.rows[1][1] - 2 / 3) < 1e-6
    assert dice.rows[1][1] == dice.rows[1][3]
    assert dice.rows[2][2] == 1.0
    (fact,) = segmentation_facts(scores)
    assert fact.note == "vertebra 0.83, disc 1.00"
