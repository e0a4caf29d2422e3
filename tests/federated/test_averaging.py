from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spinefuse_ext.federated import average_weights
from spinefuse_ext.validation import ConfigError, WeightsError

SITES = st.lists(st.tuples(st.integers(-1000, 1000), st.integers(1, 50)), min_size=1, max_size=5)


@given(SITES)
def test_each_weight_is_the_mean_by_cases(sites: list[tuple[int, int]]) -> None:
    weights = {f"site_{place}": {"w": torch.tensor([float(value), 1.0])} for place, (value, _) in enumerate(sites)}
    cases = {f"site_{place}": number for place, (_, number) in enumerate(sites)}
    expected = Fraction(sum(value * number for value, number in sites), sum(number for _, number in sites))
    average = average_weights(weights, cases)["w"]
    assert average.tolist() == [torch.tensor(float(expected)).item(), 1.0]
    assert average.dtype == torch.float32


def test_the_statistics_of_batch_norms_are_averaged_and_counts_stay_whole() -> None:
    networks = {"a": torch.nn.BatchNorm2d(3), "b": torch.nn.BatchNorm2d(3)}
    networks["a"](torch.randn(2, 3, 4, 4) + 5)
    for _ in range(4):
        networks["b"](torch.randn(2, 3, 4, 4))
    states = {name: dict(network.state_dict()) for name, network in networks.items()}
    average = average_weights(states, {"a": 3, "b": 1})
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(average[name], 0.75 * states["a"][name] + 0.25 * states["b"][name])
    assert average["num_batches_tracked"].item() == 2  # (3 * 1 + 1 * 4) / 4, rounded
    networks["a"].load_state_dict(average)


def test_the_average_shares_no_memory_with_a_site() -> None:
    state = {"w": torch.ones(2)}
    average_weights({"a": state}, {"a": 1})["w"].zero_()
    assert state["w"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("other", "cases", "error", "message"),
    [
        ({"v": torch.ones(2)}, 1, WeightsError, "weights of site b belong to another network"),
        ({"w": torch.ones(3)}, 1, WeightsError, "weights of site b belong to another network"),
        ({"w": torch.tensor([1.0, torch.nan])}, 1, WeightsError, r"weights of site b are not finite \(w\)"),
        ({"w": torch.ones(2)}, 0, ConfigError, "1 training case or more each, got {'a': 1, 'b': 0}"),
    ],
)
def test_weights_that_cannot_be_averaged_are_refused(
    other: dict[str, torch.Tensor], cases: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        average_weights({"a": {"w": torch.ones(2)}, "b": other}, {"a": 1, "b": cases})
