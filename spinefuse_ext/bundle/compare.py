"""``spinefuse compare TASK``: train and score every method alike, and put them into one table."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spinefuse_ext.bundle.commands import find_bundle
from spinefuse_ext.bundle.compare_fusion import FusionComparison
from spinefuse_ext.bundle.compare_segmentation import InputComparison
from spinefuse_ext.bundle.comparison import Comparison, scored_section
from spinefuse_ext.bundle.methods import choose_methods, merged, plan_methods
from spinefuse_ext.validation import ConfigError

TASKS: dict[str, type[Comparison]] = {"fusion": FusionComparison, "inputs": InputComparison}


def compare(
    task: str,
    dataset_dir: str,
    out: str,
    *,
    methods: str | Sequence[str] | None = None,
    bundle: str | None = None,
    redo: bool = False,
    **overrides: Any,
) -> None:
    """Make one table of several methods: ``spinefuse compare fusion|inputs --dataset_dir DIR --out OUT``.

    ``fusion`` compares ways to fuse: every method is trained (where it has weights) and fuses the test cases; each
    slice gets nine scores. ``inputs`` compares what the segmentation is given, the fused image, CT, MR or both: it is
    trained on each and labels the test cases; each structure gets its Dice. All methods have the same settings;
    validation cases are scored when the datalist has no test. ``OUT`` receives ``comparison.html``, the tables as CSV
    and LaTeX, and per method its weights, images and scores. What is done is not done again.

    Args:
        task: ``fusion`` or ``inputs``.
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
    kind = TASKS[task]
    names, folder = choose_methods(methods, kind.methods), find_bundle(kind.task, bundle)
    given = {**overrides, "dataset_dir": str(Path(dataset_dir).absolute())}
    if not overrides.get("sections"):
        given["sections"] = [scored_section({**merged(folder, ("inference.json",)), **given})]
    chosen = {name: kind.methods[name] for name in names}
    run = kind(folder, plan_methods(chosen, folder, given), Path(out).absolute())
    records = run.open(redo)
    for place, (plan, record) in enumerate(zip(run.plans, records, strict=True), start=1):
        run.make(plan, record, f"{place} of {len(records)}, {plan.name}")
    page = run.report(records, {name: json.dumps(value) for name, value in given.items()})
    sys.stdout.write(f"Open {page}\n")
