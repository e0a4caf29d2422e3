from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.transforms import Compose, RandLambdad, Transform

from spinefuse_ext.data import make_dataset


class Load(Transform):
    """Count how often a case is really loaded."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def __call__(self, data: dict[str, str]) -> dict[str, Any]:
        self.loaded.append(data["patient"])
        return {**data, "image": torch.zeros(1)}


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_case_that_repeats_is_loaded_once_and_changed_anew_each_time(on_disk: bool, tmp_path: Path) -> None:
    load = Load()
    random = RandLambdad("image", lambda image: image + torch.rand(1), prob=1.0)
    data = [{"patient": "anna"}, {"patient": "bert"}] * 3
    dataset = make_dataset(data, Compose([load, random]), tmp_path / "cache" if on_disk else None)
    values = [float(dataset[index]["image"]) for index in range(len(data)) for _ in range(2)]
    assert len(dataset) == 6
    assert sorted(load.loaded) == ["anna", "bert"]
    assert len(set(values)) == 12
    assert (tmp_path / "cache").exists() == on_disk


def test_files_of_an_earlier_run_are_used_again(tmp_path: Path) -> None:
    first, second = Load(), Load()
    for load in (first, second):
        assert make_dataset([{"patient": "anna"}], Compose([load]), str(tmp_path))[0]["patient"] == "anna"
    assert (first.loaded, second.loaded) == (["anna"], [])
