"""Landmark files, landmark registration, and the MR on the CT grid."""

from typing import TYPE_CHECKING

from spinefuse_ext.packages import installed, names_without
from spinefuse_ext.renamed import renamed

_NEEDED = ("itk", "pydicom", "scipy")
if installed(*_NEEDED):
    from spinefuse_ext.registration.case import register_case
    from spinefuse_ext.registration.fit import RegistrationFit, fit_landmarks, trust_headers
    from spinefuse_ext.registration.from_file import use_transform
    from spinefuse_ext.registration.label_landmarks import landmarks_from_labels
    from spinefuse_ext.registration.landmark_files import read_landmarks, write_landmarks
    from spinefuse_ext.registration.landmarks import Landmarks
    from spinefuse_ext.registration.models import Model
    from spinefuse_ext.registration.mutual_information import Limits
    from spinefuse_ext.registration.read_transform import FileTransform, read_transform
    from spinefuse_ext.registration.refinement import Refinement, refine
    from spinefuse_ext.registration.resampling import resample
    from spinefuse_ext.registration.transform_file import transform_on, write_transform
    from spinefuse_ext.registration.vertebrae import Vertebrae, vertebrae_from_labels, vertebrae_from_names

__all__ = [
    "FileTransform",
    "Landmarks",
    "Limits",
    "Model",
    "Refinement",
    "RegistrationFit",
    "Vertebrae",
    "fit_landmarks",
    "landmarks_from_labels",
    "read_landmarks",
    "read_transform",
    "refine",
    "register_case",
    "resample",
    "transform_on",
    "trust_headers",
    "use_transform",
    "vertebrae_from_labels",
    "vertebrae_from_names",
    "write_landmarks",
    "write_transform",
]

if not installed(*_NEEDED):
    __getattr__ = names_without(__name__, __all__, *_NEEDED)
elif not TYPE_CHECKING:
    __getattr__ = renamed(__name__, {"LandmarkFit": "spinefuse_ext.registration.fit.RegistrationFit"})
