"""Score fusion methods on registered pairs of 2-D images: a recovery fitted on some patients, all scores on others.

Prints a table in Markdown. ``python docs/how-to/reader_scores.py PAIRS --test 37,41``, where ``PAIRS/CT`` and
``PAIRS/MRI`` hold images of one name, 8 bit grey, of which the last three signs are the slice and the
others the patient.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from skimage.io import imread

from spinefuse_ext.metrics import FUSION_SCORES, READER_SCORES, SourceRecovery, bone_order, recovery_scores
from spinefuse_ext.networks import keep_freed_memory
from spinefuse_ext.report.fusion_section import SHORT_NAMES
from spinefuse_ext.runs.configs import bundle_config
from spinefuse_ext.verbs.commands import find_bundle

PUBLISHED = (
    "entropy",
    "mutual_information",
    "visual_information_fidelity",
    "edge_preservation",
    "structural_similarity",
)


def read_pairs(folder: Path, every: int) -> dict[str, torch.Tensor]:
    """Pairs ``(N, 2, H, W)`` of whole levels, by patient; of each patient one slice of ``every``."""
    files: dict[str, list[Path]] = {}
    for file in sorted((folder / "CT").iterdir()):
        files.setdefault(file.stem[:-3], []).append(file)
    read = {
        patient: [[imread(folder / part / file.name, as_gray=False) for part in ("CT", "MRI")] for file in of[::every]]
        for patient, of in files.items()
    }
    return {patient: torch.from_numpy(np.array(slices)).float() for patient, slices in read.items()}


def network_of(method: str) -> torch.nn.Module:
    """The method's network as the fusion bundle makes it; ``shipped`` and what ``models`` has weights for with them."""
    bundle = find_bundle("fusion")
    files = ("inference.json",) if method == "shipped" else ("inference.json", f"{method}.json")
    parser = ConfigParser(bundle_config(bundle, files))
    if method in ("blend", "selection"):
        parser["checkpoint"] = str(bundle / "models" / f"{method}.pt")
    network: torch.nn.Module = parser.get_parsed_content("network")
    return network.eval()


def fuse(network: torch.nn.Module, pairs: torch.Tensor) -> torch.Tensor:
    """Fused images ``(N, 1, H, W)`` of whole levels."""
    with torch.inference_mode():
        return torch.cat([(network(pair / 255).clamp(0, 1) * 255).round() for pair in pairs.split(1)]).clone()


def scores_of(method: str, train: list[torch.Tensor], test: torch.Tensor, bone_level: float) -> dict[str, float]:
    """Mean of every score over the test pairs."""
    network, recovery = network_of(method), SourceRecovery()
    for pairs in train:
        recovery.fit(fuse(network, pairs), pairs, 255)
    fused = fuse(network, test)
    named = {**recovery_scores(recovery), **READER_SCORES, **{name: FUSION_SCORES[name] for name in PUBLISHED}}
    named["bone_order"] = partial(bone_order, bone_level=bone_level)
    scores = {
        name: torch.cat([score(*one, data_range=255) for one in zip(fused.split(1), test.split(1), strict=True)])
        for name, score in named.items()
    }
    away = (fused - test.amax(1, keepdim=True)).abs()[test.amax(1, keepdim=True) > 0.05 * 255].mean()
    return {SHORT_NAMES[name]: float(values.nanmean()) for name, values in scores.items()} | {"off max": float(away)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--test", required=True, help="patients that are scored, with commas; the others are fitted to")
    parser.add_argument("--methods", default="max,mean,laplacian,wavelet,guided,ct,mr,shipped")
    parser.add_argument("--every", type=int, default=1, help="one slice of so many of each patient")
    parser.add_argument("--bone_level", type=float, default=0.59, help="part of the range of CT where bone begins")
    options = parser.parse_args()
    keep_freed_memory()
    tested = options.test.split(",")
    pairs = read_pairs(options.pairs, options.every)
    test = torch.cat([pairs[patient] for patient in tested])
    train = [slices for patient, slices in pairs.items() if patient not in tested]
    told = f"{len(test)} slices of {len(tested)} patients, recovery fitted to {sum(map(len, train))} of {len(train)}"
    sys.stdout.write(f"{told}\n")
    for place, method in enumerate(options.methods.split(",")):
        scores = scores_of(method, train, test, options.bone_level)
        if not place:
            sys.stdout.write(f"| method | {' | '.join(scores)} |\n|{'---|' * (len(scores) + 1)}\n")
        sys.stdout.write(f"| `{method}` | {' | '.join(f'{value:.3f}' for value in scores.values())} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
