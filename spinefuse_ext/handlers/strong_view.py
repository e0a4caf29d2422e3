"""A harder view of the unlabelled images for the student; the teacher keeps the clean one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.data import MetaTensor, set_rnd
from monai.engines import Workflow

from spinefuse_ext.engines import SemiSupervisedEvents
from spinefuse_ext.enums import SemiSegKeys as Keys


class StrongViewHandler:
    """Changes the intensities of the unlabelled images after their clean view was put aside.

    At ``BATCH_READY`` every unlabelled image ``(C, *S)`` goes through ``transform``; the clean ones stay in the output
    as ``clean_unlabelled`` ``(U, C, *S)``, from which a teacher may predict the pseudo-label (weak and strong views:
    FixMatch, Sohn et al., NeurIPS 2020). The transform must not move anything, for the pseudo-label is not moved.

    Args:
        transform: of one image, for example ``monai.transforms.Compose`` of random intensity transforms.

    Raises:
        ValueError: at the first step, when the transform changes the shape of an image.
    """

    def __init__(self, transform: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.transform = transform

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
        views = [self.transform(image) for image in clean]
        strong = torch.stack([view.as_tensor() if isinstance(view, MetaTensor) else view for view in views])
        if strong.shape != clean.shape:
            raise ValueError(
                f"Expected a strong view of the size of the image, got {tuple(strong.shape)} for {tuple(clean.shape)}. "
                "Use transforms that change intensities alone."
            )
        output[Keys.CLEAN_UNLABELLED] = output.get(Keys.CLEAN_UNLABELLED, clean)
        output[Keys.UNLABELLED_IMAGE] = strong.to(clean)
