"""The average of the weights that the sites send, by their number of cases."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from spinefuse_ext.validation import ConfigError, WeightsError

#: The weights and buffers of a network by name, on the CPU.
Weights = dict[str, torch.Tensor]


def average_weights(weights: Mapping[str, Weights], cases: Mapping[str, int]) -> Weights:
    """Mean of the sites' weights, each counted by its training cases (FedAvg; McMahan et al., AISTATS 2017).

    Buffers, such as the running mean and variance of a batch norm, are averaged like weights; whole numbers (how many
    batches it saw) are rounded. Sums are float64; every tensor keeps its type.

    Args:
        weights: state dict of each site, by the site's name; all of one network.
        cases: number of training cases of each of these sites, 1 or more.

    Raises:
        ConfigError: no site, or one without a case.
        WeightsError: a site whose weights belong to another network or are not finite.
    """
    if not weights or any(cases.get(site, 0) < 1 for site in weights):
        raise ConfigError(f"Expected sites with 1 training case or more each, got {dict(cases) or 'no site'}.")
    first = next(iter(weights.values()))
    for site, state in weights.items():
        _check_state(site, state, first)
    total = sum(cases[site] for site in weights)
    average = {}
    for name, like in first.items():
        mean = torch.stack([state[name].double() * cases[site] for site, state in weights.items()]).sum(dim=0) / total
        average[name] = (mean if like.is_floating_point() else mean.round()).to(like.dtype)
    return average


def _check_state(site: str, state: Weights, like: Weights) -> None:
    if state.keys() != like.keys() or any(state[name].shape != tensor.shape for name, tensor in like.items()):
        raise WeightsError(f"The weights of site {site} belong to another network than those of the first site.")
    broken = next((name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())), None)
    if broken is not None:
        raise WeightsError(
            f"The weights of site {site} are not finite ({broken}); lower the learning rate, or check its images."
        )
