"""One process with the whole batch, and 2 or 4 that share it, take the same steps."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow

_RANK = """
import os, runpy, sys, torch, torch.distributed as dist
from functools import partial
from torch.nn.parallel import DistributedDataParallel
rank, ranks, folder, segmentation, fusion = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
part = slice(rank, None, ranks)
result = {
    "segmentation": runpy.run_path(segmentation)["train"](part, DistributedDataParallel),
    "fusion": runpy.run_path(fusion)["train"](part, partial(DistributedDataParallel, find_unused_parameters=True)),
}
torch.save(result, f"{folder}/rank{rank}.pt")
dist.barrier()
dist.destroy_process_group()
os._exit(0)
"""

FILES = {
    name: str(Path(__file__).with_name(f"whole_{name_of}.py"))
    for name, name_of in (("segmentation", "batch"), ("fusion", "pairs"))
}


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    return {name: runpy.run_path(file)["train"](slice(None)) for name, file in FILES.items()}


@pytest.fixture(scope="module", params=[2, 4])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder, ranks = tmp_path_factory.mktemp("ranks"), request.param
    processes = [
        subprocess.Popen([sys.executable, "-c", _RANK, str(rank), str(ranks), str(folder), *FILES.values()])
        for rank in range(ranks)
    ]
    try:
        assert [process.wait(timeout=600) for process in processes] == [0] * ranks
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(ranks)]


def test_segmentation(alone: dict[str, dict[str, Any]], shared: list[dict[str, Any]]) -> None:
    one = alone["segmentation"]
    for rank in shared:
        many = rank["segmentation"]
        assert many["teachers"] == one["teachers"]
        assert many["losses"] == pytest.approx(one["losses"], rel=1e-4)
        torch.testing.assert_close(many["weights"], one["weights"], rtol=1e-3, atol=1e-5)


def test_fusion(alone: dict[str, dict[str, Any]], shared: list[dict[str, Any]]) -> None:
    one = alone["fusion"]
    of_ranks = torch.tensor([rank["fusion"]["losses"] for rank in shared])
    torch.testing.assert_close(of_ranks.mean(0), torch.tensor(one["losses"]), rtol=1e-4, atol=1e-6)
    for rank in shared:
        torch.testing.assert_close(rank["fusion"]["weights"], one["weights"], rtol=1e-3, atol=1e-6)
        assert (rank["fusion"]["weights"] - one["weights"]).abs().max() < 1e-5
