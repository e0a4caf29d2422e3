"""What ``spinefuse register`` is given, read and checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monai.data import MetaTensor

from spinefuse_ext.images.stored_image import as_in_itk
from spinefuse_ext.label_files.label_grid import label_findings
from spinefuse_ext.registration.fit import RegistrationFit, fit_landmarks, trust_headers
from spinefuse_ext.registration.from_file import use_transform
from spinefuse_ext.registration.landmark_files import read_landmarks
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.registration.models import Model
from spinefuse_ext.registration.name_matching import match_landmarks
from spinefuse_ext.registration.program_place import is_slicers
from spinefuse_ext.registration.read_transform import FileTransform, read_transform
from spinefuse_ext.registration.shared_space import check_shared_frame
from spinefuse_ext.registration.vertebrae import vertebrae_from_labels
from spinefuse_ext.validation import LandmarkError
from spinefuse_ext.volumes.volume import read_volume

PointFiles = tuple[Landmarks, Landmarks]  # CT, MR


@dataclass(frozen=True)
class Start:
    """Where a registration begins: landmarks with their fit, a transform file, or neither (the headers).

    ``points`` are the landmarks that both lists have, in one order, ``lists`` all of them, ``paths`` their files.
    ``method`` says in the report how a fit came about that was made elsewhere, such as from bones.
    """

    points: PointFiles | None = None
    landmark_fit: RegistrationFit | None = None
    transform: FileTransform | None = None
    label: MetaTensor | None = None
    lists: PointFiles | None = None
    paths: tuple[str, str] = ("the CT list", "the MR list")
    method: str | None = None

    def fit(self, ct: MetaTensor, mr: MetaTensor) -> RegistrationFit:
        """Return the map from CT to MR; raise ``LandmarkError`` if only headers are there and share no space."""
        if self.landmark_fit is not None:
            return self.landmark_fit
        if self.transform is not None:
            return use_transform(self.transform, ct)
        check_shared_frame(ct, mr)
        return trust_headers()

    def warnings(self, ct: MetaTensor, model: str) -> list[str]:
        """Return what is odd about the vertebra labels, and that a model was named for nothing."""
        found = [] if self.label is None else label_findings(self.label, ct)
        if self.landmark_fit is None and model != Model.RIGID:
            found.append(f"the model {model} was not used, because no landmarks were given")
        return found


def read_start(
    landmarks: tuple[str | Path | None, str | Path | None],
    transform: str | Path | None,
    model: str,
    vertebrae: str | Path | None,
) -> Start:
    """Read the landmark files of CT and MR, or the transform file, and fit what is to be fitted.

    Raises:
        LandmarkError: One landmark file alone, landmarks beside a transform, or points that do not fit.
        TransformError: The transform file cannot be read.
    """
    points = read_points(*landmarks)
    if transform is not None and points is not None:
        raise LandmarkError(
            f"Expected landmarks or a transform file, got both ({transform} and {landmarks[0]}); leave one out."
        )
    if vertebrae is not None and (model != Model.PER_VERTEBRA or points is None):
        used = "no landmarks" if points is None else model
        raise LandmarkError(f"A vertebra label volume serves the model per_vertebra only, got {vertebrae} for {used}.")
    if points is None:
        return Start(transform=None if transform is None else read_transform(transform))
    label = None if vertebrae is None else read_volume(vertebrae)
    if label is not None and is_slicers(landmarks[0]):
        as_in_itk(label)
    matched = match_landmarks(*points)
    fit = fit_points(points, landmarks, model, label)
    paths = (str(landmarks[0]), str(landmarks[1]))
    return Start((matched.fixed, matched.moving), fit, label=label, lists=points, paths=paths)


def read_points(ct_path: str | Path | None, mr_path: str | Path | None) -> PointFiles | None:
    """Read both landmark files; None when none is given."""
    if ct_path is None and mr_path is None:
        return None
    if ct_path is None or mr_path is None:
        absent = "ct_landmarks" if ct_path is None else "mr_landmarks"
        raise LandmarkError(f"Landmarks are needed on both images, but {absent} is missing; give both files, or none.")
    return read_landmarks(ct_path), read_landmarks(mr_path)


def fit_points(
    points: PointFiles, paths: tuple[str | Path | None, str | Path | None], model: str, label: MetaTensor | None = None
) -> RegistrationFit:
    """Fit both lists, with the vertebrae of ``label`` where there is one; an error names their files."""
    try:
        bones = None
        if label is not None:
            matched = match_landmarks(*points)
            bones = vertebrae_from_labels(matched.fixed, label, Path(label.meta["filename_or_obj"]))
        return fit_landmarks(*points, model, vertebrae=bones)
    except LandmarkError as error:
        raise LandmarkError(f"{paths[0]} and {paths[1]}: {error}") from error
