"""The strings that name entries of a case, an engine's output and a datalist; typed here and nowhere else."""

from __future__ import annotations

from collections.abc import Hashable

from monai.utils import StrEnum


class CaseKeys(StrEnum):
    """What a case may hold: one patient's images on the CT grid, their label, and the DICOM series of that grid."""

    PATIENT = "patient"
    CT = "ct"
    MR = "mr"
    FUSED = "fused"
    LABEL = "label"
    LABEL_NAMES = "label_names"
    IMAGE = "image"
    PRED = "pred"
    HALF = "half"
    DICOM = "dicom"


#: What the images of these keys are, in the words of DICOM; those of other keys may be either.
MODALITIES: dict[str, str] = {CaseKeys.CT: "CT", CaseKeys.MR: "MR"}


class RegistrationKeys(StrEnum):
    """Keys of the files by which a case brings its MR onto its CT; none starts with the key of an image and ``_``.

    (MONAI 1.6's ``Spacingd`` takes such a key for something of the image's own, and fails. Items, requests and options
    say ``ct_landmarks``: see ``spinefuse_ext.data.item_keys``.)
    """

    LANDMARKS_CT = "landmarks_ct"
    LANDMARKS_MR = "landmarks_mr"
    TRANSFORM = "transform"
    VERTEBRAE = "vertebrae"


class Model(StrEnum):
    """How a registration may move the MR: as a whole, or with more freedom the further down."""

    RIGID = "rigid"
    SIMILARITY = "similarity"
    AFFINE = "affine"
    THIN_PLATE = "thin_plate"
    PER_VERTEBRA = "per_vertebra"


def series_key(key: Hashable) -> str:
    """The key under which an item says which series of the DICOM folder ``key`` is meant: ``series_ct`` for ``ct``."""
    return f"series_{key}"


class Section(StrEnum):
    """Sections of a datalist. No patient stands in two of them."""

    LABELLED = "labelled"
    UNLABELLED = "unlabelled"
    VALIDATION = "validation"
    TEST = "test"


class Cache(StrEnum):
    """Where a dataset keeps what its transforms give before the first random one: nowhere, in memory, or in files."""

    NONE = "none"
    MEMORY = "memory"
    DISK = "disk"


class PhantomStyle(StrEnum):
    """How the scanners of a phantom's hospital picture it: as usual, with much noise, or with another MR contrast."""

    STANDARD = "standard"
    NOISY = "noisy"
    DARK = "dark"
    BRIGHT = "bright"


class FusionKeys(StrEnum):
    """Entries of the fusion trainer's output beside MONAI's ``CommonKeys``."""

    STAGE = "stage"
    RECONSTRUCTION = "reconstruction"
    DECOMPOSITION_LOSS = "decomposition_loss"
    RECONSTRUCTION_LOSS = "reconstruction_loss"
    FUSION_LOSS = "fusion_loss"
    SKIPPED = "skipped"


class SemiSegKeys(StrEnum):
    """Entries of the semi-supervised trainer's output beside MONAI's ``CommonKeys``."""

    LOGITS = "logits"
    LOGITS_LABELLED = "logits_labelled"
    LOGITS_UNLABELLED = "logits_unlabelled"
    FUSED = "fused"
    FUSED_LOSS = "fused_loss"
    UNLABELLED_IMAGE = "unlabelled_image"
    CLEAN_UNLABELLED = "clean_unlabelled"
    PSEUDO_LABEL = "pseudo_label"
    PSEUDO_WEIGHT = "pseudo_weight"
    STUDENT_WEIGHT = "student_weight"
    LEARNS = "learns"
    TERMS = "terms"
    CONSISTENCY_WEIGHT = "consistency_weight"
    TEACHER = "teacher"
    SUPERVISED_LOSS = "supervised_loss"
    RECTIFICATION_LOSS = "rectification_loss"
    CONSISTENCY_LOSS = "consistency_loss"
    DISAGREEMENT = "disagreement"
    PSEUDO_ENTROPY = "pseudo_entropy"
    SWITCHED = "switched"
    SKIPPED = "skipped"


_LABELLED, _UNLABELLED = "_labelled", "_unlabelled"


def for_labelled(name: str) -> str:
    """The key of what a network returned as ``name`` for the labelled images."""
    return f"{name}{_LABELLED}"


def for_unlabelled(name: str) -> str:
    """The key of what a network returned as ``name`` for the unlabelled images."""
    return f"{name}{_UNLABELLED}"


def unlabelled_of(key: str) -> str | None:
    """``logits_unlabelled`` for ``logits_labelled``; None for a key that is not of the labelled images."""
    return for_unlabelled(key.removesuffix(_LABELLED)) if key.endswith(_LABELLED) else None


def is_of_stream(key: str) -> bool:
    """Whether a key is of the labelled or of the unlabelled images alone."""
    return key.endswith((_LABELLED, _UNLABELLED))


class ContrastSource(StrEnum):
    """What a synthetic image's contrast is made from; see ``spinefuse_ext.synthesis.RandContrastd``."""

    REAL = "real"
    WINDOW = "window"
    REMAP = "remap"
    FILTER = "filter"
    PAINT = "paint"


class Competition(StrEnum):
    """Which labelled Dice names the teacher: of the softmax, of the sharpened softmax, or the second then the first."""

    SOFT = "soft"
    SHARPENED = "sharpened"
    TWO_STAGE = "two_stage"


class Consistency(StrEnum):
    """How far a student is from its pseudo-label: half squared distance, cross-entropy, or mean of that and Dice."""

    BRIER = "brier"
    CE = "ce"
    CE_DICE = "ce_dice"


class MeanTeacherOutput(StrEnum):
    """Whose probability ``MeanTeacherNet`` returns in evaluation."""

    STUDENT = "student"
    TEACHER = "teacher"


class SubNetwork(StrEnum):
    """Whose probability ``DualSegNet`` returns in evaluation."""

    MEAN = "mean"
    UNET = "unet"
    VNET = "vnet"


class EpochBy(StrEnum):
    """Which stream's length is one epoch of the semi-supervised trainer."""

    UNLABELLED = "unlabelled"
    LABELLED = "labelled"


class ShapeKeys(StrEnum):
    """What SASSNet adds to the semi-supervised trainer's output."""

    DISTANCE_LABELLED = "distance_labelled"
    DISTANCE_UNLABELLED = "distance_unlabelled"
    DISTANCE_LOSS = "distance_loss"
    ADVERSARIAL_LOSS = "adversarial_loss"
    DISCRIMINATOR_LOSS = "discriminator_loss"


class SimilarityKeys(StrEnum):
    """What Min-Max Similarity adds to the semi-supervised trainer's output."""

    PROJECTION_UNLABELLED = "projection_unlabelled"
    CLASSIFICATION_LABELLED = "classification_labelled"
    STRUCTURE_LOSS = "structure_loss"
    SIMILARITY_LOSS = "similarity_loss"
    CONTRAST_LOSS = "contrast_loss"
    SEPARATION_LOSS = "separation_loss"


class FederatedModel(StrEnum):
    """Whose weights a row of a federation's scores tells of: the average, a site's of that round, a site's alone."""

    GLOBAL = "global"
    LOCAL = "local"
    ALONE = "alone"
