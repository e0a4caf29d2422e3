"""The handlers of a method do the same in whatever order a config lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "bundles" / "spine_semiseg" / "configs"
NARROW = [4, 8, 16, 32, 64]
SMALL: dict[str, Any] = {
    **{"canvas": [64, 80], "unet_channels": NARROW, "vnet_channels": NARROW, "crops_per_case": 3},
    **{"epochs": 2, "val_interval": 1, "seed": 5, "cache": "none"},
}
#: The methods of the bundle whose configs list more than one handler.
SEVERAL = [(), ("bcp.json",), ("sassnet.json",)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Another number of threads adds in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def listed(*deltas: str) -> list[Any]:
    """The handlers of a method, as its configs list them."""
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / name) for name in ("train.json", *deltas)])
    return list(parser["method_handlers"])


def test_these_are_the_methods_of_several_handlers() -> None:
    deltas = [path.name for path in CONFIGS.glob("*.json") if '"method_handlers"' in path.read_text()]
    several = {name for name in deltas if name != "train.json" and len(listed(name)) > 1}
    assert {name for names in SEVERAL for name in names} <= several
    assert len(listed()) > 1
    assert several - {name for names in SEVERAL for name in names} <= {"multi_gpu_train.json"}


@pytest.mark.parametrize("deltas", SEVERAL, ids=["train.json", "bcp.json", "sassnet.json"])
def test_reversed_handlers_train_the_same_network(
    deltas: tuple[str, ...], workflow: Callable[..., ConfigWorkflow], tmp_path: Path
) -> None:
    """They trained to the end, without a word, to another network."""
    weights = []
    for number, handlers in enumerate((listed(*deltas), listed(*deltas)[::-1])):
        folder = tmp_path / str(number)
        places = {"ckpt_dir": str(folder / "models"), "output_dir": str(folder / "eval")}
        made = workflow("spine_semiseg", "train.json", *deltas, **places, **SMALL, method_handlers=handlers)
        made.run()
        made.finalize()
        weights.append(torch.load(folder / "models" / "model_final.pt", weights_only=True))
    first, second = weights
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
