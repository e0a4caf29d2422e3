from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines.utils import IterationEvents
from monai.handlers import StatsHandler, from_engine
from monai.transforms import Lambdad
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from spinefuse_ext.engines import FusionTrainer, weight_decay_groups
from spinefuse_ext.enums import FusionKeys
from spinefuse_ext.losses import DecompositionLoss, FusionLoss, ReconstructionLoss, StructureFusionLoss
from spinefuse_ext.networks import SpineFusionNet
from spinefuse_ext.validation import ConfigError


def _cases(count: int = 4, size: int = 16) -> list[dict[str, MetaTensor]]:
    """A bright square in CT, a bright disc in MR, at places of their own."""
    rows, columns = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    cases = []
    for index in range(count):
        ct = 0.1 + 0.8 * ((rows - 5 - index).abs().maximum((columns - 6).abs()) < 3)
        mr = 0.2 + 0.6 * ((rows - 8).square() + (columns - 10 + index).square() < 12)
        cases.append({"image": MetaTensor(torch.stack((ct, mr)), meta={"case": index})})
    return cases


def _network(**options: Any) -> SpineFusionNet:
    return SpineFusionNet(dim=8, num_blocks=(1, 1), num_heads=2, **options)


def _trainer(network: nn.Module | None = None, *, cases: Any = None, lr: float = 5e-3, **options: Any) -> FusionTrainer:
    network = _network() if network is None else network
    settings: dict[str, Any] = {
        "device": torch.device("cpu"),
        "max_epochs": 2,
        "stage1_epochs": 1,
        "train_data_loader": DataLoader(Dataset(cases or _cases()), batch_size=2),
        "optimizer": torch.optim.AdamW(weight_decay_groups(network, 0.025), lr=lr),
        "reconstruction_loss": ReconstructionLoss(),
        "fusion_loss": FusionLoss(),
        "decomposition_loss": DecompositionLoss(),
        "decollate": False,
    }
    return FusionTrainer(network=network, **(settings | options))


def _record(trainer: FusionTrainer, key: str, event: Any = Events.ITERATION_COMPLETED) -> list[Any]:
    seen: list[Any] = []
    trainer.add_event_handler(event, lambda engine: seen.append(engine.state.output[key]))
    return seen


def _mean(values: list[torch.Tensor]) -> float:
    return torch.stack(values).mean().item()


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "amp"])
@pytest.mark.parametrize("stage1_epochs", [12, 0], ids=["reconstruction", "fusion"])
def test_each_stage_learns(stage1_epochs: int, amp: bool) -> None:
    trainer = _trainer(max_epochs=12, stage1_epochs=stage1_epochs, amp=amp)
    losses = _record(trainer, "loss")
    trainer.run()
    assert losses[0].dtype == torch.float32
    assert _mean(losses[-4:]) < 0.8 * _mean(losses[:2])
    assert trainer.skipped_steps == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_all_stages_train_on_cuda() -> None:
    network = _network(output="correction").to("cuda")
    firm = StructureFusionLoss(fidelity_weight=1, information_weight=1)
    third = {"max_epochs": 3, "stage3_epochs": 1, "stage3_loss": firm, "cases": _cases(size=20)}
    trainer = _trainer(network, device=torch.device("cuda"), fusion_loss=StructureFusionLoss(), **third)
    stages, losses = _record(trainer, FusionKeys.STAGE), _record(trainer, "loss")
    trainer.run()
    assert stages == [1, 1, 2, 2, 3, 3]
    assert all(loss.is_cuda for loss in losses)
    assert trainer.skipped_steps == 0


def test_stage_switches_after_its_epochs() -> None:
    trainer = _trainer(max_epochs=3, stage1_epochs=2)
    stages, predictions = _record(trainer, FusionKeys.STAGE), _record(trainer, "pred")
    trainer.run()
    assert stages == [1, 1, 1, 1, 2, 2]  # two iterations an epoch
    assert [prediction.shape[1] for prediction in predictions] == [2, 2, 2, 2, 1, 1]


def test_the_last_epochs_are_stage_three_with_its_loss_and_the_hard_threshold() -> None:
    network = _network(output="correction")
    trainer = _trainer(network, max_epochs=4, stage3_epochs=2, stage3_loss=lambda fused, pair: 0 * fused.sum() + 7)
    stages, losses = _record(trainer, FusionKeys.STAGE), _record(trainer, FusionKeys.FUSION_LOSS)
    soft: list[bool] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: soft.append(network.correction.soft))
    trainer.run()
    assert stages == [1, 1, 2, 2, 3, 3, 3, 3]
    assert [loss == 7 for loss in losses] == [stage == 3 for stage in stages]
    assert [is_soft for is_soft, stage in zip(soft, stages, strict=True) if stage > 1] == [True] * 2 + [False] * 4


def test_stage_three_is_counted_from_the_planned_end_when_rounds_move_the_end() -> None:
    trainer = _trainer(max_epochs=3, stage3_epochs=1)
    stages = _record(trainer, FusionKeys.STAGE)
    for rounds in (1, 2, 3):
        trainer.state.max_epochs = rounds
        trainer.run()
    assert stages == [1, 1, 2, 2, 3, 3]


def test_stage_one_leaves_the_fusion_layers_alone_and_stage_two_trains_them() -> None:
    network = _network()
    before = {name: weight.clone() for name, weight in network.named_parameters()}
    _trainer(network, max_epochs=1).run()
    moved = {name.split(".")[0] for name, weight in network.named_parameters() if not weight.equal(before[name])}
    assert moved == {"encoder", "decoder"}
    _trainer(network, max_epochs=1, stage1_epochs=0).run()
    moved = {name.split(".")[0] for name, weight in network.named_parameters() if not weight.equal(before[name])}
    assert moved == {"encoder", "decoder", "base_fusion", "detail_fusion"}


@pytest.mark.parametrize(("stage1_epochs", "term"), [(1, "reconstruction_loss"), (0, "fusion_loss")])
def test_loss_is_the_weighted_sum_of_its_terms(stage1_epochs: int, term: str) -> None:
    trainer = _trainer(max_epochs=1, stage1_epochs=stage1_epochs, decomposition_weight=3.0)
    trainer.run()
    output = trainer.state.output
    torch.testing.assert_close(output["loss"].detach(), output[term] + 3 * output["decomposition_loss"])
    assert {"reconstruction_loss": output["fusion_loss"], "fusion_loss": output["reconstruction_loss"]}[term] == 0


def test_fires_every_event_of_an_iteration_in_order() -> None:
    trainer = _trainer(max_epochs=1, epoch_length=1)
    fired: list[str] = []
    for event in IterationEvents:
        trainer.add_event_handler(event, lambda _, name=event.name: fired.append(name))
    trainer.run()
    expected = ["FORWARD_COMPLETED", "LOSS_COMPLETED", "BACKWARD_COMPLETED", "MODEL_COMPLETED"]
    assert [name for name in fired if name in expected] == expected


def test_handlers_may_change_the_prediction_before_the_loss() -> None:
    trainer = _trainer(max_epochs=1, stage1_epochs=0, decomposition_weight=0.0)

    def perfect(engine: FusionTrainer) -> None:
        pair = engine.state.output["image"].as_tensor()
        engine.state.output["pred"] = pair.amax(1, keepdim=True) + 0 * engine.state.output["pred"]

    trainer.add_event_handler(IterationEvents.FORWARD_COMPLETED, perfect)
    losses = _record(trainer, "fusion_loss")
    trainer.run()
    pair = torch.stack([case["image"].as_tensor() for case in _cases()[:2]])
    torch.testing.assert_close(losses[0], FusionLoss()(pair.amax(1, keepdim=True), pair))


def test_each_child_is_clipped_to_the_norm() -> None:
    trainer = _trainer(max_epochs=1, stage1_epochs=0, clip_norm=0.01)
    norms: list[float] = []

    def measure(engine: FusionTrainer) -> None:
        children = ([w.grad for w in child.parameters() if w.grad is not None] for child in engine.network.children())
        norms.extend(torch.nn.utils.get_total_norm(gradients).item() for gradients in children)

    trainer.add_event_handler(IterationEvents.MODEL_COMPLETED, measure)
    trainer.run()
    assert len(norms) == 4 * 2
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_without_clip_norm_gradients_stay_as_they_are() -> None:
    trainer = _trainer(max_epochs=1, clip_norm=None, epoch_length=1)
    norms: list[float] = []
    for event in (IterationEvents.BACKWARD_COMPLETED, IterationEvents.MODEL_COMPLETED):
        trainer.add_event_handler(
            event,
            lambda engine: norms.append(
                torch.nn.utils.get_total_norm([w.grad for w in engine.network.encoder.parameters()]).item()
            ),
        )
    trainer.run()
    assert norms[0] == norms[1] > 0.01


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "amp"])
def test_non_finite_batch_is_skipped_counted_and_logged(amp: bool, caplog: pytest.LogCaptureFixture) -> None:
    cases = _cases(6)
    cases[2]["image"][0, 3, 3] = float("nan")  # in the second batch of three
    network = _network()
    trainer = _trainer(network, cases=cases, max_epochs=1, amp=amp)
    snapshots: list[torch.Tensor] = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda _: snapshots.append(torch.nn.utils.parameters_to_vector(network.parameters()).detach().clone()),
    )
    skipped = _record(trainer, FusionKeys.SKIPPED)
    with caplog.at_level(logging.WARNING):
        trainer.run()
    assert skipped == [0, 1, 1]
    assert snapshots[0].equal(snapshots[1])
    assert snapshots[2].isfinite().all()
    assert not snapshots[1].equal(snapshots[2])
    messages = [record.message for record in caplog.records if "step skipped" in record.message]
    assert len(messages) == 1
    assert messages[0].startswith("Epoch 1, iteration 2: loss nan")


def test_finite_loss_with_non_finite_gradient_is_skipped_too() -> None:
    network = _network()
    trainer = _trainer(network, max_epochs=1)
    reduce: Any = network.decoder.reduce
    reduce.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = torch.nn.utils.parameters_to_vector(network.parameters()).detach().clone()
    trainer.run()
    assert trainer.skipped_steps == 2
    assert before.equal(torch.nn.utils.parameters_to_vector(network.parameters()))


def test_blank_patches_train_without_a_skip() -> None:
    cases = _cases(4)
    cases[0]["image"][:] = 0
    cases[2]["image"][0] = 0
    network = _network()
    trainer = _trainer(network, cases=cases, max_epochs=4, stage1_epochs=2)
    trainer.run()
    assert trainer.skipped_steps == 0
    assert all(weight.isfinite().all() for weight in network.parameters())


def test_accumulated_batches_make_the_gradient_of_one_large_batch() -> None:
    gradients = []
    for batch_size, steps in ((4, 1), (2, 2)):
        torch.manual_seed(0)
        network = _network()
        trainer = _trainer(
            network,
            max_epochs=1,
            train_data_loader=DataLoader(Dataset(_cases()), batch_size=batch_size),
            accumulation_steps=steps,
            decomposition_weight=0.0,  # the correlation is a ratio per batch; the other losses are means over it
            clip_norm=None,
            lr=0.0,
        )
        trainer.run()
        gradients.append(torch.cat([w.grad.flatten() for w in network.encoder.parameters() if w.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


def test_output_decollates_for_postprocessing_and_statistics(caplog: pytest.LogCaptureFixture) -> None:
    keys = ["loss", FusionKeys.RECONSTRUCTION_LOSS, FusionKeys.DECOMPOSITION_LOSS, FusionKeys.FUSION_LOSS]
    statistics = StatsHandler(
        name="fusion",
        output_transform=lambda output: dict(zip(keys, from_engine(keys, first=True)(output), strict=True)),
    )
    trainer = _trainer(
        decollate=True, postprocessing=Lambdad("pred", lambda image: image * 0 + 7), train_handlers=[statistics]
    )
    logging.getLogger("fusion").addHandler(caplog.handler)  # MONAI's loggers do not pass records on
    with caplog.at_level(logging.INFO, logger="fusion"):
        trainer.run()
    assert len(trainer.state.output) == 2
    item = trainer.state.output[0]
    assert item["pred"].shape == (1, 16, 16)
    assert (item["pred"] == 7).all()
    assert item["pred"].meta["case"] == 2
    assert isinstance(item["loss"], float)
    assert "decomposition_loss" in caplog.text


def test_trains_through_distributed_data_parallel(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        network = _network()
        forwards: list[nn.Module] = []
        wrapped = DistributedDataParallel(network, find_unused_parameters=True)
        wrapped.register_forward_hook(lambda module, _args, _output: forwards.append(module))
        trainer = _trainer(wrapped, max_epochs=4, stage1_epochs=2)
        losses = _record(trainer, "loss")
        trainer.run()
        assert len(forwards) == len(losses) == 8  # every iteration went through the wrapper, which averages gradients
        assert losses[3] < losses[0]
        assert network(torch.rand(1, 2, 8, 8)).shape == (1, 1, 8, 8)  # the network's own forward is back
    finally:
        torch.distributed.destroy_process_group()
        idist.sync()


def test_compile_compiles_the_children_in_place() -> None:
    calls: list[int] = []

    def backend(graph: torch.fx.GraphModule, _inputs: list[torch.Tensor]) -> Any:
        calls.append(1)
        return graph.forward

    network = _network()
    names = list(network.state_dict())
    _trainer(network, max_epochs=1, epoch_length=1, compile=True, compile_kwargs={"backend": backend}).run()
    assert calls
    assert list(network.state_dict()) == names


def test_is_built_from_a_config() -> None:
    config = {
        "network": {
            "_target_": "spinefuse_ext.networks.SpineFusionNet",
            "dim": 8,
            "num_blocks": [1, 1],
            "num_heads": 2,
        },
        "optimizer": {
            "_target_": "torch.optim.AdamW",
            "params": {
                "_target_": "spinefuse_ext.engines.weight_decay_groups",
                "network": "@network",
                "weight_decay": 0.025,
            },
            "lr": 1e-3,
        },
        "trainer": {
            "_target_": "spinefuse_ext.engines.FusionTrainer",
            "max_epochs": 1,
            "stage1_epochs": 1,
            "device": "$torch.device('cpu')",
            "train_data_loader": [{"image": torch.rand(1, 2, 8, 8)}],
            "network": "@network",
            "optimizer": "@optimizer",
            "reconstruction_loss": {"_target_": "spinefuse_ext.losses.ReconstructionLoss"},
            "fusion_loss": {"_target_": "spinefuse_ext.losses.FusionLoss"},
            "decomposition_loss": {"_target_": "spinefuse_ext.losses.DecompositionLoss"},
            "clip_norm": 0.01,
        },
    }
    trainer = ConfigParser(config).get_parsed_content("trainer")
    trainer.run()
    assert trainer.state.iteration == 1


def test_only_kernels_decay() -> None:
    network = _network(base="cddfuse")
    decayed, kept = weight_decay_groups(network, 0.025)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.025, 0.0)
    names = {id(weight): name for name, weight in network.named_parameters()}
    exempt = {names[id(weight)].rsplit(".", 1)[-1] for weight in kept["params"]}
    assert exempt == {"weight", "bias", "temperature"}
    assert all("norm" in names[id(w)] for w in kept["params"] if names[id(w)].endswith("weight"))
    assert not any("norm" in names[id(w)] or "temperature" in names[id(w)] for w in decayed["params"])
    assert len(decayed["params"]) + len(kept["params"]) == len(names)


def test_frozen_weights_are_left_out_of_the_groups() -> None:
    network = _network()
    network.encoder.requires_grad_(False)
    grouped = [weight for group in weight_decay_groups(network, 0.1) for weight in group["params"]]
    assert all(weight.requires_grad for weight in grouped)


def test_refuses_a_network_that_cannot_be_trained_in_two_stages() -> None:
    with pytest.raises(ConfigError, match="Conv2d lacks encode, reconstruct_features, fuse_features"):
        _trainer(nn.Conv2d(2, 1, 3))


def test_refuses_a_network_that_is_compiled_already() -> None:
    compiled: Any = torch.compile(_network())
    with pytest.raises(ConfigError, match="pass the plain network"):
        _trainer(compiled)
