from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from torch import nn

from spinefuse_ext.engines import SemiSupervisedEvents
from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.handlers import CompetitivePseudoLabelHandler, CopyPasteHandler, StrongViewHandler
from spinefuse_ext.networks import DualSegNet
from tests.semi_supervised import small_loader, small_trainer, watch


def _step(handler: CopyPasteHandler, labelled: int, unlabelled: int, size: tuple[int, ...]) -> dict[str, Any]:
    """The first of four steps of a network that returns its input twice: outputs before and after the handler."""
    seen: dict[str, Any] = {}

    def step(engine: Any, batch: Any) -> None:
        image = torch.arange(1, labelled + 1.0).view(-1, *[1] * (len(size) + 1)).expand(-1, 1, *size)
        extra = -torch.arange(1, unlabelled + 1.0).view(-1, *[1] * (len(size) + 1)).expand(-1, 1, *size)
        engine.state.output = {"image": image, Keys.UNLABELLED_IMAGE: extra}
        engine.fire_event(SemiSupervisedEvents.BATCH_MIXING)
        output = engine.state.output
        seen["mixed"], seen["mixed_extra"] = output["image"], output[Keys.UNLABELLED_IMAGE]
        seen["clean"] = output[Keys.CLEAN_UNLABELLED]
        for name in ("logits", "distance"):
            output[f"{name}_labelled"] = output["image"][None].repeat(2, *[1] * output["image"].ndim)
            output[f"{name}_unlabelled"] = output[Keys.UNLABELLED_IMAGE][None].repeat(2, *[1] * output["image"].ndim)
        output["coarse_labelled"] = seen["coarse"] = torch.rand(2, labelled, 3, *(1,) * len(size))
        output["coarse_unlabelled"] = torch.rand(2, unlabelled, 3, *(1,) * len(size))
        engine.fire_event(SemiSupervisedEvents.BATCH_UNMIXING)
        seen.update(output, unmixed=output["image"], unmixed_extra=output[Keys.UNLABELLED_IMAGE])
        seen.update(image=image, extra=extra)
        engine.terminate()

    engine: Any = Engine(step)
    engine.register_events(*SemiSupervisedEvents)
    engine.state.epoch_length = 1
    handler.attach(engine)
    engine.run([0], max_epochs=4)
    return seen


@given(
    share=st.floats(0.05, 1.0),
    labelled=st.integers(1, 4),
    unlabelled=st.integers(1, 4),
    size=st.lists(st.integers(1, 9), min_size=2, max_size=3),
    warmup=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 9),
)
def test_predictions_return_to_the_image_they_belong_to(
    share: float, labelled: int, unlabelled: int, size: list[int], warmup: float, seed: int
) -> None:
    seen = _step(CopyPasteHandler(share, warmup_fraction=warmup, seed=seed), labelled, unlabelled, tuple(size))
    for name in ("logits", "distance"):
        torch.testing.assert_close(seen[f"{name}_labelled"], seen["image"][None].expand(2, *seen["image"].shape))
        torch.testing.assert_close(seen[f"{name}_unlabelled"], seen["extra"][None].expand(2, *seen["extra"].shape))
    assert torch.equal(seen["clean"], seen["extra"])
    assert torch.equal(seen["unmixed"], seen["image"])
    assert torch.equal(seen["unmixed_extra"], seen["extra"])
    if max(size) > 1:
        assert torch.equal(seen["coarse_labelled"], seen["coarse"])


def test_a_box_of_the_asked_size_is_exchanged() -> None:
    seen = _step(CopyPasteHandler(2 / 3, seed=0), 2, 2, (9, 6))
    for index in range(2):
        foreign = seen["mixed"][index, 0] == -(index + 1)
        assert foreign.sum() == 6 * 4
        rows, columns = foreign.nonzero().T
        assert (rows.max() - rows.min(), columns.max() - columns.min()) == (5, 3)
        assert torch.equal(seen["mixed_extra"][index, 0] == index + 1, foreign)
        assert (seen["mixed"][index, 0][~foreign] == index + 1).all()


def test_labelled_images_are_mixed_among_themselves_in_the_warm_up() -> None:
    seen = _step(CopyPasteHandler(0.5, warmup_fraction=1.0, seed=0), 3, 2, (8, 8))
    assert (seen["mixed"] > 0).all()
    assert [sorted(image.unique().tolist()) for image in seen["mixed"]] == [[1, 3], [1, 2], [2, 3]]
    assert torch.equal(seen["mixed_extra"], seen["extra"])


def test_probability_zero_mixes_nothing() -> None:
    seen = _step(CopyPasteHandler(probability=0.0, seed=0), 2, 2, (8, 8))
    assert torch.equal(seen["mixed"], seen["image"])
    assert torch.equal(seen["mixed_extra"], seen["extra"])


def test_a_network_without_context_trains_the_same_with_and_without_mixing() -> None:
    """A 1 x 1 convolution sees no neighbours, so that where a voxel stands makes no difference."""
    losses = []
    weights = DualSegNet(nn.Conv2d(1, 3, 1), nn.Conv2d(1, 3, 1)).state_dict()
    for mix in ([], [CopyPasteHandler(seed=0)]):
        network = DualSegNet(nn.Conv2d(1, 3, 1), nn.Conv2d(1, 3, 1))
        network.load_state_dict(weights)
        handlers = [*mix, CompetitivePseudoLabelHandler(ramp_fraction=0.0)]
        trainer = small_trainer(network, train_handlers=handlers, max_epochs=2)
        losses.append(watch(trainer, Events.ITERATION_COMPLETED, lambda output: float(output["loss"].detach())))
        trainer.run()
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


class _Brighten:
    """A strong view that says what it saw of the clean images."""

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return 1.5 * image + 0.1


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_in_whatever_order_handlers_are_listed_the_same_network_is_trained(order: tuple[int, ...]) -> None:
    def trained(places: Sequence[int]) -> torch.Tensor:
        torch.manual_seed(0)
        made = (
            StrongViewHandler(_Brighten()),
            CopyPasteHandler(seed=0),
            CompetitivePseudoLabelHandler(ramp_fraction=0.0, max_weight=1.0, clean_view=True),
        )
        network = DualSegNet(nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(1, 3, 3, padding=1))
        small_trainer(network, train_handlers=[made[place] for place in places], max_epochs=2).run()
        return torch.cat([weight.detach().flatten() for weight in network.parameters()])

    torch.testing.assert_close(trained(order), trained(range(3)), rtol=0, atol=0)


def test_supervised_training_mixes_labelled_images() -> None:
    trainer = small_trainer(
        unlabelled_data_loader=None, train_data_loader=small_loader(4), train_handlers=[CopyPasteHandler(seed=0)]
    )
    seen = watch(trainer, SemiSupervisedEvents.BATCH_MIXING, dict)
    done = watch(trainer, IterationEvents.FORWARD_COMPLETED, dict)
    trainer.run()
    clean = next(iter(small_loader(4)))["image"]
    assert not torch.equal(seen[0]["image"], clean)
    assert torch.equal(done[0]["image"], clean)
    assert Keys.LOGITS_UNLABELLED not in done[0]


@pytest.mark.parametrize("options", [{"share": 0.0}, {"probability": 1.5}, {"warmup_fraction": -0.1}])
def test_values_outside_their_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(options))} is a number (above|from) 0 .*1, got"):
        CopyPasteHandler(**options)
