"""What a config can name says in one sentence that a setting is outside its range."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from monai.bundle import ConfigParser
from torch import nn

from spinefuse_ext import handlers, losses, metrics, networks, synthesis, transforms
from spinefuse_ext.data import CaseLayout
from spinefuse_ext.engines import PreparePair, RandomBatchCrop
from spinefuse_ext.networks import BlendFusionNet, LaplacianPyramidFusion, ShapeDiscriminator
from spinefuse_ext.plain_errors import plain_message
from spinefuse_ext.validation import ConfigError, check_number, check_part

_LAYOUT = CaseLayout("nowhere", "fused", "nowhere")
_OF_CASE = {"keys": "pred", "labels": ["background", "disc"], "folder_layout": _LAYOUT}
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
    (losses.BoundaryWeightedLoss, {}),
    (losses.DecompositionLoss, {}),
    (losses.FusionLoss, {}),
    (losses.ReaderFusionLoss, {}),
    (losses.ReconstructionLoss, {}),
    (losses.SemiSupervisedLoss, {}),
    (losses.SourcesLoss, {"loss": nn.L1Loss()}),
    (losses.StructureFusionLoss, {}),
    (losses.U2FusionLoss, {}),
    (metrics.FusionMetric, {"metric": "bone_brightness"}),
    (synthesis.RandAffined, {}),
    (synthesis.RandBlurd, {"sigma_px": [0.5, 1.0]}),
    (synthesis.RandContrastd, {"weights": {"real": 1.0}}),
    (synthesis.RandCutd, {"smallest_px": [8, 8]}),
    (synthesis.RandDistractorsd, {}),
    (synthesis.RandFactord, {"factor": 0.1}),
    (synthesis.RandFlipd, {"probability": [0.5, 0.5]}),
    (synthesis.RandGammad, {"gamma": [0.5, 2.0]}),
    (synthesis.RandMissingd, {"probability": [0.1, 0.1]}),
    (synthesis.RandNoised, {"deviation": 0.1}),
    (synthesis.RandOffsetd, {"offset": 0.1}),
    (synthesis.RandPaird, {}),
    (synthesis.RandPlacementd, {"size": [8, 8]}),
    (synthesis.RandScand, {}),
    (synthesis.RandShadingd, {"coefficient": [0.0, 0.1]}),
    (transforms.ContributionMapd, {"keys": "fused", "network": nn.Identity(), "inferer": nn.Identity()}),
    (transforms.FillAbsentd, {"keys": ["ct", "mr"]}),
    (transforms.KeepSpined, {"keys": "pred", "labels": ["background", "vertebra"]}),
    (transforms.RandPatchd, {"keys": "ct", "size": [8, 1], "indices": "a", "background_indices": "b"}),
    (transforms.RegisterPaird, {"keys": "mr", "key_dst": "ct"}),
    (transforms.SaveOverlayd, {"keys": "fused", "pair_key": "image", "folder_layout": _LAYOUT}),
    (transforms.SaveTrustd, _OF_CASE),
    (transforms.SplitSubNetworksd, {"keys": "pred", "network": nn.Identity()}),
    (PreparePair, {}),
    (RandomBatchCrop, {"sizes": [[8, 8]]}),
    (BlendFusionNet, {}),
    (LaplacianPyramidFusion, {}),
    (networks.CouplingDetailEncoder, {"spatial_dims": 2, "dim": 8}),
    (networks.DenseRestormerBlock, {"spatial_dims": 2, "dim": 8, "num_heads": 2}),
    (networks.DetailEncoder, {"spatial_dims": 2, "dim": 8}),
    (networks.GuidedFilterFusion, {}),
    (networks.LiteTransformerBlock, {"spatial_dims": 2, "dim": 8, "num_heads": 2}),
    (networks.MinMaxSimilarityNet, {"unet": nn.Identity(), "vnet": nn.Identity(), "num_classes": 2}),
    (networks.RestormerBlock, {"spatial_dims": 2, "dim": 8, "num_heads": 2}),
    (networks.SpineFusionNet, {}),
    (networks.U2FusionNet, {}),
    (networks.VNet, {}),
    (ShapeDiscriminator, {}),
]
NUMBERS = [
    pytest.param(make, needed, name, id=f"{make.__name__}-{name}")
    for make, needed in MADE
    for name, parameter in inspect.signature(make).parameters.items()
    if {"int", "float"} & set(re.split(r"\W+", str(parameter.annotation)))
]


def test_there_are_settings_to_look_at() -> None:
    assert len(NUMBERS) > 150


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


@pytest.mark.parametrize(
    ("make", "setting", "said"),
    [
        (networks.VNet, {"norm": "bach"}, "norm cannot be 'BACH'; did you mean 'BATCH'"),
        (networks.VNet, {"channels": [16]}, r"channels is a list of at least two widths, got \[16\]"),
        (networks.GuidedFilterFusion, {"base_filter": [45]}, r"base_filter is a list of 2 numbers, got \[45\]"),
        (networks.SpineFusionNet, {"num_blocks": 4}, "num_blocks is a list of numbers, got 4"),
        (
            losses.SemiSupervisedLoss,
            {"consistency": "ce_dise"},
            "consistency cannot be 'ce_dise'; did you mean",
        ),
        (synthesis.RandGammad, {"gamma": [2, 1]}, r"gamma is a smallest and a largest number, got \[2, 1\]"),
        (synthesis.RandFlipd, {"probability": [0.5, 2]}, "probability is a number from 0 to 1, got 2"),
        (
            transforms.RegisterPaird,
            {"keys": "mr", "key_dst": "ct", "model": "afine"},
            "model cannot be 'afine'",
        ),
        (transforms.ReadVolumed, {"keys": "ct", "modality": "PET"}, "modality cannot be 'PET'.* one of CT, MR"),
        (transforms.SaveSegd, {**_OF_CASE, "modality": "PET"}, "modality cannot be 'PET'.* one of CT, MR"),
        (transforms.SaveSegd, {**_OF_CASE, "labels": "disc"}, "labels is a list of names, got 'disc'"),
        (transforms.ReadLabeld, {"keys": "label", "labels": 3}, "labels is a list of names, got 3"),
        (transforms.KeepSpined, {"keys": "pred", "labels": 3}, "labels is a list of names, got 3"),
        (RandomBatchCrop, {"sizes": []}, r"sizes is a list of at least one size, got \[\]"),
    ],
)
def test_a_choice_or_a_list_that_cannot_be_is_refused_with_what_can(
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


def test_a_config_says_the_sentence_of_the_constructor() -> None:
    config = {"net": {"_target_": f"{ShapeDiscriminator.__module__}.ShapeDiscriminator", "distance_channels": "x"}}
    with pytest.raises(RuntimeError) as raised:
        ConfigParser(config).get_parsed_content("net")
    assert plain_message(raised.value) == "The setting distance_channels is a whole number of at least 1, got 'x'."
