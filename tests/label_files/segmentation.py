"""Label files as other programs write them."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

Segments = Sequence[tuple[str, int, int]]  # name, value, layer


#: 2 mm, from (-40, -40, -30) RAS.
AFFINE_LPS = np.array([[-2.0, 0, 0, 40], [0, -2, 0, 40], [0, 0, 2, -30], [0, 0, 0, 1]])


def write_seg_nrrd(
    path: Path,
    layers: Sequence[np.ndarray],
    segments: Segments,
    tags: str = "",
    affine_lps: np.ndarray = AFFINE_LPS,
) -> Path:
    """A ``.seg.nrrd`` as 3D Slicer writes it, with a list axis first for several layers."""
    values = np.stack(layers) if len(layers) > 1 else np.asarray(layers[0])
    several = values.ndim == 4
    header = [
        *("NRRD0004", "type: uint8", f"dimension: {values.ndim}", "space: left-posterior-superior"),
        f"sizes: {' '.join(map(str, values.shape))}",
        f"space directions: {'none ' * several}{' '.join(_vector(axis) for axis in affine_lps[:3, :3].T)}",
        f"kinds: {'list ' * several}domain domain domain",
        *("endian: little", "encoding: gzip", f"space origin: {_vector(affine_lps[:3, 3])}"),
    ]
    for number, (name, value, layer) in enumerate(segments):
        prefix = f"Segment{number}_"
        header += [f"{prefix}Name:={name}", f"{prefix}LabelValue:={value}", f"{prefix}Layer:={layer}"]
        header += [f"{prefix}Tags:={tags}"] if tags else []
    path.write_bytes("\n".join([*header, "", ""]).encode() + gzip.compress(values.astype(np.uint8).tobytes("F")))
    return path


def _vector(values: np.ndarray) -> str:
    return f"({','.join(f'{value:g}' for value in values)})"
