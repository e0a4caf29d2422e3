"""One hospital of a simulated federation: MONAI's federated client on a folder of cases of its own."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject

from spinefuse_ext.enums import CaseKeys
from spinefuse_ext.federated.averaging import Weights
from spinefuse_ext.runs.configs import check_places, config_files, merged_configs
from spinefuse_ext.runs.overrides import check_overrides
from spinefuse_ext.runs.settings import config_value, typed_settings
from spinefuse_ext.validation import ConfigError, check_exists

#: Settings that a federation gives each site itself.
OWN_SETTINGS = (
    *("bundle_root", "dataset_dir", "ckpt_dir", "output_dir", "checkpoint", "epochs", "validate#handlers"),
    "resume",  # it would put a site's old weights in the place of those it was sent
)


@dataclass(frozen=True)
class FederatedPlan:
    """What every site runs: configs of a bundle, settings by config id, and the epochs of the whole training."""

    bundle: Path
    training_files: tuple[str, ...]
    evaluation_files: tuple[str, ...]
    settings: Mapping[str, Any]
    epochs: int


def plan_federation(
    bundle: Path, epochs: int, *, delta: Sequence[str] = (), overrides: Mapping[str, Any] | None = None
) -> FederatedPlan:
    """Check the settings of a federation; schedules (learning rate, ramps) are laid over all of its ``epochs``.

    Args:
        bundle: folder of the bundle.
        epochs: of each site in all rounds together.
        delta: config files on top of ``train.json``, of the bundle or of one's own.
        overrides: settings by config id, the same for all sites.

    Raises:
        MissingPathError: a config that is not there.
        ConfigError: a setting that no config has a place for or that a federation sets itself, or a fusion training
            whose first stage would fill all epochs.
    """
    given = dict(overrides or {})
    taken_over = next((name for name in given if name in OWN_SETTINGS), None)
    if taken_over:
        raise ConfigError(f"A federation sets {taken_over} itself; leave --{taken_over} out.")
    training = config_files(bundle, ["train.json", *delta])
    evaluation = config_files(bundle, ["train.json", *delta, "evaluate.json"])
    given = typed_settings(merged_configs(training), given)
    parser = check_places(training, {"bundle_root": str(bundle), **given})
    check_overrides(parser.get(), bundle / "configs")
    first_stage = parser.get("stage1_epochs", 0)
    if isinstance(first_stage, int) and first_stage >= epochs:
        raise ConfigError(
            f"stage1_epochs is {first_stage}, so {epochs} epochs in all rounds together leave none to learn fusion; "
            "lower --stage1_epochs, or give more rounds."
        )
    settings = {"bundle_root": str(bundle), "datalist": parser["datalist"], "epochs": epochs, **given}
    if str(parser["train#trainer#_target_"]).endswith("SemiSupervisedTrainer"):
        settings["train#trainer#planned_epochs"] = epochs  # the client sets max_epochs to those of a round
    return FederatedPlan(bundle, tuple(training), tuple(evaluation), settings, epochs)


class FederatedSite:
    """A hospital with its own cases, network, optimiser and schedule; only weights go in and out.

    The network starts from the seed of the configs, so that it is the same at every site. What the optimiser remembers
    stays at the site from round to round.

    Args:
        name: of the site.
        dataset_dir: its folder of cases with a ``datalist.json``.
        out: folder for what the bundle writes while it trains, ``models`` and ``eval``.
        plan: what every site runs.
        epochs: of one call of ``train``.
        evaluates: whether ``evaluate`` is needed too.

    Raises:
        ConfigError: a setting that no config defines.
        MissingPathError: the folder has no datalist.
        DatalistError: a datalist that cannot be used, or a section without a case.
    """

    def __init__(
        self, name: str, dataset_dir: Path, out: Path, plan: FederatedPlan, epochs: int, *, evaluates: bool = True
    ) -> None:
        self.name = name
        check_exists(dataset_dir / plan.settings["datalist"], f"The datalist of site {name}")
        places = {"dataset_dir": str(dataset_dir), "ckpt_dir": str(out / "models"), "output_dir": str(out / "eval")}
        settings = config_value({**plan.settings, **places})
        self._client = MonaiAlgo(
            str(plan.bundle),
            local_epochs=epochs,
            send_weight_diff=False,
            config_train_filename=list(plan.training_files),
            train_kwargs=deepcopy(settings),
            config_evaluate_filename=list(plan.evaluation_files) if evaluates else None,
            # scores go to the table of the federation, and weights come from it
            eval_kwargs={**deepcopy(settings), "validate#handlers": [], "checkpoint": None},
        )
        with _quiet(logging.WARNING):  # the workflows warn that they leave logging alone, which is what is wanted
            self._client.initialize(extra={ExtraItems.CLIENT_NAME: name, ExtraItems.APP_ROOT: ""})
        with _quiet():
            self.cases = len(set(self._training_cases()))
            self.validation_cases = len(self._evaluation("validate#dataset#data")) if evaluates else 0

    @property
    def key_metric(self) -> str:
        """Name of the metric by which the bundle chooses weights; higher is better."""
        return str(self._client.evaluator.state.key_metric_name)  # type: ignore[union-attr]

    def weights(self) -> Weights:
        """A copy of the site's present weights and buffers, on the CPU, under the names of the plain network."""
        with _quiet():
            state: Mapping[str, Any] = self._client.get_weights(extra={}).weights
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def train(self, weights: Weights) -> Weights:
        """Go on from ``weights`` for the epochs of one call; returns the site's new ones."""
        with _quiet():
            self._client.train(ExchangeObject(weights=_copied(weights)), extra={})
        return self.weights()

    def evaluate(self, weights: Weights) -> dict[str, float]:
        """Every metric of ``evaluate.json``, mean over the site's validation cases, with ``weights``."""
        with _quiet():
            found = self._client.evaluate(ExchangeObject(weights=_copied(weights)), extra={})
        return {name: float(value) for name, value in (found.metrics or {}).items()}

    def close(self) -> None:
        """End the site's engines."""
        with _quiet():
            self._client.finalize(extra={})

    def _training_cases(self) -> Iterator[tuple[str, ...]]:
        """The images of each case that the training reads; a case comes as often as it is cropped in an epoch."""
        parser = self._client.train_workflow.parser  # type: ignore[union-attr]
        streams = ["train#dataset#data"]
        if "train#unlabelled_dataset#data" in parser and parser.get_parsed_content("use_unlabelled"):
            streams.append("train#unlabelled_dataset#data")
        for stream in streams:
            for item in parser.get_parsed_content(stream):
                yield tuple(str(item[key]) for key in sorted(item) if key not in (CaseKeys.LABEL, CaseKeys.HALF))

    def _evaluation(self, name: str) -> Any:
        return self._client.eval_workflow.parser.get_parsed_content(name)  # type: ignore[union-attr]


def _copied(weights: Weights) -> Weights:
    return {name: tensor.clone() for name, tensor in weights.items()}


@contextmanager
def _quiet(level: int = logging.INFO) -> Iterator[None]:
    """Silence what the client logs up to a level, of every call and step, and its Python warnings.

    The client's warning that a bundle runs code is for bundles that a server sends; here it is the user's own.
    """
    before = logging.root.manager.disable
    logging.disable(level)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
