"""One row of pictures by which a person accepts or rejects a registered pair at a glance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from spinefuse_ext.files import atomic_write
from spinefuse_ext.labels import STRUCTURE_COLOURS
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.report.drawing import add_legend, annotate, panel_grid, show_slice
from spinefuse_ext.report.palette import BACKGROUND, DPI, ERROR_COLOURS, TEXT
from spinefuse_ext.report.registration_figures import (
    CT_WINDOW_HU,
    bone_level,
    ct_limits,
    outline_bone,
    show_checkerboard,
    slice_with_bone,
)
from spinefuse_ext.report.views import ImageLike, Limits, Volume, as_volumes, percentile_limits

#: What is shown around the landmarks, in mm.
MARGIN_MM = 40.0
#: Points this far from the shown slice still get their name.
_NEAR_MM = 6.0
_QUALITY = 85
_CT_COLOUR, _MR_COLOUR, _MISS_COLOUR = STRUCTURE_COLOURS[2], STRUCTURE_COLOURS[5], ERROR_COLOURS[0]


def cohort_strip(
    ct: ImageLike,
    mr: ImageLike,
    ct_points: Landmarks | None = None,
    mr_points: Landmarks | None = None,
    *,
    window_hu: Limits | None = CT_WINDOW_HU,
) -> Figure:
    """Four panels of one sagittal slice: CT, MR, both in tiles, and the CT's bone outlined on the MR.

    The slice goes through the middle of the CT's landmarks and shows their neighbourhood; without landmarks it goes
    through the middle of the bone and shows where the MR has signal. Both lists are drawn on CT and MR, the gap between
    the points of one name as a line.

    Args:
        ct: CT ``(1, X, Y, Z)``.
        mr: registered MR on the CT grid.
        ct_points: landmarks of the CT, RAS mm.
        mr_points: landmarks of the MR of the same names, carried over to the CT by the registration, RAS mm.
        window_hu: grey limits of the CT; None for a CT that is not in HU.
    """
    fixed, moving = as_volumes(ct=ct, mr=mr)
    level = bone_level(fixed, window_hu)
    grey = (ct_limits(fixed, window_hu), percentile_limits(moving))
    index = _slice_through(fixed, ct_points, window_hu)
    box = _box(fixed, moving, index, ct_points)
    fixed, moving = fixed.cropped(*box), moving.cropped(*box)
    index -= box[0][0]
    titles = ["CT", "MR on the CT grid", "CT warm | MR cool", "CT bone on MR"]
    figure, axes = panel_grid(titles, 1, fixed.size_mm(0), legend=ct_points is not None)
    for ax, volume, limits in zip(axes[0], (fixed, moving), grey, strict=False):
        show_slice(ax, volume, 0, index, limits)
        if ct_points is not None and mr_points is not None:
            _show_pairs(ax, volume, index, (ct_points, mr_points), named=volume is fixed)
    show_checkerboard(axes[0, 2], (fixed, moving), (0, index), 8, window_hu)
    show_slice(axes[0, 3], moving, 0, index, grey[1])
    outline_bone(axes[0, 3], fixed, 0, index, level)
    annotate(axes[0, 0], fixed, 0, index)
    if ct_points is not None:
        add_legend(
            figure,
            {
                "CT landmark": _CT_COLOUR,
                "MR landmark after registration": _MR_COLOUR,
                "distance that is left": _MISS_COLOUR,
            },
        )
    return figure


def save_jpeg(figure: Figure, path: str | Path) -> None:
    """Write a figure as JPEG, whole or not at all: a tenth of the bytes of a PNG, and a page may hold hundreds."""
    with atomic_write(path) as temporary:
        options = {"quality": _QUALITY, "optimize": True}
        figure.savefig(temporary, format="jpeg", dpi=DPI, facecolor=figure.get_facecolor(), pil_kwargs=options)


def _slice_through(ct: Volume, points: Landmarks | None, window_hu: Limits | None) -> int:
    if points is None:
        return slice_with_bone(ct, 0, None, window_hu)
    middle = float(np.median(ct.picture_points(points.points_mm, 0)[:, 2]))
    return int(np.clip(round(middle), 0, ct.array.shape[0] - 1))


def _box(ct: Volume, mr: Volume, index: int, points: Landmarks | None) -> tuple[list[int], list[int]]:
    """First and one-past-last voxel of the part that is shown: about the landmarks, or where the MR has signal."""
    low, high = [0, 0, 0], list(ct.array.shape)
    if points is None:
        signal = np.argwhere(mr.array[index] > mr.array.min())
        found = (signal.min(axis=0), signal.max(axis=0)) if len(signal) else (np.zeros(2), np.array(high[1:]))
        margin = np.zeros(2)
    else:
        voxels = ct.voxels(points.points_mm)[:, 1:]
        found, margin = (voxels.min(axis=0), voxels.max(axis=0)), MARGIN_MM / ct.spacing_mm[1:]
    for axis in (1, 2):
        size = ct.array.shape[axis]
        low[axis] = int(np.clip(np.floor(found[0][axis - 1] - margin[axis - 1]), 0, size - 2)) if size > 1 else 0
        high[axis] = int(np.clip(np.ceil(found[1][axis - 1] + margin[axis - 1]) + 1, low[axis] + 2, size))
    return low, high


def _show_pairs(ax: Axes, volume: Volume, index: int, points: tuple[Landmarks, Landmarks], named: bool) -> None:
    """Both landmarks of every name and the way between; filled, and ``named``, near the slice."""
    ct_points, mr_points = points
    order = [mr_points.names.index(name) for name in ct_points.names]
    places = [volume.picture_points(points, 0) for points in (ct_points.points_mm, mr_points.points_mm[order])]
    width, height = volume.size_mm(0)
    for name, fixed, moved in zip(ct_points.names, *places, strict=True):
        near = abs(fixed[2] - index) * volume.spacing_mm[0] <= _NEAR_MM
        face = _CT_COLOUR if near else "none"
        ax.plot(*fixed[:2], "o", markersize=4.5, markeredgecolor=_CT_COLOUR, markerfacecolor=face)
        ax.plot(*moved[:2], "x", markersize=5, markeredgewidth=1.6, color=_MR_COLOUR)
        ax.plot(*zip(fixed[:2], moved[:2], strict=True), color=_MISS_COLOUR, linewidth=1.6)
        if named and near and 0 <= fixed[0] <= width and 0 <= fixed[1] <= height:
            side, step = ("left", 0.02) if fixed[0] < width / 2 else ("right", -0.02)
            style: dict[str, Any] = {"color": TEXT, "fontsize": 6.5, "va": "center", "ha": side, "clip_on": True}
            halo = [withStroke(linewidth=1.5, foreground=BACKGROUND)]
            ax.text(fixed[0] + step * width, fixed[1], _plain(name), path_effects=halo, **style)
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)


def _plain(name: str, longest: int = 24) -> str:
    """The name as matplotlib should draw it: no formula between dollar signs, not wider than the panel."""
    shown = name if len(name) <= longest else f"{name[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"
    return shown.replace("$", r"\$")
