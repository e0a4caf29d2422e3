from __future__ import annotations

import numpy as np
import pytest
import torch

from spinefuse_ext.losses import DenseInfoNCELoss


def _reference(first: np.ndarray, second: np.ndarray, order: int, *, positives: bool) -> float:
    """Both directions over all places of ``(B, C, P)``, as a cross-entropy with the positive as class 0."""
    costs = []
    for query, key in ((first, second), (second, first)):
        for q, k in zip(query, key, strict=True):
            q, k = (x / np.linalg.norm(x, order, axis=0) for x in (q, k))
            similarity = q.T @ k / 0.07
            for place, row in enumerate(similarity):
                positive = row[place] if positives else 0.0
                negatives = np.delete(row, place) if positives else row
                costs.append(np.log(np.exp(positive) + np.exp(negatives).sum()) - positive)
    return float(np.mean(costs))


@pytest.mark.parametrize("positives", [True, False])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("size", [(3, 4), (2, 3, 2)])
def test_value_is_that_of_the_formula(size: tuple[int, ...], order: int, positives: bool) -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 2, 5, *size, dtype=torch.double)
    loss = DenseInfoNCELoss(norm_order=order, positives=positives)(first, second)
    arrays = (x.flatten(2).numpy() for x in (first, second))
    assert float(loss) == pytest.approx(_reference(*arrays, order, positives=positives), rel=1e-6)


def test_equal_features_cost_less_than_shuffled_ones_and_the_opposite_without_positives() -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 8, 6, 6)
    shuffled = features.flatten(2)[:, :, torch.randperm(36)].view_as(features)
    find, part = DenseInfoNCELoss(norm_order=2), DenseInfoNCELoss(norm_order=2, positives=False)
    assert find(features, features) < 0.1 < find(features, shuffled)
    assert part(features, -features) < part(features, features)


def test_drawn_places_are_the_same_in_both_maps() -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 16, 20, 20)
    assert DenseInfoNCELoss(num_tokens=10, norm_order=2)(features, features) < 0.1


def test_both_networks_learn() -> None:
    first, second = (torch.randn(2, 4, 4, 4, requires_grad=True) for _ in range(2))
    DenseInfoNCELoss(num_tokens=5)(first, second).backward()
    for features in (first, second):
        assert features.grad is not None
        assert 0 < (features.grad.abs().sum(1) > 0).sum() <= 2 * 5  # at the drawn places only


def test_half_precision_is_raised_to_float32() -> None:
    first, second = torch.randn(2, 1, 4, 4, 4)
    loss = DenseInfoNCELoss()
    with torch.autocast("cpu"):
        half = loss(first.bfloat16(), second.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(first.bfloat16().float(), second.bfloat16().float()))


def test_features_of_two_sizes_and_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="one common shape"):
        DenseInfoNCELoss()(torch.rand(1, 2, 4, 4), torch.rand(1, 2, 4, 5))
    with pytest.raises(ValueError, match="temperature is a number above 0, got 0"):
        DenseInfoNCELoss(temperature=0)
