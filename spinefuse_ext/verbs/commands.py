"""The verbs that run a bundle; each prints its command, so that a user of ``spinefuse`` learns the config way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spinefuse_ext.files import check_output_folder
from spinefuse_ext.runs.command import bundle_command
from spinefuse_ext.runs.configs import check_places, config_files
from spinefuse_ext.runs.run import BundleRun, run_bundle
from spinefuse_ext.verbs.outputs import SCORED, replaced
from spinefuse_ext.verbs.paths import BUNDLES, absolute, existing, find_bundle, installed_bundles, listed
from spinefuse_ext.verbs.register import register
from spinefuse_ext.verbs.results import tell_scores, tell_weights
from spinefuse_ext.verbs.single_case import fuse, segment

__all__ = [
    "BUNDLES",
    "bundle_command",
    "check_places",
    "config_files",
    "evaluate",
    "find_bundle",
    "fuse",
    "installed_bundles",
    "listed",
    "register",
    "run_bundle",
    "segment",
    "train",
]


def train(
    task: str,
    dataset_dir: str,
    out: str,
    *,
    delta: str | Sequence[str] = (),
    bundle: str | None = None,
    **overrides: Any,
) -> None:
    """Train a network: ``spinefuse train fusion|semiseg --dataset_dir DIR --out RUN``.

    Weights go to ``RUN/models``, curves to ``RUN/eval``.

    Args:
        task: ``fusion`` or ``semiseg``.
        dataset_dir: folder of cases with its ``datalist.json``.
        out: folder of the training.
        delta: config files on top of ``train.json``, of the bundle or of one's own.
        bundle: folder of the bundle.
        overrides: settings by config id, such as ``--epochs 2 --canvas "[128,128]"``.
    """
    check_output_folder(absolute(out))
    places = {name: str(check_output_folder(absolute(out, name))) for name in ("models", "eval")}
    paths = {"dataset_dir": absolute(dataset_dir), "ckpt_dir": places["models"], "output_dir": places["eval"]}
    BundleRun(find_bundle(task, bundle), ["train.json", *listed(delta)], paths, overrides).start()
    tell_weights(absolute(out))


def evaluate(
    task: str,
    dataset_dir: str,
    out: str,
    checkpoint: str,
    *,
    delta: str | Sequence[str] = (),
    bundle: str | None = None,
    **overrides: Any,
) -> None:
    """Score a checkpoint on the validation cases: ``spinefuse evaluate fusion|semiseg ...``; tables go to ``OUT``.

    Args:
        task: ``fusion`` or ``semiseg``.
        dataset_dir: folder of cases with its ``datalist.json``.
        out: folder for the tables.
        checkpoint: weights of the same network.
        delta: config files that the checkpoint was trained with on top of ``train.json``.
        bundle: folder of the bundle.
        overrides: settings by config id; whatever changed the network in training must be repeated.
    """
    paths = {"dataset_dir": absolute(dataset_dir), "checkpoint": existing(checkpoint, "The checkpoint")}
    paths["output_dir"] = str(check_output_folder(absolute(out)))
    run = BundleRun(find_bundle(task, bundle), ["train.json", *listed(delta), "evaluate.json"], paths, overrides)
    with replaced(run.settings["output_dir"], SCORED):
        run.start()
    tell_scores(run.settings["output_dir"])
