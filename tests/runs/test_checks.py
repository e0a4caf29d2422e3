from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from spinefuse_ext.runs import check_run
from spinefuse_ext.validation import ConfigError

BUNDLES = Path(__file__).parents[2] / "bundles"


def started(**overrides: Any) -> None:
    """Do what MONAI does first when it runs train.json of the fusion bundle."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / "spine_fusion" / "configs" / "train.json"))
    parser.update({"bundle_root": str(BUNDLES / "spine_fusion"), **overrides})
    parser.parse()
    try:
        parser.get_parsed_content("initialize#1")
    except RuntimeError as error:  # MONAI wraps what a component raises
        raise (error.__cause__ or error) from None


def test_the_shipped_settings_pass() -> None:
    assert started() is None
    assert started(epochs=2, canvas=[64, 64], **{"network_def#dim": 8}) is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"epochs": 0}, "The setting epochs must be positive, got 0"),
        ({"batch_size": -1}, "The setting batch_size must be positive, got -1"),
        ({"canvas": [64, 0]}, r"The setting canvas must be positive, got \[64, 0\]"),
        ({"learning_rate": "fast"}, "The setting learning_rate must be positive, got fast"),
        ({"val_interval": None}, "The setting val_interval must be positive, got None"),
        ({"epoch": 3}, "No config defines the setting epoch.* Did you mean epochs"),
        ({"canvas": [64, 64, 64]}, r"The setting canvas needs 2 numbers for a 2-D network, got \[64, 64, 64\]"),
        ({"ct_window_hu": [100, 100]}, r"The setting ct_window_hu needs a lower and a higher number, got \[100, 100\]"),
        ({"mr_percentiles": [99, 1]}, r"The setting mr_percentiles needs a lower and a higher number, got \[99, 1\]"),
        ({"ct_window_hu": [-200]}, r"The setting ct_window_hu needs a lower and a higher number, got \[-200\]"),
        ({"bundle_root": "nowhere"}, "bundle_root nowhere has no folder configs; run from the bundle's folder or give"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_before_anything_is_built(
    overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        started(**overrides)


def test_a_training_too_short_for_a_validation_is_told_what_it_writes(caplog: pytest.LogCaptureFixture) -> None:
    started(epochs=5, val_interval=5)
    assert not caplog.records
    started(epochs=2, val_interval=5)
    assert "2 epochs are fewer than val_interval 5" in caplog.text
    assert "no model.pt" in caplog.text


def test_it_can_be_called_outside_a_run(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    check_run(tmp_path, {"epochs": 1, "canvas": (2, 3)})
    with pytest.raises(ConfigError, match="The setting canvas must be positive"):
        check_run(tmp_path, {"canvas": (2, -3)})
    with pytest.raises(
        ConfigError, match="Each number of the setting canvas must be a multiple of 16, got \\(32, 40\\)"
    ):
        check_run(tmp_path, {"canvas": (32, 40)}, multiple_of=16)
