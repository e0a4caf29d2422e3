"""``spinefuse compare TASK``: train and score every method alike, and put them into one table."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from spinefuse_ext.comparison.base import Comparison, scored_section
from spinefuse_ext.comparison.fusion import FusionComparison
from spinefuse_ext.comparison.method_record import MethodRecord
from spinefuse_ext.comparison.methods import choose_methods, plan_methods
from spinefuse_ext.comparison.segmentation import InputComparison
from spinefuse_ext.comparison.semiseg import SemiSegComparison
from spinefuse_ext.files import check_output_folder
from spinefuse_ext.runs.configs import bundle_config
from spinefuse_ext.runs.settings import typed_settings
from spinefuse_ext.validation import ConfigError
from spinefuse_ext.verbs.paths import find_bundle

TASKS: dict[str, type[Comparison]] = {
    "fusion": FusionComparison,
    "inputs": InputComparison,
    "semiseg": SemiSegComparison,
}


def compare(  # noqa: PLR0913 (the options of the verb, all keyword-only but three)
    task: str,
    dataset_dir: str,
    out: str,
    *,
    methods: str | Sequence[str] | None = None,
    seeds: int | str | Sequence[int] | None = None,
    collect: bool = False,
    bundle: str | None = None,
    redo: bool = False,
    **overrides: Any,
) -> None:
    """Make one table of several methods: ``spinefuse compare fusion|inputs|semiseg --dataset_dir DIR --out OUT``.

    ``fusion`` compares ways to fuse: every method is trained (where it has weights) and fuses the test cases; each
    slice gets the published scores and a reader's. ``inputs`` compares what the segmentation is given, the fused
    image, CT, MR or both: it is trained on each and labels the test cases; each structure gets its Dice. ``semiseg``
    compares ways to learn the segmentation from few labels, each with several seeds. All methods have the same
    settings; validation cases are scored when the datalist has no test. ``OUT`` receives ``comparison.html``, the
    tables as CSV and LaTeX, and per method its weights, images and scores. What is done is not done again.

    Args:
        task: ``fusion``, ``inputs`` or ``semiseg``.
        dataset_dir: folder of cases with its ``datalist.json``.
        out: folder to write.
        methods: names of methods; the first is compared with each other one.
        seeds: of ``semiseg``, 0, 1 and 2 without it: every method is run with each.
        collect: run nothing; make the page of what is finished in ``out``, and say what is missing.
        bundle: bundle folder.
        redo: make methods again that ``out`` holds with other settings, instead of refusing.
        overrides: settings by config id, the same for all methods.

    Raises:
        ConfigError: unknown task, method, seed or setting, or ``out`` holds results of other settings, or nothing that
            could be collected.
        DatalistError: unreadable list, or no case to train or score with.
    """
    if task not in TASKS:
        raise ConfigError(f"`spinefuse compare` knows {', '.join(TASKS)}, got {task}.")
    kind = TASKS[task]
    if collect and methods is None:  # references too, if they were run
        begun = (name for name, method in kind.methods.items() if not method.reference or (Path(out) / name).is_dir())
        methods = list(begun)
    names, folder = choose_methods(methods, kind.methods), find_bundle(kind.task, bundle)
    known = {**bundle_config(folder, ("inference.json",)), **bundle_config(folder, ("train.json",))}
    overrides = typed_settings(ConfigParser(known), overrides)
    given = {**overrides, "dataset_dir": str(Path(dataset_dir).absolute())}
    if not overrides.get("sections"):
        given["sections"] = [scored_section({**bundle_config(folder, ("inference.json",)), **given})]
    chosen = {name: kind.methods[name] for name in names}
    plans = plan_methods(chosen, folder, given)
    drawn = choose_seeds(task, kind.seeds, seeds, overrides)
    if drawn:
        plans = [plan.with_seed(seed) for seed in drawn for plan in plans]
    run = kind(folder, plans, Path(out).absolute())
    records = run.collect() if collect else _made(run, redo)
    for sentence in run.missing:
        sys.stdout.write(f"missing: {sentence}\n")
    if not records:
        raise ConfigError(f"Nothing of this comparison is finished in {run.out}; run it without --collect first.")
    page = run.report(records, {name: json.dumps(value) for name, value in given.items()})
    for sentence in run.warnings():
        sys.stdout.write(f"WARNING: {sentence}\n")
    sys.stdout.write(f"Open {page}\n")


def _made(run: Comparison, redo: bool) -> list[MethodRecord]:
    """Make every method that is not yet made."""
    check_output_folder(run.out)
    records = run.open(redo)
    for place, (plan, record) in enumerate(zip(run.plans, records, strict=True), start=1):
        run.make(plan, record, f"{place} of {len(records)}, {plan.title}")
    return records


def choose_seeds(
    task: str, usual: Sequence[int], seeds: int | str | Sequence[int] | None, overrides: Mapping[str, Any]
) -> list[int]:
    """The seeds that every method is run with; none for a task whose methods are run once, with the config's seed.

    Raises:
        ConfigError: a task without seeds, the same seed twice or none, a seed that is no whole number from 0, or an
            override ``seed`` beside them.
    """
    if not usual:
        if seeds is not None:
            raise ConfigError(f"`spinefuse compare {task}` runs every method once; give --seed instead of --seeds.")
        return []
    if "seed" in overrides:
        raise ConfigError(f"`spinefuse compare {task}` runs every method with several seeds; give --seeds, not --seed.")
    listed: Sequence[Any] = usual if seeds is None else [seeds] if isinstance(seeds, int) else seeds
    listed = listed.split(",") if isinstance(listed, str) else listed
    chosen = [int(seed) if str(seed).strip().isdecimal() else -1 for seed in listed]
    if not chosen or min(chosen) < 0 or len(set(chosen)) < len(chosen):
        raise ConfigError(f"--seeds needs whole numbers from 0, each once, for example 0,1,2; got {seeds}.")
    return chosen
