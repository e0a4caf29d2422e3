"""Score the blend, the selection and the rules on phantoms that they have not seen: how far apart are tissues?

Prints a table in Markdown. ``python docs/how-to/phantom_scores.py any``, where ``any`` is what
``any_contrast_cases.py`` made; of its sagittal phantoms the 41st to the 44th are scored.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import nn

from spinefuse_ext.metrics import bone_order, false_edges, tissue_separability, visibility, worst_and_mean
from spinefuse_ext.networks import (
    BlendFusionNet,
    LaplacianPyramidFusion,
    MaxFusion,
    MeanFusion,
    SelectionFusionNet,
    WaveletFusion,
)
from spinefuse_ext.verbs.commands import find_bundle

CLASSES = {1: "vertebra", 2: "disc", 3: "canal"}
BONE_LEVEL = (150 + 200) / 1200
EDGE_SLICES = 4  # without spine


def read(case: Path, every: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs ``(N, 2, H, W)`` in [0, 1] and labels ``(N, 1, H, W)`` of one sagittal slice of ``every``."""
    ct, mr, label = (
        np.asarray(nib.load(case / f"{key}.nii").dataobj)[EDGE_SLICES:-EDGE_SLICES:every]
        for key in ("ct", "mr", "label")
    )
    pair = np.stack((((ct + 200) / 1200).clip(0, 1), mr / 255), axis=1)
    return torch.from_numpy(pair).float(), torch.from_numpy(label)[:, None].long()


def scores(network: nn.Module, pair: torch.Tensor, label: torch.Tensor) -> list[float]:
    """Visibility, false edges, bone order, separability of the worst two tissues and its mean."""
    with torch.inference_mode():
        fused = network(pair)
    apart = worst_and_mean(tissue_separability(fused, label, CLASSES))
    others = visibility(fused, pair), false_edges(fused, pair), bone_order(fused, pair, bone_level=BONE_LEVEL)
    return [score.nanmean().item() for score in (*others, *apart)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--every", type=int, default=1, help="one slice of so many")
    options = parser.parse_args()
    sagittal = [case for case in sorted(options.cases.glob("phantom_*")) if not case.name.endswith("_axial")]
    cases = [read(case, options.every) for case in sagittal[40:44]]
    models = find_bundle("fusion") / "models"
    methods = {"max": MaxFusion(), "mean": MeanFusion(), "laplacian": LaplacianPyramidFusion()}
    methods |= {"wavelet": WaveletFusion(), "blend": BlendFusionNet(weights=models / "blend.pt").eval()}
    methods["selection"] = SelectionFusionNet(weights=models / "selection.pt").eval()
    sys.stdout.write(
        "| method | vis | false | order | worst two tissues | tissues, mean |\n|---|---|---|---|---|---|\n"
    )
    for name, network in methods.items():
        means = np.mean([scores(network, *case) for case in cases], axis=0)
        sys.stdout.write(f"| `{name}` | {' | '.join(f'{value:.3f}' for value in means)} |\n")


if __name__ == "__main__":
    main()
