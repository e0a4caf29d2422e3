"""Registration as a step of a config: an MR that is not on the grid of its CT yet is brought there."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from spinefuse_ext.enums import RegistrationKeys
from spinefuse_ext.registration.case import RegistrationFiles, fit_images
from spinefuse_ext.registration.resampling import resample
from spinefuse_ext.registration.transform_file import FIELD_SPACING_MM

logger = logging.getLogger(__name__)


class RegisterPaird(MapTransform):
    """Bring images ``(1, X, Y, Z)`` onto the grid of ``key_dst`` by the landmark or transform files that a case names.

    A case names them under ``landmarks_ct`` and ``landmarks_mr``, or ``transform``, and for the model "per_vertebra"
    also ``vertebrae``: the files, checks and methods of ``spinefuse register``. These keys leave the case, so that
    cases with and without them make one batch; FRE, TRE and warnings are logged. A case without any of them stays as it
    is: its pair lies on one grid, or its headers share one space.

    Args:
        keys: of moving images (MR), as ``ReadVolumed`` leaves them.
        key_dst: of the image whose grid is kept (CT).
        model: registration model.
        refine: refine by intensity after the landmarks.
        field_spacing_mm: distance of the displacement vectors of a model that bends.
        allow_different_patients: go on although the PatientIDs differ.

    Raises:
        SpinefuseError: from a call, for everything that ``register_case`` refuses.
    """

    def __init__(
        self,
        keys: KeysCollection,
        key_dst: str,
        *,
        model: str = "rigid",
        refine: bool = False,
        field_spacing_mm: float = FIELD_SPACING_MM,
        allow_different_patients: bool = False,
    ) -> None:
        super().__init__(keys)
        self.key_dst = key_dst
        self.field_spacing_mm = field_spacing_mm
        self.options = {"model": model, "refine": refine, "allow_different_patients": allow_different_patients}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        files = {str(name): d.pop(name, None) for name in RegistrationKeys}
        if not any(files.values()):
            return d
        for key in self.key_iterator(d):
            fit = fit_images(d[self.key_dst], d[key], RegistrationFiles(**files), **self.options)
            name = d[key].meta["filename_or_obj"]
            d[key] = resample(d[key], fit, d[self.key_dst], spacing_mm=self.field_spacing_mm)
            logger.info("Registered %s\n%s", name, fit.summary())
        return d
