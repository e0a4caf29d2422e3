"""Bidirectional copy-paste: labelled and unlabelled images swap a box, and the predictions swap it back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import Workflow
from monai.transforms import Randomizable
from monai.utils import CommonKeys, get_seed

from spinefuse_ext.engines import SemiSupervisedEvents
from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.enums import unlabelled_of
from spinefuse_ext.handlers.ramp import training_progress
from spinefuse_ext.validation import check_number, check_part, check_whole_or_none


class CopyPasteHandler(Randomizable):
    """Mixes the two halves of a batch for the forward (BCP, Bai et al., CVPR 2023), whatever the method.

    At ``BATCH_MIXING`` each labelled image and its unlabelled partner exchange a random box; the clean unlabelled
    images stay in the output as ``clean_unlabelled``. At ``BATCH_UNMIXING`` the logits exchange the same box, so that
    ``logits_labelled`` and ``logits_unlabelled`` belong to the original images again, voxel by voxel, though each was
    predicted among what surrounds it in the mixture, and the images are those from before. Every loss, competition and
    pseudo-label then works as without mixing, wherever this handler stands among the others. Maps of another size than
    the image, such as projections on a coarser grid, stay those of the mixture.

    In the first ``warmup_fraction`` of the training labelled images exchange boxes with each other (BCP's
    pre-training). Where one half is larger, the rest of it stays unmixed.

    Args:
        share: side of the box as a part of the image's, 0 to 1; BCP: 2/3.
        probability: of mixing a pair.
        warmup_fraction: part of the training before labelled and unlabelled images are mixed.
        seed: of the draws; None takes that of ``monai.utils.set_determinism``.

    Raises:
        ConfigError: an argument outside its range.
    """

    def __init__(
        self, share: float = 2 / 3, probability: float = 1.0, *, warmup_fraction: float = 0.0, seed: int | None = None
    ) -> None:
        self.share = check_number("share", share, above=0, most=1)
        self.probability = check_part("probability", probability)
        self.warmup_fraction = check_part("warmup_fraction", warmup_fraction)
        self.set_random_state(get_seed() if check_whole_or_none("seed", seed) is None else seed)
        self._boxes: list[tuple[slice, ...] | None] = []
        self._unmixed: dict[str, torch.Tensor] = {}
        self._among_labelled = False

    def attach(self, engine: Workflow) -> None:
        engine.add_event_handler(Events.STARTED, self.forget)
        engine.add_event_handler(SemiSupervisedEvents.BATCH_MIXING, self.mix)
        engine.add_event_handler(SemiSupervisedEvents.BATCH_UNMIXING, self)

    def forget(self, engine: Workflow) -> None:
        """No box waits to be swapped back when a run starts."""
        self._boxes, self._unmixed = [], {}

    def mix(self, engine: Workflow) -> None:
        """Exchange boxes between the images; nothing is changed in place."""
        output = engine.state.output
        image = output[CommonKeys.IMAGE]
        extra = output.get(Keys.UNLABELLED_IMAGE)
        if extra is not None:
            output[Keys.CLEAN_UNLABELLED] = output.get(Keys.CLEAN_UNLABELLED, extra)
        self._among_labelled = extra is None or training_progress(engine) < self.warmup_fraction
        partner = image if self._among_labelled or extra is None else extra
        size = image.shape[2:]
        self._unmixed = {key: output[key] for key in (CommonKeys.IMAGE, Keys.UNLABELLED_IMAGE) if key in output}
        if partner is image:
            self._boxes = [self._box(size)] * len(image)  # one box, or it could not be given back
            output[CommonKeys.IMAGE] = _take(image, image.roll(1, 0), self._boxes)
        else:
            self._boxes = [self._box(size) for _ in range(min(len(image), len(partner)))]
            output[CommonKeys.IMAGE] = _take(image, partner, self._boxes)
            output[Keys.UNLABELLED_IMAGE] = _take(partner, image, self._boxes)

    def __call__(self, engine: Workflow) -> None:
        """Exchange the same boxes between the logits ``(N, B, K, *S)`` and ``(N, U, K, *S)``."""
        output = engine.state.output
        size = output[CommonKeys.IMAGE].shape[2:]
        output.update(self._unmixed)
        for name, other in [(name, partner) for name in output if (partner := unlabelled_of(name)) is not None]:
            if output[name].shape[3:] != size:
                continue
            mixed = output[name].transpose(0, 1)
            if self._among_labelled:
                output[name] = _take(mixed, mixed.roll(-1, 0), self._boxes).transpose(0, 1)
            else:
                extra = output[other].transpose(0, 1)
                output[name] = _take(mixed, extra, self._boxes).transpose(0, 1)
                output[other] = _take(extra, mixed, self._boxes).transpose(0, 1)

    def _box(self, size: Sequence[int]) -> tuple[slice, ...] | None:
        """A random box of an image of ``size``, or None for no mixing."""
        if self.R.rand() >= self.probability:
            return None
        sides = [max(round(self.share * length), 1) for length in size]
        starts = [self.R.randint(length - side + 1) for length, side in zip(size, sides, strict=True)]
        return tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))


def _take(to: torch.Tensor, source: torch.Tensor, boxes: Sequence[tuple[slice, ...] | None]) -> torch.Tensor:
    """A copy of ``to`` ``(B, ..., *S)`` in which the box of each pair holds what ``source`` has there."""
    result = to.clone()
    for index, box in enumerate(boxes):
        if box is not None:
            place: Any = (index, ..., *box)
            result[place] = source[place]
    return result
