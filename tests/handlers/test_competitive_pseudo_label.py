from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.engines import IterationEvents
from monai.losses import DiceLoss

from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.handlers import CompetitivePseudoLabelHandler, gaussian_ramp
from spinefuse_ext.losses import sharpen
from spinefuse_ext.networks import DualSegNet
from tests.semi_supervised import BlankView, small_trainer, watch

UNET, VNET = 0, 1


def _run(handler: CompetitivePseudoLabelHandler, steps: list[Any], epochs: int = 1) -> list[Any]:
    """Run the handler on the given outputs, one a step, and return what the output held after each."""
    seen: list[Any] = []

    def step(engine: Any, batch: dict[str, Any]) -> None:
        engine.state.output = dict(batch)
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        seen.append(engine.state.output)

    engine: Any = Engine(step)
    engine.register_events(*IterationEvents)
    handler.attach(engine)
    engine.run(steps, max_epochs=epochs)
    return seen


def _label(classes: int = 3, size: tuple[int, ...] = (8, 8)) -> torch.Tensor:
    return torch.randint(0, classes, (2, 1, *size))


def _logits(label: torch.Tensor, classes: int, confidence: float, wrong: float = 0.0) -> torch.Tensor:
    """Logits ``confidence`` for the true class, but for the share ``wrong`` of voxels, where the next class has it."""
    mistaken = torch.rand(label.shape) < wrong
    shown = torch.where(mistaken, (label + 1) % classes, label)[:, 0]
    return confidence * torch.nn.functional.one_hot(shown, classes).movedim(-1, 1).float()


def _step(unet: torch.Tensor, vnet: torch.Tensor, label: torch.Tensor) -> dict[str, Any]:
    unlabelled = torch.randn(2, 3, *unet.shape[1:], requires_grad=True)
    labelled = torch.stack((unet, vnet))
    return {"label": label, Keys.LOGITS_LABELLED: labelled, Keys.LOGITS_UNLABELLED: unlabelled}


@pytest.mark.parametrize("competition", ["soft", "sharpened", "two_stage"])
@pytest.mark.parametrize("better", [UNET, VNET])
@pytest.mark.parametrize(("classes", "size"), [(2, (8, 8)), (4, (8, 8)), (3, (4, 4, 4))])
def test_network_with_fewer_errors_teaches(competition: str, better: int, classes: int, size: tuple[int, ...]) -> None:
    label = _label(classes, size)
    pair = [_logits(label, classes, 3.0, wrong=0.4), _logits(label, classes, 3.0, wrong=0.4)]
    pair[better] = _logits(label, classes, 3.0, wrong=0.05)
    (output,) = _run(CompetitivePseudoLabelHandler(competition=competition), [_step(pair[0], pair[1], label)])
    assert output[Keys.TEACHER] == better
    assert torch.equal(output[Keys.PSEUDO_LABEL], sharpen(output[Keys.LOGITS_UNLABELLED][better], 0.1))
    assert not output[Keys.PSEUDO_LABEL].requires_grad
    assert output[Keys.STUDENT_WEIGHT][better] == 0
    assert output[Keys.STUDENT_WEIGHT][1 - better] > 0


def _timid_but_right() -> dict[str, Any]:
    """UNet right everywhere at low confidence; VNet sure of itself and wrong in a tenth: soft and sharp disagree."""
    label = _label()
    return _step(_logits(label, 3, 0.8), _logits(label, 3, 8.0, wrong=0.1), label)


@pytest.mark.parametrize(("competition", "teacher"), [("soft", VNET), ("sharpened", UNET), ("two_stage", UNET)])
def test_sharpening_before_the_score_favours_the_right_over_the_sure(competition: str, teacher: int) -> None:
    (output,) = _run(CompetitivePseudoLabelHandler(competition=competition), [_timid_but_right()])
    assert output[Keys.TEACHER] == teacher


def test_two_stage_within_its_tolerance_falls_back_to_the_soft_dice() -> None:
    (output,) = _run(CompetitivePseudoLabelHandler(tolerance=1.0), [_timid_but_right()])
    assert output[Keys.TEACHER] == VNET


def test_two_classes_soft_winner_is_that_of_mcf() -> None:
    label = _label(2)
    dice = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, squared_pred=True, batch=True)
    for _ in range(20):
        unet, vnet = (_logits(label, 2, 2.0, wrong=0.3) + torch.randn(2, 2, 8, 8) for _ in range(2))
        (output,) = _run(CompetitivePseudoLabelHandler(competition="soft"), [_step(unet, vnet, label)])
        assert output[Keys.TEACHER] == (UNET if dice(unet, label) < dice(vnet, label) else VNET)


def test_first_tie_goes_to_the_second_network_and_later_ones_to_the_former_teacher() -> None:
    label = _label()
    right, wrong = _logits(label, 3, 3.0), _logits(label, 3, 3.0, wrong=0.5)
    tie = _step(right, right, label)
    seen = _run(CompetitivePseudoLabelHandler(), [tie, _step(right, wrong, label), tie])
    assert [int(output[Keys.TEACHER]) for output in seen] == [VNET, UNET, UNET]


def test_batch_without_foreground_keeps_the_former_teacher() -> None:
    label, empty = _label(), torch.zeros(2, 1, 8, 8, dtype=torch.long)
    right, wrong = _logits(label, 3, 3.0), _logits(label, 3, 3.0, wrong=0.5)
    nothing, something = _logits(empty, 3, 3.0), _logits(label, 3, 3.0)
    steps = [_step(right, wrong, label), _step(something, nothing, empty)]
    seen = _run(CompetitivePseudoLabelHandler(), steps)
    assert [int(output[Keys.TEACHER]) for output in seen] == [UNET, UNET]


def test_hysteresis_asks_for_a_clear_lead() -> None:
    label = _label()
    good, fair, bad = (_logits(label, 3, 3.0, wrong=share) for share in (0.0, 0.1, 0.9))
    steps = [_step(fair, bad, label), _step(fair, good, label), _step(bad, good, label)]
    teachers = [int(o[Keys.TEACHER]) for o in _run(CompetitivePseudoLabelHandler(hysteresis=0.3), steps)]
    assert teachers == [UNET, UNET, VNET]
    teachers = [int(o[Keys.TEACHER]) for o in _run(CompetitivePseudoLabelHandler(), steps)]
    assert teachers == [UNET, VNET, VNET]


def test_running_score_outlives_one_bad_batch() -> None:
    label = _label()
    good, bad = _logits(label, 3, 3.0), _logits(label, 3, 3.0, wrong=0.5)
    steps = [_step(good, bad, label)] * 3 + [_step(bad, good, label)]
    assert _run(CompetitivePseudoLabelHandler(score_ema=0.9), steps)[-1][Keys.TEACHER] == UNET
    assert _run(CompetitivePseudoLabelHandler(score_ema=0.0), steps)[-1][Keys.TEACHER] == VNET


def test_batch_that_is_not_finite_leaves_the_running_score_alone() -> None:
    label = _label()
    good, bad = _logits(label, 3, 3.0), _logits(label, 3, 3.0, wrong=0.5)
    broken = torch.full_like(good, math.nan)
    handler = CompetitivePseudoLabelHandler(score_ema=0.5)
    seen = _run(handler, [_step(good, bad, label), _step(broken, good, label), _step(good, bad, label)])
    assert [int(output[Keys.TEACHER]) for output in seen] == [UNET, UNET, UNET]
    assert handler.state_dict()["sums"].isfinite().all()


def test_ignored_voxels_do_not_compete() -> None:
    label = _label()
    right, half = _logits(label, 3, 3.0), _logits(label, 3, 3.0)
    right[..., 4:] = _logits((label + 1) % 3, 3, 3.0)[..., 4:]  # wrong only where the truth will be unknown
    half[..., :4] = _logits(label, 3, 3.0, wrong=0.3)[..., :4]
    assert _run(CompetitivePseudoLabelHandler(), [_step(right, half, label)])[0][Keys.TEACHER] == VNET
    label = label.clone()
    label[..., 4:] = 255
    handler = CompetitivePseudoLabelHandler(ignore_index=255)
    assert _run(handler, [_step(right, half, label)])[0][Keys.TEACHER] == UNET


def test_weight_climbs_to_its_maximum_and_stays() -> None:
    label = _label()
    steps = [_step(_logits(label, 3, 3.0), _logits(label, 3, 3.0, wrong=0.5), label)] * 10
    handler = CompetitivePseudoLabelHandler(max_weight=0.2, ramp_fraction=0.5)
    weights = [output[Keys.STUDENT_WEIGHT][VNET].item() for output in _run(handler, steps, epochs=2)]
    assert weights[4] == pytest.approx(0.2 * math.exp(-5 * 0.5**2))  # half way up the ramp: 5 of 10 iterations
    assert weights == sorted(weights)
    assert weights[9:] == pytest.approx([0.2] * 11)


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, math.exp(-5)), (0.2, math.exp(-1.25)), (0.4, 1.0), (1.0, 1.0)]
)
def test_ramp_is_the_gaussian_of_the_papers(progress: float, expected: float) -> None:
    assert gaussian_ramp(progress, fraction=0.4, maximum=1.0) == pytest.approx(expected)


def test_ramp_over_nothing_is_full_at_once() -> None:
    assert gaussian_ramp(0.0, fraction=0.0, maximum=0.3) == 0.3


def test_supervised_step_names_a_teacher_and_no_pseudo_label() -> None:
    label = _label()
    step = _step(_logits(label, 3, 3.0), _logits(label, 3, 3.0, wrong=0.5), label)
    del step[Keys.LOGITS_UNLABELLED]
    (output,) = _run(CompetitivePseudoLabelHandler(), [step])
    assert output[Keys.TEACHER] == UNET
    assert Keys.PSEUDO_LABEL not in output


def test_state_goes_on_after_loading(tmp_path: Path) -> None:
    label = _label()
    good, bad = _logits(label, 3, 3.0), _logits(label, 3, 3.0, wrong=0.5)
    first = CompetitivePseudoLabelHandler(score_ema=0.9)
    _run(first, [_step(good, bad, label)] * 3)
    torch.save(first.state_dict(), tmp_path / "handler.pt")
    second = CompetitivePseudoLabelHandler(score_ema=0.9)
    second.load_state_dict(torch.load(tmp_path / "handler.pt", weights_only=True))
    last = [_step(bad, good, label)]
    assert _run(second, last)[0][Keys.TEACHER] == UNET
    assert _run(CompetitivePseudoLabelHandler(score_ema=0.9), last)[0][Keys.TEACHER] == VNET


def test_fresh_state_can_be_saved_and_loaded() -> None:
    handler = CompetitivePseudoLabelHandler()
    handler.load_state_dict(CompetitivePseudoLabelHandler().state_dict())
    label = _label()
    step = _step(_logits(label, 3, 3.0), _logits(label, 3, 3.0, wrong=0.5), label)
    assert _run(handler, [step])[0][Keys.TEACHER] == UNET


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature is a number above 0, got 0"),
        ({"score_ema": 1.0}, "score_ema is a number of at least 0 and below 1, got 1"),
        ({"competition": "sharp"}, "two_stage"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompetitivePseudoLabelHandler(**options)


def test_one_network_is_refused() -> None:
    label = _label()
    step = {"label": label, Keys.LOGITS_LABELLED: _logits(label, 3, 3.0)[None]}
    with pytest.raises(ValueError, match=r"of two networks, got .*Use DualSegNet"):
        _run(CompetitivePseudoLabelHandler(), [step])


def test_agreement_counts_only_voxels_that_both_name_alike() -> None:
    label = _label()
    step = _step(_logits(label, 3, 3.0), _logits(label, 3, 3.0, wrong=0.4), label)
    (output,) = _run(CompetitivePseudoLabelHandler(agreement=True), [step])
    first, second = step[Keys.LOGITS_UNLABELLED].argmax(2)
    assert torch.equal(output[Keys.PSEUDO_WEIGHT][:, 0], first == second)
    assert 0 < output[Keys.PSEUDO_WEIGHT].float().mean() < 1


def test_clean_view_is_what_the_teacher_predicts() -> None:
    network = DualSegNet(torch.nn.Conv2d(1, 3, 1), torch.nn.Conv2d(1, 3, 1))
    for clean in (False, True):
        handlers = [BlankView(), CompetitivePseudoLabelHandler(clean_view=clean, ramp_fraction=0.0)]
        trainer = small_trainer(network, train_handlers=handlers, optimizer=torch.optim.SGD(network.parameters(), 0.0))
        seen = watch(trainer, IterationEvents.FORWARD_COMPLETED, dict)
        trainer.run()
        images = seen[0][Keys.CLEAN_UNLABELLED if clean else Keys.UNLABELLED_IMAGE]
        expected = sharpen(network.train()(images)[seen[0][Keys.TEACHER]], 0.1)
        torch.testing.assert_close(seen[0][Keys.PSEUDO_LABEL], expected.detach())


def test_nothing_is_taught_before_the_start() -> None:
    label = _label()
    step = _step(_logits(label, 3, 3.0), _logits(label, 3, 3.0, wrong=0.4), label)
    seen = _run(CompetitivePseudoLabelHandler(start_fraction=0.6, ramp_fraction=0.0), [step] * 4)
    assert [Keys.PSEUDO_LABEL in output for output in seen] == [False, False, True, True]
    assert [float(output[Keys.STUDENT_WEIGHT].sum()) for output in seen] == pytest.approx([0, 0, 0.1, 0.1])


def test_a_change_of_the_teacher_is_told() -> None:
    label = _label()
    good, bad = _logits(label, 3, 3.0), _logits(label, 3, 3.0, wrong=0.6)
    steps = [_step(*pair, label) for pair in ((good, bad), (good, bad), (bad, good), (bad, good), (good, bad))]
    seen = _run(CompetitivePseudoLabelHandler(), steps)
    assert [int(output[Keys.TEACHER]) for output in seen] == [0, 0, 1, 1, 0]
    assert [int(output[Keys.SWITCHED]) for output in seen] == [0, 0, 1, 0, 1]
