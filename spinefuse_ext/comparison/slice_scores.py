"""Score fused volumes slice by slice, on the pairs as the bundle's own preprocessing makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.utils import ImageMetaKey

from spinefuse_ext.data import CaseLayout, load_datalist
from spinefuse_ext.enums import CaseKeys
from spinefuse_ext.metrics import FUSION_SCORES, READER_SCORES, FusionMetric, SourceRecovery, bone_level_of
from spinefuse_ext.metrics.fusion_metric import Score
from spinefuse_ext.report.comparison import ScoreRow
from spinefuse_ext.report.views import turn_to_ras
from spinefuse_ext.validation import DatalistError, GridMismatchError, check_exists
from spinefuse_ext.volumes.volume import read_volume


@dataclass(frozen=True)
class Pair:
    """A case's pair ``(2, X, Y, Z)`` in [0, 1], RAS, and the file in a method's folder that its fused image is in."""

    image: MetaTensor
    file: Path

    @property
    def case(self) -> str:
        return self.file.parent.as_posix()

    def fused(self, folder: Path) -> MetaTensor:
        """Read the fused image ``(1, X, Y, Z)`` from a method's folder; its grid must be the pair's."""
        path = check_exists(folder / self.file, "The fused image")
        fused = turn_to_ras(read_volume(path))
        same = fused.shape[1:] == self.image.shape[1:] and torch.allclose(fused.affine, self.image.affine, atol=1e-2)
        if not same:
            raise GridMismatchError(
                f"{path} should lie on the grid of its CT {tuple(self.image.shape[1:])}, got {tuple(fused.shape[1:])}; "
                "fuse this case again."
            )
        return fused


class ScoredPairs:
    """The pairs that a parsed ``inference.json`` fuses, prepared by its preprocessing, one at a time.

    Raises:
        DatalistError: two cases would write the same fused image, besides what ``load_datalist`` raises.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.slice_axis = int(config["slice_axis"])
        self.dataset_dir = config["dataset_dir"]
        self.bone_level = bone_level_of(config["ct_window_hu"])
        listed = config["datalist"], config["sections"], config["pair_keys"]
        self.items = load_datalist(*listed, base_dir=self.dataset_dir)
        folders = [Path(item[CaseKeys.CT]).parent for item in self.items]
        twice = next((folder for folder in folders if folders.count(folder) > 1), None)
        if twice:
            raise DatalistError(f"Two cases of {listed[0]} have their CT in {twice}; give each case its own folder.")
        self._preprocessing = ConfigParser(dict(config)).get_parsed_content("preprocessing")

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Pair]:
        layout = CaseLayout("", "fused", self.dataset_dir)
        for item in self.items:
            image: MetaTensor = self._preprocessing(item)[CaseKeys.IMAGE]
            yield Pair(image, Path(layout.filename(str(image.meta[ImageMetaKey.FILENAME_OR_OBJ]))))


def fit_recovery(images: Iterable[tuple[torch.Tensor, torch.Tensor]], slice_axis: int) -> SourceRecovery:
    """Fit the recovery of CT and MR to the slices of fused ``(1, X, Y, Z)`` and their pairs ``(2, X, Y, Z)``."""
    recovery = SourceRecovery()
    for fused, pair in images:
        slices, sources, held = _slices(fused, pair, slice_axis)
        for index in held:
            recovery.fit(slices[index][None, :, 0], sources[index][None, :, 0])
    return recovery


def _slices(fused: torch.Tensor, pair: torch.Tensor, slice_axis: int) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Slices ``(N, 1, 1, H, W)``, ``(N, 2, 1, H, W)`` across an axis, and those in which CT and MR show something."""
    images, sources = (torch.as_tensor(volume).movedim(slice_axis + 1, 0).unsqueeze(2) for volume in (fused, pair))
    flat = sources.flatten(2)
    return images, sources, torch.nonzero((flat.amax(2) > flat.amin(2)).all(1))[:, 0].tolist()


def score_slices(
    case: str,
    fused: torch.Tensor,
    pair: torch.Tensor,
    slice_axis: int,
    bone_level: float | None = None,
    further: Mapping[str, Score] | None = None,
) -> list[ScoreRow]:
    """All fusion scores of each slice of ``(1, X, Y, Z)`` beside its pair ``(2, X, Y, Z)``, and ``further``.

    The scores are those of :class:`~spinefuse_ext.metrics.FusionMetric`, so their mean over a case is what
    ``evaluate.json`` writes. Slices where CT or MR is constant hold nothing to fuse and are left out.

    Raises:
        ImageReadError: slices are too small to be scored.
    """
    images, sources, held = _slices(fused, pair, slice_axis)  # each slice is a volume of its own
    if not held:
        return []
    named = {**(further or {}), **READER_SCORES, **FUSION_SCORES}
    columns = {
        name: torch.as_tensor(FusionMetric(score, bone_level=bone_level)(images[held], sources[held]))
        for name, score in named.items()
    }
    return [
        ScoreRow(case, index, {name: float(values[row, 0]) for name, values in columns.items()})
        for row, index in enumerate(held)
    ]
