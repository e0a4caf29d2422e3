"""``spinefuse federate``: several hospitals train one network together, all simulated in this process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spinefuse_ext.enums import FederatedModel
from spinefuse_ext.federated.averaging import Weights, average_weights
from spinefuse_ext.federated.scores import POOLED, FederatedScores, score_at
from spinefuse_ext.federated.site import FederatedPlan, FederatedSite, plan_federation
from spinefuse_ext.files import atomic_write, check_output_folder
from spinefuse_ext.formats import data_paths
from spinefuse_ext.handlers.checkpoints import save_whole
from spinefuse_ext.validation import ConfigError, check_exists
from spinefuse_ext.verbs.paths import find_bundle

Folders = dict[str, Path]


def federate(  # noqa: PLR0913 (the options of the verb, all keyword-only but three)
    task: str,
    sites: str | Sequence[str],
    out: str,
    *,
    rounds: int = 10,
    epochs_per_round: int = 1,
    alone: bool = True,
    delta: str | Sequence[str] = (),
    bundle: str | None = None,
    **overrides: Any,
) -> None:
    """Train across hospitals, simulated: ``spinefuse federate fusion|semiseg --sites A,B,C --out RUN --rounds R``.

    In each round every site trains on its own cases, from the same weights; their mean, by number of training cases,
    is what the next round starts from (FedAvg; McMahan et al., AISTATS 2017). Then each site trains alone for as many
    epochs, and a sentence tells whether the federation beat the mean of the sites alone on all validation cases.

    ``RUN/scores.csv`` tells how the average and every site's weights do at every site; it and
    ``RUN/models/round_NN.pt`` are written after each round, ``RUN/models/model_final.pt`` at the end,
    ``RUN/verdict.txt`` with the sentence.

    Args:
        task: ``fusion`` or ``semiseg``.
        sites: folders of cases, each with its ``datalist.json``, with commas between them; 2 or more.
        out: folder to write, new or empty.
        rounds: how often weights are exchanged.
        epochs_per_round: epochs that each site trains in a round.
        alone: also train each site alone, to compare.
        delta: further config files, on top of ``train.json``.
        bundle: bundle folder.
        overrides: settings by config id, the same for all sites.

    Raises:
        MissingPathError: a site's folder, or a config, is not there.
        ConfigError: an unknown task or setting, fewer than 2 sites, two of one name, or ``out`` is in use.
        DatalistError: a site lacks cases.
    """
    for name, number in (("rounds", rounds), ("epochs_per_round", epochs_per_round)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ConfigError(f"--{name} must be a whole number from 1, got {number}.")
    folders, place = _site_folders(sites), _empty(Path(out).absolute())
    deltas = [delta] if isinstance(delta, str) else list(delta)
    plan = plan_federation(find_bundle(task, bundle), rounds * epochs_per_round, delta=deltas, overrides=overrides)
    hospitals = [
        FederatedSite(name, folder, place / "sites" / name, plan, epochs_per_round) for name, folder in folders.items()
    ]
    _tell(", ".join(f"{site.name}: {site.cases} training, {site.validation_cases} validation" for site in hospitals))
    scores = FederatedScores({site.name: site.validation_cases for site in hospitals}, hospitals[0].key_metric)
    start = hospitals[0].weights()
    _train_together(hospitals, start, scores, place, rounds)
    if alone:
        _train_alone(hospitals, folders, start, scores, plan, place, rounds)
    for site in hospitals:
        site.close()
    verdict = scores.verdict(rounds)
    with atomic_write(place / "verdict.txt") as path:
        path.write_text(verdict + "\n", encoding="utf-8")
    _tell(verdict)


def _train_together(
    hospitals: Sequence[FederatedSite], weights: Weights, scores: FederatedScores, out: Path, rounds: int
) -> None:
    """All rounds; after each the average and the table are on the disk."""
    names = [site.name for site in hospitals]
    for number in range(1, rounds + 1):
        local = {site.name: site.train(weights) for site in hospitals}
        weights = average_weights(local, {site.name: site.cases for site in hospitals})
        save_whole(weights, out / "models" / f"round_{number:02d}.pt")
        for name, state in local.items():
            scores.add(number, FederatedModel.LOCAL, name, _evaluated(hospitals, state))
        found = _evaluated(hospitals, weights)
        scores.add(number, FederatedModel.GLOBAL, POOLED, found)
        scores.write(out / "scores.csv")
        pooled = scores.pooled(FederatedModel.GLOBAL, number)[POOLED]
        told = score_at(scores.key_metric, found, names)
        _tell(f"round {number} of {rounds}: {scores.key_metric} of the average {pooled:.3f} ({told})")
    save_whole(weights, out / "models" / "model_final.pt")


def _train_alone(
    hospitals: Sequence[FederatedSite],
    folders: Folders,
    start: Weights,
    scores: FederatedScores,
    plan: FederatedPlan,
    out: Path,
    rounds: int,
) -> None:
    """Each site from the same start, for the epochs of all rounds, with its own cases only."""
    for name, folder in folders.items():
        site = FederatedSite(name, folder, out / "alone" / name, plan, plan.epochs, evaluates=False)
        found = _evaluated(hospitals, site.train(start))
        site.close()
        scores.add(rounds, FederatedModel.ALONE, name, found)
        scores.write(out / "scores.csv")
        pooled = scores.pooled(FederatedModel.ALONE, rounds)[name]
        _tell(f"{name} alone: {scores.key_metric} {pooled:.3f} ({score_at(scores.key_metric, found, list(folders))})")


def _evaluated(hospitals: Sequence[FederatedSite], weights: Weights) -> dict[str, dict[str, float]]:
    return {site.name: site.evaluate(weights) for site in hospitals}


def _site_folders(sites: str | Sequence[str]) -> Folders:
    """Folder of each site by its name, which is that of the folder."""
    listed = sites.split(",") if isinstance(sites, str) else sites
    folders = [check_exists(str(site).strip(), "The folder of a site").absolute() for site in listed if str(site)]
    names = [folder.name for folder in folders]
    if len(names) < 2 or len(set(names)) < len(names) or POOLED in names:
        raise ConfigError(
            f"A federation needs 2 sites or more, each a folder of another name (not {POOLED}), got "
            f"{', '.join(names) or 'none'}; give --sites A,B,C."
        )
    return dict(zip(names, folders, strict=True))


def _empty(folder: Path) -> Path:
    if folder.is_file() or (folder.is_dir() and any(data_paths(folder.iterdir()))):
        raise ConfigError(f"{folder} is in use; name a new folder with --out.")
    return check_output_folder(folder)


def _tell(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()
