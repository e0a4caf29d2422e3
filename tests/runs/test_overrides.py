from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from spinefuse_ext.runs.overrides import check_overrides
from spinefuse_ext.validation import ConfigError

BUNDLES = Path(__file__).parents[2] / "bundles"
#: A small bundle: a value, a component of a known class, one of a class that takes anything, and a plain branch.
CONFIG: dict[str, Any] = {
    "epochs": 3,
    "layer": {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 1},
    "free": {"_target_": "builtins.dict", "a": 1},
    "train": {"steps": [{"_target_": "torch.nn.ReLU"}], "limits": {"low": 0, "high": "@epochs"}},
}


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configs")
    (folder / "train.json").write_text(json.dumps(CONFIG))
    (folder / "evaluate.json").write_text(json.dumps({"checkpoint": "model.pt", "train#limits#middle": 5}))
    method = {"layer": {"_target_": "torch.nn.Conv2d", "in_channels": 1, "kernel_size": 3}}
    (folder / "a_method.json").write_text(json.dumps(method))
    (folder / "z_method.json").write_text(json.dumps(method))
    (folder / "metadata.json").write_text(json.dumps({"version": "1"}))
    return folder


def check(configs: Path, **overrides: Any) -> None:
    parser = ConfigParser(json.loads(json.dumps(CONFIG)))
    parser.update(overrides)
    check_overrides(parser.get(), configs)


@pytest.mark.parametrize(
    "override",
    [
        pytest.param({"epochs": 9}, id="value"),
        pytest.param({"layer#out_features": 4}, id="argument-that-is-given"),
        pytest.param({"layer#bias": False}, id="argument-with-a-default"),
        pytest.param({"layer#_disabled_": True}, id="switch"),
        pytest.param({"layer": {"_target_": "torch.nn.Conv2d", "kernel_size": 3}}, id="another-component"),
        pytest.param({"layer": {"_target_": "my.own.Layer", "anything": 3}}, id="component-that-is-not-installed-here"),
        pytest.param({"free#anything": 1}, id="component-that-takes-anything"),
        pytest.param({"train#limits#low": 1}, id="leaf-of-a-branch"),
        pytest.param({"train#limits#middle": 1}, id="leaf-that-another-file-adds"),
        pytest.param({"train#steps": []}, id="whole-list"),
        pytest.param({"checkpoint": "x.pt"}, id="id-of-another-file"),
        pytest.param({"mine": 4, "epochs": "@mine"}, id="new-id-that-is-used"),
        pytest.param({"output_dir": "x", "save_execute_config": False, "tracking_uri": "x"}, id="experiment-tracking"),
    ],
)
def test_a_setting_that_has_an_effect_passes(override: dict[str, Any], configs: Path) -> None:
    assert check(configs, **override) is None  # nothing is raised


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"epoch": 9}, "setting epoch, so it would be ignored. Did you mean epochs?"),
        ({"layer#out_feature": 4}, r"setting layer#out_feature, .* Did you mean layer#out_features\?"),
        (
            {"layer": {"_target_": "torch.nn.Conv2d", "in_channels": 1, "kernel_siez": 3}},
            r"setting layer#kernel_siez, .* Did you mean layer#kernel_size\?",
        ),
        ({"layer#kernel_size": 3}, "No config defines the setting layer#kernel_size"),
        ({"train#limits#hihg": 4}, r"setting train#limits#hihg, .* Did you mean train#limits#high\?"),
        ({"train#limit": 4}, r"Did you mean train#limits\?"),
        ({"qqq": 4}, "Known here: checkpoint, epochs, free, layer, train."),
        ({"version": "2"}, "No config defines the setting version"),
    ],
)
def test_a_setting_without_an_effect_is_refused_with_the_nearest_name(
    override: dict[str, Any], message: str, configs: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        check(configs, **override)


def test_a_component_may_join_others_by_a_name_of_ones_own(tmp_path: Path) -> None:
    metrics = {"val_dice": {"_target_": "MeanDice"}}
    (tmp_path / "train.json").write_text(json.dumps({"metrics": metrics}))
    check_overrides({"metrics": {**metrics, "val_mine": {"_target_": "my_parts.Mine"}}}, tmp_path)
    with pytest.raises(ConfigError, match="metrics#val_mine"):
        check_overrides({"metrics": {**metrics, "val_mine": 3}}, tmp_path)
    with pytest.raises(ConfigError, match="Did you mean metrics"):
        check_overrides({"metrics": metrics, "metric": {"_target_": "my_parts.Mine"}}, tmp_path)


@given(name=st.from_regex(r"[a-z_]{1,12}", fullmatch=True))
def test_exactly_the_known_names_pass_at_the_top(name: str, configs: Path) -> None:
    known = {*CONFIG, "checkpoint", "output_dir", "save_execute_config", "displayable_configs", "_meta_"}
    if name in known or name.startswith(("tracking", "experiment", "run_name", "is_not")):
        return
    with pytest.raises(ConfigError, match=f"No config defines the setting {name},"):
        check(configs, **{name: 1})


@pytest.mark.parametrize("bundle", ["spine_fusion", "spine_semiseg"])
@pytest.mark.parametrize("files", [["train"], ["train", "evaluate"], ["inference"]])
def test_the_shipped_configs_pass(bundle: str, files: list[str]) -> None:
    folder = BUNDLES / bundle / "configs"
    parser = ConfigParser()
    parser.read_config([str(folder / f"{name}.json") for name in files])
    parser.read_meta(str(folder / "metadata.json"))
    check_overrides(parser.get(), folder)


@pytest.mark.parametrize(
    ("files", "name", "near"),
    [
        (["inference", "u2fusion"], "network_def#grwth", "network_def#growth"),
        (["train", "u2fusion", "u2fusion_train"], "train#trainer#max_epoch", "train#trainer#max_epochs"),
        (["inference", "laplacian"], "network_def#level", "network_def#levels"),
        (["inference", "cddfuse"], "network_def#dimm", "network_def#dim"),
    ],
)
def test_a_misspelt_leaf_of_a_rival_method_is_found(files: list[str], name: str, near: str) -> None:
    folder = BUNDLES / "spine_fusion" / "configs"
    parser = ConfigParser()
    parser.read_config([str(folder / f"{file}.json") for file in files])
    check_overrides(parser.get(), folder)
    parser.update({name: 1})
    with pytest.raises(ConfigError, match=rf"No config defines the setting {name}, .* Did you mean {near}\?"):
        check_overrides(parser.get(), folder)


@pytest.mark.parametrize(
    ("bundle", "name", "near"),
    [
        ("spine_fusion", "network_def#dimm", "network_def#dim"),
        ("spine_fusion", "optimizer#betas_", "optimizer#betas"),
        ("spine_fusion", "train#trainer#max_epoch", "train#trainer#max_epochs"),
        ("spine_semiseg", "network_def#unet#chanels", "network_def#unet#channels"),
        ("spine_semiseg", "validate#evaluator#networks", "validate#evaluator#network"),
    ],
)
def test_a_misspelt_leaf_of_a_shipped_config_is_found(bundle: str, name: str, near: str) -> None:
    folder = BUNDLES / bundle / "configs"
    parser = ConfigParser()
    parser.read_config(str(folder / "train.json"))
    parser.update({name: 1})
    with pytest.raises(ConfigError, match=rf"No config defines the setting {name}, .* Did you mean {near}\?"):
        check_overrides(parser.get(), folder)
