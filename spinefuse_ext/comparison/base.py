"""What every comparison does: train each method alike, let it do its work, score it, note what is done, tell it all."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from spinefuse_ext import __version__
from spinefuse_ext.comparison.method_record import MethodRecord, find_record, open_record
from spinefuse_ext.comparison.methods import MethodPlan, Methods
from spinefuse_ext.enums import Section
from spinefuse_ext.runs.configs import bundle_config
from spinefuse_ext.runs.run import run_bundle
from spinefuse_ext.validation import DatalistError

#: Keys of the images that a run reads, by section of the datalist.
Needs = Mapping[str, Sequence[str]]


class Comparison(ABC):
    """One comparison: the bundle, what each method is run with, and the folder that the results go to.

    A subclass names the bundle, the methods and the step after training, whose images go to the folder of its name;
    it says what it reads, scores one method and writes the page.
    """

    task: ClassVar[str]
    methods: ClassVar[Methods]
    step: ClassVar[str]
    folder: ClassVar[str]
    #: The weights that do the work: of the best epoch on the validation cases, or ``model_final.pt`` of the last one.
    weights: ClassVar[str] = "model.pt"
    #: Every method is run with each of these seeds, in a folder each; without them once, with the seed of the configs.
    seeds: ClassVar[tuple[int, ...]] = ()

    def __init__(self, bundle: Path, plans: Sequence[MethodPlan], out: Path) -> None:
        self.bundle, self.plans, self.out = bundle, plans, out
        self.missing: list[str] = []
        self.config = bundle_config(bundle, plans[0].inference_files, plans[0].inference)

    @abstractmethod
    def needs(self, plan: MethodPlan) -> Needs:
        """What the runs of a method read."""

    @abstractmethod
    def score(self, plan: MethodPlan, folder: Path) -> None:
        """Score what a method left in its folder, and write the scores there."""

    @abstractmethod
    def report(self, records: Sequence[MethodRecord], settings: dict[str, str]) -> Path:
        """Write the page and the tables of all methods; return the page."""

    def warnings(self) -> list[str]:
        """Sentences about the scores that whoever started the comparison should read first."""
        return []

    def open(self, redo: bool) -> list[MethodRecord]:
        """The record of each plan; all are opened before the first one starts, so that a refusal costs nothing."""
        return [open_record(self.out / plan.folder, self._settings(plan), redo=redo) for plan in self.plans]

    def collect(self) -> list[MethodRecord]:
        """The records of the plans that are done; the others leave ``plans`` and are named in ``missing``.

        Nothing is written.

        Raises:
            ConfigError: a folder holds results of other settings.
        """
        records, names = {}, list(dict.fromkeys(plan.name for plan in self.plans))
        for plan in self.plans:
            record = find_record(self.out / plan.folder, self._settings(plan))
            left = [step for step in self.steps(plan) if record is None or step not in record.steps_s]
            if record is not None and not left:
                records[plan.folder] = record
            else:
                told = "not begun" if record is None else f"left to do: {', '.join(left)}"
                self.missing.append(f"{plan.title}: {told}.")
        done = [plan for plan in self.plans if plan.folder in records]
        self.plans = sorted(done, key=lambda plan: names.index(plan.name))
        return [records[plan.folder] for plan in self.plans]

    def steps(self, plan: MethodPlan) -> list[str]:
        """Names of the steps that make a method, in their order."""
        train = ["train"] if plan.training is not None else []
        return [*train, self.step, *self.further_steps(plan, self.out / plan.folder), "score"]

    def further_steps(self, plan: MethodPlan, folder: Path) -> dict[str, Callable[[], str | None]]:
        """What else a method has to do before it is scored, by name."""
        return {}

    def make(self, plan: MethodPlan, record: MethodRecord, title: str) -> None:
        """Train one method, let it do its work and score it, leaving out what is done."""
        folder = record.folder
        if plan.training is not None:
            record.step("train", f"{title}: train", lambda: self._train(plan, folder))
        record.step(self.step, f"{title}: {self.step}", lambda: self._infer(plan, folder))
        for name, work in self.further_steps(plan, folder).items():
            record.step(name, f"{title}: {name}", work)
        record.step("score", f"{title}: score", lambda: self.score(plan, folder))

    def _train(self, plan: MethodPlan, folder: Path) -> str:
        if not any((folder / "models").glob("training_epoch_*")):  # cut off before its first epoch was over
            for part in ("models", "eval"):
                shutil.rmtree(folder / part, ignore_errors=True)
        paths = {"ckpt_dir": str(folder / "models"), "output_dir": str(folder / "eval"), "resume": "latest"}
        return run_bundle(self.bundle, plan.training_files, {**(plan.training or {}), **paths}, process=True)

    def _settings(self, plan: MethodPlan) -> dict[str, Any]:
        """Everything that decides the result of a plan."""
        images = _image_files(self.config, self.needs(plan))
        return {"version": __version__, **plan.settings(self.bundle), **images}

    def _infer(self, plan: MethodPlan, folder: Path, weights: Path | None = None, **settings: Any) -> str:
        """Let a method do its work, with ``weights`` (default: those of its training) and ``settings`` of this run."""
        paths = {"output_dir": str(folder / self.folder), **settings}
        if plan.training is not None:
            paths["checkpoint"] = str(weights or folder / "models" / self.weights)
        return run_bundle(self.bundle, plan.inference_files, {**plan.inference, **paths}, process=True)


def scored_section(config: Mapping[str, Any]) -> str:
    """The test section of the datalist of a merged config, or the validation section when it has no test cases."""
    from spinefuse_ext.data import load_datalist

    try:
        load_datalist(config["datalist"], [Section.TEST], (), base_dir=config["dataset_dir"])
    except DatalistError:
        return str(Section.VALIDATION)
    return str(Section.TEST)


def _image_files(config: Mapping[str, Any], needs: Needs) -> dict[str, Any]:
    """Size and time of change of every image that is read, by file: other images give other results."""
    from spinefuse_ext.data import load_datalist

    files: dict[str, Any] = {}
    for section, keys in needs.items():
        try:
            items = load_datalist(config["datalist"], [section], keys, base_dir=config["dataset_dir"])
        except DatalistError:  # absent or empty: whoever needs it will say so
            continue
        for path in (Path(item[key]) for item in items for key in keys):
            files[f"{section}: {path}"] = [path.stat().st_size, path.stat().st_mtime_ns]
    return files
