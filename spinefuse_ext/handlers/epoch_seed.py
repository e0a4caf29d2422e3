"""Every epoch begins from a random state that its number decides, so that a training can go on as if never cut off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Events
from ignite.utils import manual_seed
from monai.data import set_rnd
from monai.engines import Workflow

from spinefuse_ext.validation import check_number


class EpochSeedHandler:
    """At the start of each epoch seeds all that is random by seed, epoch and rank, and starts both streams anew.

    Seeded are Python, NumPy, PyTorch (all devices), the transforms of the datasets and of ``prepare_batch``, and those
    of ``handlers`` that have ``set_random_state``. Then an epoch depends on nothing but the weights it begins with: a
    resumed training sees what an uninterrupted one saw. Both streams are read from their start in each epoch, so a
    loader that delivers more than an epoch takes must shuffle. Workers of a loader must end with the epoch
    (``persistent_workers`` false), for only those that an epoch starts are seeded by it.

    Attach it to a trainer, before handlers that draw at the start of an epoch.

    Args:
        seed: of the training, 0 or greater.
        handlers: of the method, for example one that changes or mixes images; each draws the same wherever it stands.

    Raises:
        ConfigError: a seed that is no whole number of at least 0.
    """

    def __init__(self, seed: int = 0, handlers: Iterable[Any] = ()) -> None:
        self.seed = check_number("seed", seed, least=0, whole=True)
        random = [handler for handler in handlers if hasattr(handler, "set_random_state")]
        self._random = sorted(random, key=lambda handler: type(handler).__name__)

    def attach(self, engine: Workflow) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Workflow) -> None:
        words = (self.seed, engine.state.epoch, idist.get_rank())
        drawn = int(np.random.SeedSequence(words).generate_state(1)[0])
        manual_seed(drawn)
        for handler in self._random:
            drawn += 1
            handler.set_random_state(seed=drawn % 2**32)
        drawn = set_rnd(engine.prepare_batch, seed=drawn + 1)
        for loader in (engine.data_loader, getattr(engine, "unlabelled_data_loader", None)):
            drawn = set_rnd(getattr(loader, "dataset", None), seed=drawn + 1)
            sampler: Any = getattr(loader, "sampler", None)
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(engine.state.epoch)
        engine.set_data(engine.data_loader)
        if hasattr(engine, "restart_unlabelled"):
            engine.restart_unlabelled()
