from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import IterationEvents, SupervisedTrainer
from monai.handlers import CheckpointLoader, CheckpointSaver, MeanDice, StatsHandler, from_engine
from monai.networks.nets import UNet
from monai.transforms import AsDiscreted, Compose

from spinefuse_ext.engines import SemiSupervisedEvents, SemiSupervisedTrainer
from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.handlers import CompetitivePseudoLabelHandler, add_term
from spinefuse_ext.losses import SemiSupervisedLoss
from spinefuse_ext.networks import DualSegNet, SingleSegNet, VNet
from spinefuse_ext.validation import DatalistError, ImageReadError
from tests.semi_supervised import small_case, small_loader, small_pair, small_trainer, watch


def _dice(network: torch.nn.Module, dims: int = 2) -> float:
    """Mean foreground Dice on cases that no trainer saw."""
    batch = next(iter(small_loader(8, 8, dims, first=500)))
    with torch.no_grad():
        found = network.eval()(batch["image"]).argmax(1, keepdim=True)
    scores = [
        2 * ((found == c) & (batch["label"] == c)).sum() / ((found == c).sum() + (batch["label"] == c).sum())
        for c in (1, 2)
    ]
    return float(sum(scores) / 2)


@pytest.mark.parametrize("dims", [2, 3])
def test_training_learns_to_segment_unseen_cases(dims: int) -> None:
    network = small_pair(dims)
    trainer = small_trainer(
        network,
        train_data_loader=small_loader(4, dims=dims),
        unlabelled_data_loader=small_loader(8, dims=dims, first=100, label=False),
        max_epochs=12 if dims == 2 else 8,
    )
    before = _dice(network, dims)
    trainer.run()
    assert _dice(network, dims) > max(0.85, before + 0.2)


@pytest.mark.parametrize("wrap", [SingleSegNet, lambda network: network], ids=["single-seg-net", "bare-network"])
def test_supervised_control_learns_with_the_same_trainer(wrap: Callable[[torch.nn.Module], torch.nn.Module]) -> None:
    network = wrap(VNet(2, 1, 3, channels=(8, 16), dropout=0.0))
    before = _dice(network)
    loader = small_loader(4)
    trainer = small_trainer(
        network, train_data_loader=loader, unlabelled_data_loader=None, train_handlers=None, max_epochs=20
    )
    seen = watch(trainer, Events.ITERATION_COMPLETED, set)
    trainer.run()
    assert trainer.state.iteration == 20 * len(loader)
    assert _dice(network) > max(0.85, before + 0.2)
    assert Keys.TEACHER not in seen[0]


def test_supervised_step_equals_that_of_monai() -> None:
    weights = VNet(2, 1, 3, channels=(4, 8), dropout=0.0).state_dict()
    results = []
    for trainer_class, loss in [
        (SupervisedTrainer, torch.nn.CrossEntropyLoss()),
        (SemiSupervisedTrainer, SemiSupervisedLoss(dice_weight=0)),
    ]:
        network = VNet(2, 1, 3, channels=(4, 8), dropout=0.0)
        network.load_state_dict(weights)
        cases = small_loader(4)
        if trainer_class is SupervisedTrainer:
            loss_function: Any = lambda pred, target, loss=loss: loss(pred, target[:, 0].long())  # noqa: E731
        else:
            loss_function = loss
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        trainer_class(
            device="cpu",
            max_epochs=2,
            train_data_loader=cases,
            network=network,
            optimizer=optimizer,
            loss_function=loss_function,
        ).run()
        results.append(network.state_dict())
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, atol=1e-5, rtol=1e-4)


def test_both_streams_go_through_one_forward() -> None:
    network = small_pair()
    sizes: list[int] = []
    network.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    trainer = small_trainer(network, unlabelled_data_loader=small_loader(5, 3, first=100, label=False))
    shapes = watch(trainer, IterationEvents.FORWARD_COMPLETED, lambda o: o[Keys.LOGITS_UNLABELLED].shape)
    trainer.run()
    assert sizes == [2 + 3, 2 + 2]  # the last unlabelled batch is short
    assert shapes == [(2, 3, 3, 16, 16), (2, 2, 3, 16, 16)]


@pytest.mark.parametrize(("epoch_by", "steps"), [("unlabelled", 4), ("labelled", 2)])
def test_epoch_is_one_pass_over_the_chosen_stream(epoch_by: str, steps: int) -> None:
    trainer = small_trainer(
        train_data_loader=small_loader(4),
        unlabelled_data_loader=small_loader(8, first=100, label=False),
        epoch_by=epoch_by,
        max_epochs=3,
    )
    images = watch(trainer, IterationEvents.FORWARD_COMPLETED, lambda o: o[Keys.UNLABELLED_IMAGE])
    trainer.run()
    assert trainer.state.iteration == 3 * steps
    expected = [batch["image"] for batch in small_loader(8, first=100, label=False)]
    for step, image in enumerate(images):  # the stream goes on over the ends of epochs, and starts anew at its own end
        assert torch.equal(image, expected[step % 4])


def test_epoch_length_overrules_the_streams() -> None:
    trainer = small_trainer(epoch_length=7)
    trainer.run()
    assert trainer.state.iteration == 7


def test_output_describes_the_labelled_half() -> None:
    trainer = small_trainer(max_epochs=1)
    outputs = watch(trainer, Events.ITERATION_COMPLETED, dict)
    trainer.run()
    output = outputs[0]
    assert output["image"].shape == output["label"].shape == (2, 1, 16, 16)
    torch.testing.assert_close(output["pred"].sum(1), torch.ones(2, 16, 16))
    assert not output["pred"].requires_grad
    assert output[Keys.TEACHER] in (0, 1)
    assert 0 <= output[Keys.DISAGREEMENT] <= 1
    assert output[Keys.CONSISTENCY_LOSS] > 0
    assert output[Keys.CONSISTENCY_WEIGHT].item() == pytest.approx(0.1)
    assert not {Keys.LOGITS_LABELLED, Keys.LOGITS_UNLABELLED, Keys.UNLABELLED_IMAGE, Keys.PSEUDO_LABEL} & set(output)


def test_metrics_postprocessing_and_statistics_of_monai_work(capsys: pytest.CaptureFixture[str]) -> None:
    classes = 3
    post = Compose([AsDiscreted(keys="pred", argmax=True, to_onehot=classes), AsDiscreted("label", to_onehot=classes)])
    trainer = small_trainer(
        train_data_loader=small_loader(4),
        decollate=True,
        postprocessing=post,
        key_train_metric={"train_dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
        train_handlers=[
            CompetitivePseudoLabelHandler(),
            StatsHandler(name="stats", output_transform=from_engine(["loss"], first=True)),
        ],
        max_epochs=3,
    )
    trainer.run()
    assert 0 < trainer.state.best_metric <= 1
    assert [item["pred"].shape for item in trainer.state.output] == [(3, 16, 16)] * 2
    assert "Epoch: 3/3, Iter: 2/2 -- Loss: " in capsys.readouterr().out


def test_metadata_of_the_case_stays_with_image_and_label() -> None:
    cases = [small_case(index) for index in range(2)]
    for case in cases:
        case["image"] = MetaTensor(case["image"], meta={"filename_or_obj": f"{case['patient']}.nii.gz"})
        case["label"] = MetaTensor(case["label"])
    trainer = small_trainer(train_data_loader=DataLoader(Dataset(cases), batch_size=2), decollate=True)
    trainer.run()
    assert [item["image"].meta["filename_or_obj"] for item in trainer.state.output] == ["P0.nii.gz", "P1.nii.gz"]


def test_unlabelled_case_with_a_label_is_refused_by_name() -> None:
    trainer = small_trainer(unlabelled_data_loader=small_loader(2, first=40))
    with pytest.raises(DatalistError, match="unlabelled cases without a 'label' key, got one for P40, P41"):
        trainer.run()


def test_unlabelled_pair_of_tensors_is_refused() -> None:
    pairs = torch.utils.data.TensorDataset(torch.rand(2, 1, 16, 16), torch.zeros(2, 1, 16, 16))
    with pytest.raises(DatalistError, match=r"got 2 items, as an .image, label. pair has"):
        small_trainer(unlabelled_data_loader=torch.utils.data.DataLoader(pairs, batch_size=2)).run()


def test_labelled_case_without_a_label_is_refused_by_name() -> None:
    with pytest.raises(DatalistError, match="labelled cases with a 'label', got none for P7"):
        small_trainer(train_data_loader=small_loader(1, first=7, label=False)).run()


def test_empty_unlabelled_stream_is_refused() -> None:
    with pytest.raises(DatalistError, match="at least one batch of unlabelled cases"):
        small_trainer(unlabelled_data_loader=[], epoch_by="labelled").run()


def test_unlabelled_stream_without_length_asks_for_one() -> None:
    class Endless:
        def __iter__(self) -> Iterable[Any]:
            while True:
                yield {"image": torch.rand(1, 1, 16, 16)}

    with pytest.raises(ValueError, match="Give epoch_length"):
        small_trainer(unlabelled_data_loader=Endless())
    trainer = small_trainer(unlabelled_data_loader=Endless(), epoch_length=2)
    trainer.run()
    assert trainer.state.iteration == 2


@pytest.mark.parametrize("stream", ["train_data_loader", "unlabelled_data_loader"])
def test_image_with_nan_is_refused_by_name(stream: str) -> None:
    case = small_case(3, label=stream == "train_data_loader")
    case["image"][0, 0, 0] = float("nan")
    with pytest.raises(ImageReadError, match="NaN or infinity in P3"):
        small_trainer(None, **{stream: DataLoader(Dataset([case]), batch_size=1)}).run()


def test_streams_of_two_sizes_are_refused() -> None:
    images = [{"image": torch.rand(1, 8, 16)}]
    with pytest.raises(ValueError, match=r"one size, got \(1, 16, 16\) and \(1, 8, 16\)"):
        small_trainer(unlabelled_data_loader=DataLoader(Dataset(images), batch_size=1)).run()


@pytest.mark.parametrize("bad", [1, 2])
@pytest.mark.parametrize("fused", [False, True])
def test_loss_that_is_not_finite_skips_the_step(fused: bool, bad: int, caplog: pytest.LogCaptureFixture) -> None:
    class BadStep(SemiSupervisedLoss):
        calls = 0

        def forward(self, input: Any) -> dict[str, torch.Tensor]:
            terms = super().forward(input)
            self.calls += 1
            return {**terms, "loss": terms["loss"] * float("nan")} if self.calls == bad else terms

    network = small_pair()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1, fused=fused)
    trainer = small_trainer(network, optimizer=optimizer, loss_function=BadStep(), epoch_length=3)
    weights: list[torch.Tensor] = []
    for event in (Events.ITERATION_STARTED, Events.ITERATION_COMPLETED):
        trainer.add_event_handler(event, lambda _: weights.append(next(network.parameters()).detach().clone()))
    skipped = watch(trainer, Events.ITERATION_COMPLETED, lambda output: output[Keys.SKIPPED])
    trainer.run()
    assert [int(number) for number in skipped] == [int(step >= bad) for step in (1, 2, 3)]
    moved = [not torch.equal(weights[2 * step], weights[2 * step + 1]) for step in range(3)]
    assert moved == [bad != 1, bad != 2, True]
    assert all(parameter.isfinite().all() for parameter in network.parameters())
    assert trainer.skipped == 1
    assert "Epoch 1: the loss was not finite in 1 of 3 steps" in caplog.text


def test_a_fused_optimiser_takes_the_same_steps() -> None:
    trained: list[Any] = []
    for fused in (False, True):
        network = DualSegNet(VNet(2, 1, 3, channels=(8, 16), dropout=0.0), VNet(2, 1, 3, channels=(8, 16), dropout=0.0))
        network.load_state_dict(trained[0][0] if trained else network.state_dict())
        start = {name: value.clone() for name, value in network.state_dict().items()}
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1, fused=fused)
        small_trainer(network, optimizer=optimizer, max_epochs=2).run()
        trained.append((start, network.state_dict()))
    for name, value in trained[0][1].items():
        torch.testing.assert_close(trained[1][1][name], value, msg=name, rtol=1e-4, atol=1e-5)


def test_accumulated_steps_equal_one_large_batch() -> None:
    weights = UNet(2, 1, 3, channels=(4, 8), strides=(2,), norm="INSTANCE").state_dict()
    results = []
    for batch_size, steps in ((4, 1), (2, 2)):
        network = UNet(2, 1, 3, channels=(4, 8), strides=(2,), norm="INSTANCE")
        network.load_state_dict(weights)
        trainer = small_trainer(
            network,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
            train_data_loader=small_loader(4, batch_size),
            unlabelled_data_loader=None,
            train_handlers=None,
            loss_function=SemiSupervisedLoss(dice_weight=0),  # batch Dice is no mean over cases
            accumulation_steps=steps,
        )
        trainer.run()
        results.append(network.state_dict())
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, atol=1e-6, rtol=1e-4)


def test_mixed_precision_on_the_cpu_runs_the_network_in_bfloat16_and_the_loss_in_float32() -> None:
    network = small_pair()
    dtypes: set[torch.dtype] = set()
    network.unet.register_forward_hook(lambda module, args, out: dtypes.add(out.dtype))
    trainer = small_trainer(network, amp=True, max_epochs=12, train_data_loader=small_loader(4))
    losses = watch(trainer, IterationEvents.LOSS_COMPLETED, lambda output: output["loss"].detach())
    trainer.run()
    assert dtypes == {torch.bfloat16}
    assert {loss.dtype for loss in losses} == {torch.float32}
    assert losses[-1] < losses[0] / 2


def test_second_run_goes_on_from_the_first() -> None:
    trainer = small_trainer(max_epochs=1)
    trainer.run()
    trainer.state.max_epochs = 3
    trainer.run()
    assert trainer.state.epoch == 3
    assert trainer.state.iteration == 6


@pytest.mark.parametrize(("planned", "same"), [(2, True), (None, False)])
def test_a_training_in_parts_has_the_ramp_of_the_whole(planned: int | None, same: bool) -> None:
    def weights(parts: tuple[int, ...], planned_epochs: int | None) -> list[float]:
        ramp = CompetitivePseudoLabelHandler(ramp_fraction=1.0)
        trainer = small_trainer(train_handlers=[ramp], planned_epochs=planned_epochs)
        seen = watch(trainer, Events.ITERATION_COMPLETED, lambda output: float(output[Keys.CONSISTENCY_WEIGHT]))
        for epochs in parts:
            trainer.state.max_epochs = epochs  # as MONAI's federated client does
            trainer.run()
        return seen

    whole = weights((2,), None)
    assert len(whole) == 4
    assert (weights((1, 2), planned) == pytest.approx(whole)) == same


def test_checkpoint_of_monai_carries_the_competition_over(tmp_path: Path) -> None:
    def objects() -> dict[str, Any]:
        network = small_pair()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
        return {"network": network, "optimizer": optimizer, "competition": CompetitivePseudoLabelHandler(score_ema=0.9)}

    def trainer(parts: dict[str, Any], *more: Any, max_epochs: int) -> SemiSupervisedTrainer:
        handlers = [parts["competition"], *more]
        options: dict[str, Any] = {
            "optimizer": parts["optimizer"],
            "train_handlers": handlers,
            "max_epochs": max_epochs,
        }
        return small_trainer(parts["network"], **options)

    first, second = objects(), objects()
    saver = CheckpointSaver(save_dir=str(tmp_path), save_dict=first, save_final=True, final_filename="last.pt")
    trainer(first, saver, max_epochs=2).run()
    resumed = trainer(second, CheckpointLoader(str(tmp_path / "last.pt"), load_dict=second), max_epochs=1)
    loaded: list[dict[str, Any]] = []
    resumed.add_event_handler(Events.EPOCH_STARTED, lambda _: loaded.append(second["competition"].state_dict()))
    resumed.run()
    saved = first["competition"].state_dict()
    assert saved["sums"].abs().sum() > 0
    assert torch.equal(saved["sums"], loaded[0]["sums"])
    assert saved["teacher"] == loaded[0]["teacher"]


def test_config_builds_the_trainer_with_null_for_supervised() -> None:
    parser = ConfigParser(
        {
            "imports": ["$import torch"],
            "network": {"_target_": "spinefuse_ext.networks.VNet", "channels": [4, 8], "out_channels": 3},
            "trainer": {
                "_target_": "spinefuse_ext.engines.SemiSupervisedTrainer",
                "max_epochs": 1,
                "device": "cpu",
                "train_data_loader": "$@loader",
                "unlabelled_data_loader": None,
                "network": "@network",
                "optimizer": "$torch.optim.SGD(@network.parameters(), lr=0.1)",
                "loss_function": {"_target_": "spinefuse_ext.losses.SemiSupervisedLoss"},
                "epoch_by": "unlabelled",
            },
        }
    )
    parser["loader"] = small_loader(2)
    trainer = parser.get_parsed_content("trainer")
    assert isinstance(trainer, SupervisedTrainer)
    trainer.run()
    assert trainer.state.iteration == 1


def test_unknown_epoch_is_refused_with_the_options() -> None:
    with pytest.raises(ValueError, match="unlabelled"):
        small_trainer(epoch_by="iterations")


class _WithMap(SingleSegNet):
    """Returns a second map beside the logits, twice the image."""

    def forward(self, x: torch.Tensor) -> Any:
        logits = super().forward(x)
        return {"logits": logits, "twice": 2 * x[None]} if self.training else logits


def test_further_maps_of_the_network_are_split_into_the_streams_and_dropped_after_the_step() -> None:
    network = _WithMap(VNet(2, 1, 3, channels=(4, 8), dropout=0.0))
    trainer = small_trainer(network, train_handlers=None)
    during = watch(trainer, IterationEvents.FORWARD_COMPLETED, dict)
    after = watch(trainer, Events.ITERATION_COMPLETED, set)
    trainer.run()
    torch.testing.assert_close(during[0]["twice_labelled"][0], 2 * during[0]["image"])
    torch.testing.assert_close(during[0]["twice_unlabelled"][0], 2 * during[0][Keys.UNLABELLED_IMAGE])
    assert not [name for name in after[0] if name.endswith(("_labelled", "_unlabelled"))]


def test_a_handler_may_replace_the_batch_before_the_forward() -> None:
    trainer = small_trainer(_pair_without_norm(), train_handlers=None)
    given: list[torch.Tensor] = []

    def blank(engine: Any) -> None:
        given.append(engine.state.output["image"])
        engine.state.output["image"] = torch.zeros_like(given[-1])

    trainer.add_event_handler(SemiSupervisedEvents.BATCH_READY, blank)
    logits = watch(trainer, IterationEvents.FORWARD_COMPLETED, lambda output: output[Keys.LOGITS_LABELLED].detach())
    kept = watch(trainer, Events.ITERATION_COMPLETED, lambda output: output["image"])
    trainer.run()
    for one in logits:
        torch.testing.assert_close(one[:, 0, :, 5, 5], one[:, 1, :, 5, 5])  # two blank images
    torch.testing.assert_close(kept, given)


def test_a_handler_adds_a_term_to_the_loss() -> None:
    class Add:
        def attach(self, engine: Any) -> None:
            engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self)

        def __call__(self, engine: Any) -> None:
            add_term(engine, "size_loss", engine.state.output[Keys.LOGITS_LABELLED].square().mean(), weight=3.0)

    losses = []
    for handlers in ([], [Add()]):
        torch.manual_seed(0)
        trainer = small_trainer(_pair_without_norm(), train_handlers=handlers)
        losses.append(watch(trainer, Events.ITERATION_COMPLETED, dict))
        trainer.run()
    (plain, _), (with_term, _) = losses
    assert with_term["size_loss"] > 0
    torch.testing.assert_close(with_term["loss"], plain["loss"] + with_term["size_loss"])


def _pair_without_norm() -> DualSegNet:
    return DualSegNet(torch.nn.Conv2d(1, 3, 1), torch.nn.Conv2d(1, 3, 1))


def test_a_term_is_one_scalar_of_a_new_name() -> None:
    engine: Any = SimpleNamespace(state=SimpleNamespace(output={}))
    add_term(engine, "x_loss", torch.tensor(1.0))
    for value, name in ((torch.tensor(1.0), "x_loss"), (torch.ones(2), "y_loss")):
        with pytest.raises(ValueError, match=f"one scalar {name} a step"):
            add_term(engine, name, value)
