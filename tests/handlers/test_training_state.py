from __future__ import annotations

from pathlib import Path

import torch
from monai.engines import SupervisedTrainer

from spinefuse_ext.handlers import TrainingStateHandler


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
