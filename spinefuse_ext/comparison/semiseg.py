"""``spinefuse compare semiseg``: ways to learn the segmentation from few labels, over seeds; table 3 of the paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from monai.utils import CommonKeys

from spinefuse_ext.comparison.base import Needs
from spinefuse_ext.comparison.method_record import MethodRecord
from spinefuse_ext.comparison.methods import MethodPlan
from spinefuse_ext.comparison.segmentation import SegmentationComparison
from spinefuse_ext.comparison.segmentation_methods import ALL_LABELS, SEMISEG_METHODS, SUPERVISED
from spinefuse_ext.enums import CaseKeys, Section
from spinefuse_ext.runs.configs import bundle_config
from spinefuse_ext.validation import DatalistError

if TYPE_CHECKING:
    from spinefuse_ext.report.comparison import ScoreRow
    from spinefuse_ext.report.page import Picture
    from spinefuse_ext.report.seed_scores import SeedScores

_PICTURED_CASES = 6
_BEST = "best"
_DICE = "val_mean_dice"  # the key metric of the validation, as TensorBoard has it
#: Settings that an equal protocol is made of; those that a config lacks are left out.
_PROTOCOL = (
    *("image_keys", "labels", "spatial_dims", "canvas", "slice_axis", "spacing_mm", "crops_per_case", "batch_size"),
    *("unlabelled_batch_size", "epochs", "learning_rate", "weight_decay", "amp"),
)


class SemiSegComparison(SegmentationComparison):
    """Every method with every seed; the last checkpoint is ranked, the best one is scored beside it."""

    methods = SEMISEG_METHODS
    weights = "model_final.pt"
    seeds = (0, 1, 2)
    title = "Learning from few labels: methods compared"
    notes = ()

    def needs(self, plan: MethodPlan) -> Needs:
        needs = dict(super().needs(plan))
        trained = self._training(plan)["train"]["dataset"]["data"]["sections"]
        with_label = [*needs[str(Section.LABELLED)]]
        return {section: with_label if section in trained else keys for section, keys in needs.items()}

    def _items(self, section: str, keys: Sequence[str], method: str) -> list[dict[str, str]]:
        try:
            return super()._items(section, keys, method)
        except DatalistError as error:
            if section != Section.UNLABELLED or CaseKeys.LABEL not in keys:
                raise
            raise DatalistError(f"{error} `spinefuse datalist --keep_labels True` lists them.") from error

    def steps(self, plan: MethodPlan) -> list[str]:
        return [*super().steps(plan), f"{self.step}_{_BEST}", f"score_{_BEST}"]

    def make(self, plan: MethodPlan, record: MethodRecord, title: str) -> None:
        super().make(plan, record, title)
        folder, chosen = record.folder / _BEST, record.folder / "models" / "model.pt"
        record.step(f"{self.step}_{_BEST}", f"{title}: best checkpoint", lambda: self._infer(plan, folder, chosen))
        record.step(f"score_{_BEST}", f"{title}: score the best checkpoint", lambda: self.score(plan, folder))

    def report(self, records: Sequence[MethodRecord], settings: dict[str, str]) -> Path:
        from spinefuse_ext.report.comparison_parts import Provenance
        from spinefuse_ext.report.method_comparison import MethodRuns, Roles, protocol_tables, write_method_comparison

        last, first = self._scores(), self._first_plans()
        protocol = protocol_tables(*self._protocol(first))
        pictures = list(self._pictures(first, last))
        runs = MethodRuns(last, self._scores(_BEST), protocol, pictures, self._curves(), self.missing)
        seconds = {plan.title: record.steps_s for plan, record in zip(self.plans, records, strict=True)}
        commands = [command for record in records for command in record.commands.values()]
        provenance = Provenance(seconds, settings, commands)
        return write_method_comparison(self.out, runs, provenance, Roles(SUPERVISED, ALL_LABELS), title=self.title)

    def warnings(self) -> list[str]:
        from spinefuse_ext.report.method_tables import warnings_of

        return warnings_of(self._scores(), SUPERVISED, [ALL_LABELS])

    def _first_plans(self) -> list[MethodPlan]:
        """The plan with the first seed of each method."""
        first: dict[str, MethodPlan] = {}
        for plan in self.plans:
            first.setdefault(plan.name, plan)
        return list(first.values())

    def _scores(self, part: str = "") -> SeedScores:
        """The scores of every method and seed, with the last checkpoint, or those in a part of their folders."""
        from spinefuse_ext.report.comparison import read_scores

        scores: dict[str, dict[int, list[ScoreRow]]] = {}
        for plan in self.plans:
            found = read_scores(self.out / plan.folder / part / "scores.csv")
            scores.setdefault(plan.name, {})[plan.seed or 0] = found
        return scores

    def _curves(self) -> dict[str, list[tuple[int, float]]]:
        """Validation Dice of each method, mean over its seeds, by epoch."""
        from spinefuse_ext.report.curves import read_curves

        values: dict[str, dict[int, list[float]]] = {}
        for plan in self.plans:
            logs = self.out / plan.folder / "eval"
            for epoch, dice in read_curves(logs).get(_DICE, []) if logs.is_dir() else []:
                values.setdefault(plan.name, {}).setdefault(epoch, []).append(dice)
        return {name: [(epoch, fmean(dice)) for epoch, dice in sorted(at.items())] for name, at in values.items()}

    def _training(self, plan: MethodPlan) -> dict[str, Any]:
        return bundle_config(self.bundle, plan.training_files, plan.training)

    def _protocol(self, plans: Sequence[MethodPlan]) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        """Settings of the protocol, and what makes the method, by method."""
        configs = {plan.name: self._training(plan) for plan in plans}
        settings = {
            name: {key: str(config[key]) for key in _PROTOCOL if key in config} for name, config in configs.items()
        }
        steps = {plan.name: _steps(self.out / plan.folder / "eval") for plan in plans}
        parts = {
            name: {
                "network": _targets(config["network_def"]),
                "loss": _targets(config["loss"]),
                "handlers": ", ".join(_short(one) for one in config["method_handlers"]) or "none",
                "unlabelled images": "yes" if config["use_unlabelled"] else "no",
                "labels of": ", ".join(config["train"]["dataset"]["data"]["sections"]),
            }
            for name, config in configs.items()
        }
        return {name: {**values, "optimiser steps": steps[name]} for name, values in settings.items()}, parts

    def _pictures(self, plans: Sequence[MethodPlan], scores: SeedScores) -> Iterator[Picture]:
        """A picture a case: image, truth, and every method with its first seed."""
        from spinefuse_ext.report.method_panels import methods_panel
        from spinefuse_ext.report.page import Picture
        from spinefuse_ext.report.registration_figures import CT_WINDOW_HU
        from spinefuse_ext.volumes.volume import read_volume

        key = self.config["image_keys"][0]  # of several channels the first is shown
        limits = CT_WINDOW_HU if key == CaseKeys.CT else None
        axis, structures = int(self.config["slice_axis"]), dict(enumerate(self.config["labels"]))
        for case in self.cases(plans[0])[:_PICTURED_CASES]:
            found = {
                f"{plan.name} {_dice(scores, plan, case.name)}".strip(): read_volume(
                    self.out / plan.folder / self.folder / case.prediction
                )
                for plan in plans
            }
            image, label = read_volume(case.files[key]), case.truth(next(iter(found.values())))
            figure = methods_panel(image, label, found, axis=axis, limits=limits, names=structures)
            told = f"{case.name}: image, truth, {', '.join(plan.name for plan in plans)}; one slice through the middle."
            yield Picture(figure, told, f"Case {case.name} as each method labels it")


def _dice(scores: SeedScores, plan: MethodPlan, case: str) -> str:
    values = [one.values.get("dice mean") for one in scores[plan.name][plan.seed or 0] if one.case == case]
    return f"{values[0]:.2f}" if values and values[0] is not None else ""


def _steps(logs: Path) -> str:
    """How many steps the optimiser took, by the log of the training loss; a dash without a log."""
    from spinefuse_ext.report.curves import read_curves
    from spinefuse_ext.report.tables import DASH

    if not logs.is_dir():
        return DASH
    losses = [points for tag, points in read_curves(logs).items() if points and tag.endswith(CommonKeys.LOSS)]
    return str(max(points[-1][0] for points in losses)) if losses else DASH


def _short(component: Mapping[str, Any]) -> str:
    return str(component["_target_"]).rpartition(".")[2]


def _targets(component: Any) -> str:
    """A component with those that stand in it: ``DualSegNet(UNet, VNet)``."""
    if not isinstance(component, Mapping) or "_target_" not in component:
        return ""
    inner = [told for value in component.values() if (told := _targets(value))]
    return _short(component) + (f"({', '.join(inner)})" if inner else "")
