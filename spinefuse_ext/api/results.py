"""What the functions of the Python face return: arrays with their place, scores, and the files if some were wanted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.api.images import Volume
from spinefuse_ext.registration.fit import RegistrationFit


@dataclass(frozen=True, eq=False)
class Registration:
    """An MR on the grid of its CT.

    Attributes:
        ct: CT, float32, HU.
        mr: MR resampled onto the grid of ``ct``, float32.
        fit: the map from CT to MR points; ``fit.mapping`` takes ``(N, 3)`` RAS mm.
        report: what ``registration.json`` holds: every number, and how it came about.
        paths: the files in ``out`` by their names; empty without ``out``.
    """

    ct: Volume
    mr: Volume
    fit: RegistrationFit = field(repr=False)
    report: Mapping[str, Any] = field(repr=False)
    paths: Mapping[str, Path] = field(default_factory=dict)

    @property
    def affine(self) -> NDArray[np.float64]:
        """``(4, 4)`` of both images, voxel to RAS mm."""
        return self.ct.affine

    @property
    def matrix(self) -> NDArray[np.float64]:
        """``(4, 4)`` from CT to MR points, RAS mm; of a map that is not linear, its rigid part."""
        return self.fit.matrix

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the landmarks of both lists, in the order of the errors."""
        return self.fit.names

    @property
    def fre_mm(self) -> NDArray[np.float64]:
        """``(N,)``: distance that remains at each landmark."""
        return self.fit.fre_mm

    @property
    def tre_mm(self) -> NDArray[np.float64]:
        """``(N,)``: distance at each landmark when the fit is made without it; NaN where it cannot be."""
        return self.fit.tre_mm

    @property
    def fre_rms_mm(self) -> float:
        """Root mean square of ``fre_mm``; NaN without landmarks."""
        return self.fit.fre_rms_mm

    @property
    def tre_mean_mm(self) -> float:
        """Mean of ``tre_mm`` where it is known; NaN where it never is."""
        return self.fit.tre_mean_mm

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for everything that looks wrong with the images, the landmarks or the pose."""
        return tuple(self.report["warnings"])


@dataclass(frozen=True, eq=False)
class Fusion:
    """A fused image on the grid of its CT.

    Attributes:
        image: the fused volume, float32, brightness from 0 to 1.
        warnings: a sentence for everything that was odd about the images.
        paths: the files in ``out`` by their names, such as ``fused.nii.gz``; empty without ``out``.
    """

    image: Volume
    warnings: tuple[str, ...] = ()
    paths: Mapping[str, Path] = field(default_factory=dict)

    @property
    def affine(self) -> NDArray[np.float64]:
        """``(4, 4)``, voxel to RAS mm."""
        return self.image.affine


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The labels of a scan, on its grid.

    Attributes:
        labels: the number of each voxel's class, uint8.
        names: of the classes by their numbers, background first.
        volumes_ml: of each structure; 0 for one that was not found.
        trust: how far each structure can be trusted, from 0 to 1, by how well the networks agree and how sure they are
            (:func:`spinefuse_ext.metrics.trust_scores`); None for one that neither found. Empty with
            ``save_trust=False``.
        disagreement: True where the two networks differ; None with ``save_disagreement=False``.
        fused: the image that was segmented, where a pair was fused first.
        warnings: a sentence for everything that was odd about the images or the labels.
        paths: the files in ``out`` by their names, such as ``prediction.nii.gz``; empty without ``out``.
    """

    labels: Volume
    names: tuple[str, ...]
    volumes_ml: Mapping[str, float]
    trust: Mapping[str, float | None]
    disagreement: Volume | None = field(default=None, repr=False)
    fused: Volume | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
    paths: Mapping[str, Path] = field(default_factory=dict)

    @property
    def affine(self) -> NDArray[np.float64]:
        """``(4, 4)``, voxel to RAS mm."""
        return self.labels.affine

    def mask(self, name: str) -> NDArray[np.bool_]:
        """``(X, Y, Z)``: where a structure is; raises KeyError for a name that is none of ``names``."""
        if name not in self.names:
            raise KeyError(f"{name} is none of {', '.join(self.names)}")
        return np.asarray(self.labels.array == self.names.index(name))


def files_in(folder: Path, patterns: Collection[str]) -> dict[str, Path]:
    """The files of ``folder`` that match ``patterns``, by their names."""
    return {path.name: path for path in sorted({path for pattern in patterns for path in folder.glob(pattern)})}
