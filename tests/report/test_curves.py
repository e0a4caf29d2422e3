from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spinefuse_ext.report import loss_curves, read_curves
from spinefuse_ext.validation import MissingPathError

WriteLogs = Callable[[Path, dict[str, int]], None]


def test_scalars_come_back_as_written(tmp_path: Path, write_logs: WriteLogs) -> None:
    write_logs(tmp_path / "logs", {"train_loss": 4, "val_mean_dice": 2})
    curves = read_curves(tmp_path)
    assert [step for step, _ in curves["train_loss"]] == [1, 2, 3, 4]
    assert [value for _, value in curves["train_loss"]] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert curves["val_mean_dice"] == [(1, 0.5), (2, 0.75)]


def test_every_point_of_a_long_curve_is_read(tmp_path: Path, write_logs: WriteLogs) -> None:
    write_logs(tmp_path, {"train_loss": 12_000})  # TensorBoard itself keeps 10,000 unless told
    assert len(read_curves(tmp_path)["train_loss"]) == 12_000


def test_one_tag_in_two_folders_is_named_by_folder(tmp_path: Path, write_logs: WriteLogs) -> None:
    write_logs(tmp_path / "stage1", {"loss": 2, "reconstruction_loss": 2})
    write_logs(tmp_path / "stage2", {"loss": 3})
    curves = read_curves(tmp_path)
    assert sorted(curves) == ["reconstruction_loss", "stage1/loss", "stage2/loss"]
    assert len(curves["stage2/loss"]) == 3


def test_folder_without_events_gives_nothing_and_no_folder_is_an_error(tmp_path: Path) -> None:
    assert read_curves(tmp_path) == {}
    with pytest.raises(MissingPathError, match="Folder of training logs"):
        read_curves(tmp_path / "absent")


def test_figure_has_a_named_line_a_curve() -> None:
    figure = loss_curves({"b": [(1, 2.0), (2, 1.0)], "a": [(1, 3.0)]}, "Losses", value_name="value", step_name="epoch")
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    assert (ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel()) == ("Losses", "epoch", "value")


@pytest.mark.parametrize(
    ("values", "scale"), [([1.0, 0.5], "linear"), ([100.0, 0.1], "log"), ([100.0, -0.1], "linear")]
)
def test_wide_positive_ranges_are_logarithmic(values: list[float], scale: str) -> None:
    assert loss_curves({"loss": list(enumerate(values))}, "Loss").axes[0].get_yscale() == scale


def test_long_curve_is_smoothed_and_a_nan_leaves_only_a_gap() -> None:
    noise = np.random.default_rng(0).normal(1, 0.1, 400)
    noise[100] = np.nan
    raw, smooth = (line.get_ydata() for line in loss_curves({"loss": list(enumerate(noise))}, "Loss").axes[0].lines)
    assert np.isnan(smooth).tolist() == np.isnan(raw).tolist()
    assert np.nanstd(smooth) < 0.5 * np.nanstd(raw)
    assert np.nanmean(smooth) == pytest.approx(np.nanmean(raw), rel=0.01)


def test_no_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one curve"):
        loss_curves({"loss": []}, "Loss")
