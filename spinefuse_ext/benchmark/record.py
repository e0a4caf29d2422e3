"""What is kept of each measured case, and when it need not be measured again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spinefuse_ext.benchmark.cases import Input
from spinefuse_ext.benchmark.cost import Cost
from spinefuse_ext.benchmark.score import BodyScores, FarPrediction, Scores
from spinefuse_ext.files import atomic_write

_VERSION = 2  # rises when the scores of a prediction change


@dataclass(frozen=True)
class Record:
    """A variant of a case, as measured."""

    group: str
    case: str
    variant: str
    scores: Scores
    trust: Mapping[str, float]
    cost: Cost

    def as_json(self) -> dict[str, Any]:
        """Everything, with ``null`` for what does not exist, and the means."""
        scores = {**asdict(self.scores), "mean": self.scores.mean, "mean_rows": self.scores.mean_rows}
        if self.scores.bodies is not None:
            scores["bodies"]["found"] = self.scores.bodies.found
        content = {name: getattr(self, name) for name in ("group", "case", "variant")}
        plain: dict[str, Any] = _null({**content, **scores, "trust": dict(self.trust), **asdict(self.cost)})
        return plain


def record_of(content: Mapping[str, Any]) -> Record:
    """The record of ``Record.as_json``."""
    known = _nan(content)
    bodies = known["bodies"]
    scores = Scores(
        dice=known["dice"],
        dice_rows=known["dice_rows"],
        recall=known["recall"],
        far=FarPrediction(**known["far"]),
        far_rows=FarPrediction(**known["far_rows"]),
        predicted_ml=known["predicted_ml"],
        bodies=None
        if bodies is None
        else BodyScores(tuple(bodies["recall"]), bodies["invented_ml"], bodies["invented_parts"]),
    )
    cost = Cost(known["cpu_s"], known["wall_s"], known["peak_mb"])
    return Record(known["group"], known["case"], known["variant"], scores, known["trust"], cost)


class Records:
    """The records in a folder, each valid for one set of weights, configs and settings.

    Args:
        folder: of the records.
        checkpoint: of the weights.
        settings: by config id.
        configs: the config files of the bundle.
    """

    def __init__(
        self, folder: Path, checkpoint: str | Path, settings: Mapping[str, Any], configs: Sequence[str | Path]
    ) -> None:
        self.folder = folder
        self.weights_sha256 = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
        moved = {name: value for name, value in settings.items() if name != "checkpoint"}
        parts = [self.weights_sha256.encode(), *(Path(path).read_bytes() for path in configs)]
        parts.append(json.dumps([_VERSION, moved], sort_keys=True, default=str).encode())
        digest = hashlib.sha256()
        for part in parts:
            digest.update(hashlib.sha256(part).digest())
        self.key = digest.hexdigest()

    def find(self, one: Input) -> Record | None:
        """The record of an input that was measured with the same weights, configs and settings."""
        path = self._path(one)
        if not path.is_file():
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        same = content.get("key") == self.key and content.get("input") == self._input(one)
        return record_of(content["record"]) if same else None

    def keep(self, one: Input, record: Record) -> None:
        """Write the record of an input."""
        content = {"key": self.key, "input": self._input(one), "record": record.as_json()}
        with atomic_write(self._path(one)) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _path(self, one: Input) -> Path:
        return self.folder / one.case.name / f"{one.variant}.json"

    def _input(self, one: Input) -> str:
        """Changes when the input is made anew from another panel."""
        return hashlib.sha256((one.folder / "made.json").read_bytes()).hexdigest()


def _null(value: Any) -> Any:
    """NaN as None, which JSON has."""
    if isinstance(value, Mapping):
        return {name: _null(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_null(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _nan(value: Any, name: str = "") -> Any:
    """None as NaN again, but where a whole entry is absent."""
    if isinstance(value, Mapping):
        return {key: _nan(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [_nan(one) for one in value]
    return math.nan if value is None and name != "bodies" else value
