"""What is known of the levels of one scan: their names with the evidence for them, places, sizes and doubts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spinefuse_ext.files import atomic_write
from spinefuse_ext.validation import LevelsError, check_exists

SPACE = "RAS, mm"


@dataclass(frozen=True)
class Level:
    """One vertebra (the sacrum is one), or one disc, whose ``rank`` is that of the vertebra above it.

    ``rank`` counts vertebrae from the head, 0 for the first one seen; ``centroid_mm`` is that of the body in RAS mm (of
    all voxels of a disc or sacrum); ``cut_off``: the edge of the image cuts it; ``evidence`` says why it has its name.
    """

    kind: str
    rank: int
    name: str
    number: int
    centroid_mm: tuple[float, float, float]
    volume_ml: float
    evidence: str
    cut_off: bool = False


@dataclass(frozen=True)
class Levels:
    """Levels from the head down; ``relative``: names count what is seen (V1, V2) because nothing tells more.

    ``doubts`` are sentences about what may be otherwise; ``dropped`` pieces belonged to no level.
    """

    levels: tuple[Level, ...]
    relative: bool
    named_by: str
    doubts: tuple[str, ...]
    dropped: int
    dropped_ml: float

    @property
    def vertebrae(self) -> tuple[Level, ...]:
        return tuple(level for level in self.levels if level.kind == "vertebra")

    @property
    def discs(self) -> tuple[Level, ...]:
        return tuple(level for level in self.levels if level.kind == "disc")

    def told(self) -> str:
        """The names in a row: ``T12, L1, L2``."""
        return ", ".join(level.name for level in self.vertebrae)

    def content(self) -> dict[str, Any]:
        """What ``levels.json`` holds."""
        return {
            "space": SPACE,
            "relative": self.relative,
            "named_by": self.named_by,
            "doubts": list(self.doubts),
            "dropped": {"pieces": self.dropped, "ml": round(self.dropped_ml, 3)},
            "levels": [_rounded(level) for level in self.levels],
        }


def write_levels(levels: Levels, path: Path) -> None:
    """Write ``levels.json``."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(levels.content(), indent=1) + "\n", encoding="utf-8")


def read_levels(path: str | Path) -> Levels:
    """Read ``levels.json``, or that of a folder.

    Raises:
        MissingPathError: it does not exist.
        LevelsError: it holds no levels.
    """
    path = check_exists(path, "The levels")
    path = check_exists(path / "levels.json", "The levels") if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        levels = tuple(_level(each) for each in content["levels"])
        dropped = content.get("dropped", {})
        return Levels(
            levels,
            bool(content["relative"]),
            str(content.get("named_by", "")),
            tuple(map(str, content.get("doubts", ()))),
            int(dropped.get("pieces", 0)),
            float(dropped.get("ml", 0.0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LevelsError(
            f"{path} holds no levels as `spinefuse levels` writes them ({type(error).__name__}: {error}); run it again."
        ) from error


def _level(each: Mapping[str, Any]) -> Level:
    x, y, z = (float(value) for value in each["centroid_mm"])
    return Level(
        kind=str(each["kind"]),
        rank=int(each["rank"]),
        name=str(each["name"]),
        number=int(each["number"]),
        centroid_mm=(x, y, z),
        volume_ml=float(each["volume_ml"]),
        evidence=str(each.get("evidence", "")),
        cut_off=bool(each.get("cut_off", False)),
    )


def _rounded(level: Level) -> dict[str, Any]:
    content = asdict(level)
    content["centroid_mm"] = [round(value, 2) for value in level.centroid_mm]
    content["volume_ml"] = round(level.volume_ml, 3)
    return content
