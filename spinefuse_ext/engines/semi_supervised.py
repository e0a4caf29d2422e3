"""The trainer of the semi-supervised methods: one labelled and one unlabelled batch through one forward."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from ignite.engine import EventEnum, Events
from monai.engines import IterationEvents
from monai.utils import CommonKeys

from spinefuse_ext.engines.loss_contract import check_takes_output, check_terms
from spinefuse_ext.engines.step import StepTrainer, finite_everywhere, plain
from spinefuse_ext.engines.streams import case_names, check_finite, check_no_label, endless, loader_length
from spinefuse_ext.enums import EpochBy, Section, for_labelled, for_unlabelled, is_of_stream
from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.validation import ConfigError, DatalistError, check_choice, check_classes

#: Entries that only the handlers and the loss of a step need: dropped before the output is split into cases.
_STEP_ONLY = (
    Keys.UNLABELLED_IMAGE,
    Keys.CLEAN_UNLABELLED,
    Keys.PSEUDO_LABEL,
    Keys.PSEUDO_WEIGHT,
    Keys.STUDENT_WEIGHT,
    Keys.LEARNS,
    Keys.TERMS,
)


class SemiSupervisedEvents(EventEnum):
    """Moments of an iteration that MONAI's ``IterationEvents`` do not name."""

    BATCH_READY = "batch_ready"
    """Both streams are on the device and have not gone through the network yet: a handler may replace them."""
    BATCH_MIXING = "batch_mixing"
    """After that, and still before the network: a handler may exchange parts between images."""
    BATCH_UNMIXING = "batch_unmixing"
    """The network has answered: what was exchanged goes back, before ``FORWARD_COMPLETED`` and who reads the logits."""


class SemiSupervisedTrainer(StepTrainer):
    """MONAI's ``SupervisedTrainer`` with a second, unlabelled stream; the method is in handlers, loss and network.

    One iteration: a labelled and an unlabelled batch -> ``SemiSupervisedEvents.BATCH_READY`` (handlers may replace
    ``image`` ``(B, C, *S)``, ``label`` ``(B, 1, *S)`` and ``unlabelled_image`` ``(U, C, *S)``) -> ``BATCH_MIXING`` ->
    one forward of both together -> ``BATCH_UNMIXING`` -> ``FORWARD_COMPLETED`` (handlers read the logits and write
    pseudo-labels into ``engine.state.output``) -> loss -> backward -> optimiser -> ``MODEL_COMPLETED``. So the order in
    which handlers are listed makes no difference.

    The network's training forward returns logits ``(N, B + U, K, *S)`` of N sub-networks, or ``(B + U, K, *S)``,
    which counts as N = 1; so any MONAI network can be trained. Or it returns a mapping of such tensors with
    ``logits`` among them, all with the batch in the same place. Handlers find each as ``<name>_labelled`` and
    ``<name>_unlabelled``. ``loss_function`` maps the output to a dictionary of scalar terms with their sum under
    ``loss``, as ``SemiSupervisedLoss`` does; ``PlainLoss`` makes one of a loss of prediction and label.

    The output holds ``image``, ``label`` and ``pred`` (mean probability, no gradient) of the labelled half, the terms
    of the loss, what handlers added and ``skipped``: how many steps were left out as their loss was not finite.

    Args:
        unlabelled_data_loader: batches with an image and no label, repeated without end; None trains supervised.
        epoch_by: one epoch is one pass over the ``unlabelled`` or the ``labelled`` stream; ``epoch_length`` among
            ``workflow`` overrules it.
        planned_epochs: epochs of the whole training, by which the ramps of the handlers go, when ``run`` is called for
            a part of it at a time, as a federation does; without it ``max_epochs`` is the whole.
        workflow: arguments of ``monai.engines.SupervisedTrainer``, all by name. Mixed precision (``amp``) uses the
            device's own type, bfloat16 on a CPU; losses are computed in float32.

    Raises:
        UnknownLabelError: while running, when a label is neither a class nor the ``ignore_index`` of the loss.
        DatalistError: while running, when an unlabelled item carries a label, a labelled one none, or the unlabelled
            stream is empty.
        ImageReadError: while running, when an image holds NaN or infinity.
    """

    def __init__(
        self,
        *,
        unlabelled_data_loader: Iterable[Any] | None = None,
        epoch_by: str = EpochBy.UNLABELLED,
        planned_epochs: int | None = None,
        **workflow: Any,
    ) -> None:
        by_unlabelled = check_choice("epoch_by", epoch_by, EpochBy) == EpochBy.UNLABELLED
        if workflow.get("epoch_length") is None and unlabelled_data_loader is not None and by_unlabelled:
            workflow["epoch_length"] = loader_length(unlabelled_data_loader)
            if workflow["epoch_length"] is None:
                raise ConfigError(
                    "Expected an unlabelled_data_loader with a length, got one without. Give epoch_length."
                )
        check_takes_output(workflow.get("loss_function"))
        workflow["event_names"] = [SemiSupervisedEvents, *(workflow.get("event_names") or [])]
        super().__init__(**workflow)
        self.unlabelled_data_loader = unlabelled_data_loader
        self.planned_epochs = planned_epochs
        self._skipped: torch.Tensor | int = 0
        self.add_event_handler(Events.EPOCH_STARTED, SemiSupervisedTrainer._remember_skipped)
        self.add_event_handler(Events.EPOCH_COMPLETED, SemiSupervisedTrainer._tell_skipped)
        self._stream: Iterator[Any] | None = None
        self._pending = 0  # micro-batches whose gradients wait for the optimiser
        self._bad = torch.zeros(())  # 1 when the loss of one of them is not finite

    def _iteration(self, engine: SemiSupervisedTrainer, batchdata: Any) -> dict[str, Any]:  # type: ignore[override]
        """One step; returns the output described at the class."""
        original = engine._labelled(batchdata)
        engine.state.output = {key: plain(value) for key, value in original.items()}
        engine._draw_unlabelled()
        engine.fire_event(SemiSupervisedEvents.BATCH_READY)
        engine.fire_event(SemiSupervisedEvents.BATCH_MIXING)
        images = engine._joined()
        engine.network.train()
        opens, closes = engine._accumulation()
        if opens:
            engine.optimizer.zero_grad(set_to_none=engine.optim_set_to_none)
            engine._pending = 0
        with torch.autocast(engine.state.device.type, enabled=engine.amp, **engine.amp_kwargs):
            engine._store(engine.inferer(images, engine.network), images.ndim)
            engine._check_label()
            engine.fire_event(SemiSupervisedEvents.BATCH_UNMIXING)
            engine.fire_event(IterationEvents.FORWARD_COMPLETED)
            engine._predict()
            engine.state.output.update(check_terms(engine.loss_function, engine.loss_function(engine.state.output)))
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        engine._update(engine.state.output[CommonKeys.LOSS], closes)
        for key in [*_STEP_ONLY, *filter(is_of_stream, engine.state.output)]:
            engine.state.output.pop(key, None)
        engine.state.output.update({**original, Keys.SKIPPED: engine._skipped})
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _labelled(self, batchdata: Any) -> dict[str, torch.Tensor]:
        """``image`` ``(B, C, *S)`` and ``label`` ``(B, 1, *S)`` of the labelled batch on the device."""
        check_finite(batchdata)
        image, label = self._prepare(batchdata)
        if label is None:
            raise DatalistError(
                f"Expected {Section.LABELLED} cases with a '{CommonKeys.LABEL}', got none for {case_names(batchdata)}. "
                f"Add the label, or move the case to '{Section.UNLABELLED}'."
            )
        given = batchdata[CommonKeys.LABEL] if isinstance(batchdata, Mapping) else batchdata[1]
        self._label_on_host = plain(given)
        return {CommonKeys.IMAGE: image, CommonKeys.LABEL: label}

    def _draw_unlabelled(self) -> None:
        """Put the next unlabelled images ``(U, C, *S)`` into the output, if there is such a stream."""
        if self.unlabelled_data_loader is None:
            return
        if self._stream is None:
            length, passed = self.state.epoch_length, loader_length(self.unlabelled_data_loader)
            passes = 1 + (length or 1) // passed if passed else 1  # of an epoch, at most: none comes in two epochs
            self._stream = endless(self.unlabelled_data_loader, first_pass=self.state.epoch * passes)
        batchdata = next(self._stream)
        check_no_label(batchdata)
        check_finite(batchdata)
        self.state.output[Keys.UNLABELLED_IMAGE] = plain(self._prepare(batchdata)[0])

    def _joined(self) -> torch.Tensor:
        """The images of both streams, ``(B + U, C, *S)``."""
        image: torch.Tensor = self.state.output[CommonKeys.IMAGE]
        extra: torch.Tensor | None = self.state.output.get(Keys.UNLABELLED_IMAGE)
        if extra is None:
            return image
        if extra.shape[1:] != image.shape[1:]:
            raise ConfigError(
                f"Expected labelled and unlabelled images of one size, got {tuple(image.shape[1:])} and "
                f"{tuple(extra.shape[1:])} (channels first). Crop or pad both streams to one size."
            )
        return torch.cat((image, extra))

    def _prepare(self, batchdata: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Image and label on the device; network arguments beside them are refused."""
        batch = self.prepare_batch(batchdata, self.state.device, self.non_blocking, **self.to_kwargs)
        if len(batch) != 2:
            raise ConfigError(f"Expected prepare_batch to return (image, label), got {len(batch)} items.")
        return batch

    def _store(self, returned: torch.Tensor | Mapping[str, torch.Tensor], image_dims: int) -> None:
        """Split what the network returned into the two streams; keep the mean probability of the labelled half."""
        output = self.state.output
        labelled = len(output[CommonKeys.IMAGE])
        tensors = returned if isinstance(returned, Mapping) else {Keys.LOGITS: returned}
        single = tensors[Keys.LOGITS].ndim == image_dims
        for name, tensor in tensors.items():
            stacked = tensor.unsqueeze(0) if single else tensor
            output[for_labelled(name)] = stacked[:, :labelled]
            if Keys.UNLABELLED_IMAGE in output:
                output[for_unlabelled(name)] = stacked[:, labelled:]

    def _check_label(self) -> None:
        """Refuse values that are no class of the network, before a handler stumbles over them."""
        classes = self.state.output[Keys.LOGITS_LABELLED].shape[2]
        ignored = getattr(self.loss_function, "ignore_index", None)
        check_classes(self._label_on_host, classes, ignored, case_names(self.state.batch))

    def _predict(self) -> None:
        """Mean probability of the labelled half over the networks, without gradient."""
        logits = self.state.output[Keys.LOGITS_LABELLED]
        self.state.output[CommonKeys.PRED] = logits.detach().float().softmax(dim=2).mean(dim=0)

    def _update(self, loss: torch.Tensor, closes: bool) -> None:
        """Backward, and a step when the group closes; a loss that is not finite on any rank is left out on all.

        A fused optimiser is told on the device to leave the step out, so that the host need not wait for the loss: then
        the whole group of ``accumulation_steps`` is left out. Another optimiser leaves out the one loss.
        """
        finite = finite_everywhere(loss)
        self._skipped = self._skipped + (1 - finite).long()
        on_device = not self.scaler.is_enabled() and all(group.get("fused") for group in self.optimizer.param_groups)
        if on_device or bool(finite):
            self._backward(loss)
            self._bad = (1 - finite) if self._pending == 0 else torch.maximum(self._bad, 1 - finite)
            self._pending += 1
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if closes and self._pending:
            if on_device:
                _fill_momentum(self.optimizer)
                self.optimizer.found_inf = self._bad  # type: ignore[attr-defined]
            self.scaler.step(self.optimizer)
            self.scaler.update()

    @property
    def skipped(self) -> int:
        """How many steps were left out so far, as their loss was not finite."""
        return int(self._skipped)

    def restart_unlabelled(self) -> None:
        """Begin a new pass over the unlabelled images with the next step."""
        self._stream = None

    def _remember_skipped(self) -> None:
        self._skipped_before = self._skipped

    def _tell_skipped(self) -> None:
        number = int(self._skipped - self._skipped_before)
        if number:
            self.logger.warning(
                f"Epoch {self.state.epoch}: the loss was not finite in {number} of {self.state.epoch_length} steps, "
                "which were skipped. Lower the learning rate, or check the intensities of the images."
            )


def _fill_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Give ``SGD`` its momentum buffers: a fused first step that is left out would leave them undefined."""
    for group in optimizer.param_groups:
        for parameter in group["params"] if group.get("momentum") and not group.get("dampening") else ():
            state = optimizer.state[parameter]
            if parameter.grad is not None and state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter.grad)
