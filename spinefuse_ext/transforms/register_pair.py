"""Registration as a step of a config: an MR that is not on the grid of its CT yet is brought there."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from spinefuse_ext.data.item_keys import by_key
from spinefuse_ext.enums import Model, RegistrationKeys
from spinefuse_ext.registration.shared_space import check_shared_frame, same_patient
from spinefuse_ext.validation import check_choice, check_number

if TYPE_CHECKING:
    from spinefuse_ext.registration.case_inputs import Start

logger = logging.getLogger(__name__)


class RegisterPaird(MapTransform):
    """Bring images ``(1, X, Y, Z)`` onto the grid of ``key_dst`` by the landmark or transform files that a case names.

    A case names them as ``ct_landmarks`` and ``mr_landmarks``, or ``transform``, and for the model "per_vertebra"
    also ``vertebrae``: the files, checks and methods of ``spinefuse register``. These keys leave the case, so that
    cases with and without them make one batch; FRE, TRE and warnings are logged. A case without any of them stays as it
    is: its pair lies on one grid, or its headers share one space. Two DICOM series in different frames of reference
    share none, and are refused.

    Args:
        keys: of moving images (MR), as ``ReadVolumed`` leaves them.
        key_dst: of the image whose grid is kept (CT).
        model: registration model.
        refine: refine by intensity after the landmarks.
        field_spacing_mm: distance of the displacement vectors of a model that bends; 3 by default.
        allow_different_patients: go on although the PatientIDs differ.

    Only a case that names files needs the packages of the registration (ITK, SciPy, pydicom).

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
        field_spacing_mm: float | None = None,
        allow_different_patients: bool = False,
    ) -> None:
        super().__init__(keys)
        self.key_dst = key_dst
        self.model = str(check_choice("model", model, Model))
        self.refine = refine
        spacing = None if field_spacing_mm is None else check_number("field_spacing_mm", field_spacing_mm, above=0)
        self.spacing = {} if spacing is None else {"spacing_mm": spacing}
        self.allow_different_patients = allow_different_patients

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = by_key(data)
        files = {name: d.pop(str(name), None) for name in RegistrationKeys}
        if not any(file for name, file in files.items() if name != RegistrationKeys.VERTEBRAE):
            for key in self.key_iterator(d):
                same_patient(d[self.key_dst], d[key], self.allow_different_patients)
                check_shared_frame(d[self.key_dst], d[key])
            return d
        from spinefuse_ext.registration.mutual_information import Limits
        from spinefuse_ext.registration.pair import fit_pair
        from spinefuse_ext.registration.program_place import place_for
        from spinefuse_ext.registration.resampling import resample

        limits = Limits() if self.refine else None
        start, ct = self._start(files), d[self.key_dst]
        landmarks = (files[RegistrationKeys.LANDMARKS_CT], files[RegistrationKeys.LANDMARKS_MR])
        sources = landmarks, files[RegistrationKeys.TRANSFORM]
        for key in self.key_iterator(d):
            mr = d[key]
            for sentence in place_for((ct, mr), *sources):
                logger.warning("%s", sentence)
            found = fit_pair(ct, mr, start, allow_different_patients=self.allow_different_patients, limits=limits)
            d[key] = resample(mr, found.fit, ct, **self.spacing)
            logger.info("Registered %s\n%s", mr.meta["filename_or_obj"], found.fit.summary())
        return d

    def _start(self, files: Mapping[RegistrationKeys, Any]) -> Start:
        from spinefuse_ext.registration.case_inputs import read_start

        landmarks = (files[RegistrationKeys.LANDMARKS_CT], files[RegistrationKeys.LANDMARKS_MR])
        needed = self.model == Model.PER_VERTEBRA  # a list may name bones for every case, whatever the model
        vertebrae = files[RegistrationKeys.VERTEBRAE] if needed and any(landmarks) else None
        return read_start(landmarks, files[RegistrationKeys.TRANSFORM], self.model, vertebrae)
