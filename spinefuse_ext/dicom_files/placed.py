"""Images with their place in the patient, and when two of them lie alike or at one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.dicom_files.series import Slice
from spinefuse_ext.images.stored_image import LPS_TO_RAS
from spinefuse_ext.validation import ImageReadError

#: Orientations and spacings are one where no corner of an image lies farther off than this part of a pixel.
_ALIKE = 0.5
#: Images are at one place where they lie nearer to each other than this part of a pixel.
_ONE_PLACE = 0.05
_UNIT, _RIGHT_ANGLE = 0.01, 0.01  # what rounding leaves of the length and the angle of two directions
_GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_MAIN = ("sagittal", "coronal", "axial")
_TOWARDS = ("R", "A", "S")


class Placed(NamedTuple):
    """An image, the centre of its first pixel (LPS mm), and its steps ``(3, 2)``, mm: along a row, down a column."""

    slice: Slice
    corner: NDArray[np.float64]
    steps: NDArray[np.float64]

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        return int(self.slice.header.Columns), int(self.slice.header.Rows)

    @property
    def normal(self) -> NDArray[np.float64]:
        """Direction from slice to slice, of the length 1 but for rounding."""
        return np.asarray(np.cross(*(self.steps / np.linalg.norm(self.steps, axis=0)).T))

    @property
    def pixel_mm(self) -> float:
        """The smaller side of a pixel."""
        return float(np.linalg.norm(self.steps, axis=0).min())

    @property
    def plane(self) -> str:
        """The plane of the body that the image lies nearest to: "axial", "coronal" or "sagittal"."""
        return _MAIN[int(np.abs(self.normal).argmax())]

    def lies_as(self, other: Placed) -> bool:
        """Whether orientation, spacing and size are those of another image, but for rounding."""
        if self.size != other.size:
            return False
        across, down = ((self.steps - other.steps) * (np.array(self.size) - 1)).T
        farthest = max(np.linalg.norm(across), np.linalg.norm(down), np.linalg.norm(across + down))
        return bool(farthest <= _ALIKE * min(self.pixel_mm, other.pixel_mm))


def placed(each: Slice) -> Placed:
    """Return an image with its place; raise ImageReadError where its header gives none that is possible."""
    corner, directions, spacing = (_numbers(each, name) for name in _GEOMETRY)
    if not (
        corner.shape == (3,)
        and directions.shape == (6,)
        and spacing.shape == (2,)
        and _possible(corner, directions.reshape(2, 3), spacing)
    ):
        raise ImageReadError(
            f"{each.path} has an impossible place in the patient (position {corner.tolist()}, directions "
            f"{directions.tolist()}, pixels of {spacing.tolist()} mm); export it again or leave it out."
        )
    return Placed(each, corner, directions.reshape(2, 3).T * spacing[::-1])  # its first number is that between rows


def _numbers(each: Slice, name: str) -> NDArray[np.float64]:
    value = each.header[name].value
    try:
        return np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ImageReadError(f"{each.path} has {value} for its {name}, which is no number; export it again.") from error


def _possible(corner: NDArray[np.float64], directions: NDArray[np.float64], spacing: NDArray[np.float64]) -> bool:
    finite = np.isfinite(corner).all() and np.isfinite(directions).all() and np.isfinite(spacing).all()
    units = abs(np.linalg.norm(directions, axis=1) - 1).max() < _UNIT
    return bool(finite and units and abs(directions[0] @ directions[1]) < _RIGHT_ANGLE and (spacing > 0).all())


def alike(images: Sequence[Placed]) -> list[list[Placed]]:
    """Return the images in groups that lie alike, in the order of their first ones."""
    groups: list[list[Placed]] = []
    for image in images:
        group = next((group for group in groups if image.lies_as(group[0])), None)
        if group is None:
            groups.append([image])
        else:
            group.append(image)
    return groups


def in_order(images: Sequence[Placed]) -> list[Placed]:
    """Return images that lie alike in spatial order along their normal."""
    return [images[place] for place in np.argsort(heights(images), kind="stable")]


def heights(images: Sequence[Placed]) -> NDArray[np.float64]:
    """Return how far each image that lies as the first one does is along the normal of that, mm."""
    return np.array([image.corner @ images[0].normal for image in images])


def by_place(images: Sequence[Placed]) -> list[list[Placed]]:
    """Return images in spatial order in groups of one place along the normal."""
    gaps = np.diff(heights(images))
    cuts = np.flatnonzero(gaps > _ONE_PLACE * images[0].pixel_mm) + 1
    return [list(images[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(images)], strict=True)]


def described(images: Sequence[Placed]) -> str:
    """Say the plane, the number of slices and where they lie: ``axial, 14 slices, S -32 to 7 mm``."""
    axis = int(np.abs(images[0].normal).argmax())
    centres = [image.corner + image.steps @ (np.array(image.size) - 1) / 2 for image in images]
    along = sorted(LPS_TO_RAS[axis, axis] * centre[axis] for centre in centres)
    place = f"{along[0]:.0f}" if len(images) == 1 else f"{along[0]:.0f} to {along[-1]:.0f}"
    count = "1 slice" if len(images) == 1 else f"{len(images)} slices"
    return f"{images[0].plane}, {count}, {_TOWARDS[axis]} {place} mm"
