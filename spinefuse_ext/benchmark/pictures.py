"""Pictures of what was measured: image, truth, prediction and errors side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor

from spinefuse_ext.benchmark.cases import Input
from spinefuse_ext.benchmark.panel import BODIES, PARTS, WHOLE
from spinefuse_ext.enums import MODALITIES
from spinefuse_ext.files import atomic_write
from spinefuse_ext.report.image_panels import segmentations_panel
from spinefuse_ext.report.palette import DPI
from spinefuse_ext.report.registration_figures import CT_WINDOW_HU
from spinefuse_ext.report.views import turn_to_ras
from spinefuse_ext.transforms.scale_by_modality import is_ct
from spinefuse_ext.volumes.volume import read_volume

_SAGITTAL, _AXIAL = 0, 2
_FLAT = 1 / 3  # of the other extents: what is lower than that shows nothing in a sagittal slice


def save_picture(path: Path, one: Input, prediction: MetaTensor, labels: Sequence[str]) -> Path:
    """Write one slice through the middle of the truth as PNG: image, truth, prediction, errors.

    Sagittal, or axial for a few axial slices. Bodies are shown as vertebra, parts as the structure that they belong
    to. Errors are those of the structures that the labels know as a whole; beside bodies those of the vertebra,
    whose other parts are none although they are painted as extra.
    """
    image = read_volume(one.image, None if one.case.key is None else MODALITIES[one.case.key])
    truth = as_classes(one.truths(), labels)
    limits = {one.name: CT_WINDOW_HU} if is_ct(image, one.case.key or "image") else {}
    names = dict(enumerate(labels))
    results = {one.name: (image, prediction)}
    known = [labels.index(name) for name in WHOLE if name in one.case.knows and name in labels]
    if BODIES in one.case.knows:
        known = [labels.index("vertebra")]
    figure = segmentations_panel(results, truth, axis=_axis(image), limits=limits, names=names, known=known)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")
    return path


def as_classes(truths: Mapping[str, MetaTensor], labels: Sequence[str]) -> MetaTensor:
    """Truths by structure as one volume of the network's classes; later structures do not cover earlier ones."""
    first = next(iter(truths.values()))
    classes = torch.zeros_like(first.as_tensor())
    for name in sorted(truths, key=lambda name: name in PARTS):
        whole = "vertebra" if name == BODIES else PARTS.get(name, name)
        index = labels.index(whole if whole in labels else "vertebra")
        classes[(truths[name].as_tensor() > 0) & (classes == 0)] = index
    return MetaTensor(classes, affine=first.affine)


def _axis(image: MetaTensor) -> int:
    turned = turn_to_ras(image)
    extent = np.asarray(turned.shape[1:]) * np.linalg.norm(np.asarray(turned.affine)[:3, :3], axis=0)
    return _AXIAL if extent[2] < _FLAT * extent[1] else _SAGITTAL
