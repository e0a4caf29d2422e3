"""Labels in the store of a MONAI Label server: segmentations of 3D Slicer, and what it said of their values."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spinefuse_ext.volumes import read_label
from tests.label_files.segmentation import write_seg_nrrd

pytest.importorskip("monailabel", reason="MONAI Label has an environment of its own")


def test_labels_are_known_by_the_names_that_slicer_gave_them(tmp_path: Path) -> None:
    from spinefuse_ext.monai_label.cases import label_names, labelled_files
    from spinefuse_ext.monai_label.store import CaseDatastore

    values = np.zeros((4, 3, 2), np.uint8)
    values[1], values[2] = 1, 2
    studies, sent = tmp_path / "studies", tmp_path / "sent"
    studies.mkdir()
    sent.mkdir()
    for name in ("a_ct", "b_ct"):
        nib.save(nib.Nifti1Image(np.zeros(values.shape, np.float32), np.eye(4)), studies / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(values, np.eye(4)), sent / "label.nii.gz")
    write_seg_nrrd(sent / "label.seg.nrrd", [values], (("disc", 1, 0), ("canal", 2, 0)))
    store = CaseDatastore(str(studies), extensions=["*.nii.gz", "*.nii", "*.nrrd"], auto_reload=False)
    store.save_label("a_ct", str(sent / "label.seg.nrrd"), "final", {})
    info = {"label_info": [{"name": "disc", "idx": 1}, {"name": "canal", "idx": 2}]}
    store.save_label("b_ct", str(sent / "label.nii.gz"), "final", info)
    found = labelled_files(store)
    assert sorted(found) == ["a_ct", "b_ct"]
    assert {image: label_names(image, store) for image in sorted(found)} == {
        "a_ct": {},
        "b_ct": {1: "disc", 2: "canal"},
    }
    for image, path in found.items():
        assert read_label(path, names=label_names(image, store)).unique().tolist() == [0, 2, 3]
