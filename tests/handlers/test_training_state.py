from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.engines import SupervisedTrainer
from monai.handlers import CheckpointLoader, LrScheduleHandler

from spinefuse_ext.engines import StepTrainer
from spinefuse_ext.handlers import CompetitivePseudoLabelHandler, TrainingStateHandler
from spinefuse_ext.handlers.checkpoints import save_whole
from spinefuse_ext.handlers.run_folder import read_state
from tests.semi_supervised import BlankView, small_pair, small_trainer


def test_an_engine_that_runs_once_more_keeps_the_weights_it_was_given(tmp_path: Path) -> None:
    """A federation puts new weights into the network between two runs, which no file may replace."""
    network = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    handler = TrainingStateHandler(save_dir=tmp_path, objects={"network": network}, resume="latest")
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=[{"image": torch.ones(1, 1), "label": torch.ones(1, 1)}],
        network=network,
        optimizer=optimizer,
        loss_function=torch.nn.MSELoss(),
        train_handlers=[handler],
        decollate=False,
    )
    trainer.run()
    assert [path.name for path in tmp_path.iterdir()] == ["training_epoch_0001.pt"]
    with torch.no_grad():
        network.weight.fill_(5.0)
    trainer.state.max_epochs = 2
    trainer.run()
    assert trainer.state.epoch == 2
    assert network.weight.item() == 5.0


@pytest.mark.parametrize("first", [True, False], ids=["state first", "state last"])
def test_an_epoch_is_noted_after_its_schedule_and_validation_wherever_the_handler_stands(
    first: bool, tmp_path: Path
) -> None:
    network = small_pair()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    state = TrainingStateHandler(save_dir=tmp_path, objects={"schedule": schedule, "optimizer": optimizer})
    others = [LrScheduleHandler(schedule, print_lr=False), CompetitivePseudoLabelHandler(ramp_fraction=0.0)]
    handlers = [state, *others] if first else [*others, state]
    small_trainer(network, optimizer=optimizer, train_handlers=handlers, max_epochs=2).run()
    noted = torch.load(tmp_path / "training_epoch_0002.pt", weights_only=True)["objects"]
    assert noted["schedule"]["last_epoch"] == 2
    assert noted["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.25)


def test_weights_that_a_training_goes_on_with_are_not_replaced_by_those_it_began_with(tmp_path: Path) -> None:
    """A training that began with weights (``fine_tune.json``) keeps its loader among the handlers when it goes on."""
    network = torch.nn.Linear(1, 1)
    torch.save({"model": {"weight": torch.tensor([[7.0]]), "bias": torch.zeros(1)}}, tmp_path / "weights.pt")

    def run(epochs: int, resume: str | None) -> None:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
        state = TrainingStateHandler(save_dir=tmp_path, objects={"network": network}, resume=resume)
        loader = CheckpointLoader(str(tmp_path / "weights.pt"), {"model": network})
        StepTrainer(
            device="cpu",
            max_epochs=epochs,
            train_data_loader=[{"image": torch.ones(1, 1), "label": torch.ones(1, 1)}],
            network=network,
            optimizer=optimizer,
            loss_function=torch.nn.MSELoss(),
            train_handlers=[state, loader],
            decollate=False,
        ).run()

    run(1, None)
    with torch.no_grad():
        network.weight.fill_(5.0)  # what the training made of it
    save_whole(
        {**read_state(tmp_path / "training_epoch_0001.pt"), "objects": {"network": network.state_dict()}},
        tmp_path / "training_epoch_0001.pt",
    )
    run(2, "latest")
    assert network.weight.item() == 5.0


def test_a_training_goes_on_with_its_handlers_in_another_order(tmp_path: Path) -> None:
    def train(epochs: int, order: int) -> CompetitivePseudoLabelHandler:
        competition = CompetitivePseudoLabelHandler(ramp_fraction=0.0)
        handlers = [BlankView(), competition][::order]
        state = TrainingStateHandler(save_dir=tmp_path, objects={}, handlers=handlers, resume="latest")
        small_trainer(train_handlers=[*handlers, state], max_epochs=epochs).run()
        return competition

    torch.manual_seed(0)
    first = train(1, 1).state_dict()
    assert first["sums"].any()
    again = train(1, -1).state_dict()  # nothing is left to train
    assert all(torch.equal(first[name], again[name]) for name in first)
