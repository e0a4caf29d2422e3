"""Which section each case goes to, drawn patient by patient."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from itertools import chain

from spinefuse_ext.enums import Section
from spinefuse_ext.validation import DatalistError


def draw_sections(
    patients: Mapping[str, str],
    with_label: Collection[str],
    *,
    validation: int = 1,
    test: int = 0,
    labelled: int | None = None,
    seed: int = 0,
) -> dict[str, list[str]]:
    """Return the sorted case names of every section; all cases of a patient stand in one.

    Patients are drawn, so the numbers count patients: ``test`` and ``validation`` ones from those with a label when
    there are any, ``labelled`` of the rest keep their labels (all that have one when None), the others are unlabelled.

    Args:
        patients: case -> patient.
        with_label: cases that have a label. A case without one that belongs to a labelled, validation or test patient
            with labels on other cases is left out: it could neither teach nor be scored there.
        validation: patients drawn for validation.
        test: patients drawn for the test.
        labelled: training patients that keep their labels.
        seed: of the draw; the same names, numbers and seed give the same sections.

    Raises:
        DatalistError: a number is negative, or there are too few patients.
    """
    cases: dict[str, list[str]] = {}
    for case in sorted(patients):
        cases.setdefault(patients[case], []).append(case)
    names = sorted(cases)
    random.Random(seed).shuffle(names)
    taught = [name for name in names if any(case in with_label for case in cases[name])]
    _check_numbers(len(names), len(taught), validation, test, labelled)
    held_out = (taught or names)[: validation + test]
    left = [name for name in taught if name not in held_out]
    keep = left if labelled is None else left[:labelled]

    def of(patients: Iterable[str]) -> list[str]:
        return sorted(chain.from_iterable(cases[name] for name in patients))

    def scored(patients: Iterable[str]) -> list[str]:
        return [case for case in of(patients) if case in with_label or not taught]

    return {
        str(Section.LABELLED): scored(keep),
        str(Section.UNLABELLED): of(name for name in names if name not in held_out and name not in keep),
        str(Section.VALIDATION): scored(held_out[:validation]),
        str(Section.TEST): scored(held_out[validation:]),
    }


def _check_numbers(count: int, taught: int, validation: int, test: int, labelled: int | None) -> None:
    if min(validation, test, labelled or 0) < 0:
        raise DatalistError("The numbers of validation, test and labelled cases must not be negative.")
    kept = max(taught - validation - test, 0)
    scored = taught or count
    if validation + test > scored or validation + test >= count or (labelled or 0) > kept:
        raise DatalistError(
            f"{count} cases ({taught} with a label) are too few for {validation} validation, {test} test "
            f"and {labelled if labelled is not None else 'some'} labelled cases; ask for fewer. "
            "(Cases of one patient count as one.)"
        )
