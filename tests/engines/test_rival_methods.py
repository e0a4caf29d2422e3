"""SASSNet and Min-Max Similarity on the trainer: a few steps with tiny networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import IterationEvents
from monai.handlers import CheckpointLoader, CheckpointSaver
from monai.networks.nets import UNet
from torch.nn import functional

from spinefuse_ext.engines import SemiSupervisedEvents, SemiSupervisedTrainer
from spinefuse_ext.handlers import MinMaxSimilarityHandler, ShapeAdversaryHandler, SignedDistanceHandler
from spinefuse_ext.losses import BoundaryWeightedLoss, DenseInfoNCELoss, SemiSupervisedLoss, signed_distance
from spinefuse_ext.networks import MinMaxSimilarityNet, ShapeDiscriminator, ShapeSegNet, VNet
from spinefuse_ext.validation import DatalistError


def _case(index: int, dims: int, classes: int, **more: Any) -> dict[str, Any]:
    """A noisy image of one box per foreground class, with its label."""
    generator = torch.Generator().manual_seed(index)
    truth = torch.zeros(1, *[16] * dims)
    for value in range(1, classes):
        corner = torch.randint(0, 9, (dims,), generator=generator).tolist()
        truth[(0, *(slice(start, start + 7) for start in corner))] = value
    image = truth - 1 + 0.3 * torch.randn(truth.shape, generator=generator)
    return {"patient": f"P{index}", "image": image, "label": truth, **more}


def _loaders(dims: int, classes: int, halves: tuple[int, ...] | None = (0, 1, 0, 1)) -> dict[str, DataLoader]:
    labelled = [
        _case(number, dims, classes, **({} if halves is None else {"half": halves[number]})) for number in range(4)
    ]
    unlabelled = [_case(100 + number, dims, classes) for number in range(4)]
    for case in unlabelled:
        del case["label"]
    return {
        "train_data_loader": DataLoader(Dataset(labelled), batch_size=2),
        "unlabelled_data_loader": DataLoader(Dataset(unlabelled), batch_size=2),
    }


def _trainer(network: torch.nn.Module, loss: SemiSupervisedLoss, **options: Any) -> SemiSupervisedTrainer:
    defaults: dict[str, Any] = {
        "device": "cpu",
        "max_epochs": 1,
        "network": network,
        "optimizer": torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9),
        "loss_function": loss,
        "decollate": False,
    }
    return SemiSupervisedTrainer(**{**defaults, **options})


def _shape_parts(dims: int = 2, classes: int = 3, **adversary: Any) -> tuple[ShapeSegNet, list[Any]]:
    torch.manual_seed(0)
    network = ShapeSegNet(VNet(dims, 1, 2 * classes - 1, channels=(8, 16), dropout=0.0), classes)
    discriminator = ShapeDiscriminator(dims, classes - 1, 1, channels=(4, 8, 8, 8))
    return network, [SignedDistanceHandler(), ShapeAdversaryHandler(discriminator, **adversary)]


def _shape_trainer(dims: int = 2, classes: int = 3, **options: Any) -> tuple[SemiSupervisedTrainer, list[Any]]:
    network, handlers = _shape_parts(dims, classes, **options.pop("adversary", {}))
    more = options.pop("more", [])
    loss = SemiSupervisedLoss(ce_weight=0)
    options = {**_loaders(dims, classes, None), "train_handlers": [*handlers, *more], **options}
    return _trainer(network, loss, **options), handlers


def _similarity_trainer(
    dims: int = 2, classes: int = 3, halves: tuple[int, ...] | None = (0, 1, 0, 1), **options: Any
) -> SemiSupervisedTrainer:
    torch.manual_seed(0)
    unet = UNet(dims, 1, classes, channels=(8, 16), strides=(2,), num_res_units=1)
    vnet = VNet(dims, 1, classes, channels=(8, 16), dropout=0.0)
    network = MinMaxSimilarityNet(unet, vnet, classes, dims, train_heads=options.pop("train_heads", False))
    handler = MinMaxSimilarityHandler(num_tokens=16, window=options.pop("window", 5))
    options = {**_loaders(dims, classes, halves), "train_handlers": [handler], **options}
    return _trainer(network, SemiSupervisedLoss(0, 0, 0), **options)


def _watch(trainer: SemiSupervisedTrainer, event: Any) -> list[dict[str, Any]]:
    """Copies of the output at every ``event``."""
    seen: list[dict[str, Any]] = []
    trainer.add_event_handler(event, lambda engine: seen.append(dict(engine.state.output)))
    return seen


@pytest.mark.parametrize(("dims", "classes"), [(2, 2), (2, 3), (3, 3)])
def test_sassnet_learns_segmentation_and_distances(dims: int, classes: int) -> None:
    trainer, _ = _shape_trainer(dims, classes, max_epochs=8)
    seen = _watch(trainer, Events.ITERATION_COMPLETED)
    trainer.run()
    for name in ("supervised_loss", "distance_loss"):
        first, last = (sum(float(step[name]) for step in part) for part in (seen[:3], seen[-3:]))
        assert last < 0.8 * first
    assert all(0 < float(step["discriminator_loss"]) < 3 for step in seen)
    weights = [float(step["adversarial_loss"]) for step in seen]
    assert weights[0] < 0.001 < weights[-1]  # ramped up to 0.01 times a cross-entropy


def test_distance_term_is_the_squared_error_where_the_truth_is_known() -> None:
    cases = [_case(number, 2, 3) for number in range(2)]
    for case in cases:
        case["label"][..., :4, :] = 255
    handlers = [SignedDistanceHandler(weight=0.5, ignore_index=255)]
    trainer, _ = _shape_trainer(
        train_data_loader=DataLoader(Dataset(cases), batch_size=2),
        epoch_length=1,
        train_handlers=handlers,
        loss_function=SemiSupervisedLoss(ignore_index=255),
    )
    seen = _watch(trainer, IterationEvents.LOSS_COMPLETED)
    trainer.run()
    target = signed_distance(torch.stack([case["label"] for case in cases]), 3)
    error = (seen[0]["distance_labelled"][0] - target)[..., 4:, :].square().mean()
    torch.testing.assert_close(seen[0]["distance_loss"], 0.5 * error)


def test_adversarial_term_asks_for_labelled_and_leaves_the_discriminator_alone() -> None:
    trainer, (_, adversary) = _shape_trainer(adversary={"ramp_fraction": 0.0, "learning_rate": 0.0}, epoch_length=1)
    before = {name: value.clone() for name, value in adversary.discriminator.state_dict().items()}
    seen = _watch(trainer, IterationEvents.LOSS_COMPLETED)
    gradients: list[Any] = []
    trainer.add_event_handler(
        IterationEvents.LOSS_COMPLETED,
        lambda engine: gradients.append(
            torch.autograd.grad(
                engine.state.output["adversarial_loss"], engine.state.output["distance_unlabelled"], retain_graph=True
            )[0]
        ),
    )
    given: list[Any] = []
    adversary.optimizer.register_step_pre_hook(lambda *_: given.append(_gradient(adversary.discriminator)))
    trainer.run()
    maps, image = seen[0]["distance_unlabelled"][0], seen[0]["unlabelled_image"]
    with torch.no_grad():
        logits = adversary.discriminator.eval()(maps, image)
        expected = 0.01 * functional.cross_entropy(logits, torch.ones(2, dtype=torch.long))
    torch.testing.assert_close(seen[0]["adversarial_loss"].detach(), expected)
    assert gradients[0].abs().sum() > 0
    after = adversary.discriminator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert given[0].abs().sum() > 0  # of its own step


def _gradient(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def test_the_step_of_the_network_gives_the_discriminator_no_gradient() -> None:
    network, (_, adversary) = _shape_parts(ramp_fraction=0.0)
    trainer = _trainer(network, SemiSupervisedLoss(), **_loaders(2, 3, None), epoch_length=1)
    trainer.add_event_handler(IterationEvents.FORWARD_COMPLETED, adversary.deceive)
    trainer.run()
    assert all(weight.grad is None and weight.requires_grad for weight in adversary.discriminator.parameters())


def test_discriminator_learns_what_it_is_asked_and_the_network_gets_nothing_from_that() -> None:
    network, (_, adversary) = _shape_parts(learning_rate=0.01)
    trainer = _trainer(network, SemiSupervisedLoss(), **_loaders(2, 3, None), max_epochs=30)
    generator = torch.Generator().manual_seed(0)

    def plant(engine: Any) -> None:  # distances that tell where they come from
        noise = 0.1 * torch.randn(2, 1, 2, 2, 16, 16, generator=generator)
        engine.state.output["distance_labelled"], engine.state.output["distance_unlabelled"] = noise[0] + 0.5, noise[1]

    trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, plant)
    gradients: list[torch.Tensor] = []
    trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, lambda _: gradients.append(_gradient(network)))
    trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, adversary.learn)
    trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, lambda _: gradients.append(_gradient(network)))
    seen = _watch(trainer, Events.ITERATION_COMPLETED)
    trainer.run()
    assert float(seen[-1]["discriminator_loss"]) < 0.5 < 0.6 < float(seen[0]["discriminator_loss"])
    assert all(torch.equal(*gradients[step : step + 2]) for step in range(0, len(gradients), 2))


def test_distances_that_are_not_a_number_do_not_spoil_the_discriminator() -> None:
    trainer, (_, adversary) = _shape_trainer(epoch_length=2)
    with torch.no_grad():
        trainer.network.get_parameter("network.head.conv.weight")[3:] = float("nan")
    trainer.run()
    assert trainer.skipped == 2
    assert all(weight.isfinite().all() for weight in adversary.discriminator.parameters())


def test_without_an_unlabelled_stream_there_is_no_adversary() -> None:
    trainer, (_, adversary) = _shape_trainer(unlabelled_data_loader=None)
    before = adversary.discriminator.get_parameter("head.weight").clone()
    seen = _watch(trainer, Events.ITERATION_COMPLETED)
    trainer.run()
    assert "adversarial_loss" not in seen[0]
    assert torch.equal(before, adversary.discriminator.get_parameter("head.weight"))


def test_discriminator_and_its_optimiser_are_carried_over(tmp_path: Path) -> None:
    first, (_, saved) = _shape_trainer(max_epochs=2)
    saver = CheckpointSaver(
        save_dir=str(tmp_path), save_dict={"adversary": saved}, save_final=True, final_filename="last.pt"
    )
    saver.attach(first)
    first.run()
    second, (_, loaded) = _shape_trainer(max_epochs=1)
    states: list[Any] = []
    CheckpointLoader(str(tmp_path / "last.pt"), load_dict={"adversary": loaded}).attach(second)
    second.add_event_handler(Events.EPOCH_STARTED, lambda _: states.append(loaded.state_dict()))
    second.add_event_handler(Events.EPOCH_STARTED, lambda engine: engine.terminate())
    second.run()
    for name, value in saved.state_dict()["discriminator"].items():
        assert torch.equal(states[0]["discriminator"][name], value)
    moments = [state["optimizer"]["state"][0] for state in (saved.state_dict(), states[0])]
    assert moments[0]["step"] == moments[1]["step"] == 4
    assert torch.equal(moments[0]["exp_avg"], moments[1]["exp_avg"])


@pytest.mark.parametrize(("dims", "classes"), [(2, 2), (2, 3), (3, 3)])
def test_min_max_similarity_learns(dims: int, classes: int) -> None:
    trainer = _similarity_trainer(dims, classes, max_epochs=12)
    seen = _watch(trainer, Events.ITERATION_COMPLETED)
    trainer.run()
    for name in ("structure_loss", "loss"):
        first, last = (sum(float(step[name]) for step in part) for part in (seen[:3], seen[-3:]))
        assert last < 0.8 * first


def test_each_network_learns_from_its_half_and_the_terms_are_the_losses() -> None:
    trainer = _similarity_trainer(halves=(1, 0, 0, 0))
    ready, seen = (
        _watch(trainer, event) for event in (SemiSupervisedEvents.BATCH_READY, IterationEvents.LOSS_COMPLETED)
    )
    trainer.run()
    assert ready[0]["learns"].tolist() == [[0, 1], [1, 0]]
    output, structure = seen[0], BoundaryWeightedLoss(5)
    logits, unlabelled = output["logits_labelled"].detach(), output["logits_unlabelled"].detach()
    target = functional.one_hot(output["label"][:, 0].long(), 3).movedim(-1, 1).float()
    supervised = structure(logits[0, 1:], target[1:]) + structure(logits[1, :1], target[:1])
    torch.testing.assert_close(output["structure_loss"].detach(), supervised / 4)
    first, second = unlabelled
    similarity = structure(first, second.softmax(1)) + structure(second, first.softmax(1))
    torch.testing.assert_close(output["similarity_loss"].detach(), similarity / 4)
    contrast = DenseInfoNCELoss(num_tokens=16)  # all 16 places of the projections
    torch.testing.assert_close(
        output["contrast_loss"].detach(), contrast(*output["projection_unlabelled"].detach()) / 4
    )
    features = output["classification_labelled"].detach()
    separation = DenseInfoNCELoss(positives=False)(features[0, 1:], features[1, :1])
    torch.testing.assert_close(output["separation_loss"].detach(), separation / 4)
    parts = ("structure_loss", "similarity_loss", "contrast_loss", "separation_loss")
    torch.testing.assert_close(output["loss"], sum(output[name] for name in parts))
    assert seen[1]["separation_loss"] == 0  # both cases are of half 0
    half = structure(seen[1]["logits_labelled"][0], functional.one_hot(seen[1]["label"][:, 0].long(), 3).movedim(-1, 1))
    torch.testing.assert_close(seen[1]["structure_loss"], half / 4)


@pytest.mark.parametrize("name", ["structure", "similarity", "contrast", "separation"])
def test_every_term_reaches_both_networks_and_no_head(name: str) -> None:
    trainer = _similarity_trainer(epoch_length=1)
    gradients: list[list[bool]] = []

    def look(engine: Any) -> None:
        network = engine.network
        value = engine.state.output[f"{name}_loss"]
        weights = [
            network.pair.unet.get_parameter("model.0.conv.unit0.conv.weight"),
            network.pair.vnet.head.conv.weight,
        ]
        gradients.append([bool(g.any()) for g in torch.autograd.grad(value, weights, retain_graph=True)])

    trainer.add_event_handler(IterationEvents.LOSS_COMPLETED, look)
    heads = [*trainer.network.projectors.parameters(), *trainer.network.classifiers.parameters()]
    before = [weight.clone() for weight in heads]
    trainer.run()
    assert gradients == [[True, True]]
    assert all(torch.equal(a, b) for a, b in zip(before, heads, strict=True))


def test_heads_learn_when_asked() -> None:
    trainer = _similarity_trainer(train_heads=True, epoch_length=1)
    heads = [trainer.network.projectors[0][0].conv.weight, trainer.network.classifiers[1][0].conv.weight]
    before = [weight.clone() for weight in heads]
    trainer.run()
    assert not any(torch.equal(a, b) for a, b in zip(before, heads, strict=True))


class _RaiseBackground:
    """Add to the background logit of the upper rows before the next handler looks."""

    def __init__(self, by: float) -> None:
        self.by = by

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        logits = engine.state.output["logits_labelled"].clone()
        logits[:, :, 0, :4] += self.by
        engine.state.output["logits_labelled"] = logits


def test_ignored_voxels_do_not_count() -> None:
    cases = [_case(number, 2, 3, half=number) for number in range(2)]
    for case in cases:
        case["label"][..., :4, :] = 255
    losses = []
    for by in (0.0, 5.0):
        trainer = _similarity_trainer(
            epoch_length=1,
            train_data_loader=DataLoader(Dataset(cases), batch_size=2),
            loss_function=SemiSupervisedLoss(0, 0, 0, ignore_index=255),
            train_handlers=[_RaiseBackground(by), MinMaxSimilarityHandler(window=5, ignore_index=255)],
        )
        seen = _watch(trainer, IterationEvents.LOSS_COMPLETED)
        trainer.run()
        losses.append(seen[0]["structure_loss"])
    torch.testing.assert_close(*losses)


def test_a_case_without_a_half_is_refused() -> None:
    with pytest.raises(DatalistError, match=r"labelled cases with 'half' .* Set halves of load_datalist to true"):
        _similarity_trainer(halves=None).run()


@pytest.mark.parametrize("method", ["sassnet", "min_max_similarity"])
def test_mixed_precision_keeps_the_terms_in_float32(method: str) -> None:
    trainer = _shape_trainer(amp=True)[0] if method == "sassnet" else _similarity_trainer(amp=True)
    seen = _watch(trainer, IterationEvents.LOSS_COMPLETED)
    trainer.run()
    terms = [value for name, value in seen[0].items() if name.endswith("loss")]
    assert len(terms) >= 6
    assert {value.dtype for value in terms} == {torch.float32}
    assert trainer.skipped == 0
