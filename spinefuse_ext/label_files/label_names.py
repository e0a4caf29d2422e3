"""What the values of a label file are called, in the file itself or in a table beside it."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib

from spinefuse_ext.formats import Kind, format_of, header_of, image_stem
from spinefuse_ext.images.text_header import read_nrrd_header
from spinefuse_ext.validation import ImageReadError

_NRRD = b"NRRD"
#: Of Slicer's terminology entry, the code of the type: category~type~..., each scheme^code^meaning.
_TYPE_CODE = re.compile(r"^[^~]*~[^~]*~[^~^]*\^([^~^]+)\^")
_XML_LABEL = re.compile(r'<Label\b[^>]*\bKey="(\d+)"[^>]*>\s*(?:<!\[CDATA\[)?(.*?)(?:\]\]>)?\s*</Label>', re.DOTALL)
_ITK_SNAP = re.compile(r'^\s*(\d+)(?:\s+[\d.]+){6}\s+"(.*)"\s*$', re.MULTILINE)
_COLOURS = re.compile(r"^\s*(\d+)\s+(\S+)(?:\s+[\d.]+){3,4}\s*$", re.MULTILINE)


@dataclass(frozen=True)
class NamedValue:
    """One segment of a label file.

    ``value`` is what its voxels hold in ``layer``, in a DICOM SEG the number of the segment; ``code`` is a code value
    of SNOMED CT or SRT, empty without one.
    """

    value: int
    name: str
    code: str = ""
    layer: int = 0

    def __str__(self) -> str:
        return f"{self.name} ({self.value}{f', code {self.code}' if self.code else ''})"


def named_values(path: Path) -> tuple[list[NamedValue], str]:
    """Return the names of an image file's values, and where they stand; an empty list when nothing names them.

    Looked at in this order: segments in an NRRD header (3D Slicer), the label table in a NIFTI extension
    (TotalSegmentator, Connectome Workbench), a colour table (``.ctbl``, Slicer), label descriptions (``.txt`` or
    ``.label``, ITK-SNAP) or ``_dseg.tsv`` (BIDS) of the same stem, and ``dataset.json`` (nnU-Net, decathlon) beside the
    file or in one of the two folders above it.

    Raises:
        ImageReadError: a segment in the header has no value.
    """
    own = _own_names(path)
    if own:
        return own, "its header"
    for table in name_files(path):
        found = _READERS[_kind(table)](table)
        if found:
            return found, str(table)
    return [], ""


def name_files(path: Path) -> list[Path]:
    """Files beside an image file, or above it, in which names of its values may stand, in the order of their weight."""
    stem = _stem(path)
    beside = [f"{stem}.ctbl", f"{stem}_ColorTable.ctbl", f"{stem}.label", f"{stem}.txt"]
    tables = [path.with_name(name) for name in (*beside, f"{stem}.tsv")]
    above = [folder / "dataset.json" for folder in list(path.absolute().parents)[:3]]
    return [table for table in (*tables, *above) if table.is_file()]


def nrrd_fields(path: Path) -> Mapping[str, str]:
    """Return fields and keys of an NRRD header by lower-case name, ``segment0_name`` too; empty for another file."""
    with path.open("rb") as file:
        is_nrrd = file.read(len(_NRRD)) == _NRRD
    return read_nrrd_header(path).fields if is_nrrd else {}


def _own_names(path: Path) -> list[NamedValue]:
    named = format_of(header_of(path))
    if named is not None and named.kind == Kind.NRRD:
        return _segments(path)
    return _nifti_names(header_of(path)) if named is not None and named.kind == Kind.NIFTI else []


def _segments(path: Path) -> list[NamedValue]:
    header = nrrd_fields(path)
    numbers = sorted(int(found[1]) for key in header if (found := re.fullmatch(r"segment(\d+)_name", key)))
    return [_segment(header, number, path) for number in numbers]


def _segment(header: Mapping[str, str], number: int, path: Path) -> NamedValue:
    prefix = f"segment{number}_"
    name = header[f"{prefix}name"]
    entry = re.search(r"TerminologyEntry:([^|]*)", header.get(f"{prefix}tags", ""))
    code = _TYPE_CODE.match(entry[1]) if entry else None
    try:
        value, layer = int(header[f"{prefix}labelvalue"]), int(header.get(f"{prefix}layer", 0))
    except (KeyError, ValueError) as error:
        raise ImageReadError(
            f"{path} does not say which value the segment {name} has (Segment{number}_LabelValue); save the "
            "segmentation with a newer version of 3D Slicer, or export it as a label map."
        ) from error
    return NamedValue(value, name, code[1] if code else "", layer)


def _nifti_names(path: Path) -> list[NamedValue]:
    try:
        extensions = nib.load(path).header.extensions  # type: ignore[attr-defined]
    except (nib.filebasedimages.ImageFileError, OSError, ValueError, EOFError, AttributeError):
        return []  # the reader says what is wrong with it
    texts = (_bytes(extension.get_content()).decode("utf-8", "ignore") for extension in extensions)
    return _named(found for text in texts for found in _XML_LABEL.findall(text))


def _bytes(content: object) -> bytes:
    return content if isinstance(content, bytes) else str(content).encode()


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8-sig", "replace")


def _dataset_json(path: Path) -> list[NamedValue]:
    """Names of nnU-Net (name -> value, or a region: a list of values) or of the decathlon (value -> name).

    A value that only regions hold is named by the smallest of them, by all that are equally small.

    Raises:
        ImageReadError: it is no JSON, so what it names cannot be known.
    """
    try:
        labels = json.loads(_text(path)).get("labels", {})
    except ValueError as error:
        raise ImageReadError(
            f"{path} cannot be read ({error}), but may name the labels beside it; correct it or move it away."
        ) from error
    except AttributeError:
        return []
    if not isinstance(labels, dict):
        return []
    pairs = (
        (key, value) if str(key).isdecimal() and isinstance(value, str) else (value, key)
        for key, value in labels.items()
    )
    named = [(value if isinstance(value, list) else [value], str(name)) for value, name in pairs]
    return _named(_smallest_regions([([_whole(one) for one in values], name) for values, name in named]))


def _smallest_regions(regions: list[tuple[list[str], str]]) -> Iterator[tuple[str, str]]:
    """Each value with the name of the smallest region that holds it."""
    for value in dict.fromkeys(value for values, _ in regions for value in values):
        holding = [(len(values), name) for values, name in regions if value in values]
        yield value, " or ".join(name for size, name in holding if size == min(holding)[0])


def _whole(value: object) -> str:
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _tsv(path: Path) -> list[NamedValue]:
    rows = csv.DictReader(_text(path).splitlines(), delimiter="\t")
    return _named((row.get("index") or "", row.get("name") or "") for row in rows)


def _colours(path: Path) -> list[NamedValue]:
    pairs = ((value, name.replace("_", " ")) for value, name in _COLOURS.findall(_text(path)))
    return [one for one in _named(pairs) if one.name != "(none)"]


def _snap(path: Path) -> list[NamedValue]:
    return _named(_ITK_SNAP.findall(_text(path)))


def _named(pairs: Iterable[tuple[str, str]]) -> list[NamedValue]:
    return [NamedValue(int(value), name.strip()) for value, name in pairs if value.isdecimal() and name.strip()]


_READERS: dict[str, Callable[[Path], list[NamedValue]]] = {
    ".json": _dataset_json,
    ".ctbl": _colours,
    ".tsv": _tsv,
    ".txt": _snap,
    ".label": _snap,
}


def _kind(table: Path) -> str:
    return table.suffix.lower()


def _stem(path: Path) -> str:
    stem = image_stem(path)
    return path.stem if stem == path.name else stem
