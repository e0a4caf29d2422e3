"""Landmark files, landmark registration, and the MR on the CT grid."""

from spinefuse_ext.registration.case import register_case
from spinefuse_ext.registration.fit import LandmarkFit, fit_landmarks, trust_headers
from spinefuse_ext.registration.label_landmarks import landmarks_from_labels
from spinefuse_ext.registration.landmark_files import read_landmarks, write_landmarks
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.registration.resampling import resample
from spinefuse_ext.registration.transform_file import write_transform

__all__ = [
    "LandmarkFit",
    "Landmarks",
    "fit_landmarks",
    "landmarks_from_labels",
    "read_landmarks",
    "register_case",
    "resample",
    "trust_headers",
    "write_landmarks",
    "write_transform",
]
