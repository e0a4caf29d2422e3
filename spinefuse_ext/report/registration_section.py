"""The report's part on registration: errors at the landmarks, and pictures before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spinefuse_ext.report.fit_file import FitFigures
from spinefuse_ext.report.page import Fact, Picture, Section
from spinefuse_ext.report.registration_figures import registration_panel
from spinefuse_ext.report.run_folder import Case
from spinefuse_ext.report.tables import DASH, Better, Table

#: Pictures shown per part, so that the page stays light however many cases a run had.
MOST_PICTURES = 3

_MEANING = (
    "FRE is the distance left at the landmarks the fit used; it flatters the fit. TRE is measured leave-one-out: "
    "each landmark in turn is left out of the fit and the error is taken there. Both are in mm."
)
_OF_BONES = (
    "Where bones registered the images, nobody clicked a landmark: a point of the table is a vertebra, FRE what the "
    "model leaves of its own motion, TRE the same when its neighbours alone lead it. How sure each vertebra is stands "
    "below."
)


def fits_of(cases: Sequence[Case]) -> dict[str, FitFigures]:
    """Case name -> landmark fit, for those that have one."""
    fits = {case.name: case.fit() for case in cases}
    return {name: fit for name, fit in fits.items() if fit is not None}


def registration_section(cases: Sequence[Case]) -> Section:
    """Tables of every case, then pictures of the cases with the largest TRE."""
    fits = fits_of(cases)
    pictured = [case for case in _worst_first(cases, fits) if case.has("ct", "mr")]
    text = [] if fits else ["No registration.json was found below cases/, so there are no landmark errors."]
    text += [_MEANING] if not all(fit.bones_mm for fit in fits.values()) else []
    text += [_OF_BONES] if any(fit.bones_mm for fit in fits.values()) else []
    text += [f"{name}: {warning}" for name, fit in fits.items() for warning in fit.warnings]
    if not pictured:
        text.append("No case holds both ct.nii.gz and mr.nii.gz, so there is no picture of the registration.")
    elif len(pictured) > MOST_PICTURES:
        text.append(f"Pictures of {MOST_PICTURES} of {len(pictured)} cases follow, those with the largest TRE.")
    return Section(
        heading="Registration",
        text=text,
        tables=_tables(fits),
        figures=[_picture(case) for case in pictured[:MOST_PICTURES]],
    )


def registration_facts(cases: Sequence[Case]) -> list[Fact]:
    """Mean FRE and mean leave-one-out TRE of clicked landmarks, or the uncertainty of the vertebrae, over the cases."""
    fits = fits_of(cases).values()
    clicked = [fit for fit in fits if not fit.bones_mm]
    measured = {
        "Landmark error, fitted (FRE)": [fit.fre_rms_mm for fit in clicked],
        "Leave-one-out error (TRE)": [fit.tre_mean_mm for fit in clicked],
        "Uncertainty of a vertebra": [_usual_mm(fit) for fit in fits],
    }
    facts = []
    for name, values in measured.items():
        finite = [value for value in values if np.isfinite(value)]
        if finite:
            note = "1 case" if len(finite) == 1 else f"mean of {len(finite)} cases, largest {max(finite):.2f} mm"
            facts.append(Fact(f"{np.mean(finite):.2f} mm", name, note))
    return facts


def _tables(fits: Mapping[str, FitFigures]) -> list[Table]:
    if not fits:
        return []
    header = ("Case", "Model", "Points", "FRE rms, mm", "TRE mean, mm", "TRE largest, mm", "Worst point")
    rows = tuple(
        (name, fit.model or DASH, len(fit.points_mm), *_errors_mm(fit), fit.worst or DASH) for name, fit in fits.items()
    )
    better: dict[str, Better] = {"FRE rms, mm": "low", "TRE mean, mm": "low", "TRE largest, mm": "low"}
    overview = Table(header, rows, caption="Errors per case", digits=2, better=better)
    name, worst = max(fits.items(), key=lambda item: np.nan_to_num(item[1].tre_mean_mm, nan=-1.0))
    points = tuple((point, *errors) for point, errors in worst.points_mm.items())
    caption = f"{name}, the case with the largest TRE, per point" if len(fits) > 1 else f"{name}, per point"
    per_point = Table(("Point", "FRE, mm", "TRE, mm"), points, caption=caption, digits=2, better={"TRE, mm": "low"})
    return [overview, *([per_point] if points else []), *_of_bones(fits)]


def _of_bones(fits: Mapping[str, FitFigures]) -> list[Table]:
    """How sure each vertebra is, of every case that bones registered."""
    header = ("Case", "Vertebra", "Uncertainty, mm", "Surfaces apart, mm", "From neighbours, mm")
    rows = tuple((case, name, *figures) for case, fit in fits.items() for name, figures in fit.bones_mm.items())
    caption = "Bones: how far restarts put a pedicle screw elsewhere, and what surfaces and neighbours say"
    return [Table(header, rows, caption=caption, digits=2)] if rows else []


def _usual_mm(fit: FitFigures) -> float:
    """Median uncertainty of the vertebrae; NaN where none is known."""
    known = [figures[0] for figures in fit.bones_mm.values() if np.isfinite(figures[0])]
    return float(np.median(known)) if known else float("nan")


def _errors_mm(fit: FitFigures) -> tuple[float, float, float]:
    return fit.fre_rms_mm, fit.tre_mean_mm, fit.tre_largest_mm


def _worst_first(cases: Sequence[Case], fits: Mapping[str, FitFigures]) -> list[Case]:
    """Cases by falling TRE; those without one come last, in their own order."""
    errors_mm = {name: fit.tre_mean_mm for name, fit in fits.items()}
    return sorted(cases, key=lambda case: np.nan_to_num(-errors_mm.get(case.name, np.nan), nan=np.inf))


def _picture(case: Case) -> Picture:
    volumes = case.volumes("ct", "mr")
    before = case.mr_before(volumes["ct"])
    missing = "" if before is not None else " The MR before registration was not found, so only the result is shown."
    return Picture(
        registration_panel(volumes["ct"], before, volumes["mr"], landmarks=case.ct_landmarks()),
        f"{case.name}: warm tiles are CT, cool tiles MR; edges should run on across tile borders. Orange is the "
        f"outline of the CT's bone on the MR; it should follow the dark cortical rim.{missing}",
        f"Checkerboards of CT and MR, and CT bone outlines on MR, of case {case.name}",
    )
