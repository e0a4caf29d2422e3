"""The verb ``spinefuse benchmark``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from spinefuse_ext.benchmark.cases import Input, make_input
from spinefuse_ext.benchmark.cost import Cost
from spinefuse_ext.benchmark.panel import PanelCase, chosen_cases, read_panel
from spinefuse_ext.benchmark.pictures import save_picture
from spinefuse_ext.benchmark.predict import Prediction, predict
from spinefuse_ext.benchmark.record import Record, Records
from spinefuse_ext.benchmark.score import score
from spinefuse_ext.benchmark.table import (
    Outcome,
    beside_others,
    group_rows,
    in_words,
    markdown,
    read_outcome,
    row_of,
    sources,
    trust_text,
    write_tables,
)
from spinefuse_ext.benchmark.trust import relation, trust_figure, trust_pairs
from spinefuse_ext.benchmark.variants import NATIVE, chosen_variants
from spinefuse_ext.files import atomic_write, check_output_folder
from spinefuse_ext.handlers.checkpoints import save_whole
from spinefuse_ext.handlers.run_folder import read_state
from spinefuse_ext.progress_bar import progress_bar
from spinefuse_ext.report.palette import DPI
from spinefuse_ext.runs.configs import check_places, config_files
from spinefuse_ext.runs.run import BundleRun
from spinefuse_ext.validation import ConfigError, check_choice, check_exists
from spinefuse_ext.verbs.paths import find_bundle, listed

_SUBJECTS = ("weights",)


def benchmark(  # noqa: PLR0913 (the options of the verb, all keyword-only but three)
    subject: str,
    panel: str,
    out: str,
    *,
    data_dir: str = ".",
    groups: str | Sequence[str] | None = None,
    variants: str | Sequence[str] | None = None,
    quick: bool = False,
    pictures: bool = True,
    inputs: str | None = None,
    redo: bool = False,
    beside: str | Sequence[str] = (),
    name: str | None = None,
    checkpoint: str | None = None,
    delta: str | Sequence[str] = (),
    bundle: str | None = None,
    **overrides: Any,
) -> None:
    """Measure segmentation weights on a panel of images: ``spinefuse benchmark weights PANEL.json OUT --data_dir DIR``.

    Every image goes through the bundle's own ``inference.json``, nothing given but the image. ``OUT`` gets
    ``table.json``, ``table.csv``, ``groups.csv``, the page ``table.md``, ``trust.png`` and a picture of each case. What
    was measured with the same weights and settings is not measured again, but with ``--redo``.

    Args:
        subject: what is measured: ``weights``.
        panel: JSON file that lists the cases.
        out: folder to write.
        data_dir: folder that the paths in the panel begin in.
        groups: groups of the panel; all by default.
        variants: further images made of each case; ``all`` for every one.
        quick: a case or two of each group, without variants.
        pictures: make a picture of each case.
        inputs: folder for the images made, to share it between runs; ``OUT/inputs`` by default.
        redo: measure again what was measured with the same weights and settings.
        beside: earlier ``table.json``, named ``NAME=PATH`` if wished, put into the same table.
        name: what these weights are called in tables; their file's name by default.
        checkpoint: weights, or the state of a training, ``training_epoch_NNNN.pt``; those of the bundle by default.
        delta: config files that the checkpoint was trained with on top of ``train.json``.
        bundle: folder of the bundle.
        overrides: settings by config id, as for ``spinefuse segment``.
    """
    check_choice("subject", subject, _SUBJECTS)
    folder = check_output_folder(Path(out).absolute())
    others = [_earlier(one) for one in ([beside] if isinstance(beside, str) else beside)]
    cases = chosen_cases(read_panel(panel, data_dir), None if groups is None else listed(groups), quick=quick)
    names = [NATIVE] if quick and variants is None else chosen_variants(variants)
    place = find_bundle("semiseg", bundle)
    weights = check_exists(checkpoint or place / "models" / "model.pt", "The checkpoint").absolute()
    stored = _weights_of(weights, folder)
    own = {"checkpoint": str(stored), "save_seg": False, "save_disagreement": False, "save_trust": True}
    run = BundleRun(place, ["inference.json", *listed(delta)], own | {"inferer#progress": False}, overrides)
    run.check()
    work = _Work(run, folder, Path(inputs).absolute() if inputs else folder / "inputs")
    records = work.measure(cases, names, redo=redo)
    making = {
        "checkpoint": weights.name,
        "sha256": work.records.weights_sha256,
        "configs": list(run.configs),
        "settings": {key: str(value) for key, value in overrides.items()},
        "panel": Path(panel).name,
        "sources": sources(cases),
    }
    outcome = Outcome(name or weights.stem, records, making)
    _report(folder, outcome, others, work.pictures(cases) if pictures else {}, work.threshold)


@dataclass
class _Work:
    """The measuring of cases into a folder."""

    run: BundleRun
    out: Path
    inputs: Path
    records: Records = field(init=False)

    def __post_init__(self) -> None:
        files = config_files(self.run.bundle, self.run.configs)
        config = check_places(files, self.run.settings)
        self.labels: list[str] = list(config.get_parsed_content("labels"))
        self.threshold = float(config.get_parsed_content("trust_threshold"))
        if "vertebra" not in self.labels:
            raise ConfigError(f"The classes {self.labels} have no vertebra; a benchmark scores the spine.")
        self.records = Records(self.out / "records", self.run.settings["checkpoint"], self.run.settings, files)

    def measure(self, cases: Sequence[PanelCase], variants: Sequence[str], *, redo: bool) -> list[Record]:
        """The records of all variants of all cases; those that are there are not made again unless ``redo``."""
        wanted = [(case, variant) for case in cases for variant in variants]
        made = [
            make_input(case, variant, self.inputs)
            for case, variant in progress_bar(wanted, title="Images", unit="image")
        ]
        found = {} if redo else {one.name: self.records.find(one) for one in made}
        known = {name: record for name, record in found.items() if record is not None}
        left = [one for one in made if one.name not in known]
        bar = progress_bar(total=len(left), title="Measuring", unit="image")

        def done(one: Input, prediction: Prediction, cost: Cost) -> None:
            scores = score(prediction.labels(), one.truths(), self.labels)
            record = Record(one.case.group, one.case.name, one.variant, scores, prediction.trust(), cost)
            self.records.keep(one, record)
            known[one.name] = record
            tqdm.write(f"{one.name}: {in_words(record)}")
            bar.update()

        with logging_redirect_tqdm():
            predict(self.run, left, self.out / "predictions", done)
        bar.close()
        return [known[one.name] for one in made]

    def pictures(self, cases: Sequence[PanelCase]) -> dict[str, Path]:
        """A picture of each case as it came."""
        paths = {}
        for case in cases:
            one = make_input(case, NATIVE, self.inputs)
            prediction = Prediction(self.out / "predictions" / case.name / NATIVE)
            if prediction.folder.is_dir():
                path = self.out / "pictures" / f"{case.name}.png"
                paths[case.name] = save_picture(path, one, prediction.labels(), self.labels)
        return paths


def _report(
    out: Path, outcome: Outcome, others: Sequence[Outcome], pictures: dict[str, Path], threshold: float
) -> None:
    """Write tables and figures, and print what stands in them."""
    pairs = trust_pairs(outcome.records)
    found = relation(pairs, threshold)
    outcome = Outcome(outcome.name, outcome.records, outcome.making, found)
    with atomic_write(out / "trust.png") as temporary:
        trust_figure(pairs, threshold).savefig(temporary, dpi=DPI, format="png")
    write_tables(out, outcome, others, pictures)
    printed = [markdown([row_of(record) for record in outcome.records]), markdown(group_rows(outcome.records))]
    printed += [beside_others([outcome, *others])] if others else []
    sys.stdout.write("\n\n".join([*printed, trust_text(found)]) + f"\n{out / 'table.md'}\n")


def _weights_of(checkpoint: Path, out: Path) -> Path:
    """A copy of the weights in ``out``, which a training that still runs does not replace; also those of its state."""
    path = out / "weights" / checkpoint.name
    state = read_state(checkpoint)
    if state is not None:
        save_whole(state["objects"]["network"], path)
    else:
        with atomic_write(path) as temporary:
            shutil.copyfile(checkpoint, temporary)
    return path


def _earlier(text: str) -> Outcome:
    name, equals, path = text.partition("=")
    return read_outcome(path, name) if equals else read_outcome(text)
