"""Errors of the registration models on phantoms in two postures: the table of docs/how-to/register-a-pair.md."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import fire
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from spinefuse_ext.data.phantom.points import PointPair, click, landmark_points, target_points
from spinefuse_ext.data.phantom.posture import Motion, move, stand
from spinefuse_ext.data.phantom.spine import draw_spine
from spinefuse_ext.registration import fit_landmarks
from spinefuse_ext.registration.models import Model

FIELD_MM = (128.0, 128.0, 128.0)
Errors = NDArray[np.float64]


def points_of(seed: int, per_vertebra: int | None) -> tuple[PointPair, PointPair]:
    """Landmarks as clicked, and targets without error, of ``make_phantom(seed)``, without drawing its images."""
    traits, _, posing, _, _, hand = np.random.default_rng(seed).spawn(6)
    spine = draw_spine(traits, levels=None, degeneration=None)
    way = Motion(spine, stand(spine), move(spine, posing))
    meant = landmark_points(way, FIELD_MM, per_vertebra)
    return click(meant, hand), target_points(way, FIELD_MM, meant)


def errors_of(model: str, seeds: Iterable[int], per_vertebra: int | None) -> list[Errors]:
    """Target registration errors in mm, an array ``(N,)`` per phantom."""
    errors = []
    for seed in seeds:
        clicked, targets = points_of(seed, per_vertebra)
        fit = fit_landmarks(clicked.ct, clicked.mr, model)
        errors.append(np.linalg.norm(fit.mapping(targets.ct.points_mm) - targets.mr.points_mm, axis=1))
    return errors


def main(first: int = 0, last: int = 19) -> None:
    """Print median and 95th percentile over all targets, and in how many phantoms the rigid fit is the better one."""
    seeds = range(first, last + 1)
    sys.stdout.write("landmarks   model          median  95 %   rigid better in (by median; by root mean square)\n")
    for per_vertebra in tqdm((None, 3, 4, 7), desc="Landmarks per vertebra", file=sys.stderr):
        errors = {str(model): errors_of(str(model), seeds, per_vertebra) for model in Model}
        rigid = errors[str(Model.RIGID)]
        for model, each in errors.items():
            medians = sum(np.median(a) < np.median(b) for a, b in zip(rigid, each, strict=True))
            squares = sum(np.square(a).mean() < np.square(b).mean() for a, b in zip(rigid, each, strict=True))
            every = np.concatenate(each)
            wanted = "8 in all" if per_vertebra is None else f"{per_vertebra} a bone"
            sys.stdout.write(
                f"{wanted:<11} {model:<13} {np.median(every):7.2f} {np.percentile(every, 95):6.2f}   "
                f"{medians} and {squares} of {len(seeds)}\n"
            )


if __name__ == "__main__":
    fire.Fire(main)
