"""Rows of slices side by side: CT | MR | fused, and image | truth | prediction | error."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spinefuse_ext.labels import STRUCTURES, structure_colour
from spinefuse_ext.report.drawing import add_legend, annotate, outline, paint, panel_grid, show_slice, write_name
from spinefuse_ext.report.palette import ERROR_COLOURS, ERROR_NAMES
from spinefuse_ext.report.registration_figures import CT_WINDOW_HU, bone_mask, ct_limits
from spinefuse_ext.report.views import (
    ImageLike,
    Limits,
    Volume,
    as_volume,
    as_volumes,
    informative_slices,
    percentile_limits,
)


def fusion_panel(
    ct: ImageLike,
    mr: ImageLike,
    fused: ImageLike,
    *,
    axis: int = 0,
    indices: Sequence[int] | None = None,
    window_hu: Limits | None = CT_WINDOW_HU,
) -> Figure:
    """Columns CT | MR | fused, one row a slice.

    Args:
        ct: CT.
        mr: registered MR on the CT grid.
        fused: fused image on the CT grid; its grey limits are its own percentiles, as the MR's are.
        axis: 0 sagittal, 1 coronal, 2 axial.
        indices: slices along ``axis``; without it two through the bone.
        window_hu: grey limits of the CT; None for a CT that is not in HU.
    """
    volumes = as_volumes(ct=ct, mr=mr, fused=fused)
    chosen = informative_slices(bone_mask(volumes[0], window_hu), axis, 2) if indices is None else list(indices)
    limits = [ct_limits(volumes[0], window_hu), percentile_limits(volumes[1]), percentile_limits(volumes[2])]
    figure, axes = panel_grid(["CT", "MR, registered", "Fused"], len(chosen), volumes[0].size_mm(axis))
    for row, index in zip(axes, chosen, strict=True):
        for ax, volume, grey in zip(row, volumes, limits, strict=True):
            show_slice(ax, volume, axis, index, grey)
        annotate(row[0], volumes[0], axis, index)
    return figure


def error_classes(label: NDArray[np.generic], prediction: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Per voxel 0 right, 1 missed (background instead of a structure), 2 extra (the reverse), 3 another structure."""
    label, prediction = np.rint(label).astype(np.int64), np.rint(prediction).astype(np.int64)
    wrong = label != prediction
    missed, extra = wrong & (prediction == 0), wrong & (label == 0)
    return np.select([missed, extra, wrong], [1, 2, 3]).astype(np.uint8)


def segmentation_panel(
    image: ImageLike,
    label: ImageLike | None,
    prediction: ImageLike,
    *,
    axis: int = 0,
    indices: Sequence[int] | None = None,
    limits: Limits | None = None,
    names: Mapping[int, str] = STRUCTURES,
) -> Figure:
    """Columns image | truth | prediction | errors, one row a slice; image | prediction when there is no truth.

    Args:
        image: the image that was segmented.
        label: class indices on the same grid.
        prediction: class indices on the same grid.
        axis: 0 sagittal, 1 coronal, 2 axial.
        indices: slices along ``axis``; without it two with the most foreground.
        limits: grey limits of the image; without them its percentiles.
        names: class index -> name for the legend.
    """
    given = {"truth": label, "prediction": prediction}
    shown = {name: classes for name, classes in given.items() if classes is not None}
    base, *classes = as_volumes(image=image, **shown)
    chosen = informative_slices(classes[0].array > 0, axis, 2) if indices is None else list(indices)
    with_errors = label is not None
    titles = ["Image", *(name.capitalize() for name in shown), *(["Errors"] if with_errors else [])]
    figure, axes = panel_grid(titles, len(chosen), base.size_mm(axis), legend=True)
    colours = _colours_of(classes)
    grey = percentile_limits(base) if limits is None else limits
    for row, index in zip(axes, chosen, strict=True):
        _segmentation_row(row, base, classes, (axis, index), grey, colours)
    add_legend(figure, _legend(colours, names, with_errors))
    return figure


def segmentations_panel(
    results: Mapping[str, tuple[ImageLike, ImageLike]],
    label: ImageLike,
    *,
    axis: int = 0,
    index: int | None = None,
    limits: Mapping[str, Limits] | None = None,
    names: Mapping[int, str] = STRUCTURES,
    known: Collection[int] | None = None,
) -> Figure:
    """Columns image | truth | prediction | errors of one slice, a row for each of several segmentations of one case.

    Args:
        results: image and predicted class indices by name, which stands in the row's first panel.
        label: class indices; one grid for all.
        axis: 0 sagittal, 1 coronal, 2 axial.
        index: slice along ``axis``; without it one with much foreground near the middle of the label.
        limits: grey limits of some of the images, by name; the others get their percentiles.
        names: class index -> name for the legend.
        known: classes that the label was drawn of, which alone can be wrong; without it all.
    """
    truth = as_volume(label)
    shown = {name: as_volumes(image=pair[0], truth=label, prediction=pair[1]) for name, pair in results.items()}
    index = informative_slices(truth.array > 0, axis, 1)[0] if index is None else index
    figure, axes = panel_grid(["Image", "Truth", "Prediction", "Errors"], len(shown), truth.size_mm(axis), legend=True)
    colours = _colours_of([volume for _, *classes in shown.values() for volume in classes])
    for row, (name, (image, *classes)) in zip(axes, shown.items(), strict=True):
        grey = (limits or {}).get(name) or percentile_limits(image)
        _segmentation_row(row, image, classes, (axis, index), grey, colours, known)
        write_name(row[0], name)
    add_legend(figure, _legend(colours, names, with_errors=True))
    return figure


def _segmentation_row(
    row: Sequence[Axes],
    base: Volume,
    classes: Sequence[Volume],
    place: tuple[int, int],
    grey: Limits,
    colours: Mapping[int, str],
    known: Collection[int] | None = None,
) -> None:
    """The image alone, with each of ``classes`` over it, and, if a panel is left, with where the last one is wrong."""
    axis, index = place
    for ax in row:
        show_slice(ax, base, axis, index, grey)
    for ax, volume in zip(row[1:], classes, strict=False):
        paint(ax, volume, axis, index, dict(colours), alpha=0.38)
        for value, colour in colours.items():
            drawn = np.equal(np.rint(volume.picture(axis, index)), value).astype(np.float32)
            outline(ax, drawn, base.size_mm(axis), colour)
    if len(row) > 1 + len(classes):
        compared = [volume.array for volume in (classes[0], classes[-1])]
        if known is not None:
            compared = [np.where(np.isin(np.rint(array), list(known)), array, 0) for array in compared]
        errors = Volume(error_classes(*compared).astype(np.float32), base.affine)
        paint(row[-1], errors, axis, index, dict(enumerate(ERROR_COLOURS, start=1)), alpha=0.85)
    annotate(row[0], base, axis, index)


def _colours_of(classes: Sequence[Volume]) -> dict[int, str]:
    present = sorted({int(value) for volume in classes for value in np.unique(np.rint(volume.array))} - {0})
    return {value: structure_colour(value) for value in present}


def _legend(colours: Mapping[int, str], names: Mapping[int, str], with_errors: bool) -> dict[str, str]:
    legend = {names.get(value, f"class {value}"): colour for value, colour in colours.items()}
    return {**legend, **(dict(zip(ERROR_NAMES, ERROR_COLOURS, strict=True)) if with_errors else {})}
