"""Measure a registration without a click: ``spinefuse register`` on phantoms, whose true motion is known.

``python docs/how-to/bone_scores.py phantoms --kind hard --labels network --first 900 --count 10`` prints one row a
phantom and a line over all: the error at points of vertebrae that are no landmarks, virtual pedicle screws (5.5 mm)
planned in the CT and carried to the MR, and the uncertainty that was foretold. ``--labels truth`` takes the true labels
on both scanners' grids in place of the network's. ``... pair FIXED MOVING FIXED_LABEL MOVING_LABEL`` leaves out each
bone of two labelled scans in turn and measures at its centre.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

import spinefuse_ext as sf
from spinefuse_ext.data.phantom import Phantom, make_phantom, make_phantom_labels
from spinefuse_ext.data.phantom.points import target_points
from spinefuse_ext.levels import find_levels
from spinefuse_ext.levels.pairing import NumberedScan, pair_levels
from spinefuse_ext.registration.bone_fit import BoneFit, fit_bones
from spinefuse_ext.registration.bone_motions import Bone, bone_motions
from spinefuse_ext.registration.bone_points import OF_LABELS, neighbourly
from spinefuse_ext.registration.bone_surface import Numbered, bone_surface
from spinefuse_ext.registration.linear import LinearMap
from spinefuse_ext.registration.pedicle_screw import Deviation, deviation, screw_through
from spinefuse_ext.validation import SpinefuseError
from spinefuse_ext.volumes.volume import read_volume, write_volume

Array = NDArray[np.float64]

#: Field of the four or five levels of a usual lumbar MR; and a long one, bent by up to 6 degrees a disc, full of noise.
KINDS: dict[str, dict[str, Any]] = {
    "easy": {"size_mm": (128.0, 128.0, 128.0), "motion": 1.0, "style": "standard"},
    "hard": {"size_mm": (128.0, 128.0, 210.0), "motion": 2.5, "style": "noisy"},
}
_OFF_MM = 2.0


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("phantoms", "pair"))
    parser.add_argument("files", nargs="*")
    parser.add_argument("--kind", choices=sorted(KINDS), default="easy")
    parser.add_argument("--labels", choices=("truth", "network"), default="network")
    parser.add_argument("--first", type=int, default=900)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--keep", type=Path, help="folder in which phantoms and the network's labels stay")
    given = parser.parse_args()
    if given.what == "pair":
        score_pair(*given.files)
    else:
        seeds = range(given.first, given.first + given.count)
        score_phantoms(given.kind, given.labels, seeds, given.keep)


def score_phantoms(kind: str, labels: str, seeds: range, keep: Path | None) -> None:
    tell("| phantom | bones | median mm | 95 % mm | screws | worst mm | worst deg | foretold mm | CPU s | said |")
    tell("|---|---|---|---|---|---|---|---|---|---|")
    errors, screws, foretold, refused = [], list[Deviation](), list[tuple[float, float]](), 0
    for seed in seeds:
        try:
            phantom, scans = scans_of(kind, labels, seed, keep)
            started = time.process_time()
            pairing = pair_levels(*scans)
            images = (scans[0].image, scans[1].image)
            found = fit_bones(pairing.bones, images=images, motions=pairing.motions, doubts=pairing.doubts)
        except SpinefuseError as error:
            refused += 1
            tell(f"| {seed} | - | - | - | - | - | - | - | - | {error} |")
            continue
        taken = time.process_time() - started
        away, planned = target_errors(phantom, pairing.bones, found), screw_errors(phantom, pairing.bones, found)
        sure = [record.spread.mm for record in found.records]
        errors.append(away)
        screws += [each for each, _ in planned]
        foretold += [(found.records[place].spread.mm, each.largest_mm) for each, place in planned]
        said = " ".join(found.fit.doubts) or "-"
        row = f"{len(pairing.bones)} | {np.median(away):.2f} | {np.percentile(away, 95):.2f} | {len(planned)}"
        worst = max((each.largest_mm for each, _ in planned), default=np.nan)
        turned = max((each.turn_deg for each, _ in planned), default=np.nan)
        tell(f"| {seed} | {row} | {worst:.2f} | {turned:.2f} | {np.median(sure):.2f} | {taken:.0f} | {said} |")
    if errors:
        tell_over_all(np.concatenate(errors), screws, np.array(foretold), refused)


def tell_over_all(errors: Array, screws: list[Deviation], foretold: Array, refused: int) -> None:
    off = np.array([each.largest_mm for each in screws])
    turned = np.array([each.turn_deg for each in screws])
    tell(
        f"\n{len(errors)} points: median {np.median(errors):.2f} mm, 95 % {np.percentile(errors, 95):.2f} mm, worst "
        f"{errors.max():.2f} mm. {len(off)} screws: median {np.median(off):.2f} mm and {np.median(turned):.2f} "
        f"degrees, worst {off.max():.2f} mm and {turned.max():.2f} degrees, {(off > _OFF_MM).mean():.1%} off by "
        f"more than {_OFF_MM:g} mm. {refused} refused."
    )
    covered = [float((foretold[:, 1] <= factor * foretold[:, 0]).mean()) for factor in (1, 2)]
    tell(
        f"Uncertainty foretold: root mean square {np.sqrt(np.square(foretold[:, 0]).mean()):.2f} mm, true "
        f"{np.sqrt(np.square(foretold[:, 1]).mean()):.2f} mm; {covered[0]:.0%} of the screws lie within it, "
        f"{covered[1]:.0%} within twice as much."
    )


def scans_of(kind: str, labels: str, seed: int, keep: Path | None) -> tuple[Phantom, list[NumberedScan]]:
    """The phantom, and its CT and MR with their levels, by the network's labels or the true ones."""
    options = KINDS[kind]
    phantom = make_phantom(seed, **options)
    images = {"ct": phantom.ct, "mr": phantom.mr}
    if labels == "truth":
        size, motion = options["size_mm"], options["motion"]
        true = make_phantom_labels(seed, size_mm=size, spacing_mm=1.0, motion=motion, scanned=True)
        classes = {"ct": true.label, "mr": true.moved_label}
    else:
        folder = None if keep is None else keep / f"{kind}_{seed}"
        classes = {name: predicted(image, name, folder) for name, image in images.items()}
    return phantom, [numbered(name, images[name], classes[name]) for name in images]


def predicted(image: MetaTensor, name: str, keep: Path | None) -> MetaTensor:
    """What the shipped network labels in an image; what was kept of an earlier run is read."""
    path = None if keep is None else keep / f"{name}_pred.nii.gz"
    if path is not None and path.is_file():
        return read_volume(path)
    found = sf.segment(image, image_keys=[name]).labels
    volume = MetaTensor(found.array[None], affine=found.affine)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_volume(volume, path)
    return volume


def numbered(name: str, image: MetaTensor, classes: MetaTensor) -> NumberedScan:
    affine = classes.affine.numpy().astype(np.float64)
    numbers, levels = find_levels(np.rint(classes.numpy()[0]).astype(np.uint8), affine, name=f"The {name}")
    image = MetaTensor(image.as_tensor().float(), affine=image.affine)
    return NumberedScan(name, image, Numbered(numbers.astype(np.int32), affine), levels)


def true_places(phantom: Phantom, bones: tuple[Bone, ...]) -> list[int]:
    """The phantom's vertebra that each bone of the CT is, by the place of its body."""
    centres = phantom.motion.fixed.frames[:, :3, 3]
    return [int(np.linalg.norm(centres - bone.fixed_centre_mm, axis=1).argmin()) for bone in bones]


def target_errors(phantom: Phantom, bones: tuple[Bone, ...], found: BoneFit) -> Array:
    """Error of the map at all points in the field of the vertebrae that were paired, mm."""
    spine, size = (
        phantom.spine,
        np.array(phantom.ct.shape[1:]) * np.linalg.norm(phantom.ct.affine.numpy()[:3, :3], axis=0),
    )
    paired = {spine.vertebrae[place].name for place in true_places(phantom, bones)}
    points = target_points(phantom.motion, size, None, 1000)
    inside = (np.abs(points.ct.points_mm) < size / 2 - 2).all(axis=1)
    rows = [row for row, name in enumerate(points.ct.names) if name.split("_")[0] in paired and inside[row]]
    return np.asarray(np.linalg.norm(found.fit.mapping(points.ct.points_mm[rows]) - points.mr.points_mm[rows], axis=1))


def screw_errors(phantom: Phantom, bones: tuple[Bone, ...], found: BoneFit) -> list[tuple[Deviation, int]]:
    """Deviation of both screws of every paired vertebra whose screws lie in the CT, with the vertebra's place."""
    size = np.array(phantom.ct.shape[1:]) * np.linalg.norm(phantom.ct.affine.numpy()[:3, :3], axis=0)
    named = target_points(phantom.motion, size, None, 1000).ct
    pedicles = dict(zip(named.names, named.points_mm, strict=True))
    planned = []
    for place, true in enumerate(true_places(phantom, bones)):
        frame, bone = phantom.motion.fixed.frames[true], phantom.spine.vertebrae[true]
        for side, name in ((1, "right"), (-1, "left")):
            middle = pedicles.get(f"{bone.name}_pedicle_{name}")
            if middle is None:  # the sacrum
                continue
            screw = screw_through(middle, side, frame[:3, :3])
            if max(np.abs(screw.entry_mm / size).max(), np.abs(screw.tip_mm / size).max()) > 0.5:
                continue
            meant = screw.moved(LinearMap(phantom.motion.matrices[true]))
            planned.append((deviation(screw.moved(found.fit.mapping), meant), place))
    return planned


def score_pair(fixed: str, moving: str, fixed_label: str, moving_label: str) -> None:
    """Lay numbered bones of two scans on each other, in order from the head, and leave out each in turn."""
    images = [read_volume(path) for path in (fixed, moving)]
    volumes = [read_volume(path) for path in (fixed_label, moving_label)]
    sides = [in_order(volume) for volume in volumes]
    bones = [
        Bone(f"V{rank}", rank, *pair, pair[0].centre_mm, pair[1].centre_mm)
        for rank, pair in enumerate(zip(*sides, strict=True), 1)
    ]
    motions = bone_motions(bones)
    tell_left_out("surfaces", bones, [each.alignment and each.alignment.matrix for each in motions])
    found = fit_bones(bones, images=(images[0], images[1]), motions=motions)
    tell_left_out("surfaces and images", bones, [record.matrix for record in found.records])
    still = LinearMap(np.eye(4))
    moved = [np.linalg.norm(found.fit.mapping(bone.fixed.points) - still(bone.fixed.points), axis=1) for bone in bones]
    tell(f"moved from where the headers lay them: {np.mean(np.concatenate(moved)):.2f} mm on average")


def tell_left_out(name: str, bones: list[Bone], matrices: list[Array | None]) -> None:
    errors = left_out(bones, matrices)
    shown = ", ".join(f"{error:.2f}" for error in errors)
    tell(f"{name}: {len(bones)} bones, each left out: mean {np.mean(errors):.2f} mm ({shown})")


def left_out(bones: list[Bone], matrices: list[Array | None]) -> list[float]:
    """Distance at the centre of each bone, mm, from where all others put it to the centre of its own label."""
    away = []
    for place, bone in enumerate(bones):
        others = [None if row == place else matrix for row, matrix in enumerate(matrices)]
        led = neighbourly(bones, others, OF_LABELS).matrices[place]
        away.append(float(np.linalg.norm(LinearMap(led)(bone.fixed_centre_mm[None])[0] - bone.moving_centre_mm)))
    return away


def in_order(volume: MetaTensor) -> list[Any]:
    """The surfaces of a volume of numbers from the head down."""
    scan = Numbered(np.rint(volume.numpy()[0]).astype(np.int32), volume.affine.numpy().astype(np.float64))
    found = [bone_surface(scan, number) for number in range(1, len(scan.boxes) + 1)]
    return sorted((each for each in found if each is not None), key=lambda each: -each.centre_mm[2])


if __name__ == "__main__":
    main()
