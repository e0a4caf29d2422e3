"""The trainer and its handler in two gloo processes on the CPU, started once for all tests of this file."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.handlers import CompetitivePseudoLabelHandler

_RANK = """
import os, runpy, sys, torch, torch.distributed as dist
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from monai.engines import IterationEvents
from monai.networks.nets import UNet
from spinefuse_ext.engines import SemiSupervisedTrainer
from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.handlers import CopyPasteHandler, StrongViewHandler
from spinefuse_ext.handlers import CompetitivePseudoLabelHandler, ShapeAdversaryHandler, SignedDistanceHandler
from spinefuse_ext.losses import SemiSupervisedLoss
from spinefuse_ext.networks import DualSegNet, ShapeDiscriminator, ShapeSegNet, VNet

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)

def step(engine, batch):
    engine.state.output = {"label": batch[1][rank::2], Keys.LOGITS_LABELLED: batch[0][:, rank::2]}
    engine.fire_event(IterationEvents.FORWARD_COMPLETED)
    teachers.append(int(engine.state.output[Keys.TEACHER]))

teachers, engine = [], Engine(step)
engine.register_events(*IterationEvents)
CompetitivePseudoLabelHandler().attach(engine)
engine.run(torch.load(f"{folder}/batches.pt"))

class BadOnOneRank(SemiSupervisedLoss):
    calls = 0
    def forward(self, input):
        terms = super().forward(input)
        self.calls += 1
        return {**terms, "loss": terms["loss"] * float("nan")} if (rank, self.calls) == (1, 2) else terms

torch.manual_seed(0)
pair = DualSegNet(UNet(2, 1, 3, channels=(4, 8), strides=(2,)), VNet(2, 1, 3, channels=(4, 8)))
start = torch.cat([p.detach().flatten() for p in pair.parameters()])
network = torch.nn.parallel.DistributedDataParallel(pair)
torch.manual_seed(1 + rank)
labelled = [{"image": torch.rand(1, 16, 16), "label": torch.randint(0, 3, (1, 16, 16))} for _ in range(2)]
unlabelled = [{"image": torch.rand(1, 16, 16)} for _ in range(8)]
trainer = SemiSupervisedTrainer(
    device="cpu", max_epochs=1, network=network, optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
    train_data_loader=DataLoader(Dataset(labelled), batch_size=2),
    unlabelled_data_loader=DataLoader(Dataset(unlabelled), batch_size=2),
    loss_function=BadOnOneRank(), decollate=False, train_handlers=[
        StrongViewHandler(lambda image: 1.1 * image), CopyPasteHandler(seed=rank),
        CompetitivePseudoLabelHandler(clean_view=True, ramp_fraction=0.0),
    ],
)
trainer.run()
weights = torch.cat([p.detach().flatten() for p in pair.parameters()])

discriminator = ShapeDiscriminator(2, 2, 1, channels=(4, 4, 4, 4))
own = torch.cat([p.detach().flatten() for p in discriminator.parameters()])
shapes = torch.nn.parallel.DistributedDataParallel(ShapeSegNet(VNet(2, 1, 5, channels=(4, 8)), 3))
SemiSupervisedTrainer(
    device="cpu", max_epochs=1, network=shapes, optimizer=torch.optim.SGD(shapes.parameters(), lr=0.1),
    train_data_loader=DataLoader(Dataset(labelled), batch_size=2),
    unlabelled_data_loader=DataLoader(Dataset(unlabelled), batch_size=2), loss_function=SemiSupervisedLoss(),
    train_handlers=[SignedDistanceHandler(), ShapeAdversaryHandler(discriminator)], decollate=False,
).run()
learnt = torch.cat([p.detach().flatten() for p in discriminator.parameters()])

result = {"teachers": teachers, "start": start, "weights": weights, "skipped": trainer.skipped,
          "discriminators": (own, learnt)}
result["shared"] = runpy.run_path(sys.argv[3])["train"](
    slice(rank, None, 2), torch.nn.parallel.DistributedDataParallel
)
torch.save(result, f"{folder}/rank{rank}.pt")
dist.barrier()  # none leaves while the other still needs it
dist.destroy_process_group()
os._exit(0)  # gloo's threads now and then abort an interpreter that is shutting down
"""

_SHARED = Path(__file__).with_name("whole_batch.py")


def _batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Twelve batches of logits ``(2, 2, 3, 8, 8)`` that are right in about a third of the voxels, and their truth."""
    generator = torch.Generator().manual_seed(0)
    labels = [torch.randint(0, 3, (2, 1, 8, 8), generator=generator) for _ in range(12)]
    return [(torch.randn(2, 2, 3, 8, 8, generator=generator), label) for label in labels]


def _alone(part: slice) -> list[int]:
    """The teachers that one process names, given a part of each batch."""
    handler, teachers = CompetitivePseudoLabelHandler(), []
    for iteration, (logits, label) in enumerate(_batches(), start=1):
        output: dict[str, Any] = {"label": label[part], Keys.LOGITS_LABELLED: logits[:, part]}
        state = SimpleNamespace(output=output, iteration=iteration, max_epochs=1, epoch_length=12)
        handler(SimpleNamespace(state=state))  # type: ignore[arg-type]
        teachers.append(int(output[Keys.TEACHER]))
    return teachers


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    torch.save(_batches(), folder / "batches.pt")
    processes = [
        subprocess.Popen([sys.executable, "-c", _RANK, str(rank), str(folder), str(_SHARED)]) for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=600) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()  # a rank that waits for the other would wait for ever
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]


def test_ranks_name_the_teacher_of_the_whole_batch(ranks: list[dict[str, Any]]) -> None:
    assert _alone(slice(0, None, 2)) != _alone(slice(1, None, 2))  # each rank by itself would choose differently
    assert ranks[0]["teachers"] == ranks[1]["teachers"] == _alone(slice(None))


def test_ranks_keep_equal_weights(ranks: list[dict[str, Any]]) -> None:
    assert torch.equal(ranks[0]["weights"], ranks[1]["weights"])
    assert ranks[0]["weights"].isfinite().all()
    assert not torch.equal(ranks[0]["start"], ranks[0]["weights"])


def test_loss_that_is_not_finite_on_one_rank_skips_the_step_on_both(ranks: list[dict[str, Any]]) -> None:
    assert [rank["skipped"] for rank in ranks] == [1, 1]


def test_ranks_start_from_one_discriminator_and_keep_it_equal(ranks: list[dict[str, Any]]) -> None:
    (first, learnt), (second, learnt_too) = (rank["discriminators"] for rank in ranks)
    assert not torch.equal(first, second)
    assert torch.equal(learnt, learnt_too)
    assert 0 < (learnt - first).abs().max() < 0.01  # a few steps of 1e-4 from the first rank's


def test_two_ranks_with_half_the_batch_each_take_the_steps_of_one_with_all_of_it(ranks: list[dict[str, Any]]) -> None:
    alone = runpy.run_path(str(_SHARED))["train"](slice(None))
    assert len(set(alone["teachers"])) == 2
    for rank in ranks:
        assert rank["shared"]["teachers"] == alone["teachers"]
        assert rank["shared"]["losses"] == pytest.approx(alone["losses"], rel=1e-4)
        torch.testing.assert_close(rank["shared"]["weights"], alone["weights"], rtol=1e-3, atol=1e-5)
