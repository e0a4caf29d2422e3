"""Measure ``spinefuse levels``: on label volumes, on the labels of phantoms, and the check of a CT against an MR.

``python docs/how-to/level_scores.py labels 'cases/*/label.nii.gz' --lowest_disc L5/S1`` tells of each volume whether
its vertebrae are separated and in order. ``... phantoms --first 200 --count 10`` compares with the numbers that
phantoms know. ``... cross --first 200 --count 100`` plants contradictions between CT and MR and counts what is named,
and the false alarms where none was planted. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinefuse_ext.data.phantom import PhantomLabels, make_phantom_labels
from spinefuse_ext.labels import VERTEBRAE
from spinefuse_ext.levels import KnownLevels, Level, Levels, cross_check, find_levels
from spinefuse_ext.levels.read import read_structures
from spinefuse_ext.validation import SpinefuseError

_SEPARATED = 0.9  # of a bone's voxels have its number, and of a number's voxels belong to that bone


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("labels", "phantoms", "cross"))
    parser.add_argument("pattern", nargs="?", default="*/label.nii.gz")
    parser.add_argument("--lowest_disc")
    parser.add_argument("--first", type=int, default=200)
    parser.add_argument("--count", type=int, default=10)
    given = parser.parse_args()
    if given.what == "labels":
        score_labels(found_paths(Path(given.pattern)), KnownLevels(lowest_disc=given.lowest_disc))
    elif given.what == "phantoms":
        score_phantoms(range(given.first, given.first + given.count))
    else:
        score_cross_check(range(given.first, given.first + given.count))


def found_paths(pattern: Path) -> list[str]:
    root = Path(pattern.anchor or ".")
    return sorted(map(str, root.glob(str(pattern.relative_to(root) if pattern.anchor else pattern))))


def score_labels(paths: Sequence[str], known: KnownLevels) -> None:
    """Whether every two neighbours have one disc between them, and lie where neighbours lie."""
    tell("| volume | vertebrae | discs | names | in order | what was said |\n|---|---|---|---|---|---|")
    fine = total = 0
    for path in paths:
        try:
            found = find_levels(*read_structures(path), known=known, name=path)[1]
        except SpinefuseError as error:
            tell(f"| {Path(path).parent.name} | - | - | - | no | {error} |")
            continue
        good = in_order(found)
        fine, total = fine + good * len(found.vertebrae), total + len(found.vertebrae)
        said = " ".join(found.doubts) or "-"
        row = (
            Path(path).parent.name,
            len(found.vertebrae),
            len(found.discs),
            found.told(),
            "yes" if good else "no",
            said,
        )
        tell("| " + " | ".join(map(str, row)) + " |")
    tell(f"\n{fine} of {total} vertebrae in volumes in order.")


def in_order(found: Levels) -> bool:
    """Vertebrae follow each other without a gap, each lower than the last, with one disc between each two."""
    bones, discs = found.vertebrae, Counter(disc.rank for disc in found.discs)
    steps = np.diff([bone.rank for bone in bones])
    falls = np.diff([bone.centroid_mm[2] for bone in bones]) < 0
    return bool((steps == 1).all() and falls.all() and all(discs[bone.rank] == 1 for bone in bones[:-1]))


def score_phantoms(seeds: Sequence[int]) -> None:
    """Each vertebra that has voxels: the share of them with its number, and the share of the number that is its."""
    tell("| phantom | vertebrae | separated | named rightly | least share |\n|---|---|---|---|---|")
    rows = []
    for seed in seeds:
        phantom = make_phantom_labels(seed)
        truth, classes = phantom.vertebrae.numpy()[0].astype(int), phantom.label.numpy()[0].astype(np.uint8)
        numbers, _ = find_levels(classes, phantom.label.affine.numpy())
        shares = [shares_of(truth, numbers, classes, number) for number in bodies_in(phantom)]
        right = [bool(levels_are(truth, numbers, number)) for number in bodies_in(phantom)]
        separated = sum(min(pair) >= _SEPARATED for pair in shares)
        rows.append((len(shares), separated, sum(right)))
        least = min(min(pair) for pair in shares)
        tell(f"| {seed} | {len(shares)} | {separated} | {sum(right)} | {least:.3f} |")
    count, separated, right = np.sum(rows, axis=0)
    tell(f"\n{separated} of {count} vertebrae separated ({separated / count:.1%}), {right} with their own name.")


def bodies_in(phantom: PhantomLabels) -> list[int]:
    """Numbers of the vertebrae whose body's centre lies in the volume, the sacrum apart."""
    shape, inverse = np.array(phantom.label.shape[1:]), np.linalg.inv(phantom.label.affine.numpy())
    places = [inverse @ frame[:, 3] for frame in phantom.motion.fixed.frames]
    inside = [bool(((place[:3] >= 0) & (place[:3] < shape)).all()) for place in places]
    bones = zip(phantom.spine.vertebrae, inside, strict=True)
    return [bone.number for bone, seen in bones if seen and not bone.is_sacrum]


def shares_of(
    truth: NDArray[np.int64], numbers: NDArray[np.uint16], classes: NDArray[np.uint8], number: int
) -> tuple[float, float]:
    bone = (classes == 1) & (truth == number)
    values, counts = np.unique(numbers[bone & (numbers > 0)], return_counts=True)
    if not len(values):
        return 0.0, 0.0
    mine = (classes == 1) & (numbers == values[counts.argmax()])
    return float(counts.max() / bone.sum()), float((mine & bone).sum() / mine.sum())


def levels_are(truth: NDArray[np.int64], numbers: NDArray[np.uint16], number: int) -> bool:
    values, counts = np.unique(numbers[(truth == number) & (numbers > 0)], return_counts=True)
    return bool(len(values)) and int(values[counts.argmax()]) == number


def score_cross_check(seeds: Sequence[int]) -> None:
    """Plant one contradiction at a time in the MR of each phantom, and none, and count what the check says."""
    planted: dict[str, Callable[[Levels], Levels]] = {
        "none": lambda levels: levels,
        "names one level up": lambda levels: _shifted(levels, -1),
        "names one level down": lambda levels: _shifted(levels, 1),
        "a level missing": _without_middle,
        "a level too many": _with_one_more,
        "two names exchanged": _exchanged,
    }
    said: Counter[str] = Counter()
    kinds = {name: Counter[str]() for name in planted}
    done = 0
    for seed in seeds:
        phantom = make_phantom_labels(seed)
        ct, mr = (
            find_levels(image.numpy()[0].astype(np.uint8), image.affine.numpy())[1]
            for image in (phantom.label, phantom.moved_label)
        )
        done += 1
        for name, plant in planted.items():
            result = cross_check(ct, plant(mr), phantom.motion)
            said[name] += not result.agrees
            kinds[name].update({each.kind for each in result.contradictions})
    tell(f"{done} phantoms\n\n| planted in the MR | contradiction said | kinds |\n|---|---|---|")
    for name in planted:
        told = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds[name].items())) or "-"
        tell(f"| {name} | {said[name]} | {told} |")


def _renamed(level: Level, by: int) -> Level:
    order = [name for name in VERTEBRAE.values() if name not in ("T13", "L6")]
    if level.kind != "vertebra" or level.name not in order:
        return level
    return replace(level, name=order[max(order.index(level.name) + by, 0)])


def _shifted(levels: Levels, by: int) -> Levels:
    return replace(levels, levels=tuple(_renamed(level, by) for level in levels.levels))


def _without_middle(levels: Levels) -> Levels:
    gone = levels.vertebrae[len(levels.vertebrae) // 2]
    return replace(levels, levels=tuple(level for level in levels.levels if level is not gone))


def _with_one_more(levels: Levels) -> Levels:
    """The middle vertebra in two halves, and all above it named one up."""
    split = levels.vertebrae[len(levels.vertebrae) // 2]
    x, y, z = split.centroid_mm
    halves = (
        replace(_renamed(split, -1), centroid_mm=(x, y, z + 8)),
        replace(split, centroid_mm=(x, y, z - 8)),
    )
    made: list[Level] = []
    for level in levels.levels:
        made += halves if level is split else [_renamed(level, -1) if level.rank < split.rank else level]
    return replace(levels, levels=tuple(made))


def _exchanged(levels: Levels) -> Levels:
    one, other = levels.vertebrae[1:3]
    names = {id(one): other.name, id(other): one.name}
    return replace(
        levels, levels=tuple(replace(level, name=names.get(id(level), level.name)) for level in levels.levels)
    )


if __name__ == "__main__":
    main()
