"""Which image of a pair the shipped segmentation should see: the CT, the MR, the fused image, or both one by one.

    python docs/how-to/pair_inputs.py out --cases 6

Makes phantoms in two postures, registers the MR of each by eight landmarks, labels it by ``spinefuse segment`` with the
shipped weights in each way, and prints the mean Dice against the labels on the grid of the CT. ``both 3:1`` are CT and
MR one by one, the CT counting three times as much.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.metrics import compute_dice
from monai.networks import one_hot

from spinefuse_ext.data import write_phantoms
from spinefuse_ext.registration import register_case
from spinefuse_ext.verbs.commands import segment

IMAGE_WEIGHTS = ([1, 1], [3, 1])
STRUCTURES = ("vertebra", "disc", "canal", "sacrum")
FIRST_SEED, FIELD_MM = 20000, (120.0, 160.0, 220.0)


def read(file: Path) -> torch.Tensor:
    return torch.as_tensor(np.asarray(nib.load(file).dataobj).astype(np.int64))[None, None]


def dice(prediction: Path, truth: Path) -> np.ndarray:
    count = len(STRUCTURES) + 1
    guess, label = (one_hot(read(file), count) for file in (prediction, truth))
    scores: np.ndarray = compute_dice(guess, label, include_background=False)[0].numpy()
    return scores


def scores_of(case: Path, out: Path) -> dict[str, np.ndarray]:
    pair = {name: str(case / f"{name}.nii.gz") for name in ("ct", "mr")}
    landmarks = {"ct_landmarks": str(case / "ct_landmarks.mrk.json"), "mr_landmarks": str(case / "mr_landmarks.fcsv")}
    register_case(**pair, **landmarks, out=str(out / "registered"))
    segment(image=pair["ct"], out=str(out / "ct"))
    segment(image=str(out / "registered" / "mr.nii.gz"), out=str(out / "mr"))
    segment(**pair, **landmarks, out=str(out / "fused"), fused=True)
    both = {f"both {ct}:{mr}": [ct, mr] for ct, mr in IMAGE_WEIGHTS}
    for name, weights in both.items():
        segment(**pair, **landmarks, out=str(out / name), image_weights=weights)
    found = {name: next((out / name).rglob("prediction.nii.gz")) for name in ("ct", "mr", "fused", *both)}
    return {name: dice(file, case / "label.nii.gz") for name, file in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--first_seed", type=int, default=FIRST_SEED)
    options = parser.parse_args()
    folder = options.out / "phantoms"
    write_phantoms(
        str(folder), cases=options.cases, seed=options.first_seed, size_mm=FIELD_MM, spacing_mm=1.25, dicom=False
    )
    rows: dict[str, list[np.ndarray]] = {}
    for case in sorted(folder.glob("case_*")):
        for name, scores in scores_of(case, options.out / case.name).items():
            rows.setdefault(name, []).append(scores)
    lines = ["| image | " + " | ".join(STRUCTURES) + " | mean |", "|---|" + "---|" * (len(STRUCTURES) + 1)]
    for name, scores in rows.items():
        means = np.nanmean(scores, axis=0)
        lines.append(f"| `{name}` | " + " | ".join(f"{mean:.3f}" for mean in (*means, np.nanmean(means))) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
