"""Training looks at its labels before it begins, and reads them by their names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

from spinefuse_ext.data import make_datalist
from spinefuse_ext.plain_errors import plain_message
from tests.label_files.segmentation import write_seg_nrrd

SMALL = {"canvas": [64, 64], "cache": "none", "epochs": 1, "datalist": "own.json"}


@pytest.fixture
def own(cohort: Path, tmp_path: Path) -> Path:
    """Cases 0, 2 and 4 of the small cohort, to be changed: labelled, unlabelled, validation."""
    for number in (0, 2, 4):
        shutil.copytree(cohort / f"case_{number}", tmp_path / f"case_{number}")
    (tmp_path / "split.json").write_text('{"labelled": ["case_0"], "unlabelled": ["case_2"], "validation": ["case_4"]}')
    make_datalist(tmp_path, tmp_path / "own.json", split=tmp_path / "split.json")
    return tmp_path


@pytest.mark.parametrize("case", ["case_0", "case_4"])
def test_a_displaced_label_stops_training_and_evaluation_before_they_begin(
    case: str, own: Path, workflow: Callable[..., ConfigWorkflow]
) -> None:
    label = own / case / "label.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(nib.load(label).dataobj), np.eye(4)), label)
    told = f"{label} has as many voxels as its image {own / case}/fused.nii.gz, but its header says no place"
    for configs in [["train.json"], ["train.json", "evaluate.json"]][: 1 + (case == "case_4")]:
        with pytest.raises(RuntimeError) as refused:  # MONAI's, caused by ours
            workflow("spine_semiseg", *configs, dataset_dir=str(own), output_dir=str(own / "eval"), **SMALL).run()
        assert str(plain_message(refused.value)).startswith(told)


def test_training_reads_rounded_values_and_names_as_prepare_does(
    own: Path, workflow: Callable[..., ConfigWorkflow]
) -> None:
    image = nib.load(own / "case_0" / "label.nii.gz")
    truth = np.asarray(image.dataobj)
    floats = np.where(truth == 3, 2.9999998, truth).astype(np.float32)
    nib.save(nib.Nifti1Image(floats, image.affine), own / "case_0" / "label.nii.gz")
    named = nib.load(own / "case_4" / "label.nii.gz")
    structures = np.asarray(named.dataobj)
    (own / "case_4" / "label.nii.gz").unlink()
    turned = np.array([0, 3, 2, 1, 4])[structures]
    segments = (("Wirbelkanal", 1, 0), ("disc", 2, 0), ("vertebra", 3, 0), ("sacrum", 4, 0))
    affine = np.diag([-1.0, -1, 1, 1]) @ named.affine
    write_seg_nrrd(own / "case_4" / "label.seg.nrrd", [turned], segments, affine_lps=affine)
    make_datalist(own, own / "own.json", split=own / "split.json")
    settings = {"dataset_dir": str(own), "output_dir": str(own / "eval"), "relabel": {"wirbelkanal": "canal"}, **SMALL}
    made = workflow("spine_semiseg", "train.json", **settings, spacing_mm=None)
    steps = made.parser.get_parsed_content("validate#preprocessing")
    for case, label in (("case_0", "label.nii.gz"), ("case_4", "label.seg.nrrd")):
        files = {"fused": str(own / case / "fused.nii.gz"), "label": str(own / case / label)}
        found = steps(files)["label"].numpy()[0]
        np.testing.assert_array_equal(found, truth if case == "case_0" else structures)
