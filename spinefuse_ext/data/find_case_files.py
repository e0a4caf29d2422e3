"""Which files make one case, by their names: CT, MR, the fused volume, landmarks, a transform.

A server hands over one image where the bundles need a pair. The name of an image holds the word ``ct``, ``mr`` or
``fused``, set off by ``_``, ``-``, ``.``, a space or the end of the name: ``case_5_ct.nii.gz``, ``CT.nrrd``. Another
image of its case has the same name with the other word, in the same folder or in one named by that word: beside
``case_5_ct.nii.gz`` that is ``case_5_mr.nii.gz`` or ``mr/case_5_mr.nii.gz``; in the latter folder also
``mr/case_5_ct.nii.gz`` and ``mr/case_5.nii.gz``. A name without such a word gets one: ``case_5_mr.nii.gz``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from spinefuse_ext.enums import CaseKeys, RegistrationKeys
from spinefuse_ext.formats import (
    ARCHIVE,
    IMAGE_SUFFIXES,
    LANDMARK_SUFFIXES,
    TRANSFORM_SUFFIXES,
    data_paths,
    image_stem,
    image_suffix,
    images_named,
    is_image_file,
)
from spinefuse_ext.validation import ImageReadError, MissingPathError

_SPOKEN = {CaseKeys.CT: "CT", CaseKeys.MR: "MR", CaseKeys.FUSED: "fused volume"}
_WORDS = (CaseKeys.CT, CaseKeys.MR, CaseKeys.FUSED)
_EDGE = r"[_\-. ]"


def image_word(path: str | Path) -> str | None:
    """Return which of ``ct``, ``mr`` and ``fused`` the name of an image holds (the last one), None without."""
    found = [(match.start(), str(word)) for word in _WORDS for match in _matches(_stem(Path(path)), word)]
    return max(found)[1] if found else None


def find_case_image(image: str | Path, wanted: str) -> Path:
    """Return the image ``wanted`` (``ct``, ``mr`` or ``fused``) of the case that ``image`` belongs to.

    Raises:
        MissingPathError: there is none; the message says what was looked for.
        ImageReadError: there are several.
    """
    image = Path(image)
    places = list(_places(image, wanted))
    found = _distinct(path for folder, stems in places for stem in stems for path in images_named(folder, stem))
    found = [path for path in found if path != image]
    if len(found) > 1:
        raise ImageReadError(
            f"Several images could be the {_spoken(wanted)} of {image}: {', '.join(map(str, found))}; leave one, or "
            f"name it by the request parameter '{wanted}'."
        )
    if not found:
        looked = ", ".join(f"{folder / stem}" for folder, stems in places for stem in stems)
        raise MissingPathError(
            f"No {_spoken(wanted)} was found for {image}: looked for {looked} with the endings "
            f"{', '.join(IMAGE_SUFFIXES)}; put it there, or name it by the request parameter '{wanted}'."
        )
    return found[0]


def find_named(name: str | Path, image: str | Path, wanted: str) -> Path:
    """Return the image that ``name`` means: a path, or a file name with or without its ending, beside ``image``.

    Raises:
        MissingPathError: there is none.
    """
    if Path(name).is_absolute() and Path(name).exists():
        return Path(name)
    folder = Path(image) if Path(image).is_dir() else Path(image).parent
    for place in (folder, folder / wanted):
        found = next(iter([place / name] if (place / name).exists() else images_named(place, str(name))), None)
        if found is not None:
            return found
    raise MissingPathError(f"The {_spoken(wanted)} {name} does not exist, nor does {folder / name}; check the name.")


def find_in_folder(folder: str | Path, keys: Sequence[str]) -> dict[str, Path]:
    """Return the images ``keys`` in a folder that holds one case.

    A folder without image files is a DICOM folder, and stands for every key: the reader picks the series. A ZIP archive
    in it with the word of a key is the image of that key.

    Raises:
        MissingPathError: there is no image for a key.
        ImageReadError: there are several.
    """
    folder = Path(folder)
    images = sorted(path for path in folder.iterdir() if path.is_file() and is_image_file(path))
    if not images:
        archives = {image_word(path): path for path in data_paths(sorted(folder.iterdir())) if _is_archive(path)}
        return {key: archives.get(key, folder) for key in keys}
    chosen = {}
    for key in keys:
        found = [path for path in images if image_word(path) == key]
        if len(found) != 1:
            error = ImageReadError if found else MissingPathError
            raise error(
                f"{folder} holds {len(found)} images with the word '{key}' in their names, one is needed; it holds "
                f"{', '.join(path.name for path in images)}."
            )
        chosen[key] = found[0]
    return chosen


def find_registration(ct: str | Path, mr: str | Path) -> dict[str, str]:
    """Return the landmark and transform files beside a pair, by :class:`~spinefuse_ext.enums.RegistrationKeys`.

    For ``case_5_ct.nii.gz`` they are ``case_5_ct_landmarks`` or ``case_5_ct`` with ``.mrk.json``, ``.fcsv`` or
    ``.csv``, the same for ``mr``, and ``case_5_transform`` with an ending of ITK; in the folder of the CT or of the MR.
    The first that exists counts. ``ct.nii.gz`` has ``ct_landmarks.mrk.json`` and ``transform.h5``.
    """
    ct, mr = Path(ct), Path(mr)
    case = case_name(ct)
    folders = _distinct((ct.parent, mr.parent, ct.parent / CaseKeys.MR, ct.parent / "landmarks"))
    lists = {RegistrationKeys.LANDMARKS_CT: (ct, CaseKeys.CT), RegistrationKeys.LANDMARKS_MR: (mr, CaseKeys.MR)}
    found = {}
    for key, (image, word) in lists.items():
        named = f"{case}_{word}" if case else str(word)
        stems = [f"{_stem(image)}_landmarks", f"{named}_landmarks", _stem(image), named]
        found[str(key)] = _first(folders, stems, LANDMARK_SUFFIXES)
    transforms = [f"{case}_transform", f"{_stem(ct)}_transform"] if case else ["transform"]
    found[str(RegistrationKeys.TRANSFORM)] = _first(folders, transforms, TRANSFORM_SUFFIXES)
    vertebrae = [f"{case}_vertebrae"] if case else ["vertebrae"]
    found[str(RegistrationKeys.VERTEBRAE)] = _first(folders, vertebrae, IMAGE_SUFFIXES)
    return {key: str(path) for key, path in found.items() if path is not None}


def _is_archive(path: Path) -> bool:
    return path.is_file() and image_suffix(path) == ARCHIVE


def _spoken(word: str) -> str:
    return next((spoken for key, spoken in _SPOKEN.items() if key == word), word)


def _first(folders: Iterable[Path], stems: Sequence[str], suffixes: Sequence[str]) -> Path | None:
    paths = (folder / f"{stem}{suffix}" for folder in folders for stem in stems for suffix in suffixes)
    return next((path for path in paths if path.is_file()), None)


def _matches(stem: str, word: str) -> Iterator[re.Match[str]]:
    return re.finditer(rf"(?:(?<=^)|(?<={_EDGE})){word}(?={_EDGE}|$)", stem, re.IGNORECASE)


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else image_stem(path)


def _with_word(stem: str, wanted: str) -> str:
    """The name with its last word replaced by ``wanted``, which is added where there is none."""
    matches = [match for word in _WORDS for match in _matches(stem, word)]
    if not matches:
        return f"{stem}_{wanted}"
    last = max(matches, key=lambda match: match.start())
    new = wanted.upper() if last.group().isupper() else wanted
    return stem[: last.start()] + new + stem[last.end() :]


def case_name(path: str | Path) -> str:
    """Return the name without its word and the sign before it: ``case_5`` for ``case_5_ct.nii.gz``, '' for ``ct``."""
    stem = _stem(Path(path))
    matches = [match for word in _WORDS for match in _matches(stem, word)]
    if not matches:
        return stem
    last = max(matches, key=lambda match: match.start())
    return re.sub(rf"^{_EDGE}+|{_EDGE}+$", "", stem[: last.start()].rstrip("_-. ") + stem[last.end() :])


def _places(image: Path, wanted: str) -> Iterator[tuple[Path, list[str]]]:
    """Folders with the names, without endings, that are looked for in them."""
    stem = _stem(image)
    name = _with_word(stem, wanted)
    yield image.parent, [name]
    names = list(dict.fromkeys(filter(None, (name, stem, case_name(image)))))
    yield image.parent / wanted, names
    if image.parent.name.lower() in set(_WORDS):
        yield image.parent.parent, [name]
        yield image.parent.parent / wanted, names


def _distinct(paths: Iterable[Path]) -> list[Path]:
    return list(dict.fromkeys(paths))
