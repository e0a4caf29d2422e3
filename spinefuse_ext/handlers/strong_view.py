"""A harder view of the unlabelled images for the student; the teacher keeps the clean one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.data import set_rnd
from monai.engines import Workflow
from monai.utils import CommonKeys

from spinefuse_ext.channels import held
from spinefuse_ext.engines import SemiSupervisedEvents
from spinefuse_ext.engines.step import plain
from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.validation import ConfigError


class StrongViewHandler:
    """Changes the intensities of the unlabelled images after their clean view was put aside.

    At ``BATCH_READY`` every unlabelled image ``(C, *S)`` goes through ``transform``; the clean ones stay in the output
    as ``clean_unlabelled`` ``(U, C, *S)``, from which a teacher may predict the pseudo-label (weak and strong views:
    FixMatch, Sohn et al., NeurIPS 2020). The transform must not move anything, for the pseudo-label is not moved. A
    channel that is 0 everywhere, an image that is missing, stays so.

    Args:
        transform: of one image, for example ``monai.transforms.Compose`` of random intensity transforms; or, with
            ``batched``, of a dictionary whose ``image`` are all of them, such as ``Compose`` of the intensity
            transforms in ``spinefuse_ext.synthesis``, which takes a fraction of the time.
        batched: which of the two ``transform`` is.

    Raises:
        ConfigError: at the first step, when the transform changes the shape of an image.
    """

    def __init__(self, transform: Callable[[Any], Any], batched: bool = False) -> None:
        self.transform, self.batched = transform, batched

    def set_random_state(self, seed: int) -> None:
        """Seed the transform."""
        set_rnd(self.transform, seed)

    def attach(self, engine: Workflow) -> None:
        engine.add_event_handler(SemiSupervisedEvents.BATCH_READY, self)

    @torch.no_grad()
    def __call__(self, engine: Workflow) -> None:
        output = engine.state.output
        clean = output.get(Keys.UNLABELLED_IMAGE)
        if clean is None:
            return
        strong = self._strong(clean)
        if strong.shape != clean.shape:
            raise ConfigError(
                f"Expected a strong view of the size of the image, got {tuple(strong.shape)} for {tuple(clean.shape)}. "
                "Use transforms that change intensities alone."
            )
        output[Keys.CLEAN_UNLABELLED] = output.get(Keys.CLEAN_UNLABELLED, clean)
        output[Keys.UNLABELLED_IMAGE] = strong.to(clean) * held(clean)

    def _strong(self, clean: torch.Tensor) -> torch.Tensor:
        """The images ``(U, C, *S)`` changed, without metadata."""
        if self.batched:
            changed: torch.Tensor = self.transform({CommonKeys.IMAGE: clean})[CommonKeys.IMAGE]
            return changed
        views = [self.transform(image) for image in clean]
        return torch.stack([plain(view) for view in views])
