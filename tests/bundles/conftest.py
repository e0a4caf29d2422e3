"""Small cases, and bundle runs in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

from spinefuse_ext.data import make_datalist

BUNDLES = Path(__file__).parents[2] / "bundles"
SHAPE = (10, 64, 72)
SPACING_MM = (2.0, 1.0, 1.0)
TURNED = "case_5"  # stored with other axes than the rest, and with an MR on a grid of its own


def _volumes(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Nested ellipsoids: fat, bone, disc and canal in HU, in MR signal and as a label; the bone's foot is sacrum."""
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    radius = np.linalg.norm((np.stack(axes, -1) - rng.uniform(-0.2, 0.2, 3)) / [0.9, 0.6, 0.7], axis=-1)
    rings = [radius < 0.2, radius < 0.4, radius < 0.6, radius < 1.2]
    ct = np.select(rings, [50, 90, 400, 20], -900) + rng.normal(0, 20, SHAPE)
    mr = np.select(rings, [500, 200, 150, 80], 0) + rng.normal(0, 10, SHAPE)
    return {
        "ct": ct.astype(np.int16),
        "mr": mr.astype(np.float32),
        "fused": (0.5 * (ct + 900) / 1300 + mr / 1000).astype(np.float32),
        "label": np.select([*rings[:2], rings[2] & (axes[2] < -0.2), rings[2]], [3, 2, 4, 1], 0).astype(np.uint8),
    }


def _stored(image: nib.Nifti1Image, name: str) -> nib.Nifti1Image:
    """The same image with the axes posterior, inferior, left; the MR also on every second voxel."""
    codes = nib.orientations.axcodes2ornt(("P", "I", "L"))
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), codes))
    return turned.slicer[::2] if name == "mr" else turned


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 6 cases: 2 labelled, 2 unlabelled, 1 for validation, and the turned one for the test."""
    root = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(0)
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = -10, 20, 30
    for number in range(6):
        folder = root / f"case_{number}"
        folder.mkdir()
        for name, voxels in _volumes(rng).items():
            image = nib.Nifti1Image(voxels, affine)
            nib.save(_stored(image, name) if folder.name == TURNED else image, folder / f"{name}.nii.gz")
    split = root / "split.json"
    split.write_text(
        '{"labelled": ["case_0", "case_1"], "unlabelled": ["case_2", "case_3"],'
        ' "validation": ["case_4"], "test": ["case_5"]}'
    )
    make_datalist(root, split=split)
    return root


@pytest.fixture(scope="session")
def workflow(cohort: Path) -> Callable[..., ConfigWorkflow]:
    """Return a function that makes an initialized workflow of some configs of a bundle on the small cases."""

    def make(bundle: str, *configs: str, workflow_type: str = "train", **overrides: Any) -> ConfigWorkflow:
        made = ConfigWorkflow(
            [str(BUNDLES / bundle / "configs" / name) for name in configs],
            workflow_type=workflow_type,
            logging_file=False,
            bundle_root=str(BUNDLES / bundle),
            device="cpu",
            **{"dataset_dir": str(cohort), **overrides},
        )
        made.initialize()
        return made

    return make
