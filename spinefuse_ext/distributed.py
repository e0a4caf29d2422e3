"""Many processes, one training or evaluation: who they are, how their network is wrapped, and what rank 0 alone does.

The configs ``multi_gpu_train.json`` and ``multi_gpu_evaluate.json`` of the bundles refer to this module.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import ignite.distributed as idist
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.handlers import CheckpointSaver, StatsHandler, TensorBoardHandler
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from spinefuse_ext.networks import unwrap
from spinefuse_ext.validation import ConfigError, DatalistError

#: Handlers that write or print, and so belong to rank 0.
RANK_0_ONLY = (StatsHandler, TensorBoardHandler, CheckpointSaver)


def join_processes() -> None:
    """Join the processes that ``torchrun`` started: NCCL where there is CUDA, gloo on CPUs.

    Each process takes the CUDA device of its ``LOCAL_RANK``. Ranks above 0 log warnings only.

    Raises:
        ConfigError: not started by ``torchrun``, or a node has fewer GPUs than processes.
    """
    if not dist.is_initialized():
        if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
            raise ConfigError(
                "The multi_gpu configs need torchrun, which starts the processes: "
                "torchrun --standalone --nproc_per_node=2 -m monai.bundle run --config_file ..."
            )
        device = local_device()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if dist.get_rank():
        logging.disable(logging.INFO)


def leave_processes() -> None:
    """Leave the group of processes, when all have come here."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
        idist.sync()  # ignite would go on asking the group that is no more


def local_device() -> torch.device:
    """The device of this process: CUDA by ``LOCAL_RANK``, else the CPU.

    Raises:
        ConfigError: the node has fewer GPUs than processes.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    place, number = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if place >= number:
        raise ConfigError(
            f"Process {place} of this node has no GPU: there are {number}. Give --nproc_per_node={number}."
        )
    return torch.device("cuda", place)


def distribute(
    network: nn.Module, device: torch.device, sync_batch_norm: bool = False, find_unused_parameters: bool = False
) -> DistributedDataParallel:
    """Wrap a network that is on ``device`` so that the gradients of all processes are averaged.

    Args:
        network: on ``device``.
        device: of this process.
        sync_batch_norm: batch norms take mean and variance over all processes; CUDA only.
        find_unused_parameters: for networks of which a step may leave a part out.

    Raises:
        ConfigError: ``sync_batch_norm`` on a CPU, where PyTorch has none.
    """
    if sync_batch_norm and device.type != "cuda":
        raise ConfigError("Batch norms over all processes need CUDA; leave sync_batch_norm off on a CPU.")
    if sync_batch_norm:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return DistributedDataParallel(
        network,
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=find_unused_parameters,
    )


def handlers_of_rank(handlers: Sequence[Any]) -> list[Any]:
    """All handlers on rank 0; elsewhere those that neither print nor write, found by their type."""
    return [handler for handler in handlers if not idist.get_rank() or not isinstance(handler, RANK_0_ONLY)]


def check_enough(data: Sequence[Any], section: str) -> None:
    """Refuse fewer cases than processes: one of them would have nothing to do while the others wait for it.

    Raises:
        DatalistError: with both numbers.
    """
    if len(data) < idist.get_world_size():
        raise DatalistError(
            f"The section {section} has {len(data)} cases for {idist.get_world_size()} processes; each needs one. "
            f"Start {len(data) or 1} processes, or add cases."
        )


class ShareBuffersHandler:
    """Before an evaluation gives every process the buffers of rank 0, such as the means of batch norms.

    They drift apart within a step where batch norms are not synchronised; the checkpoint holds those of rank 0.

    Args:
        network: the network, in its wrappers or without.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = unwrap(network)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, _: Engine) -> None:
        for buffer in self.network.buffers() if dist.is_initialized() else ():
            dist.broadcast(buffer, src=0)
