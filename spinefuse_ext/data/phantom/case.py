"""One synthetic patient: CT and MR in two postures, the truth between them, and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from spinefuse_ext.data.phantom.anatomy import draw_anatomy, paint
from spinefuse_ext.data.phantom.points import MOST_PER_VERTEBRA, PointPair, click, landmark_points, target_points
from spinefuse_ext.data.phantom.posture import Motion, move, stand
from spinefuse_ext.data.phantom.scanner import SCANNERS, acquire_ct, acquire_mr, as_image, clean_mr, ct_grid, mr_grid
from spinefuse_ext.data.phantom.spine import Spine, draw_spine
from spinefuse_ext.enums import PhantomStyle
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.validation import ConfigError


@dataclass(frozen=True)
class Phantom:
    """A synthetic case; images are ``(1, X, Y, Z)`` with an affine in RAS mm.

    Attributes:
        ct: int16 HU, axial.
        mr: int16 T2-weighted signal in another posture, sagittal and slightly oblique, shaded and noisy.
        mr_aligned: the MR contrast in the CT's posture and on its grid, without shading or noise: what a perfect
            registration would give.
        label: uint8 structures (``spinefuse_ext.labels.STRUCTURES``) on the CT grid.
        vertebrae: uint8 vertebra numbers (``spinefuse_ext.labels.VERTEBRAE``) on the CT grid.
        clicked: 8 landmarks (or those asked for) with 1 mm click error; ``meant``: the same without error.
        targets: 40 other points on the vertebrae, without error.
        motion: the true way from CT to MR space.
    """

    seed: int
    spine: Spine
    ct: MetaTensor
    mr: MetaTensor
    mr_aligned: MetaTensor
    label: MetaTensor
    vertebrae: MetaTensor
    clicked: PointPair
    meant: PointPair
    targets: PointPair
    motion: Motion

    @property
    def ct_landmarks(self) -> Landmarks:
        return self.clicked.ct

    @property
    def mr_landmarks(self) -> Landmarks:
        return self.clicked.mr

    @property
    def vertebra_matrices(self) -> dict[str, NDArray[np.float64]]:
        """Rigid motion of each vertebra, ``(4, 4)``, CT RAS mm -> MR RAS mm, by name."""
        names = [bone.name for bone in self.spine.vertebrae]
        return dict(zip(names, self.motion.matrices, strict=True))

    def ct_to_mr(self, points_mm: NDArray[Any]) -> NDArray[np.float64]:
        """``(N, 3)`` RAS mm in the CT -> the same tissue in the MR; exact in bone, smooth elsewhere."""
        return self.motion(points_mm)


def make_phantom(  # noqa: PLR0913 (the choices of a case, all keyword-only but the seed)
    seed: int,
    *,
    size_mm: Sequence[float] = (128.0, 128.0, 128.0),
    spacing_mm: float = 1.0,
    slice_mm: float | None = None,
    levels: int | None = None,
    degeneration: float | None = None,
    motion: float = 1.0,
    landmarks_per_vertebra: int | None = None,
    style: str = PhantomStyle.STANDARD,
) -> Phantom:
    """Make the synthetic patient of a seed; the same arguments give the same case, bit for bit.

    Args:
        seed: patient number, 0 or more.
        size_mm: field of view along right, anterior and superior, centred on the disc L3/L4 and the spinal canal.
        spacing_mm: in-plane spacing of the CT; the MR's is 0.8 of it, with slices 3 to 4 times as thick.
        slice_mm: slice distance of the CT; None draws 1 to 1.5 times ``spacing_mm``.
        levels: lumbar vertebrae, 4, 5 or 6; None draws it (mostly 5).
        degeneration: mean wear of the discs, 0 (bright, tall) to 1 (dark, flat); None draws an age.
        motion: scale of the change of posture; 0 leaves CT and MR in one posture and one place.
        landmarks_per_vertebra: 1 to 7 landmarks on every vertebra in the field instead of 8 in all.
        style: whose scanners picture it, ``standard``, ``noisy``, ``dark`` or ``bright``; the anatomy stays the same.

    Raises:
        ConfigError: for a size, spacing, level count or degree outside these ranges, or an unknown style.
    """
    scanners = SCANNERS[check_style(style)]
    check_request(size_mm, spacing_mm if slice_mm is None else min(spacing_mm, slice_mm), levels, degeneration)
    check_landmarks(landmarks_per_vertebra)
    traits, detail, posing, ct_noise, mr_noise, hand = np.random.default_rng(seed).spawn(6)
    spine = draw_spine(traits, levels=levels, degeneration=degeneration)
    anatomy = draw_anatomy(spine, detail)
    way = Motion(spine, stand(spine), move(spine, posing, motion))
    slices = float(ct_noise.uniform(1.0, 1.5)) * spacing_mm
    painted = paint(anatomy, way.fixed, ct_grid(size_mm, spacing_mm, slices if slice_mm is None else slice_mm))
    grid = mr_grid(size_mm, spacing_mm, way(np.zeros((1, 3)))[0], mr_noise)
    meant = landmark_points(way, size_mm, landmarks_per_vertebra)
    return Phantom(
        seed=seed,
        spine=spine,
        ct=acquire_ct(painted, ct_noise, scanners),
        mr=acquire_mr(anatomy, way.moved, grid, mr_noise, scanners),
        mr_aligned=clean_mr(painted, scanners),
        label=as_image(painted.label, painted.grid),
        vertebrae=as_image(painted.number, painted.grid),
        clicked=click(meant, hand),
        meant=meant,
        targets=target_points(way, size_mm, meant),
        motion=way,
    )


def check_request(
    size_mm: Sequence[float], finest_mm: float, levels: int | None = None, degeneration: float | None = None
) -> None:
    """Raise ``ConfigError`` for what ``make_phantom`` cannot make."""
    if len(size_mm) != 3 or min(size_mm) <= 0 or not 0 < finest_mm <= min(size_mm):
        raise ConfigError(
            f"Expected a size of three numbers above 0 mm and a spacing that fits in it, got {tuple(size_mm)} and "
            f"{finest_mm} mm."
        )
    if levels not in (None, 4, 5, 6):
        raise ConfigError(f"Expected 4, 5 or 6 lumbar levels, got {levels}.")
    if degeneration is not None and not 0 <= degeneration <= 1:
        raise ConfigError(f"Expected a degeneration from 0 to 1, got {degeneration}.")


def check_landmarks(per_vertebra: int | None) -> None:
    """Raise ``ConfigError`` for a number of landmarks that a vertebra does not have."""
    if per_vertebra is not None and not 1 <= per_vertebra <= MOST_PER_VERTEBRA:
        raise ConfigError(f"Expected 1 to {MOST_PER_VERTEBRA} landmarks per vertebra, got {per_vertebra}.")


def check_style(style: str) -> PhantomStyle:
    """Return the style of that name; raise ``ConfigError`` with the names there are."""
    if style not in list(PhantomStyle):
        raise ConfigError(f"Unknown phantom style {style}; choose one of {', '.join(PhantomStyle)}.")
    return PhantomStyle(style)
