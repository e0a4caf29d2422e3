"""Make the cases that the blend's weights were trained on, from those of ``any_contrast_cases.py``.

    python docs/how-to/any_contrast_cases.py any --phantoms 44 --spider t2_SPACE
    python docs/how-to/blend_cases.py any cases --phantoms 40

Half of the training cases are phantoms, whose CT and MR belong together. In the others the CT is a phantom's and the MR
a SPIDER patient's, so nothing in one tells what is in the other: the network must carry both. The last four phantoms
validate, as they are. Axial cases are left out. SPIDER: van der Graaf et al., Scientific Data 11:264, 2024, Zenodo
10159290, CC BY 4.0.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
from skimage.transform import resize

HELD_OUT = 4


def mixed_case(phantom: Path, patient: Path, out: Path) -> None:
    """The CT of a phantom, and on its grid the MR of a patient, stretched to fill it."""
    out.mkdir(parents=True)
    ct = nib.load(phantom / "ct.nii")
    voxels = np.asarray(nib.load(patient / "mr.nii").dataobj).astype(np.float32)
    mr = resize(voxels, ct.shape, order=1, preserve_range=True)
    shutil.copy(phantom / "ct.nii", out)
    nib.save(nib.Nifti1Image(mr.round().astype(np.uint8), ct.affine), out / "mr.nii")


def item(name: str) -> dict[str, str]:
    return {"patient": name, "ct": f"{name}/ct.nii", "mr": f"{name}/mr.nii"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--phantoms", type=int, default=40, help="for training, half of them with the MR of a patient")
    options = parser.parse_args()
    phantoms, patients = (
        [case for case in sorted(options.cases.glob(f"{kind}_*")) if not case.name.endswith("_axial")]
        for kind in ("phantom", "spider")
    )
    phantoms = phantoms[: options.phantoms + HELD_OUT]
    for place, phantom in enumerate(phantoms):
        target = options.out / phantom.name
        if place % 2 and place < options.phantoms:
            mixed_case(phantom, patients[place // 2 % len(patients)], target)
        else:
            target.mkdir(parents=True)
            for name in ("ct.nii", "mr.nii"):
                shutil.copy(phantom / name, target)
    names = [phantom.name for phantom in phantoms]
    sections = {"unlabelled": names[: options.phantoms], "validation": names[options.phantoms :]}
    lists = {"labelled": [], "test": []} | {key: [item(name) for name in of] for key, of in sections.items()}
    (options.out / "datalist.json").write_text(json.dumps(lists, indent=1))


if __name__ == "__main__":
    main()
