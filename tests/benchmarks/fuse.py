"""CPU seconds and memory of ``spinefuse fuse``, from reading to writing, in this checkout and in others beside it."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import torch
from monai.transforms import Resize
from numpy.typing import NDArray

HERE = Path(__file__).parents[2]
MEASURED = """
import json, os, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20, done.stderr[-2000:]]))
"""
Voxels = NDArray[np.float32]


class Pair(NamedTuple):
    """Voxels of a CT and an MR, and the size of a voxel of each in mm; both lie around the same centre."""

    ct: Voxels
    ct_mm: tuple[float, float, float]
    mr: Voxels
    mr_mm: tuple[float, float, float]


def phantom() -> Pair:
    """A phantom of 128 x 128 x 128 voxels of 1 mm whose MR lies on the grid of the CT."""
    from spinefuse_ext.data import make_phantom

    made = make_phantom(0)
    ct, mr = (np.asarray(image)[0].astype(np.float32) for image in (made.ct, made.mr_aligned))
    return Pair(ct, (1, 1, 1), mr, (1, 1, 1))


def four_slices() -> Pair:
    """Four sagittal slices of 112 x 106 voxels out of the middle of the phantom."""
    ct, ct_mm, mr, mr_mm = phantom()
    part = np.s_[62:66, 8:120, 11:117]
    return Pair(ct[part], ct_mm, mr[part], mr_mm)


def trunk() -> Pair:
    """A CT of 512 x 512 x 200 voxels of 0.7 x 0.7 x 1 mm, and 15 sagittal slices of MR 4.4 mm apart: 66 mm of it."""
    ct, _, mr, _ = phantom()
    large = resized(ct, (512, 512, 200)) + np.random.default_rng(0).normal(0, 15, (512, 512, 200))
    return Pair(large.astype(np.float32), (0.7, 0.7, 1), resized(mr, (15, 320, 200)), (4.4, 1.12, 1))


def resized(voxels: Voxels, shape: tuple[int, int, int]) -> Voxels:
    return np.asarray(
        Resize(shape, mode="trilinear", align_corners=False)(torch.from_numpy(voxels[None]))[0], dtype=np.float32
    )


CASES: dict[str, Callable[[], Pair]] = {"four slices": four_slices, "phantom": phantom, "trunk": trunk}
SETTINGS = {"float32": "False", "bfloat16": "True"}


def write(pair: Pair, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, voxels, size in (("ct", pair.ct, pair.ct_mm), ("mr", pair.mr, pair.mr_mm)):
        affine = np.diag([*size, 1.0])
        affine[:3, 3] = -(np.array(voxels.shape) - 1) / 2 * size
        nib.save(nib.Nifti1Image(voxels.round().astype(np.int16), affine), folder / f"{name}.nii.gz")


def fuse(checkout: Path, case: Path, options: Sequence[str]) -> tuple[float, float]:
    """CPU seconds, of the process and those that it starts, and the memory of the largest of them in GiB."""
    with tempfile.TemporaryDirectory() as out:
        verb = [sys.executable, "-m", "spinefuse_ext", "fuse", "--ct", f"{case}/ct.nii.gz", "--mr", f"{case}/mr.nii.gz"]
        command = [sys.executable, "-c", MEASURED, *verb, "--out", out, *options]
        place: dict[str, Any] = {"cwd": checkout, "env": {**os.environ, "PYTHONPATH": str(checkout)}}
        printed = subprocess.run(command, capture_output=True, text=True, check=True, **place).stdout
    status, cpu_s, peak_gib, said = json.loads(printed)
    if status:
        raise SystemExit(f"fuse failed in {checkout}:\n{said}")
    return float(cpu_s), float(peak_gib)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], help="those to fuse; all without")
    parser.add_argument("--beside", nargs="*", type=Path, default=[], help="other checkouts, fused in turns with this")
    parser.add_argument("--precision", nargs="*", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--repeats", type=int, default=3, help="of which the median counts")
    options = parser.parse_args()
    sys.stdout.write(f"{'case':<14}{'precision':<11}{'CPU s':>8}{'peak GiB':>10}  checkout\n")
    with tempfile.TemporaryDirectory() as root:
        for name in options.cases or CASES:
            case = Path(root) / name.replace(" ", "_")
            write(CASES[name](), case)
            ways = [(checkout, kind) for checkout in [HERE, *options.beside] for kind in options.precision]
            runs = [
                [fuse(checkout.absolute(), case, ["--amp", SETTINGS[kind]]) for checkout, kind in ways]
                for _ in range(options.repeats)
            ]
            for (checkout, kind), measured in zip(ways, zip(*runs, strict=True), strict=True):
                cpu_s, peak_gib = (median(values) for values in zip(*measured, strict=True))
                sys.stdout.write(f"{name:<14}{kind:<11}{cpu_s:>8.1f}{peak_gib:>10.2f}  {checkout}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
