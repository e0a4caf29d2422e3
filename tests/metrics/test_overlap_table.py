"""Dice and Jaccard per class: our table of files, and MONAI's handlers that give the same while an evaluator runs."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, MeanIoUHandler, MetricsSaver, from_engine
from monai.networks import one_hot
from monai.transforms import AsDiscreted

from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.metrics import overlap_table
from spinefuse_ext.validation import GridMismatchError, ImageReadError, MissingPathError, UnknownLabelError

AFFINE = np.diag([0.5, 0.5, 3.0, 1.0])


def volume(affine: np.ndarray = AFFINE) -> MetaTensor:
    """A vertebra of 8 voxels, a disc of 2, no canal."""
    label = torch.zeros(1, 4, 5, 6)
    label[0, :2, :2, :2] = 1
    label[0, 3, 3, :2] = 2
    return MetaTensor(label, affine=torch.from_numpy(affine))


def save(image: MetaTensor, path: Path) -> Path:
    nib.save(nib.Nifti1Image(image[0].numpy().astype(np.uint8), image.affine.numpy()), path)  # type: ignore[no-untyped-call]
    return path


def test_table_by_hand(tmp_path: Path) -> None:
    label, prediction = volume(), volume()
    prediction[0, 0, :2, :2] = 0  # half of the vertebra is missed
    prediction[0, 3, 3, 2:4] = 2  # the disc is twice as large
    table = overlap_table(save(prediction, tmp_path / "prediction.nii.gz"), save(label, tmp_path / "label.nii.gz"))
    assert list(table) == ["vertebra", "disc", "canal", "sacrum"]
    assert table["vertebra"] == pytest.approx({"dice": 2 * 4 / (4 + 8), "jaccard": 4 / 8})
    assert table["disc"] == pytest.approx({"dice": 2 * 2 / (4 + 2), "jaccard": 2 / 4})
    assert all(math.isnan(value) for value in table["canal"].values())


def test_a_class_that_the_prediction_lacks_scores_zero_and_one_that_the_truth_lacks_nothing() -> None:
    prediction = volume()
    prediction[prediction == 2] = 3
    table = overlap_table(prediction, volume())
    assert table["disc"] == {"dice": 0.0, "jaccard": 0.0}
    assert all(math.isnan(value) for value in table["canal"].values())
    assert table["vertebra"] == {"dice": 1.0, "jaccard": 1.0}


def test_overlap_is_symmetric_and_jaccard_follows_from_dice() -> None:
    first, second = (MetaTensor(torch.randint(0, len(STRUCTURES), (1, 6, 7, 8))) for _ in range(2))
    table = overlap_table(first, second)
    assert table == overlap_table(second, first)
    for row in table.values():
        assert row["jaccard"] == pytest.approx(row["dice"] / (2 - row["dice"]))


def test_other_labels_can_be_named() -> None:
    label = volume()
    label[label == 2] = 20
    assert list(overlap_table(label, label, labels={1: "C1", 20: "L1"})) == ["C1", "L1"]


def test_two_grids_are_refused(tmp_path: Path) -> None:
    label = save(volume(), tmp_path / "label.nii.gz")
    shifted = AFFINE.copy()
    shifted[2, 3] = 3
    with pytest.raises(
        GridMismatchError, match=r"up to 3 mm in prediction .*moved\.nii\.gz and label .*label\.nii\.gz"
    ):
        overlap_table(save(volume(shifted), tmp_path / "moved.nii.gz"), label)
    cut = volume()[:, :3]
    with pytest.raises(GridMismatchError, match=r"shape \(1, 3, 5, 6\) in prediction .* and \(1, 4, 5, 6\) in label"):
        overlap_table(save(MetaTensor(cut, affine=volume().affine), tmp_path / "cut.nii.gz"), label)


def test_rounding_of_an_affine_is_not_another_grid() -> None:
    nudged = AFFINE.copy()
    nudged[:3, 3] += 1e-4
    assert overlap_table(volume(nudged), volume())["disc"]["dice"] == 1


def test_values_without_a_name_are_refused(tmp_path: Path) -> None:
    label = volume()
    label[label == 2] = 7
    with pytest.raises(UnknownLabelError, match=r"labels \[0, 1, 2, 3, 4\], got 7 as well in label .*label\.nii\.gz"):
        overlap_table(volume(), save(label, tmp_path / "label.nii.gz"))


def test_one_hot_volumes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"label volume \(1, \*S\), got \(4, 6, 7, 8\) in prediction"):
        overlap_table(MetaTensor(torch.zeros(4, 6, 7, 8)), MetaTensor(torch.zeros(4, 6, 7, 8)))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    label = save(volume(), tmp_path / "label.nii.gz")
    with pytest.raises(MissingPathError, match=r"prediction .*none\.nii\.gz does not exist"):
        overlap_table(tmp_path / "none.nii.gz", label)
    (tmp_path / "text.nii.gz").write_text("no image")
    with pytest.raises(ImageReadError, match=r"prediction .*text\.nii\.gz cannot be read as an image"):
        overlap_table(tmp_path / "text.nii.gz", label)


def names_of(batch: list[dict[str, MetaTensor]]) -> list[dict[str, str]]:
    return [item["image"].meta for item in batch]


def test_monai_handlers_report_the_same_per_class_and_case(tmp_path: Path) -> None:
    classes = len(STRUCTURES)
    labels = torch.randint(0, classes, (3, 1, 6, 7, 8))
    guesses = torch.where(torch.rand(labels.shape) < 0.7, labels, torch.randint(0, classes, labels.shape))
    items = [
        {"image": MetaTensor(one_hot(guess, classes, dim=0), meta={"filename_or_obj": f"case{number}"}), "label": label}
        for number, (guess, label) in enumerate(zip(guesses, labels, strict=True))
    ]
    transform = from_engine(["pred", "label"])
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=2),
        network=torch.nn.Identity(),
        postprocessing=AsDiscreted("label", to_onehot=classes),  # MeanIoU, unlike MeanDice, takes one-hot labels only
        key_val_metric={"dice": MeanDice(include_background=False, output_transform=transform)},
        additional_metrics={"jaccard": MeanIoUHandler(include_background=False, output_transform=transform)},
        val_handlers=[MetricsSaver(str(tmp_path), metric_details="*", batch_transform=names_of)],
    )
    evaluator.run()
    for name in ("dice", "jaccard"):
        with (tmp_path / f"{name}_raw.csv").open() as file:
            rows = list(csv.reader(file))[1:]
        for number, row in enumerate(rows):
            table = overlap_table(MetaTensor(guesses[number]), MetaTensor(labels[number]))
            assert row[0] == f"case{number}"
            expected = [scores[name] for scores in table.values()]
            assert [float(value) for value in row[1:classes]] == pytest.approx(expected, abs=1e-4)
