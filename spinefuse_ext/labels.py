"""The one table of structures and the one table of vertebrae: index -> name; and where bone begins in CT."""

from __future__ import annotations

#: Classes of the segmentation network, in channel order.
STRUCTURES: dict[int, str] = {0: "background", 1: "vertebra", 2: "disc", 3: "canal"}

#: CT from which on a voxel is bone, spongy bone included, in HU: in outlines, in the choice of slices and in scores.
BONE_HU = 150.0

#: What the structures are called in SNOMED CT: code value and meaning, for DICOM and other exports.
SNOMED_CT: dict[str, tuple[str, str]] = {
    "vertebra": ("51282000", "Vertebra"),
    "disc": ("360499006", "Intervertebral disc"),
    "canal": ("61853006", "Vertebral canal"),
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
