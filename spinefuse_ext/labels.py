"""The one table of structures and the one table of vertebrae: index -> name; what else they are called; bone in CT."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from spinefuse_ext.names import normal_form

#: Classes of the segmentation network, in channel order.
STRUCTURES: dict[int, str] = {0: "background", 1: "vertebra", 2: "disc", 3: "canal", 4: "sacrum"}

#: Class index -> colour, of the colour-blind-safe set of Okabe and Ito (2008); index 0 is background and never painted.
#: No structure of the package has an error's colour.
STRUCTURE_COLOURS = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#f0e442", "#cc79a7", "#d55e00")

#: CT from which on a voxel is bone, spongy bone included, in HU: in outlines, in the choice of slices and in scores.
BONE_HU = 150.0

#: What the structures are called in SNOMED CT: code value and meaning, for DICOM and other exports.
SNOMED_CT: dict[str, tuple[str, str]] = {
    "vertebra": ("51282000", "Vertebra"),
    "disc": ("360499006", "Intervertebral disc"),
    "canal": ("61853006", "Vertebral canal"),
    "sacrum": ("54735007", "Sacrum"),
}

#: Vertebra numbers of the VerSe challenge (Sekuboyina et al., Medical Image Analysis 2021): 1-7 cervical,
#: 8-19 thoracic, 20-25 lumbar, 26 sacrum, 28 a thirteenth thoracic vertebra.
VERTEBRAE: dict[int, str] = {
    **{number: f"C{number}" for number in range(1, 8)},
    **{number + 7: f"T{number}" for number in range(1, 13)},
    **{number + 19: f"L{number}" for number in range(1, 7)},
    26: "S1",
    28: "T13",
}

#: Other words for the structures, as data sets and programs write them; case, spaces and ``_-./`` do not count. Words
#: that mean a part or a neighbour (vertebral body, spinal cord, dural sac) are none: whoever drew them says what they
#: shall be.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "background": ("bg", "none", "clear label", "unlabeled", "unlabelled"),
    "vertebra": ("vertebrae", "vertebras"),
    "disc": ("discs", "disk", "disks", "intervertebral disc", "intervertebral disk", "IVD", "discus intervertebralis"),
    "canal": ("spinal canal", "vertebral canal", "canalis vertebralis"),
    "sacrum": ("os sacrum", "sacral bone", "sacral vertebra", "sacral vertebrae"),
}
#: What a level adds to a name: "L4", "vertebrae_L4" and "vertebra 3" are vertebrae, "S1" and "vertebrae_S1" the sacrum,
#: whose segments are one bone, "L4-L5" and "disc L4/L5" discs.
_LEVEL = r"[ctls]\d{1,2}"
_OF_LEVELS = {
    "vertebra": re.compile(r"(?:vertebrae?)?[ctl]\d{1,2}(?:vertebra)?|vertebrae?\d+"),
    "sacrum": re.compile(r"(?:vertebrae?|sacrum)?s0?[1-5](?:vertebra)?"),
    "disc": re.compile(
        rf"(?:(?:intervertebral)?dis[ck]s?|ivd)?{_LEVEL}{_LEVEL}(?:dis[ck])?|(?:(?:intervertebral)?dis[ck]s?|ivds?)\d*"
    ),
}
#: Vertebrae from the head down, as most spines have them.
_USUAL = (*(f"C{n}" for n in range(1, 8)), *(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6)))
_VERTEBRA_CODES = (
    *("14806007", "39976000", "113205007", "5329002", "36978003", "36054005", "87391001"),  # C1 to C7
    *("64864005", "53733008", "1626008", "73071006", "56401006", "45296009", "62487009"),  # T1 to T7
    *("11068009", "82687006", "7610001", "12989004", "23215003"),  # T8 to T12
    *("66794005", "14293000", "36470004", "11994002", "49668003"),  # L1 to L5
)
_DISC_CODES = (
    *("1078209008", "58820006", "49400002", "73959003"),  # C2/C3 to C5/C6
    *("75095006", "37414007", "40908007", "6004007"),  # C6/C7 to T2/T3
    *("2620004", "82965004", "72692000", "74401007", "28693002", "9188009", "113209001"),  # T3/T4 to T9/T10
    *("34959001", "1537001", "76206002", "80064006", "67459009", "62551000", "84020006"),  # T10/T11 to L4/L5
    "75782005",  # L5/S1
)
#: What single levels are called in SNOMED CT, ``L3`` and ``L3/L4``: code value and meaning.
LEVEL_SNOMED_CT: dict[str, tuple[str, str]] = {
    **{name: (code, f"{name} vertebra") for name, code in zip(_USUAL, _VERTEBRA_CODES, strict=True)},
    **{
        f"{above}/{below}": (code, f"{above}/{below} intervertebral disc")
        for above, below, code in zip(_USUAL[1:], (*_USUAL[2:], "S1"), _DISC_CODES, strict=True)
    },
    "S1": SNOMED_CT["sacrum"],
    **dict.fromkeys(("T13", "L6"), SNOMED_CT["vertebra"]),  # which have no code of their own
    **dict.fromkeys(("T12/T13", "T13/L1", "L4/S1", "L5/L6", "L6/S1"), SNOMED_CT["disc"]),
}
#: Codes of before SNOMED CT (SRT) that DICOM files still carry, and those of single levels.
_OTHER_CODES: dict[str, str] = {
    **{"T-11510": "vertebra", "T-1151F": "canal", "T-11AD0": "sacrum", "715056000": "disc"},
    **dict.fromkeys(_VERTEBRA_CODES, "vertebra"),
    **dict.fromkeys(_DISC_CODES, "disc"),
}


def structure_colour(label: int) -> str:
    """Colour of a class index; indices past the table go round it again without the background."""
    return STRUCTURE_COLOURS[1 + (label - 1) % (len(STRUCTURE_COLOURS) - 1)]


def plain_name(name: str) -> str:
    """Return what is left of a name without case, spaces and punctuation, in one normal form (NFC)."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return re.sub(r"[\W_]+", "", folded)


def structure_named(name: str) -> str | None:
    """Return the structure that a name means by ``SYNONYMS`` or by a level, None for an unknown one."""
    plain = plain_name(name)
    if plain in _STRUCTURES_BY_NAME:
        return _STRUCTURES_BY_NAME[plain]
    return next((structure for structure, pattern in _OF_LEVELS.items() if pattern.fullmatch(plain)), None)


def structure_coded(code: str) -> str | None:
    """Return the structure of a code value of SNOMED CT or SRT, None for an unknown one."""
    return _STRUCTURES_BY_CODE.get(code)


def class_named(name: str, labels: Mapping[int, str]) -> int | None:
    """Return the class of ``labels`` that a name means, by its own name or as a structure; None when there is none."""
    plain = {plain_name(label): number for number, label in labels.items()}
    exact = {normal_form(label): number for number, label in labels.items()}
    wanted = plain_name(name)
    found = (exact.get(normal_form(name)), plain.get(wanted), plain.get(_level_of(wanted)))
    known = next((number for number in found if number is not None), None)
    structure = structure_named(name)
    return plain.get(structure) if known is None and structure is not None else known


def _level_of(plain: str) -> str:
    """The level of the name of a single vertebra, else the name."""
    found = re.fullmatch(rf"vertebrae?({_LEVEL})|({_LEVEL})vertebra", plain)
    return plain if found is None else found[1] or found[2]


_STRUCTURES_BY_NAME = {plain_name(name): key for key, names in SYNONYMS.items() for name in (key, *names)}
_STRUCTURES_BY_CODE = {**{code: name for name, (code, _) in SNOMED_CT.items()}, **_OTHER_CODES}
