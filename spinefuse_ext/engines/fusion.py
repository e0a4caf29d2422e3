"""The training of a fusion network by stages: first rebuild each modality, then fuse them (CDDFuse, CVPR 2023)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils import CommonKeys, convert_to_dst_type
from torch import nn

from spinefuse_ext.engines.step import StepTrainer, finite_everywhere, plain
from spinefuse_ext.enums import FusionKeys
from spinefuse_ext.losses.consistency import at_least_float32
from spinefuse_ext.networks import unwrap
from spinefuse_ext.validation import ConfigError, check_number

Outputs = tuple[torch.Tensor, tuple[torch.Tensor, ...]]


class FusionNetwork(Protocol):
    """What ``FusionTrainer`` asks of a network; the features are one tuple, the arguments of the decomposition loss.

    A network with a method ``train_softly(soft: bool)`` is told before each step whether it is one of stage 2.
    """

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Pair ``(B, 2, *S)`` to its features."""

    def reconstruct_features(self, features: Any) -> torch.Tensor:
        """Features to the reconstructed pair ``(B, 2, *S)``."""

    def fuse_features(self, features: Any, x: torch.Tensor) -> torch.Tensor:
        """Features of the pair ``x`` to its fused image ``(B, 1, *S)``."""


def weight_decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two parameter groups for ``AdamW``: kernels decay, everything else (norms, biases, temperatures) does not."""
    trained = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
    exempt = [weight.ndim <= 1 or name.endswith("temperature") for name, weight in trained]
    decayed, kept = (
        [w for (_, w), free in zip(trained, exempt, strict=True) if free is side] for side in (False, True)
    )
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


class FusionTrainer(StepTrainer):
    """Trains a ``FusionNetwork`` on pairs ``image (B, 2, *S)`` in [0, 1]: one iteration of a stage.

    Stage 1 is the first ``stage1_epochs`` epochs and minimises ``reconstruction + decomposition_weight *
    decomposition``, stage 2 ``fusion + decomposition_weight * decomposition``. Stage 3, the last ``stage3_epochs``
    epochs, is stage 2 with ``stage3_loss`` as the fusion loss and, where the network has a correction, with the hard
    threshold of inference. The output holds ``image``, ``pred`` (the reconstruction ``(B, 2, *S)`` in stage 1, the
    fused image ``(B, 1, *S)`` later), ``loss`` and ``FusionKeys``: the stage, the
    unweighted terms (a term of the other stage is 0) and the number of skipped steps so far.

    A step whose loss or gradient is not finite, on any rank, is skipped, logged and counted (``skipped_steps``).
    Under ``amp`` the network runs in bfloat16 unless ``amp_kwargs`` names another ``dtype``; losses are float32.
    Stage 1 leaves the fusion layers unused, so ``DistributedDataParallel`` needs ``find_unused_parameters``.

    Args:
        reconstruction_loss: of ``(reconstruction, image)``.
        fusion_loss: of ``(fused, image)``; the ``loss_function`` of the base class.
        decomposition_loss: of the features that ``encode`` returns.
        stage1_epochs: epochs of stage 1; 0 begins with stage 2.
        stage3_epochs: epochs of stage 3, the last of ``max_epochs``; 0 leaves it out.
        stage3_loss: of ``(fused, image)`` in stage 3; None is ``fusion_loss``.
        decomposition_weight: of the decomposition loss in both stages.
        clip_norm: largest gradient norm of each child module of the network; ``None`` does not clip.
        supervised: further arguments of MONAI's ``SupervisedTrainer``; ``compile`` compiles each child module.

    Raises:
        ConfigError: a length or weight outside its range, or a network that is none of this trainer.
    """

    def __init__(  # noqa: PLR0913 (the lengths and losses of the stages, all keyword-only)
        self,
        *,
        reconstruction_loss: Callable[..., torch.Tensor],
        fusion_loss: Callable[..., torch.Tensor],
        decomposition_loss: Callable[..., torch.Tensor],
        stage1_epochs: int = 33,
        stage3_epochs: int = 0,
        stage3_loss: Callable[..., torch.Tensor] | None = None,
        decomposition_weight: float = 2.0,
        clip_norm: float | None = 0.01,
        **supervised: Any,
    ) -> None:
        compiled, compile_kwargs = supervised.pop("compile", False), supervised.pop("compile_kwargs", None)
        super().__init__(loss_function=fusion_loss, **supervised)
        _check_network(self.network)
        self.reconstruction_loss, self.decomposition_loss = reconstruction_loss, decomposition_loss
        self.stage3_loss = stage3_loss or fusion_loss
        stage3_epochs = check_number("stage3_epochs", stage3_epochs, least=0, whole=True)
        self.before_stage3 = self.state.max_epochs - stage3_epochs  # a federation sets max_epochs anew for each round
        self.stage1_epochs = check_number("stage1_epochs", stage1_epochs, least=0, whole=True)
        self.decomposition_weight = check_number("decomposition_weight", decomposition_weight, least=0)
        self.clip_norm = None if clip_norm is None else check_number("clip_norm", clip_norm, above=0)
        self.skipped_steps = 0
        self.amp_kwargs = {"dtype": torch.bfloat16, **self.amp_kwargs}
        for child in unwrap(self.network).children() if compiled else ():
            child.compile(**(compile_kwargs or {}))

    def _iteration(self, engine: SupervisedTrainer, batchdata: dict[str, torch.Tensor]) -> dict[str, Any]:
        """One step of the stage that the epoch belongs to; returns the output described in the class."""
        image = self.prepare_batch(batchdata, self.state.device, self.non_blocking, **self.to_kwargs)[0]
        values = plain(image)
        stage = self._stage()
        opens, closes = self._accumulation()
        self.network.train()
        train_softly = getattr(unwrap(self.network), "train_softly", None)
        if callable(train_softly):
            train_softly(stage == 2)
        if opens:
            self.optimizer.zero_grad(set_to_none=self.optim_set_to_none)
        output = self.state.output = {CommonKeys.IMAGE: image, FusionKeys.STAGE: stage}
        with torch.autocast(self.state.device.type, enabled=self.amp, **self.amp_kwargs):
            output[CommonKeys.PRED], features = self._predict(values, stage)
            self.fire_event(IterationEvents.FORWARD_COMPLETED)
        output.update(self._losses(output[CommonKeys.PRED], values, features, stage))
        self.fire_event(IterationEvents.LOSS_COMPLETED)
        self._backward(output[CommonKeys.LOSS])
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if closes:
            self._step(output[CommonKeys.LOSS])
        output[FusionKeys.SKIPPED] = self.skipped_steps
        output[CommonKeys.PRED] = convert_to_dst_type(output[CommonKeys.PRED].detach(), image)[0]
        if stage == 1:
            output[FusionKeys.RECONSTRUCTION] = output[CommonKeys.PRED]
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return self.state.output

    def _stage(self) -> int:
        """The stage of the epoch under way: 1, 2 or 3."""
        if self.state.epoch <= self.stage1_epochs:
            return 1
        return 2 if self.state.epoch <= self.before_stage3 else 3

    def _predict(self, image: torch.Tensor, stage: int) -> Outputs:
        """The stage's prediction and the features, in one call through the wrappers and the inferer."""
        inner = cast(FusionNetwork, unwrap(self.network))

        def encode_and_decode(x: torch.Tensor) -> Outputs:
            features = inner.encode(x)
            return inner.reconstruct_features(features) if stage == 1 else inner.fuse_features(features, x), features

        return self.inferer(image, lambda x: _through_wrappers(self.network, encode_and_decode, x))

    def _losses(
        self, predicted: torch.Tensor, image: torch.Tensor, features: tuple[torch.Tensor, ...], stage: int
    ) -> dict[str, torch.Tensor]:
        """The weighted sum and its unweighted terms, float32 at least."""
        objective, key, other = (
            (self.reconstruction_loss, FusionKeys.RECONSTRUCTION_LOSS, FusionKeys.FUSION_LOSS)
            if stage == 1
            else (
                self.stage3_loss if stage == 3 else self.loss_function,
                FusionKeys.FUSION_LOSS,
                FusionKeys.RECONSTRUCTION_LOSS,
            )
        )
        main = objective(at_least_float32(predicted), image)
        decomposition = self.decomposition_loss(*map(at_least_float32, features))
        return {
            CommonKeys.LOSS: main + self.decomposition_weight * decomposition,
            key: main.detach(),
            other: torch.zeros_like(main),
            FusionKeys.DECOMPOSITION_LOSS: decomposition.detach(),
        }

    def _step(self, loss: torch.Tensor) -> None:
        """Clip each child's gradient and step the optimiser, or skip the step on every rank."""
        self.scaler.unscale_(self.optimizer)
        limit = float("inf") if self.clip_norm is None else self.clip_norm
        groups = _children(unwrap(self.network))
        # of a child that the stage leaves without gradients torch gives the norm 0 on the CPU, wherever the child is
        norms = {name: nn.utils.clip_grad_norm_(group, limit).to(loss.device) for name, group in groups}
        if bool(finite_everywhere(loss, *norms.values())):
            self.scaler.step(self.optimizer)
        else:
            self.skipped_steps += 1
            shown = ", ".join(f"{name} {norm.item():.3g}" for name, norm in norms.items())
            self.logger.warning(
                f"Epoch {self.state.epoch}, iteration {self.state.iteration}: loss {loss.item():.4g} or gradient norms "
                f"({shown}) not finite here or on another rank; step skipped, {self.skipped_steps} so far."
            )
        self.scaler.update()


def _children(network: nn.Module) -> Iterator[tuple[str, list[nn.Parameter]]]:
    """Name and trained parameters of each child, and of the network itself where it owns any."""
    groups = [(name, list(child.parameters())) for name, child in network.named_children()]
    for name, parameters in [*groups, ("own", list(network.parameters(recurse=False)))]:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        if trained:
            yield name, trained


def _through_wrappers(network: nn.Module, function: Callable[[torch.Tensor], Outputs], x: torch.Tensor) -> Outputs:
    """Call ``network(x)`` with ``function`` in place of the inner ``forward``, so that wrappers and hooks work."""
    inner = unwrap(network)
    inner.forward = function  # shadows the method of the class until it is deleted
    try:
        return network(x)
    finally:
        del inner.forward


def _check_network(network: nn.Module) -> None:
    inner = unwrap(network)
    missing = [name for name in ("encode", "reconstruct_features", "fuse_features") if not hasattr(inner, name)]
    if missing:
        raise ConfigError(
            f"FusionTrainer expects a network with encode, reconstruct_features and fuse_features, such as "
            f"SpineFusionNet; {type(inner).__name__} lacks {', '.join(missing)}. Choose another network or trainer."
        )
    if isinstance(network, torch._dynamo.OptimizedModule):
        raise ConfigError("FusionTrainer compiles the network itself: pass the plain network and set compile to true.")
