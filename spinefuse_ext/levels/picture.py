"""A picture of the levels: a sagittal and a coronal slab with every level in its colour and its name beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from spinefuse_ext.files import atomic_write
from spinefuse_ext.labels import structure_colour
from spinefuse_ext.levels.record import Level, Levels
from spinefuse_ext.report.drawing import paint as paint_classes
from spinefuse_ext.report.drawing import panel_grid
from spinefuse_ext.report.palette import BACKGROUND, DPI, TEXT
from spinefuse_ext.report.views import Volume, edge_letters, percentile_limits

_SAGITTAL, _CORONAL = 0, 1
_MARGIN_MM = 12.0


def write_picture(path: Path, numbers: Volume, levels: Levels, image: Volume | None = None) -> None:
    """Write a PNG of level numbers ``(X, Y, Z)`` in RAS, over ``image`` on the same grid where there is one."""
    places = np.argwhere(numbers.array > 0)
    margin = np.ceil(_MARGIN_MM / numbers.spacing_mm).astype(int)
    low = np.maximum(places.min(0) - margin, 0)
    high = np.minimum(places.max(0) + margin + 1, numbers.array.shape)
    shown = numbers.cropped(low.tolist(), high.tolist())
    under = None if image is None else image.cropped(low.tolist(), high.tolist())
    width, height = (max(shown.size_mm(axis)[side] for axis in (_SAGITTAL, _CORONAL)) for side in (0, 1))
    figure, axes = panel_grid(["sagittal", "coronal"], 1, (width, height))
    centres = np.array([level.centroid_mm for level in levels.levels])
    for ax, axis in zip(axes[0], (_SAGITTAL, _CORONAL), strict=True):
        middle = shown.voxels(centres)[:, axis]
        index = int(np.clip(round(float(np.median(middle))), 0, shown.array.shape[axis] - 1))
        _show(ax, shown, under, levels, axis, index)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=DPI, facecolor=BACKGROUND)


def _show(ax: Axes, numbers: Volume, image: Volume | None, levels: Levels, axis: int, index: int) -> None:
    width, height = numbers.size_mm(axis)
    if image is not None:
        low, high = percentile_limits(image)
        picture = image.picture(axis, index)
        ax.imshow(picture, cmap="gray", vmin=low, vmax=high, extent=(0.0, width, height, 0.0))
    flat = Volume(_slab(numbers, axis, index if image is not None else None), numbers.affine)
    colours = {level.number: structure_colour(_colour(level)) for level in levels.levels}
    paint_classes(
        ax, flat, axis, 0 if flat.array.shape[axis] == 1 else index, colours, 0.55 if image is not None else 0.95
    )
    style: dict[str, Any] = {"color": TEXT, "path_effects": [withStroke(linewidth=2.5, foreground=BACKGROUND)]}
    for level in levels.levels:
        across, down, _ = numbers.picture_points(np.array([level.centroid_mm]), axis)[0]
        small = level.kind == "disc"
        ax.text(across, down, level.name, ha="center", va="center", fontsize=6 if small else 10, **style)
    left, right, top, bottom = edge_letters(axis)
    for place, letter in (((0.02, 0.5), left), ((0.98, 0.5), right), ((0.5, 0.98), top), ((0.5, 0.02), bottom)):
        ax.text(*place, letter, ha="center", va="center", fontsize=9, transform=ax.transAxes, **style)


def _slab(numbers: Volume, axis: int, index: int | None) -> NDArray[np.float32]:
    """One slice, or without an image to show the levels seen through the whole volume from the near side."""
    if index is not None:
        return numbers.array
    seen = numbers.array > 0
    first = seen.argmax(axis=axis)
    return np.take_along_axis(numbers.array, np.expand_dims(first, axis), axis)


def _colour(level: Level) -> int:
    """A place in the palette: neighbours of a kind differ, discs differ from the bones beside them."""
    return 1 + (2 * level.rank + (level.kind == "disc")) % 7
