"""Print the Dice of what ``spinefuse segment`` makes of images whose labels are known.

    python docs/how-to/measure_weights.py cases/*/mr.nii.gz --key mr --label label.nii.gz --out measured

The label stands beside the image, on any grid. A prediction that is in ``out`` already is measured, not made again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import ResampleToMatch

from spinefuse_ext.bundle.commands import segment
from spinefuse_ext.dicom import read_volume
from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.metrics import overlap_table


def read_label(path: Path, classes: dict[str, int], prediction: MetaTensor) -> MetaTensor:
    """The label on the grid of the prediction; with ``classes`` every number that it does not name is background."""
    label = read_volume(path)
    voxels = label.as_tensor()
    if classes:
        voxels = torch.zeros_like(voxels)
        for number, index in classes.items():
            voxels[label.as_tensor() == int(number)] = index
    source = MetaTensor(voxels, affine=label.affine)
    placed = ResampleToMatch(mode="nearest", padding_mode="zeros")(source, prediction)
    return MetaTensor(placed, affine=prediction.affine)


def measured(image: Path, options: argparse.Namespace) -> dict[str, float]:
    """Dice by structure; NaN for one that neither has or that the label does not hold."""
    out = options.out / image.parent.name
    if not (out / "prediction.nii.gz").is_file():
        settings = {"image_keys": [options.key], "save_seg": False, **json.loads(options.settings)}
        segment(str(image), str(out), checkpoint=options.checkpoint, **settings)
    prediction = read_volume(out / "prediction.nii.gz")
    label = read_label(image.parent / options.label, json.loads(options.relabel), prediction)
    table = overlap_table(prediction, label)
    held = {name for index, name in STRUCTURES.items() if (label == index).any()}
    return {name: row["dice"] if name in held else float("nan") for name, row in table.items()}


def line(name: str, dice: dict[str, float]) -> str:
    mean = np.nanmean(list(dice.values()))
    return f"{name:20} mean {mean:.3f}  " + "  ".join(f"{key} {value:.3f}" for key, value in dice.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, nargs="+", help="files or DICOM folders")
    parser.add_argument("--key", required=True, help="ct, mr or fused")
    parser.add_argument("--label", required=True, help="name of the file beside each image")
    parser.add_argument("--relabel", default="{}", help='JSON, number in the file: class, such as {"32": 1}')
    parser.add_argument("--settings", default="{}", help='JSON, settings by config id, such as {"keep_spine": false}')
    parser.add_argument("--checkpoint")
    parser.add_argument("--out", type=Path, default=Path("measured"))
    options = parser.parse_args()
    rows = {str(image.parent.name): measured(image, options) for image in options.images}
    for name, dice in rows.items():
        print(line(name, dice))  # noqa: T201 (a script that prints)
    if len(rows) > 1:
        mean = {name: float(np.nanmean([dice[name] for dice in rows.values()])) for name in next(iter(rows.values()))}
        print(line(f"{len(rows)} cases", mean))  # noqa: T201


if __name__ == "__main__":
    main()
