"""Comparisons of segmentations, case by case and structure by structure; ``spinefuse compare inputs``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from spinefuse_ext.comparison.base import Comparison, Needs
from spinefuse_ext.comparison.method_record import MethodRecord
from spinefuse_ext.comparison.methods import MethodPlan
from spinefuse_ext.comparison.segmentation_methods import SEGMENTATION_INPUTS
from spinefuse_ext.enums import CaseKeys, Section
from spinefuse_ext.progress_bar import progress_bar
from spinefuse_ext.runs.configs import bundle_config
from spinefuse_ext.validation import DatalistError

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from spinefuse_ext.label_files.label_classes import LabelScheme
    from spinefuse_ext.report.page import Picture

_PICTURED_CASES = 4


@dataclass(frozen=True)
class LabelledCase:
    """A case that is scored: its files by key, and the file in a method's folder that holds its prediction."""

    files: dict[str, str]
    prediction: Path
    scheme: LabelScheme

    @property
    def name(self) -> str:
        return self.prediction.parent.as_posix()

    def truth(self, image: MetaTensor) -> MetaTensor:
        """The label ``(1, X, Y, Z)`` on the grid of ``image``, by its names and its affine, as training has it.

        Raises:
            SpinefuseError: it is no label of the bundle, or does not lie on the image.
        """
        from spinefuse_ext.volumes.read_label import label_for

        return label_for(self.files[CaseKeys.LABEL], image, self.scheme)[0]


class SegmentationComparison(Comparison):
    """Overlap and distances of each structure of the labelled test cases; a subclass names the methods and the page."""

    task, step, folder = "semiseg", "segment", "segmented"
    title: ClassVar[str]
    notes: ClassVar[Sequence[str]]

    def __init__(self, bundle: Path, plans: Sequence[MethodPlan], out: Path) -> None:
        super().__init__(bundle, plans, out)
        self._checked: set[str] = set()
        for plan in plans:  # a case that lacks what is needed is told before hours of training
            for section, keys in self.needs(plan).items():
                items = self._items(section, keys, plan.name)
                if CaseKeys.LABEL in keys:
                    self._check_labels(items, keys, learn=section not in self.config["sections"])

    def needs(self, plan: MethodPlan) -> Needs:
        images = list(bundle_config(self.bundle, plan.inference_files, plan.inference)["image_keys"])
        with_label = [*images, str(CaseKeys.LABEL)]
        scored = dict.fromkeys(self.config["sections"], with_label)
        if plan.training is None:
            return scored
        trained = {Section.LABELLED: with_label, Section.UNLABELLED: images, Section.VALIDATION: with_label}
        return {**{str(section): keys for section, keys in trained.items()}, **scored}

    def score(self, plan: MethodPlan, folder: Path) -> None:
        from spinefuse_ext.metrics import false_volumes_ml, segmentation_table
        from spinefuse_ext.report.comparison import write_scores
        from spinefuse_ext.report.segmentation_comparison import overlap_scores
        from spinefuse_ext.volumes.volume import read_volume

        names = dict(enumerate(self.config["labels"]))
        scores = []
        for case in progress_bar(self.cases(plan), title=f"Scoring {plan.name}", unit="case"):
            prediction = read_volume(folder / self.folder / case.prediction)
            pair = _known(prediction, case.truth(prediction), case.scheme.ignore_index)
            table, false_ml = segmentation_table(*pair, names), false_volumes_ml(*pair, names)
            scores.append(overlap_scores(case.name, table, false_ml))
        write_scores(folder / "scores.csv", scores)

    def report(self, records: Sequence[MethodRecord], settings: dict[str, str]) -> Path:
        from spinefuse_ext.report.comparison import read_scores
        from spinefuse_ext.report.comparison_parts import Provenance
        from spinefuse_ext.report.segmentation_comparison import write_segmentation_comparison

        scores = {record.folder.name: read_scores(record.folder / "scores.csv") for record in records}
        commands = [command for record in records for command in record.commands.values()]
        provenance = Provenance({record.folder.name: record.steps_s for record in records}, settings, commands)
        pictures = [self._picture(place) for place in range(min(_PICTURED_CASES, len(scores[records[0].folder.name])))]
        return write_segmentation_comparison(self.out, scores, pictures, provenance, title=self.title, notes=self.notes)

    def cases(self, plan: MethodPlan) -> list[LabelledCase]:
        """The cases that are scored, with the files that a method needs of them."""
        from spinefuse_ext.data import CaseLayout

        layout = CaseLayout("", "prediction", self.config["dataset_dir"])
        return [
            LabelledCase(files, Path(layout.filename(files[keys[0]])), self._scheme())
            for section, keys in self.needs(plan).items()
            if section in self.config["sections"]
            for files in self._items(section, keys, plan.name)
        ]

    def _items(self, section: str, keys: Sequence[str], method: str) -> list[dict[str, str]]:
        from spinefuse_ext.data import load_datalist

        try:
            return load_datalist(self.config["datalist"], [section], keys, base_dir=self.config["dataset_dir"])
        except DatalistError as error:
            hint = " Fuse the cases, then run `spinefuse datalist` again." if "'fused'" in str(error) else ""
            raise DatalistError(f"{method} needs cases with {', '.join(keys)}. {error}{hint}") from error

    def _scheme(self) -> LabelScheme:
        from spinefuse_ext.label_files.label_classes import LabelScheme

        return LabelScheme.of(*(self.config.get(name) for name in ("labels", "relabel", "ignore_index")))

    def _check_labels(self, items: Sequence[dict[str, str]], keys: Sequence[str], *, learn: bool) -> None:
        """Refuse a label that cannot be used; of those that several methods share, once."""
        from spinefuse_ext.data import check_labels

        scheme = self._scheme()
        new = [item for item in items if item[CaseKeys.LABEL] not in self._checked]
        self._checked.update(item[CaseKeys.LABEL] for item in new)
        check_labels(
            new,
            keys,
            labels=list(scheme.labels.values()),
            relabel=scheme.relabel,
            ignore_index=scheme.ignore_index,
            learn=learn,
        )

    def _picture(self, place: int) -> Picture:
        """The case at a place of the list, as each method sees and labels it."""
        from spinefuse_ext.report.registration_figures import CT_WINDOW_HU
        from spinefuse_ext.report.segmentation_comparison import segmentation_picture
        from spinefuse_ext.volumes.volume import read_volume

        results, limits = {}, {}
        for plan in self.plans:
            case = self.cases(plan)[place]
            key = self.needs(plan)[self.config["sections"][0]][0]  # of several channels the first is shown
            prediction = self.out / plan.name / self.folder / case.prediction
            results[plan.name] = read_volume(case.files[key]), read_volume(prediction)
            if key == CaseKeys.CT:
                limits[plan.name] = CT_WINDOW_HU
        label = case.truth(next(iter(results.values()))[1])
        return segmentation_picture(case.name, results, label, int(self.config["slice_axis"]), limits)


def _known(prediction: MetaTensor, truth: MetaTensor, ignore_index: int | None) -> tuple[MetaTensor, MetaTensor]:
    """Both volumes, background wherever the truth is unknown."""
    if ignore_index is not None:
        unknown = truth.as_tensor() == ignore_index
        prediction, truth = prediction.clone(), truth.clone()
        prediction[unknown] = truth[unknown] = 0
    return prediction, truth


class InputComparison(SegmentationComparison):
    """Does the fused image help? The same segmentation, trained on it, on CT, on MR, and on CT and MR as channels."""

    methods = SEGMENTATION_INPUTS
    title = "What the segmentation is given to see"
    notes = (
        "Every input had the same network, settings, cases and steps, once, with one seed. Train again with other "
        "seeds before a small difference is believed.",
        "What fusion can give depends on the registration: the label lies on the CT, and so does the fused image.",
    )
