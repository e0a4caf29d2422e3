from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from spinefuse_ext.report import Table, read_metrics_csv
from spinefuse_ext.report.tables import short_names
from spinefuse_ext.validation import MissingPathError, SpinefuseError

FILES = ["/data/a,b/fused.nii.gz", "/data/c/fused.nii.gz"]  # a comma in a path: MONAI quotes nothing


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_files_of_metrics_saver_are_read(tmp_path: Path, save_metrics: Callable[..., None], delimiter: str) -> None:
    dice = torch.tensor([[0.9, 0.5], [0.7, float("nan")]])
    save_metrics(tmp_path, FILES, {"val_mean_dice": dice}, delimiter)
    report = read_metrics_csv(tmp_path)
    table = report.per_case["val_mean_dice"]
    assert report.overall == {"val_mean_dice": pytest.approx(0.7)}
    assert table.header == ("filename", "class0", "class1", "mean")
    assert [row[0] for row in table.rows] == FILES
    assert table.rows[0][1:] == pytest.approx((0.9, 0.5, 0.7), abs=1e-4)
    assert table.rows[1][1:] == pytest.approx((0.7, float("nan"), 0.7), abs=1e-4, nan_ok=True)
    assert report.summary["val_mean_dice"].rows[0][:2] == ("class0", pytest.approx(0.8))


def test_folder_without_files_is_empty_and_no_folder_is_an_error(tmp_path: Path) -> None:
    assert not read_metrics_csv(tmp_path).per_case
    with pytest.raises(MissingPathError, match="Folder of metrics"):
        read_metrics_csv(tmp_path / "absent")


@pytest.mark.parametrize(("name", "content"), [("x_raw.csv", "filename,class0\na,1,2\nb\n"), ("x_raw.csv", "")])
def test_other_files_are_refused_by_name(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SpinefuseError, match=f"{name} should hold a header"):
        read_metrics_csv(tmp_path)


def test_overall_file_without_values_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("dice 0.5\n")
    with pytest.raises(SpinefuseError, match=r"metrics\.csv should hold lines of 'name,value'"):
        read_metrics_csv(tmp_path)


def test_best_and_worst_are_marked_by_what_wins() -> None:
    rows = (("a", 0.1, 9.0), ("b", 0.3, 1.0), ("c", 0.2, float("nan")), ("d", 0.2, 5.0))
    table = Table(("case", "dice", "tre"), rows, better={"dice": "high", "tre": "low"})
    assert [table.mark(1, row[1]) for row in rows] == ["worst", "best", "", ""]
    assert [table.mark(2, row[2]) for row in rows] == ["worst", "best", "", ""]
    assert table.mark(0, "a") == ""


def test_two_rows_are_not_ranked() -> None:
    table = Table(("case", "dice"), (("a", 0.1), ("b", 0.3)), better={"dice": "high"})
    assert table.mark(1, 0.3) == ""


def test_numbers_are_rounded_and_missing_ones_are_dashes() -> None:
    table = Table(("a",), (), digits=2)
    assert [table.text(value) for value in (0.126, float("nan"), 3, "x")] == ["0.13", "\N{EN DASH}", "3", "x"]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/d/s1/label.nii.gz", "/d/s2/label.nii.gz"], ["s1", "s2"]),
        (["/d/s1.nii.gz", "/e/s2.nii"], ["s1", "s2"]),
        (["/a/x/1.nii", "/b/x/1.nii"], ["a/x", "b/x"]),
        (["/d/s1.nii.gz"], ["s1"]),
        (["0", "0"], ["0", "0"]),
        ([], []),
    ],
)
def test_case_names_are_as_short_as_they_can_be(paths: list[str], names: list[str]) -> None:
    assert short_names(paths) == names
