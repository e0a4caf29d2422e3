"""What the multi-process configs are made of, in one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ignite.distributed as idist
import pytest
import torch
import torch.distributed as dist
from ignite.engine import Engine
from monai.handlers import CheckpointSaver, StatsHandler
from torch import nn

from spinefuse_ext.distributed import (
    ShareBuffersHandler,
    check_enough,
    distribute,
    handlers_of_rank,
    join_processes,
    leave_processes,
    local_device,
)
from spinefuse_ext.handlers import AtomicCheckpointSaver, EpochSeedHandler
from spinefuse_ext.validation import ConfigError, DatalistError


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of one process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    leave_processes()
    assert not dist.is_initialized()
    assert idist.get_world_size() == 1  # and ignite knows


def test_a_start_without_torchrun_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match="need torchrun"):
        join_processes()
    assert not dist.is_initialized()


def test_the_device_is_that_of_the_local_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert local_device() == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="Process 2 of this node has no GPU: there are 2"):
        local_device()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert local_device() == torch.device("cpu")


def test_rank_0_alone_prints_and_writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    network = nn.Linear(1, 1)
    savers = [kind(str(tmp_path), {"model": network}) for kind in (CheckpointSaver, AtomicCheckpointSaver)]
    handlers = [StatsHandler(), EpochSeedHandler(), *savers]
    assert handlers_of_rank(handlers) == handlers
    monkeypatch.setattr(idist, "get_rank", lambda: 1)
    assert handlers_of_rank(handlers) == [handlers[1]]


def test_batch_norms_over_all_processes_need_cuda(group: None) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    with pytest.raises(ConfigError, match="need CUDA"):
        distribute(network, torch.device("cpu"), sync_batch_norm=True)
    wrapped = distribute(network, torch.device("cpu"))
    assert wrapped.module is network
    assert wrapped(torch.rand(2, 1, 3, 3)).shape == (2, 2, 3, 3)


def test_fewer_cases_than_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idist, "get_world_size", lambda: 3)
    check_enough([1, 2, 3], "validation")
    with pytest.raises(DatalistError, match=r"validation has 2 cases for 3 processes; each needs one\. Start 2"):
        check_enough([1, 2], "validation")


def test_buffers_are_those_of_rank_0(group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.BatchNorm1d(2)
    monkeypatch.setattr(dist, "broadcast", lambda buffer, src: buffer.fill_(7 + src))
    engine = Engine(lambda *_: None)
    ShareBuffersHandler(distribute(nn.Sequential(nn.Linear(2, 2), network), torch.device("cpu"))).attach(engine)
    engine.run([0])
    assert network.running_mean is not None
    assert network.running_mean.tolist() == [7, 7]
