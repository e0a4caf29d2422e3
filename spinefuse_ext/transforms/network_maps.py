"""Maps that explain a fused volume, made by the network that fused it, through the same windows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from monai.config import KeysCollection
from monai.inferers import Inferer
from monai.networks.utils import eval_mode
from monai.transforms import MapTransform
from torch import nn

from spinefuse_ext.networks.contribution import modality_contribution
from spinefuse_ext.networks.without_mr import copy_without_mr
from spinefuse_ext.validation import ConfigError, check_number


class NetworkMapd(MapTransform):
    """Base of the transforms that send a pair ``(2, *S)`` through ``inferer`` once more and keep a map ``(C, *S)``.

    Args:
        keys: of pairs on the grid that the network saw.
        network: the fusion network; put in evaluation mode for the pass.
        inferer: cuts the windows, which bound the memory, and sets the precision, as for the fused image.
        name: key of the map.
        allow_missing_keys: do nothing for a case without the pair.
    """

    def __init__(
        self,
        keys: KeysCollection,
        network: nn.Module,
        inferer: Inferer,
        *,
        name: str,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 1:
            raise ConfigError(f"Expected one key, as there is one name for the map, got {list(self.keys)}.")
        self.network, self.inferer, self.name = network, inferer, name

    @abstractmethod
    def predictor(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """What each window goes through: ``(B, 2, *S) -> (B, C, *S)``."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            pair: torch.Tensor = d[key]
            with eval_mode(self.network):
                d[self.name] = self.inferer(pair[None], self.predictor())[0].float()
        return d


class ContributionMapd(NetworkMapd):
    """Add the share of CT and MR in the fused image, ``(2, *S)`` with sum 1 in each voxel.

    The formula and its limits stand at ``spinefuse_ext.networks.modality_contribution``. Slices without MR, which the
    network does not fuse (``spinefuse_ext.networks.copy_without_mr``), are those of a copy of the CT.

    Args:
        keys: of pairs on the grid that the network saw.
        network: the fusion network.
        inferer: see ``NetworkMapd``.
        sigma_px: structure finer than this is taken away, in pixels of a slice or voxels.
        name: key of the map.
        options: of ``NetworkMapd``.

    Raises:
        ConfigError: ``sigma_px`` is not positive.
    """

    def __init__(
        self,
        keys: KeysCollection,
        network: nn.Module,
        inferer: Inferer,
        *,
        sigma_px: float = 4.0,
        name: str = "contribution",
        **options: Any,
    ) -> None:
        super().__init__(keys, network, inferer, name=name, **options)
        self.sigma_px = check_number("sigma_px", sigma_px, above=0)

    def predictor(self) -> Callable[[torch.Tensor], torch.Tensor]:
        return partial(modality_contribution, copy_without_mr(self.network), sigma_px=self.sigma_px)


class FeatureMapsd(NetworkMapd):
    """Add the mean absolute feature of each branch and modality, ``(4, *S)``: base CT, base MR, detail CT, detail MR.

    Features have no unit; only places within one of the four maps, and CT with MR of one branch, can be compared.

    Raises:
        ConfigError: the network has no ``encode``, as rules and single-branch networks have none.
    """

    def __init__(
        self, keys: KeysCollection, network: nn.Module, inferer: Inferer, *, name: str = "features", **options: Any
    ) -> None:
        super().__init__(keys, network, inferer, name=name, **options)
        encode = getattr(network, "encode", None)
        if not callable(encode):
            raise ConfigError(
                f"{type(network).__name__} has no base and detail features; leave save_features off, or fuse with "
                "SpineFusionNet."
            )
        self.encode: Callable[..., Sequence[torch.Tensor]] = encode

    def predictor(self) -> Callable[[torch.Tensor], torch.Tensor]:
        def strengths(pair: torch.Tensor) -> torch.Tensor:
            return torch.cat([branch.float().abs().mean(dim=1, keepdim=True) for branch in self.encode(pair)], dim=1)

        return strengths
