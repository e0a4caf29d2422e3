"""``spinefuse compare fusion``: train, fuse and score every method alike, and put them into one table."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from spinefuse_ext import __version__
from spinefuse_ext.bundle.commands import find_bundle, run_bundle
from spinefuse_ext.bundle.fusion_methods import FUSION_METHODS, MethodPlan, choose_methods, merged, plan_methods
from spinefuse_ext.bundle.method_record import MethodRecord, open_record
from spinefuse_ext.enums import Section
from spinefuse_ext.validation import ConfigError, DatalistError

TASKS = ("fusion",)
_PICTURED_CASES, _SLICES_A_CASE = 4, 2


def compare(
    task: str,
    dataset_dir: str,
    out: str,
    *,
    methods: str | Sequence[str] = tuple(FUSION_METHODS),
    bundle: str | None = None,
    redo: bool = False,
    **overrides: Any,
) -> None:
    """Make one table of several methods: ``spinefuse compare fusion --dataset_dir DIR --out OUT``.

    Every method is trained (where it has weights) and fuses the test cases, or the validation cases when the datalist
    has no test, with the same settings; each slice gets nine scores. ``OUT`` receives ``comparison.html``, the tables
    as CSV and LaTeX, and per method its weights, fused images and scores. What is done is not done again.

    Args:
        task: ``fusion``.
        dataset_dir: folder of cases with its ``datalist.json``.
        out: folder to write.
        methods: names of methods; the first is compared with each other one.
        bundle: bundle folder.
        redo: make methods again that ``out`` holds with other settings, instead of refusing.
        overrides: settings by config id, the same for all methods.

    Raises:
        ConfigError: unknown task, method or setting, or ``out`` holds results of other settings.
        DatalistError: unreadable list, or no case to train or score with.
    """
    if task not in TASKS:
        raise ConfigError(f"`spinefuse compare` knows {', '.join(TASKS)}, got {task}.")
    names, folder = choose_methods(methods), find_bundle("fusion", bundle)
    given = {**overrides, "dataset_dir": str(Path(dataset_dir).absolute())}
    given["sections"] = overrides.get("sections") or _scored_sections(folder, given)
    run = _Comparison(folder, plan_methods(names, folder, given), Path(out).absolute())
    records = run.open(redo)
    for place, (plan, record) in enumerate(zip(run.plans, records, strict=True), start=1):
        run.make(plan, record, f"{place} of {len(records)}, {plan.name}")
    page = run.report(records, {name: json.dumps(value) for name, value in given.items()})
    sys.stdout.write(f"Open {page}\n")


class _Comparison:
    """One comparison: the bundle, what each method is run with, and where the results go."""

    def __init__(self, bundle: Path, plans: Sequence[MethodPlan], out: Path) -> None:
        from spinefuse_ext.bundle.slice_scores import ScoredPairs

        self.bundle, self.plans, self.out = bundle, plans, out
        first = plans[0]
        self.config = merged(bundle, first.inference_files, first.inference)
        self.pairs = ScoredPairs(self.config)

    def open(self, redo: bool) -> list[MethodRecord]:
        """The record of each method; all are opened before the first one starts, so that a refusal costs nothing."""
        every, scored = [str(section) for section in Section], self.config["sections"]
        return [
            open_record(
                self.out / plan.name,
                {
                    "version": __version__,
                    **plan.settings(self.bundle),
                    **_image_files(self.config, scored if plan.training is None else every),
                },
                redo=redo,
            )
            for plan in self.plans
        ]

    def make(self, plan: MethodPlan, record: MethodRecord, title: str) -> None:
        """Train, fuse and score one method, leaving out what is done."""
        folder = record.folder
        if plan.training is not None:
            record.step("train", f"{title}: train", lambda: self._train(plan, folder))
        record.step("fuse", f"{title}: fuse", lambda: self._fuse(plan, folder))
        record.step("score", f"{title}: score", lambda: self._score(plan.name, folder))

    def _train(self, plan: MethodPlan, folder: Path) -> str:
        for part in ("models", "eval"):  # of a training that was cut off
            shutil.rmtree(folder / part, ignore_errors=True)
        paths = {"ckpt_dir": str(folder / "models"), "output_dir": str(folder / "eval")}
        return run_bundle(self.bundle, plan.training_files, {**(plan.training or {}), **paths})

    def _fuse(self, plan: MethodPlan, folder: Path) -> str:
        paths = {"output_dir": str(folder / "fused")}
        if plan.training is not None:
            paths["checkpoint"] = str(folder / "models" / "model.pt")
        return run_bundle(self.bundle, plan.inference_files, {**plan.inference, **paths})

    def _score(self, name: str, folder: Path) -> None:
        from spinefuse_ext.bundle.slice_scores import score_slices
        from spinefuse_ext.report.comparison import write_scores

        axis = self.pairs.slice_axis
        scores = [
            one
            for pair in tqdm(self.pairs, desc=f"Scoring {name}", unit="case")
            for one in score_slices(pair.case, pair.fused(folder / "fused"), pair.image, axis)
        ]
        if not scores:
            raise DatalistError("No slice of the scored cases shows anything in both CT and MR; check the images.")
        write_scores(folder / "scores.csv", scores)

    def report(self, records: Sequence[MethodRecord], settings: dict[str, str]) -> Path:
        from spinefuse_ext.report.comparison import read_scores
        from spinefuse_ext.report.comparison_page import Making, comparison_pictures, write_comparison

        scores = {record.folder.name: read_scores(record.folder / "scores.csv") for record in records}
        pictures = []
        for pair in islice(self.pairs, _PICTURED_CASES):
            fused = {record.folder.name: pair.fused(record.folder / "fused") for record in records}
            images = {"CT": pair.image[:1], "MR": pair.image[1:], **fused}
            pictures += comparison_pictures(pair.case, images, self.pairs.slice_axis, _SLICES_A_CASE)
        commands = [command for record in records for command in record.commands.values()]
        making = Making({record.folder.name: record.steps_s for record in records}, settings, commands)
        return write_comparison(self.out, scores, pictures, making)


def _scored_sections(bundle: Path, given: dict[str, Any]) -> list[str]:
    """The test section, or the validation section of a datalist without test cases."""
    from spinefuse_ext.data import load_datalist

    config = {**merged(bundle, ("inference.json",)), **given}
    try:
        load_datalist(config["datalist"], [Section.TEST], config["pair_keys"], base_dir=given["dataset_dir"])
    except DatalistError:
        return [str(Section.VALIDATION)]
    return [str(Section.TEST)]


def _image_files(config: Mapping[str, Any], sections: Sequence[str]) -> dict[str, Any]:
    """Size and time of change of every image in some sections, by file: other images give other results."""
    from spinefuse_ext.data import load_datalist

    keys, files = config["pair_keys"], {}
    for section in sections:
        try:
            items = load_datalist(config["datalist"], [section], keys, base_dir=config["dataset_dir"])
        except DatalistError:  # absent or empty: whoever needs it will say so
            continue
        for path in (Path(item[key]) for item in items for key in keys):
            files[f"{section}: {path}"] = [path.stat().st_size, path.stat().st_mtime_ns]
    return files
