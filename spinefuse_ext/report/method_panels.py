"""One case as several methods label it: image | truth | methods, the truth outlined over every prediction."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spinefuse_ext.labels import STRUCTURES, structure_colour
from spinefuse_ext.report.drawing import add_legend, annotate, outline, paint, panel_grid, show_slice, write_name
from spinefuse_ext.report.views import ImageLike, Limits, Volume, as_volumes, informative_slices, percentile_limits

#: Panels in a row; more than these are spread over further rows, so that none gets too small to be judged.
COLUMNS = 5
_MARGIN_MM = 10.0
_TRUTH = "#ffffff"


def methods_panel(
    image: ImageLike,
    label: ImageLike,
    predictions: Mapping[str, ImageLike],
    *,
    axis: int = 0,
    index: int | None = None,
    limits: Limits | None = None,
    names: Mapping[int, str] = STRUCTURES,
) -> Figure:
    """Panels image | truth | predictions of one slice, cut to where anything is labelled, with 10 mm around it.

    Classes are filled with their colours; the outline of the true structures is drawn in white over every prediction,
    so what is filled outside of it or empty inside of it is wrong.

    Args:
        image: the image that was segmented.
        label: the true class indices on the same grid.
        predictions: predicted class indices on the same grid by what is written over them.
        axis: 0 sagittal, 1 coronal, 2 axial.
        index: slice along ``axis``; without it one with much foreground near the middle of the label.
        limits: grey limits of the image; without them its percentiles.
        names: class index -> name for the legend.

    Raises:
        ValueError: the images are not on one grid.
    """
    volumes = as_volumes(image=image, label=label, **predictions)
    base, truth = volumes[:2]
    index = informative_slices(truth.array > 0, axis, 1)[0] if index is None else index
    grey = percentile_limits(base) if limits is None else limits
    base, truth, *found = _cut(volumes, axis, index)
    shown: dict[str, Volume | None] = {"Image": None, "Truth": truth, **dict(zip(predictions, found, strict=True))}
    rows = -(-len(shown) // COLUMNS)
    figure, axes = panel_grid([""] * -(-len(shown) // rows), rows, base.size_mm(axis), legend=True)
    present = sorted({int(v) for volume in (truth, *found) for v in np.unique(volume.picture(axis, index))} - {0})
    colours = {value: structure_colour(value) for value in present}
    for ax, (name, classes) in zip(axes.flat, shown.items(), strict=False):
        show_slice(ax, base, axis, index, grey)
        if classes is not None:
            paint(ax, classes, axis, index, colours, alpha=0.55)
            _outlines(ax, truth, axis, index)
        write_name(ax, name)
    annotate(axes[0, 0], base, axis, index)
    add_legend(figure, {**{names.get(v, f"class {v}"): c for v, c in colours.items()}, "outline of the truth": _TRUTH})
    return figure


def _outlines(ax: Axes, truth: Volume, axis: int, index: int) -> None:
    picture = np.rint(truth.picture(axis, index))
    for value in np.unique(picture[picture != 0]):
        outline(ax, np.equal(picture, value).astype(np.float32), truth.size_mm(axis), _TRUTH)


def _cut(volumes: list[Volume], axis: int, index: int) -> list[Volume]:
    """The volumes cut within the slice's plane to what the label or a prediction holds in that slice."""
    held = np.any([np.take(volume.array, index, axis=axis) > 0 for volume in volumes[1:]], axis=0)
    first, shape = volumes[0], volumes[0].array.shape
    low, high = [0, 0, 0], list(shape)
    if held.any():
        plane = [other for other in range(3) if other != axis]
        for place, other in enumerate(plane):
            filled = np.flatnonzero(held.any(axis=1 - place))
            margin = int(np.ceil(_MARGIN_MM / first.spacing_mm[other]))
            low[other], high[other] = max(int(filled[0]) - margin, 0), min(int(filled[-1]) + 1 + margin, shape[other])
    return [volume.cropped(low, high) for volume in volumes]
