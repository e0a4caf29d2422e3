"""What a config can name says in one sentence that a setting is outside its range."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from monai.bundle import ConfigParser
from torch import nn

from spinefuse_ext import handlers, losses, metrics, synthesis, transforms
from spinefuse_ext.engines import PreparePair
from spinefuse_ext.networks import BlendFusionNet, LaplacianPyramidFusion, ShapeDiscriminator
from spinefuse_ext.plain_errors import plain_message
from spinefuse_ext.validation import ConfigError, check_number, check_part

#: What each needs beside its numbers.
MADE: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (handlers.CompetitivePseudoLabelHandler, {}),
    (handlers.CrossPseudoLabelHandler, {}),
    (handlers.CopyPasteHandler, {}),
    (handlers.EpochSeedHandler, {}),
    (handlers.MeanTeacherHandler, {}),
    (handlers.MinMaxSimilarityHandler, {}),
    (handlers.SegmentationScoresHandler, {"save_dir": "nowhere", "labels": ["background", "disc"]}),
    (handlers.ShapeAdversaryHandler, {"discriminator": nn.Linear(1, 1)}),
    (handlers.SignedDistanceHandler, {}),
    (handlers.TrainingStateHandler, {"save_dir": "nowhere", "objects": {}}),
    (losses.DecompositionLoss, {}),
    (losses.FusionLoss, {}),
    (losses.ReaderFusionLoss, {}),
    (losses.ReconstructionLoss, {}),
    (losses.SemiSupervisedLoss, {}),
    (losses.StructureFusionLoss, {}),
    (losses.U2FusionLoss, {}),
    (metrics.FusionMetric, {"metric": "bone_brightness"}),
    (synthesis.RandDistractorsd, {}),
    (synthesis.RandPaird, {}),
    (synthesis.RandScand, {}),
    (transforms.SplitSubNetworksd, {"keys": "pred", "network": nn.Identity()}),
    (PreparePair, {}),
    (BlendFusionNet, {}),
    (LaplacianPyramidFusion, {}),
]
#: A seed that is None means that of the whole training; MONAI checks the rest of it.
_LEFT_OUT = {"seed"}
NUMBERS = [
    pytest.param(make, needed, name, id=f"{make.__name__}-{name}")
    for make, needed in MADE
    for name, parameter in inspect.signature(make).parameters.items()
    if {"int", "float"} & set(str(parameter.annotation).replace("|", " ").split())
    and not (name in _LEFT_OUT and make is handlers.CopyPasteHandler)
]


def test_there_are_settings_to_look_at() -> None:
    assert len(NUMBERS) > 60


@pytest.mark.parametrize(("make", "needed", "name"), NUMBERS)
def test_a_text_in_place_of_a_number_is_refused_by_the_name_of_its_setting(
    make: Callable[..., Any], needed: dict[str, Any], name: str
) -> None:
    with pytest.raises(ConfigError, match=name):
        make(**{**needed, name: "much"})


@pytest.mark.parametrize(
    ("make", "setting", "said"),
    [
        (handlers.CompetitivePseudoLabelHandler, {"temperature": 0}, "temperature is a number above 0, got 0"),
        (handlers.CompetitivePseudoLabelHandler, {"score_ema": 1}, "score_ema is a number of at least 0 and below 1"),
        (handlers.MeanTeacherHandler, {"passes": 1.5}, "passes is a whole number of at least 0, got 1.5"),
        (handlers.MeanTeacherHandler, {"decay": 1.0}, "decay is a number of at least 0 and below 1, got 1.0"),
        (handlers.CopyPasteHandler, {"share": 0}, "share is a number above 0 and at most 1, got 0"),
        (losses.StructureFusionLoss, {"data_range": float("nan")}, "data_range is a number above 0, got nan"),
        (losses.DecompositionLoss, {"offset": 1}, "offset is a number above 1, got 1"),
        (PreparePair, {"swap_probability": True}, "swap_probability is a number from 0 to 1, got True"),
    ],
)
def test_a_number_outside_its_range_is_refused_with_the_range(
    make: Callable[..., Any], setting: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        make(**setting)


def test_numbers_within_their_range_come_back_as_they_were() -> None:
    assert (check_part("p", 0), check_part("p", 1.0), check_number("n", 3, least=3, whole=True)) == (0, 1.0, 3)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"spatial_dims": 2, "channels": [4, 8], "strides": [2, 2, 2], "in_channels": 1}, "out_channels"),
        (
            {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "channels": [4], "strides": []},
            "the length of `channels` should be no less than 2",
        ),
    ],
)
def test_what_another_library_says_of_the_settings_of_a_config_is_one_sentence(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(RuntimeError) as raised:
        ConfigParser({"network_def": {"_target_": "UNet", **settings}}).get_parsed_content("network_def")
    message = plain_message(raised.value)
    assert message is not None
    assert message.startswith("The config cannot make ")
    assert said in message
    assert "\n" not in message


def test_a_discriminator_of_impossible_width_is_said_too() -> None:
    config = {"net": {"_target_": f"{ShapeDiscriminator.__module__}.ShapeDiscriminator", "distance_channels": "x"}}
    with pytest.raises(RuntimeError) as raised:
        ConfigParser(config).get_parsed_content("net")
    assert "ShapeDiscriminator of its settings distance_channels" in str(plain_message(raised.value))
