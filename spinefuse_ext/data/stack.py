"""Volumes from folders of slice pictures, as public data sets and old exports keep them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.files import check_output_folder
from spinefuse_ext.formats import data_paths
from spinefuse_ext.progress_bar import progress_bar
from spinefuse_ext.validation import ImageReadError, check_exists
from spinefuse_ext.volumes.volume import write_volume

#: World direction (RAS) of a picture's rows (downwards), its columns (to the right) and of the next slice.
PLANES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "sagittal": ((0, 0, -1), (0, -1, 0), (1, 0, 0)),  # superior is up, anterior is left
    "coronal": ((0, 0, -1), (-1, 0, 0), (0, -1, 0)),  # superior is up, the patient's right is left
    "axial": ((0, -1, 0), (-1, 0, 0), (0, 0, 1)),  # anterior is up, the patient's right is left
}


def stack_slices(
    folder: str | Path,
    out: str | Path,
    *,
    name: str,
    pattern: str = r"(.+?)_?s?(\d+)$",
    plane: str = "sagittal",
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    relabel: Mapping[int, int] | None = None,
) -> list[Path]:
    """Write ``OUT/<case>/<name>.nii.gz`` for every case whose grey slices stand in ``folder`` as PNG files.

    Args:
        folder: folder of ``.png`` files.
        out: folder of cases; other files in it are left alone.
        name: key of the volume, for example ``ct``, ``mr`` or ``label``.
        pattern: regular expression for a file name without its extension; group 1 is the case, group 2 the number
            that orders its slices.
        plane: ``sagittal``, ``coronal`` or ``axial``, as radiology shows it.
        spacing_mm: distance of rows, columns and slices in mm.
        relabel: new value of each grey value, for label pictures; a value that it does not name is an error.

    Returns:
        The files written.

    Raises:
        MissingPathError: no such folder.
        ImageReadError: no file fits the pattern, a picture has colours, or the slices of a case differ in size.
    """
    files = _by_case(check_exists(folder, "The folder of slices"), pattern)
    if plane not in PLANES:
        raise ImageReadError(f"Unknown plane {plane}; choose one of {', '.join(PLANES)}.")
    check_output_folder(out)
    written = []
    for case, slices in progress_bar(sorted(files.items()), title=f"Stacking {name}", unit="case"):
        pixels = np.stack([_read(path) for path in _same_size(slices)], axis=-1)
        if relabel is not None:
            pixels = _relabelled(pixels, {int(old): int(new) for old, new in relabel.items()}, case)
        written.append(_write(pixels, Path(out) / case / f"{name}.nii.gz", plane, spacing_mm))
    return written


def _by_case(folder: Path, pattern: str) -> dict[str, list[Path]]:
    cases: defaultdict[str, list[tuple[int, Path]]] = defaultdict(list)
    for path in data_paths(folder.glob("*.png")):
        match = re.search(pattern, path.stem)
        if match:
            cases[match.group(1)].append((int(match.group(2)), path))
    if not cases:
        raise ImageReadError(f"{folder} has no .png file whose name fits the pattern {pattern}; give --pattern.")
    return {case: [path for _, path in sorted(slices)] for case, slices in cases.items()}


def _same_size(paths: Sequence[Path]) -> Sequence[Path]:
    from skimage import io

    shapes = {path: io.imread(path).shape for path in paths}
    odd = next((path for path in paths if shapes[path] != shapes[paths[0]]), None)
    if odd is not None:
        raise ImageReadError(f"{odd} is {shapes[odd]}, but {paths[0].name} is {shapes[paths[0]]}; sort it out.")
    return paths


def _read(path: Path) -> NDArray[np.generic]:
    from skimage import io

    pixels: NDArray[np.generic] = io.imread(path)
    if pixels.ndim != 2:
        raise ImageReadError(f"{path} has {pixels.ndim} axes {pixels.shape}; expected a grey picture. Convert it.")
    return pixels


def _relabelled(pixels: NDArray[np.generic], relabel: Mapping[int, int], case: str) -> NDArray[np.generic]:
    foreign = sorted(set(np.unique(pixels).tolist()) - set(relabel))
    if foreign:
        raise ImageReadError(f"Case {case} holds the values {foreign} that relabel does not name; add them.")
    table = np.zeros(max(relabel) + 1, dtype=np.uint8)
    table[list(relabel)] = list(relabel.values())
    return table[pixels.astype(np.int64)]


def _write(pixels: NDArray[np.generic], path: Path, plane: str, spacing_mm: Sequence[float]) -> Path:
    directions = np.array(PLANES[plane], dtype=np.float64).T  # columns: rows, columns, slices of the pictures
    affine = np.eye(4)
    affine[:3, :3] = directions * np.asarray(spacing_mm, dtype=np.float64)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(pixels.shape) - 1) / 2)  # the volume's centre is the origin
    image = MetaTensor(torch.as_tensor(pixels[None].astype(np.float32)), affine=torch.as_tensor(affine))
    write_volume(image, path, dtype=pixels.dtype)
    return path
