"""Where each bone lies: frames chained through the discs, and the motion between two postures of one spine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from spinefuse_ext.data.phantom.shapes import Array
from spinefuse_ext.data.phantom.spine import Disc, Spine
from spinefuse_ext.data.phantom.vertebra import bone_distance

Matrix = NDArray[np.float64]


def rigid(
    shift_mm: tuple[float, float, float] = (0, 0, 0), angles_deg: tuple[float, float, float] = (0, 0, 0)
) -> Matrix:
    """``(4, 4)`` rotation about x, then y, then z (degrees), followed by a shift in mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return matrix


@dataclass(frozen=True)
class Posture:
    """Frames ``(V, 4, 4)`` that take each vertebra's own coordinates to RAS mm, from the sacrum upwards."""

    frames: Matrix
    heights_mm: NDArray[np.float64]

    def blend(self, local_z: Array) -> Array:
        """Share of each vertebra at a point, ``(V, ...)`` heights in the frames -> ``(V, ...)`` summing to 1.

        A point level with a body follows that vertebra; across a disc the share passes smoothly to the next.
        """
        below, above = local_z[:-1], local_z[1:]
        place = np.clip((below / np.maximum(below - above, 5.0) - 0.15) / 0.7, 0, 1)
        step = place * place * (3 - 2 * place)
        ones = np.ones_like(local_z[:1])
        reached = np.concatenate([ones, np.minimum.accumulate(step, axis=0)])
        return reached - np.concatenate([reached[1:], 0 * ones])

    def blend_widely(self, local_z: Array, width_mm: float = 24.0) -> Array:
        """As ``blend``, but over several levels: for skin and muscles, which bend less sharply than the spine."""
        weights = np.exp(-0.5 * (np.clip(local_z, -250, 250) / width_mm) ** 2) + 1e-30
        shares: Array = weights / weights.sum(axis=0)
        return shares


def stand(spine: Spine) -> Posture:
    """The CT posture: the middle of the central disc (L3/L4) on the field's axis, as drawn."""
    return _chain(spine, [rigid(angles_deg=disc.angles_deg) for disc in spine.discs], np.eye(4))


def move(spine: Spine, rng: np.random.Generator, amount: float = 1.0) -> Posture:
    """Another posture: each disc bends by some degrees, mostly one way, and all is shifted and turned as a whole.

    ``amount`` scales every motion; 0 gives the CT posture back.
    """
    flexion_deg = float(rng.choice([-1, 1]) * rng.uniform(1.5, 2.5))
    joints = []
    for disc in spine.discs:
        turn = (flexion_deg + rng.normal(0, 0.4), rng.normal(0, 0.6), rng.normal(0, 0.5))
        slip = rng.normal(0, 0.3, 3)
        moved = rigid(tuple(amount * slip), tuple(amount * np.asarray(turn)))
        joints.append(moved @ rigid(angles_deg=disc.angles_deg))
    direction = rng.normal(size=3)
    offset_mm = amount * rng.uniform(10, 20) * direction / np.linalg.norm(direction)
    return _chain(spine, joints, rigid(tuple(offset_mm), tuple(amount * rng.uniform(-6, 6, 3))))


def _chain(spine: Spine, joints: list[Matrix], whole: Matrix) -> Posture:
    """Hang the vertebrae on each other through ``joints`` (one motion about each disc's centre)."""
    bones, discs = spine.vertebrae, spine.discs
    frames = {}
    middle = (
        whole @ rigid((0, spine.body_centre_mm, 0)) @ rigid(angles_deg=(-discs[spine.centre].angles_deg[0] / 2, 0, 0))
    )
    frames[spine.centre] = middle @ np.linalg.inv(_to_disc(spine, spine.centre))
    for place in range(spine.centre, len(bones) - 1):
        frames[place + 1] = frames[place] @ _step(spine, place, joints[place])
    for place in range(spine.centre - 1, -1, -1):
        frames[place] = frames[place + 1] @ np.linalg.inv(_step(spine, place, joints[place]))
    heights = np.asarray([bone.height_mm for bone in bones])
    return Posture(np.stack([frames[place] for place in range(len(bones))]), heights)


def _to_disc(spine: Spine, place: int) -> Matrix:
    """From a vertebra's frame to the centre of the disc above it."""
    bone, disc = spine.vertebrae[place], spine.discs[place]
    return (
        rigid((0, 0, bone.height_mm / 2))
        @ rigid(angles_deg=(bone.wedge_deg / 2, 0, 0))
        @ rigid((0, 0, disc.height_mm / 2))
    )


def _step(spine: Spine, place: int, joint: Matrix) -> Matrix:
    """From a vertebra's frame to the frame of the next one up."""
    disc: Disc = spine.discs[place]
    upper = spine.vertebrae[place + 1]
    return (
        _to_disc(spine, place)
        @ joint
        @ rigid((0, 0, disc.height_mm / 2))
        @ rigid(angles_deg=(upper.wedge_deg / 2, 0, 0))
        @ rigid((0, 0, upper.height_mm / 2))
    )


@dataclass(frozen=True)
class Motion:
    """The way from the CT posture to the MR posture, rigid in each bone and smooth between them.

    Where two arches overlap (worn or strongly lordotic lower levels, a percent or two of a vertebra) they share.
    """

    spine: Spine
    fixed: Posture
    moved: Posture

    @property
    def matrices(self) -> Matrix:
        """``(V, 4, 4)`` rigid motion of each vertebra, CT RAS mm -> MR RAS mm."""
        return self.moved.frames @ np.linalg.inv(self.fixed.frames)

    def __call__(self, points_mm: Array) -> NDArray[np.float64]:
        """``(N, 3)`` RAS mm in the CT -> ``(N, 3)`` RAS mm in the MR.

        Near a bone its own motion outweighs all others (weights that grow without bound towards its surface,
        Franke and Little); further than ``reach_mm`` from bone the nearest levels share.
        """
        points = np.asarray(points_mm, dtype=np.float64)
        weights = self._weights(points)
        matrices = self.matrices
        placed = np.einsum("vij,nj->vni", matrices[:, :3, :3], points) + matrices[:, None, :3, 3]
        moved: NDArray[np.float64] = np.einsum("vn,vni->ni", weights, placed)
        return moved

    def _weights(self, points: Array, reach_mm: float = 10.0) -> Array:
        """``(N, 3)`` -> ``(V, N)`` shares that sum to 1; inside a bone its share is 1 to within 1e-9."""
        inverse = np.linalg.inv(self.fixed.frames)
        local = np.einsum("vij,nj->vni", inverse[:, :3, :3], points) + inverse[:, None, :3, 3]
        share = self.fixed.blend(local[..., 2])
        for place, bone in enumerate(self.spine.vertebrae):
            away = np.maximum(bone_distance(bone, (local[place, :, 0], local[place, :, 1], local[place, :, 2])), 1e-6)
            share[place] += (np.maximum(reach_mm - away, 0) / away) ** 2
        weights: Array = share / share.sum(axis=0)
        return weights
