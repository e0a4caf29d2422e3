from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceCELoss

from spinefuse_ext.losses import ConsistencyLoss, sharpen


def test_sharpening_equals_the_normalised_power() -> None:
    logits = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    power = logits.softmax(1) ** (1 / 0.1)
    torch.testing.assert_close(sharpen(logits, 0.1), power / power.sum(1, keepdim=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sharpening_of_12_classes_in_half_precision_is_finite(dtype: torch.dtype) -> None:
    logits = (0.01 * torch.randn(1, 12, 8, 8)).to(dtype)
    sharp = sharpen(logits, 0.1)
    # the power as commonly written: (1 / 12) ** 10 is below what float16 can hold
    naive = logits.half().softmax(1) ** 10
    assert (naive.sum(1) == 0).all()
    assert sharp.isfinite().all()
    torch.testing.assert_close(sharp.sum(1), torch.ones(1, 8, 8))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**16), classes=st.integers(2, 12), temperature=st.floats(0.05, 0.95))
def test_sharpening_keeps_the_winner_and_raises_it(seed: int, classes: int, temperature: float) -> None:
    torch.manual_seed(seed)
    logits = torch.randn(1, classes, 3, 3, dtype=torch.float64)
    sharp, plain = sharpen(logits, temperature), logits.softmax(1)
    assert torch.equal(sharp.argmax(1), plain.argmax(1))
    assert (sharp.amax(1) >= plain.amax(1)).all()


def test_two_classes_equal_the_mean_squared_error() -> None:
    input, target = torch.randn(2, 2, 4, 5).softmax(1), torch.randn(2, 2, 4, 5).softmax(1)
    torch.testing.assert_close(ConsistencyLoss()(input, target), torch.nn.functional.mse_loss(input, target))


def test_scale_does_not_shrink_with_unused_classes() -> None:
    input, target = torch.randn(1, 2, 4, 4).softmax(1), torch.randn(1, 2, 4, 4).softmax(1)
    unused = torch.zeros(1, 6, 4, 4)
    wide = ConsistencyLoss()(torch.cat((input, unused), 1), torch.cat((target, unused), 1))
    torch.testing.assert_close(wide, ConsistencyLoss()(input, target))


def test_target_gets_no_gradient() -> None:
    student, teacher = (torch.randn(1, 3, 2, 2, 2, requires_grad=True) for _ in range(2))
    ConsistencyLoss()(student.softmax(1), teacher.softmax(1)).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_mask_chooses_the_voxels() -> None:
    input, target = torch.randn(1, 3, 4, 4).softmax(1), torch.randn(1, 3, 4, 4).softmax(1)
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    assert ConsistencyLoss()(input, target, mask).item() == 0
    mask[..., 1, 2] = True
    expected = (input - target)[0, :, 1, 2].square().sum() / 2
    torch.testing.assert_close(ConsistencyLoss()(input, target, mask), expected)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="one common shape"):
        ConsistencyLoss()(torch.rand(1, 2, 4, 4), torch.rand(1, 2, 4, 5))


def test_cross_entropy_to_hard_pseudo_labels_is_that_of_torch() -> None:
    logits, label = torch.randn(2, 4, 5, 6), torch.randint(0, 4, (2, 5, 6))
    target = torch.nn.functional.one_hot(label, 4).movedim(-1, 1).float()
    loss = ConsistencyLoss("ce")(logits.softmax(1), target)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, label))


def test_cross_entropy_and_dice_is_the_mean_of_monais() -> None:
    logits, label = torch.randn(2, 4, 5, 6), torch.randint(0, 4, (2, 1, 5, 6))
    target = torch.nn.functional.one_hot(label[:, 0], 4).movedim(-1, 1).float()
    loss = ConsistencyLoss("ce_dice")(logits.softmax(1), target)
    both = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, squared_pred=True, batch=True)
    torch.testing.assert_close(loss, both(logits, label) / 2)


@pytest.mark.parametrize("kind", ["brier", "ce", "ce_dice"])
def test_a_mask_leaves_out_its_voxels_and_an_empty_one_gives_no_gradient(kind: str) -> None:
    logits = torch.randn(2, 3, 4, 6, requires_grad=True)
    target, mask = torch.randn(2, 3, 4, 6).softmax(1), torch.zeros(2, 1, 4, 6, dtype=torch.bool)
    loss = ConsistencyLoss(kind)
    mask[..., :3] = True
    part = loss(logits[..., :3].softmax(1), target[..., :3])
    torch.testing.assert_close(loss(logits.softmax(1), target, mask), part)
    empty = loss(logits.softmax(1), target, mask & False)
    empty.backward()
    assert empty == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


@pytest.mark.parametrize("kind", ["ce", "ce_dice"])
def test_certain_and_wrong_has_a_finite_gradient(kind: str) -> None:
    logits = torch.tensor([200.0, 0.0, 0.0]).view(1, 3, 1, 1).requires_grad_()
    target = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
    loss = ConsistencyLoss(kind)(logits.softmax(1), target)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_unknown_kind_is_refused_with_the_options() -> None:
    with pytest.raises(ValueError, match="brier"):
        ConsistencyLoss("kl")
