"""Pictures of how well MR lies on CT: checkerboards, and the CT's bone drawn on the MR."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom
from skimage.filters import threshold_otsu

from spinefuse_ext.labels import BONE_HU, STRUCTURE_COLOURS
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.report.drawing import annotate, extent_mm, outline, panel_grid, show_slice
from spinefuse_ext.report.palette import CT_TINT, MR_TINT, TEXT
from spinefuse_ext.report.views import ImageLike, Limits, Volume, as_volumes, informative_slices, percentile_limits

#: Grey limits that show soft tissue, disc and bone of the spine together.
CT_WINDOW_HU: Limits = (-160.0, 700.0)


def bone_mask(ct: Volume, window_hu: Limits | None = CT_WINDOW_HU) -> NDArray[np.bool_]:
    """Bone of a CT ``(X, Y, Z)``: above ``BONE_HU``, or above Otsu's threshold when the image has no HU."""
    return ct.array > bone_level(ct, window_hu)


def ct_limits(ct: Volume, window_hu: Limits | None) -> Limits:
    """The window in HU, or percentiles of the image when there is none."""
    return percentile_limits(ct) if window_hu is None else window_hu


def checkerboard(
    fixed: ImageLike,
    moving: ImageLike,
    *,
    axis: int = 0,
    index: int | None = None,
    tiles: int = 8,
    window_hu: Limits | None = CT_WINDOW_HU,
) -> Figure:
    """CT and MR of one grid in alternating square tiles, CT tinted warm and MR cool.

    Args:
        fixed: CT.
        moving: MR on the CT grid.
        axis: 0 sagittal, 1 coronal, 2 axial.
        index: slice along ``axis``; without it one through the middle of the bone.
        tiles: tiles along the longer side.
        window_hu: grey limits of the CT; None for a CT that is not in HU.
    """
    ct, mr = as_volumes(fixed=fixed, moving=moving)
    index = slice_with_bone(ct, axis, index, window_hu)
    figure, axes = panel_grid(["CT warm | MR cool"], 1, ct.size_mm(axis))
    show_checkerboard(axes[0, 0], (ct, mr), (axis, index), tiles, window_hu)
    annotate(axes[0, 0], ct, axis, index)
    return figure


def registration_panel(
    ct: ImageLike,
    mr_before: ImageLike | None,
    mr_registered: ImageLike,
    *,
    axis: int = 0,
    index: int | None = None,
    landmarks: Landmarks | None = None,
    window_hu: Limits | None = CT_WINDOW_HU,
) -> Figure:
    """One slice before and after registration: checkerboards, then the CT's bone outlined on the MR.

    Args:
        ct: CT.
        mr_before: MR on the CT grid by the image headers alone; without it only "after" is shown.
        mr_registered: registered MR on the CT grid.
        axis: 0 sagittal, 1 coronal, 2 axial.
        index: slice along ``axis``; without it one through the middle of the bone.
        landmarks: CT points, drawn on the last panel: filled and named within 5 mm of the slice, else hollow.
        window_hu: grey limits of the CT; None for a CT that is not in HU.
    """
    rounds = {"before": mr_before, "after": mr_registered}
    moving = {name: image for name, image in rounds.items() if image is not None}
    fixed, *mrs = as_volumes(ct=ct, **moving)
    index = slice_with_bone(fixed, axis, index, window_hu)
    titles = [f"CT | MR tiles, {name}" for name in moving] + [f"CT bone on MR, {name}" for name in moving]
    figure, axes = panel_grid(titles, 1, fixed.size_mm(axis))
    for column, mr in enumerate(mrs):
        show_checkerboard(axes[0, column], (fixed, mr), (axis, index), 8, window_hu)
        on_mr = axes[0, column + len(mrs)]
        show_slice(on_mr, mr, axis, index, percentile_limits(mr))
        outline_bone(on_mr, fixed, axis, index, bone_level(fixed, window_hu))
    if landmarks is not None:
        _show_landmarks(axes[0, -1], fixed, axis, index, landmarks)
    annotate(axes[0, 0], fixed, axis, index)
    return figure


def bone_level(ct: Volume, window_hu: Limits | None) -> float:
    """The value above which a voxel counts as bone."""
    if window_hu is not None:
        return BONE_HU
    return float(threshold_otsu(ct.array))  # type: ignore[no-untyped-call]


def slice_with_bone(ct: Volume, axis: int, index: int | None, window_hu: Limits | None) -> int:
    """``index``, or when it is None a slice through the middle of the bone."""
    return informative_slices(bone_mask(ct, window_hu), axis)[0] if index is None else index


def show_checkerboard(
    ax: Axes, pair: tuple[Volume, Volume], place: tuple[int, int], tiles: int, window_hu: Limits | None
) -> None:
    """Slice ``place`` (axis, index) of CT and MR in alternating tiles."""
    ct, mr = pair
    axis, index = place
    grey = [
        np.clip((_finer(volume.picture(axis, index)) - low) / (high - low), 0, 1)[..., None]
        for volume, (low, high) in zip(pair, (ct_limits(ct, window_hu), percentile_limits(mr)), strict=True)
    ]
    first = tile_mask(grey[0].shape[:2], ct.size_mm(axis), tiles)[..., None]
    mixed = np.where(first, grey[0] * CT_TINT, grey[1] * MR_TINT)
    ax.imshow(mixed, extent=extent_mm(ct, axis), interpolation="nearest")


def _finer(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """The picture with four pixels for one along each side, so that tile borders are sharp and tissue is smooth."""
    return np.asarray(zoom(picture, 4, order=1, mode="nearest", grid_mode=True), dtype=np.float32)


def tile_mask(shape: tuple[int, int], size_mm: tuple[float, float], tiles: int) -> NDArray[np.bool_]:
    """``(rows, columns)`` mask of every other tile, the upper left one included; tiles are square in mm.

    (scikit-image's ``compare_images`` counts tiles in pixels and leaves a strip at the far edges unmixed.)
    """
    tile_mm = max(size_mm) / tiles
    rows, columns = shape
    down = ((np.arange(rows) + 0.5) * size_mm[1] / rows) // tile_mm
    across = ((np.arange(columns) + 0.5) * size_mm[0] / columns) // tile_mm
    mask: NDArray[np.bool_] = (down[:, None] + across[None]) % 2 == 0
    return mask


def outline_bone(ax: Axes, ct: Volume, axis: int, index: int, level: float) -> None:
    """Outline what of a CT slice lies above ``level``."""
    # the mask is smoothed, not the image: that moves no straight edge, and noise draws no islands
    bone = (ct.picture(axis, index) > level).astype(np.float32)
    outline(ax, gaussian_filter(bone, sigma=1.0), ct.size_mm(axis), STRUCTURE_COLOURS[1])


def _show_landmarks(ax: Axes, ct: Volume, axis: int, index: int, landmarks: Landmarks) -> None:
    places = ct.picture_points(landmarks.points_mm, axis)
    width, height = ct.size_mm(axis)
    for name, (across, down, slice_index) in zip(landmarks.names, places, strict=True):
        if not (0 <= across <= width and 0 <= down <= height):
            continue
        near = abs(slice_index - index) * ct.spacing_mm[axis] <= 5
        face = STRUCTURE_COLOURS[2] if near else "none"
        ax.plot(across, down, "o", markersize=5, markerfacecolor=face, markeredgecolor=STRUCTURE_COLOURS[2])
        if near:  # names of the far ones would cover the picture
            side, step = ("left", 0.02) if across < width / 2 else ("right", -0.02)
            ax.text(across + step * width, down, name, color=TEXT, fontsize=7, va="center", ha=side, clip_on=True)
