"""``spinefuse compare fusion``: every fusion method on the same pairs, scored slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from spinefuse_ext.comparison.base import Comparison, Needs
from spinefuse_ext.comparison.fusion_methods import FUSION_METHODS
from spinefuse_ext.comparison.method_record import MethodRecord
from spinefuse_ext.comparison.methods import MethodPlan
from spinefuse_ext.enums import Section
from spinefuse_ext.progress_bar import progress_bar
from spinefuse_ext.validation import DatalistError

#: An odd number of slices, so that the one in the middle, the midline of a spine, is among them.
_PICTURED_CASES, _SLICES_A_CASE = 4, 3


class FusionComparison(Comparison):
    """Table 2 of the paper: the published scores of every slice that the methods fuse, and those of a reader.

    Each method also fuses the training cases (``fused_training``): what its recovery of CT and MR is fitted to.
    """

    task, methods = "fusion", FUSION_METHODS
    step, folder = "fuse", "fused"
    training_folder = "fused_training"

    def __init__(self, bundle: Path, plans: Sequence[MethodPlan], out: Path) -> None:
        from spinefuse_ext.comparison.slice_scores import ScoredPairs

        super().__init__(bundle, plans, out)
        self.pairs = ScoredPairs(self.config)
        self.fitted_to = training_sections(self.config)
        self.training_pairs = ScoredPairs({**self.config, "sections": self.fitted_to}) if self.fitted_to else None

    def needs(self, plan: MethodPlan) -> Needs:
        sections = [*self.config["sections"], *self.fitted_to]
        sections = sections if plan.training is None else [str(section) for section in Section]
        return dict.fromkeys(sections, self.config["pair_keys"])

    def further_steps(self, plan: MethodPlan, folder: Path) -> dict[str, Callable[[], str | None]]:
        if not self.fitted_to:
            return {}
        settings: dict[str, Any] = {"output_dir": str(folder / self.training_folder), "sections": self.fitted_to}
        return {"fuse training cases": lambda: self._infer(plan, folder, **settings)}

    def score(self, plan: MethodPlan, folder: Path) -> None:
        from spinefuse_ext.comparison.slice_scores import fit_recovery, score_slices
        from spinefuse_ext.metrics import recovery_scores
        from spinefuse_ext.report.comparison import write_scores

        axis, bone = self.pairs.slice_axis, self.pairs.bone_level
        further = {}
        if self.training_pairs is not None:
            known = progress_bar(self.training_pairs, title=f"Fitting the recovery of {plan.name}", unit="case")
            images = ((pair.fused(folder / self.training_folder), pair.image) for pair in known)
            further = recovery_scores(fit_recovery(images, axis))
        scores = [
            one
            for pair in progress_bar(self.pairs, title=f"Scoring {plan.name}", unit="case")
            for one in score_slices(pair.case, pair.fused(folder / self.folder), pair.image, axis, bone, further)
        ]
        if not scores:
            raise DatalistError("No slice of the scored cases shows anything in both CT and MR; check the images.")
        write_scores(folder / "scores.csv", scores)

    def report(self, records: Sequence[MethodRecord], settings: dict[str, str]) -> Path:
        from spinefuse_ext.report.comparison import read_scores
        from spinefuse_ext.report.comparison_page import comparison_pictures, write_comparison
        from spinefuse_ext.report.comparison_parts import Provenance

        scores = {record.folder.name: read_scores(record.folder / "scores.csv") for record in records}
        pictures = []
        for pair in islice(self.pairs, _PICTURED_CASES):
            fused = {record.folder.name: pair.fused(record.folder / self.folder) for record in records}
            images = {"CT": pair.image[:1], "MR": pair.image[1:], **fused}
            pictures += comparison_pictures(pair.case, images, self.pairs.slice_axis, _SLICES_A_CASE)
        commands = [command for record in records for command in record.commands.values()]
        provenance = Provenance({record.folder.name: record.steps_s for record in records}, settings, commands)
        references = [name for name, method in FUSION_METHODS.items() if method.reference]
        return write_comparison(self.out, scores, pictures, provenance, references)


def training_sections(config: Mapping[str, Any]) -> list[str]:
    """The sections of training cases that the datalist of a merged config holds and that are not scored."""
    from spinefuse_ext.data import load_datalist

    found = []
    for section in (str(Section.LABELLED), str(Section.UNLABELLED)):
        try:
            load_datalist(config["datalist"], [section], (), base_dir=config["dataset_dir"])
        except DatalistError:  # absent or empty
            continue
        found.append(section)
    return [section for section in found if section not in config["sections"]]
