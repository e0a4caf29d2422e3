"""A fused volume as a DICOM series beside its CT, read back and compared before it counts as written."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import itk
import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import generate_uid

from spinefuse_ext.dicom.fused_header import TOP, Origin, mr_references, shared_header, slice_header
from spinefuse_ext.dicom.source import opened_source
from spinefuse_ext.dicom.write_series import save_instance
from spinefuse_ext.dicom_files.series import find_series
from spinefuse_ext.dicom_files.tilt import Upright, upright_grid
from spinefuse_ext.files import atomic_folder, check_output_folder
from spinefuse_ext.formats import data_paths
from spinefuse_ext.label_files.label_grid import in_axes_of, is_same_grid
from spinefuse_ext.validation import FusedSeriesError, GridMismatchError, PatientMismatchError
from spinefuse_ext.volumes.volume import read_volume

logger = logging.getLogger(__name__)

_OWN_FILE = re.compile(r"fused_\d{4,}\.dcm")
_BEYOND = 1e-3  # of 0 to 1: what interpolation may add; larger values are on another scale
_HALF_STEP = 0.5 / TOP + 1e-6


def write_fused(
    fused: str | Path | MetaTensor,
    source: str | Path,
    out: str | Path,
    *,
    mr: str | Path | None = None,
    series: str | int | None = None,
    mr_series: str | int | None = None,
) -> Path:
    """Write a fused volume as a derived DICOM series on the images of its CT series; returns the folder ``out``.

    Each image of the CT gets one of the fused volume at its place, of the class Secondary Capture and the modality
    OT, lossless, in the CT's study and frame of reference, with references to the images of CT and MR. The volume
    must lie on the grid of the CT; its axes may be flipped or in another order. A tilted gantry gets the upright grid
    on which spinefuse fuses. Stored are 0 to 10000 for 0 to 1, which is also the window. The folder is read back by
    ITK, and it stays only if each voxel has its place and, within half a step, its value.

    Args:
        fused: fused volume in [0, 1], a file or ``(1, X, Y, Z)`` with its RAS affine.
        source: DICOM folder or ZIP archive of the CT, or any file of its series, which is then the one.
        out: folder to write; a fused series that is there already is replaced.
        mr: DICOM folder of the MR, to be referred to, or any file of its series.
        series: description, number or UID of the CT series, where the folder holds several.
        mr_series: the same of the MR.

    Raises:
        MissingPathError: the volume or a series does not exist.
        ImageReadError: the volume cannot be read, or a folder holds no one such series.
        SourceError: a series lacks what a derived one must refer to.
        PatientMismatchError: CT and MR have different PatientIDs.
        GridMismatchError: the volume does not lie on the grid of the CT.
        FusedSeriesError: values beyond [0, 1] or not finite, a folder that holds other files, or files that do not
            say what the volume says.
    """
    out = Path(out)
    name, mr_name = (None if each is None else str(each) for each in (series, mr_series))
    with ExitStack() as archives:
        ct = Origin.read(archives.enter_context(opened_source(source, "CT", name, "--series")))
        found = None if mr is None else archives.enter_context(opened_source(mr, "MR", mr_name))
        return _write(fused, ct, None if found is None else Origin.read(found), out)


def _write(fused: str | Path | MetaTensor, ct: Origin, other: Origin | None, out: Path) -> Path:
    _check_target(out, ct)
    _check_patient(ct, other)
    volume = fused if isinstance(fused, MetaTensor) else read_volume(fused)
    grid = upright_grid(ct.source.affine, ct.source.shape)
    voxels = _on_grid(volume, ct, grid)
    with atomic_folder(out) as temporary:
        for number, image in zip(ct.instance_numbers(), _images(voxels, ct, other, grid), strict=True):
            image.InstanceNumber = number
            save_instance(image, temporary / f"fused_{number:04d}.dcm")
        off = _compare(temporary, voxels, grid, ct, out)
    told = (out, len(voxels.T), ct.source, off)
    logger.info("wrote %s, %d DICOM images on those of %s, and read them back: values differ by %.5f at most", *told)
    return out


def _check_target(out: Path, ct: Origin) -> None:
    """Refuse a folder that would lose other files than those of a fused series written before."""
    check_output_folder(out)
    if not out.exists():
        return
    strange = next((path for path in sorted(data_paths(out.iterdir())) if not _OWN_FILE.fullmatch(path.name)), None)
    if strange is not None or out.resolve() in {path.resolve().parent for path in ct.source.paths}:
        held = ct.source.paths[0].name if strange is None else strange.name
        raise FusedSeriesError(f"{out} holds {held} already and would be replaced as a whole; name a new folder.")


def _check_patient(ct: Origin, mr: Origin | None) -> None:
    ids = [origin.source.series.patient_id for origin in (ct, mr) if origin is not None]
    if all(ids) and len(set(ids)) > 1:
        raise PatientMismatchError(
            f"The CT is of patient {ids[0]}, the MR of {ids[1]}; name the series of one patient."
        )


def _on_grid(fused: MetaTensor, ct: Origin, grid: Upright) -> NDArray[np.float32]:
    """Return the values ``(X, Y, Z)`` of the volume in the axes of the grid, on which it must lie, within [0, 1]."""
    what = str(fused.meta.get("filename_or_obj", "the fused volume"))
    if fused.ndim != 4 or fused.shape[0] != 1:
        raise ValueError(f"Expected a fused volume (1, X, Y, Z), got {tuple(fused.shape)}.")
    turned = in_axes_of(fused, grid.affine)[0]
    shape = tuple(turned.shape[1:])
    if shape != grid.shape or not is_same_grid(turned.affine.numpy(), grid.affine, shape):
        got, wanted = _told(shape, turned.affine.numpy()), _told(grid.shape, grid.affine)
        raise GridMismatchError(
            f"{what} does not lie on the grid of {ct.source} ({got}, not {wanted}); name the CT that it was fused with."
        )
    voxels = turned.numpy()[0].astype(np.float32)
    if not np.isfinite(voxels).all():
        raise FusedSeriesError(f"{what} holds values that are not finite; fuse again.")
    low, high = float(voxels.min()), float(voxels.max())
    if low < -_BEYOND or high > 1 + _BEYOND:
        raise FusedSeriesError(f"{what} should hold values from 0 to 1, but has {low:g} to {high:g}; scale it first.")
    return voxels.clip(0, 1)


def _images(voxels: NDArray[np.float32], ct: Origin, mr: Origin | None, grid: Upright) -> Iterator[Dataset]:
    """Yield every slice of ``(X, Y, Z)`` as a whole data set but for its number."""
    shared = shared_header(ct, mr)
    of_mr = Dataset() if mr is None else mr_references(ct, mr)
    stored = np.rint(voxels * TOP).astype("<u2").T  # slices x rows x columns
    for place, pixels in enumerate(stored):
        image = Dataset()
        for part in (shared, of_mr, slice_header(ct, place, grid)):
            image.update(part)
        for name in ("SourceImageSequence", "ReferencedSeriesSequence"):
            image[name].value.extend(of_mr.get(name, ()))
        image.SOPInstanceUID = generate_uid()
        image.Rows, image.Columns = pixels.shape
        image.PixelData = pixels.tobytes()
        image["PixelData"].VR = "OW"
        yield image


def _compare(folder: Path, voxels: NDArray[np.float32], grid: Upright, ct: Origin, out: Path) -> float:
    """Return by how much the values of the files differ from the voxels; raise FusedSeriesError if they should not."""
    read, affine = _read_back(folder)
    (written,) = find_series(folder)
    wrong = None
    if read.shape != voxels.shape or not is_same_grid(affine, grid.affine, read.shape):
        wrong = f"has {_told(read.shape, affine)}"
    elif not np.abs(read / TOP - voxels).max() <= _HALF_STEP:
        wrong = f"has values that differ by {np.abs(read / TOP - voxels).max():g}"
    elif written.frame_of_reference != ct.source.series.frame_of_reference:
        wrong = "has another frame of reference"
    if wrong:
        raise FusedSeriesError(f"{out} was not kept, as read back it {wrong}; report this.")
    return float(np.abs(read / TOP - voxels).max())


def _read_back(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read the only series of a folder as ITK finds, sorts and places it: ``(X, Y, Z)`` and its RAS affine."""
    names = itk.GDCMSeriesFileNames.New(Directory=str(folder))
    reader = itk.ImageSeriesReader[itk.Image[itk.F, 3]].New(ImageIO=itk.GDCMImageIO.New())
    reader.SetFileNames(names.GetInputFileNames())
    reader.Update()
    image = reader.GetOutput()
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return itk.array_from_image(image).T, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _told(shape: tuple[int, ...], affine: NDArray[np.float64]) -> str:
    corner = ", ".join(f"{value:.1f}" for value in affine[:3, 3])
    return f"{' x '.join(map(str, shape))} voxels from ({corner}) mm"
