"""``spinefuse compare fusion``: every fusion method on the same pairs, scored slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from spinefuse_ext.bundle.comparison import Comparison, Needs
from spinefuse_ext.bundle.fusion_methods import FUSION_METHODS
from spinefuse_ext.bundle.method_record import MethodRecord
from spinefuse_ext.bundle.methods import MethodPlan
from spinefuse_ext.enums import Section
from spinefuse_ext.validation import DatalistError

#: An odd number of slices, so that the one in the middle, the midline of a spine, is among them.
_PICTURED_CASES, _SLICES_A_CASE = 4, 3


class FusionComparison(Comparison):
    """Table 2 of the paper: eleven scores of every slice that the methods fuse."""

    task, methods = "fusion", FUSION_METHODS
    step, folder = "fuse", "fused"

    def __init__(self, bundle: Path, plans: Sequence[MethodPlan], out: Path) -> None:
        from spinefuse_ext.bundle.slice_scores import ScoredPairs

        super().__init__(bundle, plans, out)
        self.pairs = ScoredPairs(self.config)

    def needs(self, plan: MethodPlan) -> Needs:
        sections = self.config["sections"] if plan.training is None else [str(section) for section in Section]
        return dict.fromkeys(sections, self.config["pair_keys"])

    def score(self, plan: MethodPlan, folder: Path) -> None:
        from spinefuse_ext.bundle.slice_scores import score_slices
        from spinefuse_ext.report.comparison import write_scores

        axis, bone = self.pairs.slice_axis, self.pairs.bone_level
        scores = [
            one
            for pair in tqdm(self.pairs, desc=f"Scoring {plan.name}", unit="case")
            for one in score_slices(pair.case, pair.fused(folder / self.folder), pair.image, axis, bone)
        ]
        if not scores:
            raise DatalistError("No slice of the scored cases shows anything in both CT and MR; check the images.")
        write_scores(folder / "scores.csv", scores)

    def report(self, records: Sequence[MethodRecord], settings: dict[str, str]) -> Path:
        from spinefuse_ext.report.comparison import read_scores
        from spinefuse_ext.report.comparison_page import comparison_pictures, write_comparison
        from spinefuse_ext.report.comparison_parts import Making

        scores = {record.folder.name: read_scores(record.folder / "scores.csv") for record in records}
        pictures = []
        for pair in islice(self.pairs, _PICTURED_CASES):
            fused = {record.folder.name: pair.fused(record.folder / self.folder) for record in records}
            images = {"CT": pair.image[:1], "MR": pair.image[1:], **fused}
            pictures += comparison_pictures(pair.case, images, self.pairs.slice_axis, _SLICES_A_CASE)
        commands = [command for record in records for command in record.commands.values()]
        making = Making({record.folder.name: record.steps_s for record in records}, settings, commands)
        references = [name for name, method in FUSION_METHODS.items() if method.reference]
        return write_comparison(self.out, scores, pictures, making, references)
