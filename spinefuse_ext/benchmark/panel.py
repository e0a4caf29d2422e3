"""The panel of a benchmark: which images are measured, what their labels know, and where they come from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinefuse_ext.data.stack import PLANES
from spinefuse_ext.enums import MODALITIES
from spinefuse_ext.validation import ConfigError, check_exists, check_plain_name

#: Structures that a label may know as a whole.
WHOLE = ("vertebra", "disc", "canal", "sacrum")
#: What a label may know of a structure that it does not know as a whole.
PARTS = {"cord": "canal", "s1": "sacrum"}
#: In place of names: every number of the label is the body of one vertebra, and nothing else is known.
BODIES = "bodies"
_CASE = {"name", "group", "image", "key", "labels", "phantom", "source", "licence", "quick"}
_LABEL = {"file", "relabel", "knows"}
_SLICES = {"slices", "pattern", "plane", "spacing_mm"}
_PHANTOM = {"seed", "image"}
#: Images of a phantom that lie on the grid of its label.
PHANTOM_IMAGES = ("ct", "mr_aligned")


@dataclass(frozen=True)
class Slices:
    """Slice pictures of one case, as ``spinefuse stack`` takes them."""

    folder: Path
    pattern: str
    plane: str
    spacing_mm: tuple[float, ...]


@dataclass(frozen=True)
class LabelFile:
    """A label volume: the structure of each of its numbers (none for ``bodies``), and the structures that it knows."""

    file: Path | Slices
    relabel: Mapping[int, str]
    knows: tuple[str, ...]


@dataclass(frozen=True)
class PanelCase:
    """One image with its labels, or a phantom made on the fly."""

    name: str
    group: str
    image: Path | Slices | None
    labels: tuple[LabelFile, ...]
    key: str | None = None
    phantom: Mapping[str, Any] | None = None
    source: str = ""
    licence: str = ""
    quick: bool = False

    @property
    def knows(self) -> tuple[str, ...]:
        """The structures that its labels know, together."""
        if self.phantom is not None:
            return WHOLE
        return tuple(dict.fromkeys(name for label in self.labels for name in label.knows))


def read_panel(path: str | Path, data_dir: str | Path = ".") -> list[PanelCase]:
    """Read a panel, a JSON file ``{"cases": [...]}`` whose paths are relative to ``data_dir``.

    A case has ``name``, ``group``, ``image`` (a file, a DICOM folder, or ``{"slices", "pattern", "plane",
    "spacing_mm"}``) and ``labels``, a list of ``{"file", "relabel", "knows"}``; or, in place of image and labels,
    ``phantom``: ``{"seed", "image"}``. ``key`` (``ct`` or ``mr``), ``source``, ``licence`` and ``quick`` may be left
    out.
    ``relabel`` gives numbers names of ``WHOLE`` or ``PARTS``, other numbers are background; ``"bodies"`` in its place
    says that every number is one vertebral body. ``knows`` are the structures that the label holds wherever they are in
    the image; by default those that ``relabel`` names.

    Raises:
        ConfigError: not such a file; names the case and the fault.
        MissingPathError: the panel or a file in it is not there.
    """
    path = check_exists(path, "The panel")
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f'{path} is no panel: expected a JSON file {{"cases": [...]}}, got {error!r}.') from error
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases) or not cases:
        raise ConfigError(f"{path} should list at least one case under `cases`, each with its name; see the docs.")
    read = [_case(case, Path(data_dir), f"Case {number} of {path}") for number, case in enumerate(cases, start=1)]
    name, count = Counter(case.name for case in read).most_common(1)[0]
    if count > 1:
        raise ConfigError(f"{path} has {count} cases of the name {name}; give each its own.")
    return read


def chosen_cases(
    cases: Sequence[PanelCase], groups: Collection[str] | None = None, *, quick: bool = False
) -> list[PanelCase]:
    """The cases of ``groups``; with ``quick`` those that are marked so, of a group without marks the first.

    Raises:
        ConfigError: a group that no case belongs to.
    """
    known = list(dict.fromkeys(case.group for case in cases))
    unknown = [group for group in groups or () if group not in known]
    if unknown:
        raise ConfigError(f"The panel has no group {unknown[0]!r}; it has {', '.join(known)}.")
    picked = []
    for group in known:
        members = [case for case in cases if case.group == group and (groups is None or group in groups)]
        marked = [case for case in members if case.quick] or members[:1]
        picked += marked if quick else members
    return picked


def _case(entry: Mapping[str, Any], root: Path, where: str) -> PanelCase:
    _check_names(entry, _CASE, where)
    for name in ("name", "group"):
        if not isinstance(entry.get(name), str):
            raise ConfigError(f"{where} needs a text under `{name}`, got {entry.get(name)!r}.")
    where = f"{where} ({entry['name']})"
    told: dict[str, Any] = {name: str(entry.get(name, "")) for name in ("source", "licence")}
    told |= {"name": check_plain_name(entry["name"], f"{where}: the name"), "group": entry["group"]}
    told["quick"] = bool(entry.get("quick", False))
    if "phantom" in entry:
        return PanelCase(**told, image=None, labels=(), phantom=_phantom(entry, where))
    key = entry.get("key")
    if key is not None and key not in MODALITIES:
        raise ConfigError(f"{where}: the key is {' or '.join(MODALITIES)} or left out, got {key!r}.")
    labels = entry.get("labels")
    if not isinstance(labels, list) or not labels:
        raise ConfigError(f"{where} needs a list of at least one label under `labels`, its truth.")
    files = tuple(_label(label, root, where) for label in labels)
    image = _place(entry.get("image"), root, f"{where}: the image")
    return PanelCase(**told, image=image, labels=files, key=key)


def _phantom(entry: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    phantom = entry["phantom"]
    if "image" in entry or "labels" in entry or not isinstance(phantom, dict) or set(phantom) != _PHANTOM:
        raise ConfigError(f'{where}: a phantom is {{"seed": 20000, "image": "ct"}}, without image and labels.')
    if not isinstance(phantom["seed"], int) or phantom["image"] not in PHANTOM_IMAGES:
        raise ConfigError(
            f"{where}: a phantom has a whole number as its seed and one of {', '.join(PHANTOM_IMAGES)} as its image, "
            f"got {phantom}."
        )
    return dict(phantom)


def _label(entry: Any, root: Path, where: str) -> LabelFile:
    if not isinstance(entry, dict):
        raise ConfigError(f'{where}: a label is {{"file": ..., "relabel": ...}}, got {entry!r}.')
    _check_names(entry, _LABEL, f"{where}, a label")
    file = _place(entry.get("file"), root, f"{where}: the label")
    relabel = entry.get("relabel")
    if relabel == BODIES:
        return LabelFile(file, {}, (BODIES,))
    if not isinstance(relabel, dict) or not relabel:
        raise ConfigError(f'{where}: `relabel` is {{"number": "structure"}} or "{BODIES}", got {relabel!r}.')
    names = dict.fromkeys(relabel.values())
    knows = tuple(entry.get("knows", names))
    unknown = [name for name in (*names, *knows) if name not in (*WHOLE, *PARTS)]
    if unknown:
        raise ConfigError(f"{where}: no structure {unknown[0]!r}; there are {', '.join((*WHOLE, *PARTS))}.")
    try:
        return LabelFile(file, {int(number): str(name) for number, name in relabel.items()}, knows)
    except ValueError as error:
        raise ConfigError(f"{where}: `relabel` names structures by whole numbers, got {list(relabel)}.") from error


def _place(entry: Any, root: Path, what: str) -> Path | Slices:
    if isinstance(entry, str):
        return check_exists(root / entry, what).absolute()
    if not isinstance(entry, dict) or "slices" not in entry:
        raise ConfigError(f'{what} is a path, or {{"slices": FOLDER, "pattern": ..., ...}}, got {entry!r}.')
    _check_names(entry, _SLICES, what)
    plane = entry.get("plane", "sagittal")
    if plane not in PLANES:
        raise ConfigError(f"{what}: unknown plane {plane!r}; choose one of {', '.join(PLANES)}.")
    spacing = entry.get("spacing_mm", (1.0, 1.0, 1.0))
    if len(spacing) != 3 or not all(isinstance(one, (int, float)) and one > 0 for one in spacing):
        raise ConfigError(f"{what}: spacing_mm is the distance of rows, columns and slices in mm, got {spacing!r}.")
    folder = check_exists(root / str(entry["slices"]), what).absolute()
    return Slices(folder, str(entry.get("pattern", r"(.+?)_?s?(\d+)$")), plane, tuple(map(float, spacing)))


def _check_names(entry: Mapping[str, Any], known: Collection[str], where: str) -> None:
    foreign = sorted(set(entry) - set(known))
    if foreign:
        raise ConfigError(f"{where} has the unknown entry {foreign[0]!r}; known are {', '.join(sorted(known))}.")
