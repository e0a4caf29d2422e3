from __future__ import annotations

import logging

import pytest
from monai.bundle import ConfigParser

from spinefuse_ext import (
    benchmark,
    bundle,
    data,
    files,
    handlers,
    levels,
    losses,
    networks,
    registration,
    report,
    runs,
    validation,
    volumes,
)
from spinefuse_ext.renamed import renamed
from spinefuse_ext.runs.run import run_bundle
from spinefuse_ext.verbs.commands import find_bundle, segment

OLD_AND_NEW = [
    ("spinefuse_ext.bundle.check_run", runs.check_run),
    ("spinefuse_ext.bundle.tell_run", runs.log_run),
    ("spinefuse_ext.bundle.commands.find_bundle", find_bundle),
    ("spinefuse_ext.bundle.commands.segment", segment),
    ("spinefuse_ext.bundle.commands.run_bundle", run_bundle),
    ("spinefuse_ext.runs.tell_run", runs.log_run),
    ("spinefuse_ext.dicom.LabelScheme", volumes.LabelScheme),
    ("spinefuse_ext.dicom.label_for", volumes.label_for),
    ("spinefuse_ext.dicom.read_volume", volumes.read_volume),
    ("spinefuse_ext.registration.LandmarkFit", registration.RegistrationFit),
    ("spinefuse_ext.benchmark.Bodies", benchmark.BodyScores),
    ("spinefuse_ext.benchmark.Far", benchmark.FarPrediction),
    ("spinefuse_ext.data.WholeNibabelWriter", data.AtomicNibabelWriter),
    ("spinefuse_ext.handlers.WholeCheckpointSaver", handlers.AtomicCheckpointSaver),
    ("spinefuse_ext.levels.Known", levels.KnownLevels),
    ("spinefuse_ext.losses.PlaceContrastLoss", losses.DenseInfoNCELoss),
    ("spinefuse_ext.report.Scored", report.ScoreRow),
    ("spinefuse_ext.report.Making", report.Provenance),
    ("spinefuse_ext.networks.place", networks.to_device),
    ("spinefuse_ext.validation.chosen", validation.check_choice),
    ("spinefuse_ext.files.whole_file", files.atomic_write),
    ("spinefuse_ext.files.whole_folder", files.atomic_folder),
]


@pytest.mark.parametrize(("old", "new"), OLD_AND_NEW)
def test_a_config_with_an_old_name_gets_the_new_function_and_a_warning(old: str, new: object) -> None:
    parser = ConfigParser({"step": {"_target_": old, "_mode_": "callable"}})
    with pytest.warns(DeprecationWarning, match=f"{old} is spinefuse_ext.* now; the old name goes with the next"):
        assert parser.get_parsed_content("step") is new


def test_whoever_runs_a_config_reads_of_an_old_name_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="spinefuse_ext"):
        for _ in range(2):
            with pytest.warns(DeprecationWarning, match="old_room"):
                renamed("spinefuse_ext.old_room", {"old": "spinefuse_ext.files.atomic_write"})("old")
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("spinefuse_ext.old_room.old is spinefuse_ext.files.atomic_write now; the old")


def test_a_name_that_is_not_old_is_asked_of_the_next() -> None:
    assert renamed("room", {}, otherwise=str.upper)("new") == "NEW"


def test_a_name_that_never_was_is_missing_as_ever() -> None:
    with pytest.raises(AttributeError, match=r"module 'spinefuse_ext\.networks' has no attribute 'palce'"):
        networks.palce  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(bundle, "check")
