"""Make a datalist from a folder of cases: ``ROOT/<case>/{ct,mr,fused,label}``, as any file or folder of an image."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from spinefuse_ext.data.datalist import check_patients_apart
from spinefuse_ext.data.sections import draw_sections
from spinefuse_ext.enums import CaseKeys, Section
from spinefuse_ext.files import atomic_write, check_output_file
from spinefuse_ext.formats import (
    DICOM_FOLDER,
    IMAGE_SUFFIXES,
    SEGMENTATION_SUFFIXES,
    data_paths,
    images_named,
    is_system_name,
)
from spinefuse_ext.images.kind import is_dicom_file
from spinefuse_ext.names import normal_form
from spinefuse_ext.validation import DatalistError, check_exists

logger = logging.getLogger(__name__)

KEYS = (CaseKeys.CT, CaseKeys.MR, CaseKeys.FUSED, CaseKeys.LABEL)


def make_datalist(  # noqa: PLR0913 (the options of the verb, all keyword-only but two)
    root: str | Path,
    out: str | Path | None = None,
    *,
    split: str | Path | None = None,
    validation: int = 1,
    test: int = 0,
    labelled: int | None = None,
    seed: int = 0,
    keep_labels: bool = False,
) -> Path:
    """Write ``ROOT/datalist.json`` (or ``out``) for the case folders in ``root`` and return its path.

    Without ``split`` patients are drawn: those of the test and of the validation from those with a label when there are
    any; of the rest some keep their label, and what is left is unlabelled. The patient of a case is the PatientID that
    registration noted, else the name of its folder. Unlabelled cases are listed without the label that they may have.

    Args:
        root: folder of case folders.
        out: file to write, ``ROOT/datalist.json`` by default.
        split: JSON file of case names by section, ``{"labelled": [case, ...], "unlabelled": [...], "validation":
            [...], "test": [...]}``; then nothing is drawn.
        validation: patients drawn for validation.
        test: patients drawn for the test.
        labelled: training patients that keep their label; all that have one by default.
        seed: of the draw.
        keep_labels: list the labels of unlabelled patients too: semi-supervised training does not read them, and a
            reference run can be trained with all labels.

    Raises:
        MissingPathError: ``root`` or ``split`` does not exist.
        DatalistError: no case folder is found, the split names one that is not there, or too few cases are there.
    """
    root = check_exists(root, "The folder of cases").absolute()
    path = check_output_file(out or root / "datalist.json")
    cases = {folder.name: _files(folder) for folder in sorted(data_paths(root.iterdir())) if folder.is_dir()}
    cases = {name: files for name, files in cases.items() if set(files) - {CaseKeys.PATIENT, CaseKeys.LABEL}}
    _tell_left_out(root)
    if not cases:
        raise DatalistError(f"{root} has no case folder; expected {root}/<case>/ct.nii.gz, mr.nii.gz or fused.nii.gz.")
    if split:
        sections = _read_split(split, cases)
    else:
        patients = {name: files[CaseKeys.PATIENT] for name, files in cases.items()}
        with_label = {name for name, files in cases.items() if CaseKeys.LABEL in files}
        sections = draw_sections(patients, with_label, validation=validation, test=test, labelled=labelled, seed=seed)
    content = {
        section: [_entry(cases[name], keep_labels or section != Section.UNLABELLED) for name in names]
        for section, names in sections.items()
    }
    check_patients_apart(content, root)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
    return path


def _tell_left_out(root: Path) -> None:
    """Name the folders with images that are taken for no cases, for a system put them there."""
    hidden = [path for path in sorted(root.iterdir()) if path.is_dir() and is_system_name(path.name)]
    left_out = [path.name for path in hidden if case_files(path, root)]
    if left_out:
        logger.info("Left out of the cases of %s, for they are hidden or a system's: %s", root, ", ".join(left_out))


def _files(folder: Path) -> dict[str, str]:
    return {str(CaseKeys.PATIENT): _patient(folder), **case_files(folder, folder.parent)}


def case_files(folder: Path, root: Path) -> dict[str, str]:
    """Key -> path relative to ``root`` of what a case folder holds."""
    found = {}
    for key in KEYS:
        suffixes = (*IMAGE_SUFFIXES, *SEGMENTATION_SUFFIXES) if key == CaseKeys.LABEL else IMAGE_SUFFIXES
        path = next((path for path in images_named(folder, key, suffixes) if _is_image(path)), None)
        if path is not None:
            found[str(key)] = path.relative_to(root).as_posix()
    return found


def _is_image(path: Path) -> bool:
    """Whether what has the name of a key is a file, or a folder said or seen to hold DICOM."""
    if not path.is_dir() or path.name.endswith(DICOM_FOLDER):
        return True
    return any(file.is_file() and is_dicom_file(file) for file in data_paths(path.rglob("*")))


def _patient(folder: Path) -> str:
    notes = folder / "registration.json"
    try:
        noted = json.loads(notes.read_text(encoding="utf-8")).get("patient_id") if notes.is_file() else None
    except (ValueError, AttributeError) as error:
        raise DatalistError(f"{notes} is not what `spinefuse register` writes; register the case again.") from error
    return normal_form(str(noted or folder.name))


def _entry(files: Mapping[str, str], with_label: bool) -> dict[str, str]:
    return {key: path for key, path in files.items() if with_label or key != CaseKeys.LABEL}


def _read_split(split: str | Path, cases: Mapping[str, object]) -> dict[str, list[str]]:
    path = check_exists(split, "The split")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        sections = {str(section): [str(name) for name in content.get(section, [])] for section in Section}
    except (ValueError, AttributeError, TypeError) as error:
        raise DatalistError(f"{path} is not a split: expected JSON lists of case names by section.") from error
    folders = {normal_form(name): name for name in cases}
    sections = {
        section: [folders.get(normal_form(name), name) for name in names] for section, names in sections.items()
    }
    missing = sorted({name for names in sections.values() for name in names} - set(cases))
    if missing:
        raise DatalistError(f"{path} names cases that have no folder: {', '.join(missing)}. Remove them or add them.")
    return sections
