"""What ``prepare`` makes of labels that say by names what they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinefuse_ext.cohort import prepare_cohort
from spinefuse_ext.dicom import write_seg
from spinefuse_ext.volumes import read_volume, write_volume

LOOSE: dict[str, Any] = {"workers": 1, "max_fre_mm": 20, "max_tre_mm": 20, "max_spacing_mm": 20}
WriteTable = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("in_process")


def test_labels_are_prepared_by_their_names(write_table: WriteTable, phantoms: Path, tmp_path: Path) -> None:
    labels = [read_volume(phantoms / f"p{number}/label.nii.gz") for number in range(3)]
    write_seg(phantoms / "p0/label.nii.gz", phantoms / "p0/ct_dicom", phantoms / "p0/label.dcm")
    for number in (1, 2):  # numbered the other way round
        place = phantoms / f"p{number}" / "named"
        write_volume((4 - labels[number]) * (labels[number] > 0), place / "label.nii.gz")
        names = {"canal": 1, "Bandscheibe" if number == 2 else "disc": 2, "vertebra": 3}
        (place / "dataset.json").write_text(json.dumps({"labels": {"background": 0, **names}}))
    table = write_table(
        *(0, 1, 2),
        p0={"label": "p0/label.dcm", "ct": "p0/ct_dicom"},
        p1={"label": "p1/named/label.nii.gz"},
        p2={"label": "p2/named/label.nii.gz"},
    )
    out = tmp_path / "out"
    prepared = prepare_cohort(table, out, **LOOSE)
    assert [one.verdict for one in prepared.outcomes] == ["passed", "passed", "failed"]
    assert "Bandscheibe (2) is none of the labels" in prepared.outcomes[2].error
    assert any("canal (1) is 3 canal" in sentence for sentence in prepared.outcomes[1].record["warnings"])
    prepared = prepare_cohort(table, out, relabel={"bandscheibe": "disc"}, **LOOSE)
    assert prepared.exit_status == 0
    for number in (0, 1, 2):
        written = read_volume(out / f"cases/p{number}/label.nii.gz").numpy()
        truth = labels[number].numpy()
        np.testing.assert_array_equal(np.bincount(written.astype(int).ravel()), np.bincount(truth.astype(int).ravel()))
        if number:  # the DICOM series has axes of its own
            np.testing.assert_array_equal(written, truth)


def test_a_case_is_done_again_when_the_names_beside_its_label_change(
    write_table: WriteTable, phantoms: Path, tmp_path: Path
) -> None:
    names = phantoms / "p1" / "label.label"
    entry = '  {}  1 2 3  1  1  1  "{}"\n'
    names.write_text("".join(entry.format(*pair) for pair in ((1, "vertebra"), (2, "disc"), (3, "canal"))))
    table = write_table(1, p1={"label": "p1/label.nii.gz"})
    before = prepare_cohort(table, tmp_path / "out", **LOOSE)
    names.write_text("".join(entry.format(*pair) for pair in ((1, "vertebra"), (2, "canal"), (3, "disc"))))
    after = prepare_cohort(table, tmp_path / "out", **LOOSE)
    assert [one.done_now for run in (before, after) for one in run.outcomes] == [True, True]
    truth = read_volume(phantoms / "p1/label.nii.gz").numpy()
    written = read_volume(tmp_path / "out/cases/p1/label.nii.gz").numpy()
    np.testing.assert_array_equal(written, np.array([0, 1, 3, 2])[truth.astype(int)])
