"""Make the cases that the weights of both bundles were trained on: phantoms, and, where given, images of free licence.

    python docs/how-to/weights_cases.py cases --workers 8 --real real

``cases`` gets ``case_500`` to ``case_539`` with CT, MR on the CT grid and label, and the datalist of the fusion.
``real`` holds a folder for each real image with ``fused.nii.gz``, values in [0, 1], and ``label.nii.gz`` where it is
labelled; with it comes ``semiseg.json``, the datalist of the segmentation, once the phantoms are fused.
"""

from __future__ import annotations

import argparse
import json
import shutil
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import ResampleToMatch
from tqdm import tqdm

from spinefuse_ext.data import make_phantom
from spinefuse_ext.registration import fit_landmarks

FIRST, COUNT, HELD_OUT = 500, 40, 4  # the last are for validation and for the test, so many each
SIZES_MM = [(80.0, 128.0, 176.0), (80.0, 176.0, 208.0), (96.0, 208.0, 240.0), (80.0, 144.0, 240.0)]
SPACINGS_MM, MOTIONS = (1.0, 1.25, 1.0), (0.2, 0.5, 0.8)
STYLES = ("standard", "noisy", "standard", "dark", "bright")


def make_case(seed: int, out: Path, smaller: float = 1.0) -> None:
    """One phantom, its MR registered rigidly by its eight clicked landmarks."""
    torch.set_num_threads(1)
    phantom = make_phantom(
        seed,
        size_mm=[length / smaller for length in SIZES_MM[seed % 4]],
        spacing_mm=SPACINGS_MM[seed % 3],
        motion=MOTIONS[seed % 3],
        style=STYLES[seed % 5],
    )
    way = torch.as_tensor(fit_landmarks(phantom.clicked.ct, phantom.clicked.mr).matrix)
    moved = MetaTensor(phantom.mr.as_tensor(), affine=torch.linalg.inv(way) @ phantom.mr.affine.double())
    mr = ResampleToMatch(mode="bilinear", padding_mode="zeros")(moved, phantom.ct)
    folder = out / f"case_{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, image, kind in (("ct", phantom.ct, np.int16), ("mr", mr, np.int16), ("label", phantom.label, np.uint8)):
        voxels = np.asarray(image[0]).round().astype(kind)
        nib.save(nib.Nifti1Image(voxels, np.asarray(phantom.ct.affine)), folder / f"{name}.nii")


def pair(seed: int) -> dict[str, Any]:
    files = {key: f"case_{seed}/{key}.nii" for key in ("ct", "mr", "label")}
    return {"patient": f"PHANTOM-{seed}", **files}


def fused(seed: int, labelled: bool = True) -> dict[str, Any]:
    item = {"patient": f"PHANTOM-{seed}", "fused": f"case_{seed}/fused.nii.gz"}
    return item | {"label": f"case_{seed}/label.nii"} if labelled else item


def write_datalists(out: Path, seeds: list[int], real: Path | None) -> None:
    training, validation, test = seeds[: -2 * HELD_OUT], seeds[-2 * HELD_OUT : -HELD_OUT], seeds[-HELD_OUT:]
    sections: dict[str, Any] = {"labelled": [], "unlabelled": training, "validation": validation, "test": test}
    pairs = {section: [pair(seed) for seed in of] for section, of in sections.items()}
    (out / "datalist.json").write_text(json.dumps(pairs, indent=1))
    unlabelled = training[::4]
    lists = {
        "labelled": [fused(seed) for seed in training if seed not in unlabelled],
        "unlabelled": [fused(seed, labelled=False) for seed in unlabelled],
        "validation": [fused(seed) for seed in validation],
        "test": [fused(seed) for seed in test],
    }
    for folder in sorted(real.iterdir()) if real else []:
        shutil.copytree(folder, out / folder.name, dirs_exist_ok=True)
        item = {"patient": folder.name, "fused": f"{folder.name}/fused.nii.gz"}
        if (folder / "label.nii.gz").is_file():
            lists["labelled"].append(item | {"label": f"{folder.name}/label.nii.gz"})
        else:
            lists["unlabelled"].append(item)
    (out / "semiseg.json").write_text(json.dumps(lists, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--count", type=int, default=COUNT, help="phantoms, 9 or more")
    parser.add_argument("--smaller", type=float, default=1.0, help="divides the field of view; for a try")
    options = parser.parse_args()
    seeds = list(range(FIRST, FIRST + options.count))
    with Pool(options.workers) as pool:
        make = partial(make_case, out=options.out, smaller=options.smaller)
        for _ in tqdm(pool.imap_unordered(make, seeds), total=len(seeds), desc="phantom cases", unit="case"):
            pass
    write_datalists(options.out, seeds, options.real)


if __name__ == "__main__":
    main()
