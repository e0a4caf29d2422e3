"""Colour pictures of fused slices: the fused image in grey, with the CT's bone edges or the MR in colour."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.image import imsave
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.folder_layout import FolderLayoutBase
from monai.data.utils import affine_to_spacing
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scipy.ndimage import zoom
from skimage.color import ycbcr2rgb
from skimage.segmentation import find_boundaries

from spinefuse_ext.files import atomic_folder
from spinefuse_ext.labels import BONE_HU
from spinefuse_ext.metrics.fidelity import bone_level_of
from spinefuse_ext.validation import ConfigError, check_choice, check_interval, check_number, check_same_shape

Picture = NDArray[np.float64]

LONGEST_PX = 768
PLANES = ("sagittal", "coronal", "axial")
#: Sky blue of Okabe and Ito's colour-blind-safe set.
EDGE_COLOUR = np.array([86, 180, 233]) / 255
#: Chroma (Cb, Cr) about the neutral 128 that a bright MR takes: warm, and inside RGB for most lumas.
MR_CHROMA = (-56.0, 56.0)


def bone_edges(fused: Picture, ct: Picture, mr: Picture, bone_level: float) -> Picture:
    """Fused in grey with the outline of CT above ``bone_level``: pictures ``(H, W)`` in [0, 1] -> RGB ``(H, W, 3)``."""
    edges = find_boundaries(ct > bone_level, mode="thick")  # type: ignore[no-untyped-call]
    return np.where(edges[..., None], EDGE_COLOUR, fused[..., None])


def mr_colour(fused: Picture, ct: Picture, mr: Picture, bone_level: float) -> Picture:
    """Fused as luma and the MR as warm chroma (YCbCr, ITU-R BT.601): ``(H, W)`` in [0, 1] -> RGB ``(H, W, 3)``."""
    luma = 16 + 219 * fused
    # no more colour than luma allows: RGB has none at black and white
    strength = mr * np.minimum(1, 4 * fused * (1 - fused))
    blue, red = (128 + chroma * strength for chroma in MR_CHROMA)
    return np.asarray(np.clip(ycbcr2rgb(np.stack([luma, blue, red], axis=-1)), 0, 1))


STYLES: dict[str, Callable[[Picture, Picture, Picture, float], Picture]] = {
    "bone_edges": bone_edges,
    "mr_colour": mr_colour,
}


class SaveOverlayd(MapTransform):
    """Write PNGs of a fused volume ``(1, X, Y, Z)`` over its pair ``(2, X, Y, Z)``, both in [0, 1] and in RAS.

    The pictures are evenly spaced over the slices across ``slice_axis`` in which both CT and MR show something, in
    true proportions (square pixels, at least 768 along the longer side), hung as radiologists do: patient
    right or anterior on the left, superior or anterior up. The folder is replaced as a whole.

    Args:
        keys: of the fused volume.
        pair_key: of its pair.
        folder_layout: names the folder of a case from the file name of its CT.
        slice_axis: 0 sagittal, 1 coronal, 2 axial.
        slices: how many pictures at most.
        style: ``"bone_edges"`` (outline of the CT above 150 HU) or ``"mr_colour"`` (YCbCr).
        ct_window_hu: HU that are 0 and 1 in the CT channel.

    Raises:
        ConfigError: an unknown style, no slices asked for, or an outline of bone outside the CT window.
    """

    def __init__(
        self,
        keys: KeysCollection,
        pair_key: str,
        folder_layout: FolderLayoutBase,
        *,
        slice_axis: int = 0,
        slices: int = 8,
        style: str = "bone_edges",
        ct_window_hu: Sequence[float] = (-200.0, 1000.0),
    ) -> None:
        super().__init__(keys)
        low, high = check_interval("ct_window_hu", ct_window_hu)
        draw = check_choice("style", style, STYLES)
        if style == "bone_edges" and not low < BONE_HU < high:
            raise ConfigError(
                f"Bone, from {BONE_HU:g} HU, has no edge in a CT window from {low:g} to {high:g} HU; change "
                "ct_window_hu, or take the overlay style mr_colour."
            )
        self.pair_key, self.folder_layout = pair_key, folder_layout
        self.slice_axis = check_number("slice_axis", slice_axis, least=0, most=2, whole=True)
        self.slices, self.draw = check_number("slices", slices, least=1, whole=True), draw
        self.bone_level = bone_level_of((low, high))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            self._write(d[key], d[self.pair_key])
        return d

    def _write(self, fused: torch.Tensor, pair: MetaTensor) -> None:
        check_same_shape(fused=fused[0], pair=pair[0])
        volumes = [np.asarray(channel.cpu(), dtype=np.float64).clip(0, 1) for channel in (fused[0], *pair)]
        spacing_mm = affine_to_spacing(np.asarray(pair.affine.cpu()))
        with atomic_folder(Path(self.folder_layout.filename(subject=_subject(pair)))) as folder:
            for index in shown_slices(volumes[1], volumes[2], self.slice_axis, self.slices):
                hung = [upright(volume, self.slice_axis, index, spacing_mm) for volume in volumes]
                picture = self.draw(hung[0], hung[1], hung[2], self.bone_level)
                name = f"{PLANES[self.slice_axis]}_{index:03d}.png"
                imsave(folder / name, (picture * 255).round().astype(np.uint8))


def shown_slices(ct: Picture, mr: Picture, axis: int, count: int) -> list[int]:
    """At most ``count`` evenly spaced indices of the slices in which neither volume ``(X, Y, Z)`` is constant.

    A volume without such a slice is shown in slices over its whole length.
    """
    others = tuple(other for other in range(3) if other != axis)
    held = np.flatnonzero((np.ptp(ct, axis=others) > 0) & (np.ptp(mr, axis=others) > 0))
    first, last = (held[0], held[-1]) if held.size else (0, ct.shape[axis] - 1)
    edges = np.linspace(first, last + 1, count + 1)
    return sorted({int(index) for index in (edges[:-1] + edges[1:]) / 2})


def upright(volume: Picture, axis: int, index: int, spacing_mm: NDArray[np.float64]) -> Picture:
    """Slice ``index`` across RAS ``axis`` as picture ``(H, W)``, right or anterior left, superior or anterior up.

    Pixels are square, and bilinearly made finer until the longer side has 768; never coarser than stored.
    """
    across, down = (other for other in range(3) if other != axis)
    picture = np.take(volume, index, axis=axis)[::-1, ::-1].T
    size_mm = np.array([volume.shape[down] * spacing_mm[down], volume.shape[across] * spacing_mm[across]])
    pixel_mm = min(float(spacing_mm[across]), float(spacing_mm[down]), float(size_mm.max()) / LONGEST_PX)
    factors = [max(1, math.floor(size / pixel_mm + 0.5)) / n for size, n in zip(size_mm, picture.shape, strict=True)]
    return np.asarray(zoom(picture, factors, order=1, mode="nearest", grid_mode=True))


def _subject(pair: MetaTensor) -> Path:
    """File name of the CT that a pair was made from."""
    name = pair.meta["filename_or_obj"]
    return Path(name if isinstance(name, str) else name[0])
