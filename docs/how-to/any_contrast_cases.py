"""Make the cases that the any-contrast segmentation learns from: phantoms with all that surrounds a spine, and SPIDER.

    python docs/how-to/any_contrast_cases.py cases --phantoms 200 --spider t2_SPACE

Each case folder gets ``mr.nii`` (0 to 255), phantoms ``ct.nii`` (HU) too, and ``label.nii``: 1 vertebra, 2 disc, 3
canal, 4 sacrum, 255 where the truth is unknown. Pixels have 1.25 mm. With ``--planes sagittal axial`` each patient gets
a second case, ``..._axial``, with axial slices in the place of sagittal ones: posterior to anterior along their first
axis and left to right along the second, as inference shows them; the affine of such a file says nothing about the
patient.

A phantom's disc reaches the bone, and its canal is what bone leaves free; by hand the end plates are left out, and the
dural sac is drawn for the canal. ``--rims`` says what the outermost pixel of a phantom's canal, and of its discs where
they touch bone, shall be: ``labelled`` as the phantom has it, ``unknown`` (the patients decide), or ``background``, as
SPIDER draws it.

SPIDER (van der Graaf et al., Scientific Data 11:264, 2024, Zenodo 10159290, CC BY 4.0) labels neither the sacrum nor
a vertebra that the upper border cuts: what lies below its lowest disc and above its highest one is unknown, unless it
is labelled. ``--spider`` names a folder with ``images`` and ``masks`` of 8 bit at half the resolution (pixels of
0.94 mm, slices 0.9 mm apart) and ``split.json``, whose validation patients stay out. With ``--sacrum``, the weights of
a UNet that learnt the sacrum from phantoms (``supervised_unet.json``), what they see as sacrum there is labelled so and
what they do not see as bone is background, so that no disc and no canal is made up below the lowest ones; a phantom's
canal is unknown from 25 mm below its lowest disc.
"""

from __future__ import annotations

import argparse
import json
from functools import cache, partial
from itertools import product
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.networks.nets import UNet
from monai.transforms import DivisiblePad
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.transform import resize
from tqdm import tqdm

from spinefuse_ext.data.phantom.anatomy import draw_anatomy, paint
from spinefuse_ext.data.phantom.canvas import Grid
from spinefuse_ext.data.phantom.posture import Motion, move, stand
from spinefuse_ext.data.phantom.spine import draw_spine
from spinefuse_ext.data.phantom.surroundings import paint_surroundings
from spinefuse_ext.files import atomic_folder
from spinefuse_ext.safe_load import load_plain

Array = NDArray[Any]
FIRST_SEED, UNKNOWN = 600, 255
RIMS: dict[str, int | None] = {"labelled": None, "unknown": UNKNOWN, "background": 0}
PIXEL_MM = 1.25
SLICES_MM = {"sagittal": (7.0, PIXEL_MM, PIXEL_MM), "axial": (PIXEL_MM, PIXEL_MM, 10.0)}
FIELDS_MM = {"sagittal": (168.0, 230.0, 330.0), "axial": (400.0, 290.0, 330.0)}  # axial: the whole trunk, and air
AHEAD_MM = {"sagittal": 17.5, "axial": 35.0}  # of the spine lies the centre of the field
SPIDER_MM, SPIDER_SLICE_MM = 0.94, 0.9
SAC_MM = 25.0  # below the lowest disc; from here on the canal may hold no sac
BELOW_MM, ABOVE_MM = 110.0, 45.0  # how far from the outermost discs the truth is unknown


def write_case(folder: Path, images: dict[str, Array], affine: Array) -> None:
    with atomic_folder(folder) as new:
        for name, voxels in images.items():
            kind = np.int16 if name == "ct" else np.uint8
            nib.save(nib.Nifti1Image(voxels.astype(kind), affine), new / f"{name}.nii")


def without_rims(label: Array, value: int) -> Array:
    """Give the rim of the canal, and of discs where they touch bone, another value; in the plane of the slices."""
    cross = ndimage.generate_binary_structure(2, 1)[None]
    bone, canal = np.isin(label, (1, 4)), label == 3
    rim = (label == 2) & ndimage.binary_dilation(bone, cross)
    rim |= canal & ~ndimage.binary_erosion(canal, cross)
    return np.where(rim, value, label)


def without_deep_canal(label: Array, spacing_mm: float) -> Array:
    """The canal is unknown well below the lowest disc, where the dural sac ends in some patients."""
    heights = np.arange(label.shape[2]) * spacing_mm
    discs = np.flatnonzero((label == 2).any(axis=(0, 1)))
    deep = heights < (discs.min() * spacing_mm - SAC_MM if len(discs) else 0)
    return np.where((label == 3) & deep & (label == 4).any(), UNKNOWN, label)


def as_slices(voxels: Array) -> Array:
    """From ``(X, Y, Z)`` to axial slices ``(Z, Y, X)``."""
    return voxels.transpose(2, 1, 0)


def make_phantom_case(job: tuple[int, str], out: Path, rims: str, *, deep_canal: bool = True) -> None:
    seed, plane = job
    traits, detail, posing, around, field = np.random.default_rng(seed).spawn(5)
    spine = draw_spine(traits)
    anatomy = draw_anatomy(spine, detail)
    posture = Motion(spine, stand(spine), move(spine, posing)).moved
    spacing = np.asarray(SLICES_MM[plane])
    shape = np.rint(np.asarray(FIELDS_MM[plane]) / spacing).astype(int)
    affine = np.diag([*spacing, 1.0])
    centre = [
        field.uniform(-3, 3),
        AHEAD_MM[plane] + field.uniform(-17.5, 17.5),
        field.uniform(-40, 40) + 90 * (field.random() < 0.25),
    ]
    affine[:3, 3] = centre - spacing * (shape - 1) / 2
    canvas = paint(anatomy, posture, Grid(affine, (int(shape[0]), int(shape[1]), int(shape[2]))), PIXEL_MM)
    paint_surroundings(canvas, anatomy, posture, around)
    label = canvas.label if deep_canal else without_deep_canal(canvas.label, spacing[2])
    images = {"ct": canvas.hu.round(), "mr": np.clip(canvas.t2 / 1000 * 255, 0, 255).round(), "label": label}
    if plane == "axial":
        images = {name: as_slices(voxels) for name, voxels in images.items()}
        affine = np.diag([*spacing[::-1], 1.0])
    value = RIMS[rims]
    images["label"] = images["label"] if value is None else without_rims(images["label"], value)
    write_case(out / case_name("phantom", seed, plane), images, affine)


def case_name(kind: str, patient: str | int, plane: str) -> str:
    return f"{kind}_{patient}" + ("_axial" if plane == "axial" else "")


def read_slices(folder: Path, patient: str) -> Array:
    """Slices of a patient as ``(X, Y, Z)``: left to right, posterior to anterior, inferior to superior."""
    slices = [np.asarray(Image.open(file).convert("L")) for file in sorted(folder.glob(f"{patient}_*.png"))]
    return np.stack(slices)[:, ::-1, ::-1].transpose(0, 2, 1)


def make_spider_case(patient: str, folder: Path, out: Path, planes: list[str], sacrum: Path | None = None) -> None:
    image = read_slices(folder / "images", patient).astype(np.float32)
    label = np.choose(read_slices(folder / "masks", patient), [0, 2, 1, 3]).astype(np.uint8)
    factor = SPIDER_MM / PIXEL_MM
    size = (len(image), *(round(side * factor) for side in image.shape[1:]))
    small = resize(image, size, order=1, anti_aliasing=True, anti_aliasing_sigma=(0, 0.4, 0.4), preserve_range=True)
    places = [
        np.clip(np.round((np.arange(new) + 0.5) / factor - 0.5), 0, old - 1).astype(int)
        for new, old in zip(size[1:], label.shape[1:], strict=True)
    ]
    known = label[:, places[0]][:, :, places[1]]
    guess = None if sacrum is None else guess_labels(small, sacrum)
    images = {"mr": small.round(), "label": with_unknown(known, guess)}
    for plane in planes:
        if plane == "sagittal":
            write_case(out / f"spider_{patient}", images, np.diag([SPIDER_SLICE_MM, PIXEL_MM, PIXEL_MM, 1.0]))
            continue
        width = round(len(image) * SPIDER_SLICE_MM / PIXEL_MM)
        wide = {
            name: as_slices(resize(voxels, (width, *size[1:]), order=order, preserve_range=True, anti_aliasing=False))
            for (name, voxels), order in zip(images.items(), (1, 0), strict=True)
        }
        write_case(out / f"spider_{patient}_axial", wide, np.diag([PIXEL_MM, PIXEL_MM, PIXEL_MM, 1.0]))


def beyond_discs(label: Array) -> tuple[Array, Array]:
    """Places ``(Y, Z)`` below the plane of the lowest disc, and above that of the highest one, near these discs."""
    discs = ndimage.binary_opening(label == 2, np.ones((3, 1, 1)))
    parts, count = ndimage.label(discs)
    sizes = ndimage.sum_labels(discs, parts, range(1, count + 1))
    whole = [number + 1 for number in range(count) if sizes[number] > 0.2 * sizes.max()]
    whole.sort(key=lambda number: ndimage.center_of_mass(parts == number)[2])
    y, z = np.meshgrid(*(np.arange(side) for side in label.shape[1:]), indexing="ij")
    found = []
    for number, side, reach_mm in ((whole[0], -1, BELOW_MM), (whole[-1], 1, ABOVE_MM)):
        points = np.argwhere(parts == number)[:, 1:]
        centre = points.mean(axis=0)
        along = np.linalg.eigh(np.cov((points - centre).T))[1][:, -1]
        up = np.asarray([-along[1], along[0]]) * np.sign(along[0])
        height = (y - centre[0]) * up[0] + (z - centre[1]) * up[1]
        near = np.hypot(y - centre[0], z - centre[1]) * PIXEL_MM < reach_mm
        found.append((side * height > 0) & near)
    return found[0], found[1]


def with_unknown(label: Array, guess: Array | None) -> Array:
    """Mark background beyond the outermost discs as unknown; with a guess only where that sees bone, not sacrum."""
    below, above = (region & (label == 0) for region in beyond_discs(label))
    result = np.where(below | above, UNKNOWN, label)
    if guess is None:
        return result
    bone = np.isin(guess, (1, 4))
    sacrum = ndimage.binary_closing(guess == 4, np.ones((1, 7, 7)))
    doubt = ndimage.binary_dilation(bone, np.ones((1, 5, 5))) & (guess != 3)
    return np.where(below, np.where(sacrum, 4, np.where(doubt, UNKNOWN, 0)), result)


@cache
def teacher(checkpoint: Path) -> UNet:
    network = UNet(2, 1, 5, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2, norm="BATCH")
    weights = load_plain(checkpoint)
    inside = {key.removeprefix("network."): value for key, value in weights.items() if key.startswith("network.")}
    network.load_state_dict(inside)
    return network.eval()


def guess_labels(image: Array, checkpoint: Path) -> Array:
    """What ``supervised_unet.json`` with these weights sees in sagittal slices ``(X, Y, Z)`` of ``PIXEL_MM``."""
    low, high = np.percentile(image[image > 0], [1, 99])
    scaled = torch.as_tensor(np.clip((image - low) / (high - low), 0, 1)[:, None], dtype=torch.float32)
    pad = DivisiblePad(16, method="end")
    batch = torch.stack([pad(slice_) for slice_ in scaled])
    with torch.no_grad():
        numbers = teacher(checkpoint)(batch).argmax(1)
    guess: Array = numbers[:, : image.shape[1], : image.shape[2]].numpy()
    return guess


def item(name: str, *images: str) -> dict[str, str]:
    return {"patient": name, **{key: f"{name}/{key}.nii" for key in (*images, "mr", "label")}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--phantoms", type=int, default=200)
    parser.add_argument("--held_out", type=int, default=8, help="of them for validation")
    parser.add_argument("--spider", type=Path)
    parser.add_argument("--spider_share", type=int, default=10, help="how often a SPIDER patient is seen per phantom")
    parser.add_argument("--rims", choices=list(RIMS), default="unknown")
    parser.add_argument("--sacrum", type=Path, help="weights of a UNet that knows the sacrum")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--planes", nargs="+", choices=list(SLICES_MM), default=["sagittal"])
    options = parser.parse_args()
    seeds = list(range(FIRST_SEED, FIRST_SEED + options.phantoms))
    split = json.loads((options.spider / "split.json").read_text()) if options.spider else {}
    patients = [*split.get("labelled", []), *split.get("unlabelled", [])]
    written = {"out": options.out}
    jobs = [(seed, plane) for seed in seeds for plane in options.planes]
    phantom = partial(make_phantom_case, **written, rims=options.rims, deep_canal=options.sacrum is None)
    spider = partial(make_spider_case, **written, folder=options.spider, planes=options.planes, sacrum=options.sacrum)
    with Pool(options.workers) as pool:
        for function, names in ((phantom, jobs), (spider, patients)):
            for _ in tqdm(pool.imap_unordered(function, names), total=len(names), unit="case"):
                pass
    phantoms = [item(case_name("phantom", *job), "ct") for job in jobs]
    real = [item(case_name("spider", *job)) for job in product(patients, options.planes)] * options.spider_share
    held_out = options.held_out * len(options.planes)
    training, validation = phantoms[:-held_out], phantoms[-held_out:]
    datalist = {"labelled": training + real, "unlabelled": [], "validation": validation, "test": []}
    (options.out / "datalist.json").write_text(json.dumps(datalist, indent=1))


if __name__ == "__main__":
    main()
