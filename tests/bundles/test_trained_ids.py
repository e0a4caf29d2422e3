"""Whoever takes whichever id of a bundle, in whichever way MONAI knows, gets the trained network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, create_workflow
from torch import nn

from spinefuse_ext.federated.site import FederatedSite, plan_federation
from spinefuse_ext.networks import planes_of
from spinefuse_ext.validation import MissingPathError, SpinefuseError, WeightsError

BUNDLES = Path(__file__).parents[2] / "bundles"
NAMES = ("spine_fusion", "spine_semiseg")
CANVAS = {"spine_fusion": [16, 16], "spine_semiseg": [32, 32]}
FILES = {"spine_fusion": "fused.nii.gz", "spine_semiseg": "prediction.nii.gz"}
name_of_bundle = pytest.mark.parametrize("name", NAMES)

State = dict[str, torch.Tensor]


def shipped(name: str) -> State:
    state: State = torch.load(BUNDLES / name / "models" / "model.pt", weights_only=True)
    return state


def wrong(network: nn.Module, name: str) -> list[str]:
    """Names of the weights that are not those shipped; a network that learns has none for axial slices alone."""
    state, own = shipped(name), network.state_dict()
    learns = not any(key.startswith("axial.") for key in own)
    left_out = {key for key in state if learns and key.startswith("axial.")}
    assert own.keys() == state.keys() - left_out
    return [key for key in own.keys() - ({"seen_planes"} if learns else set()) if not torch.equal(own[key], state[key])]


def config(name: str, *files: str) -> str | list[str]:
    paths = [str(BUNDLES / name / "configs" / file) for file in files or ("inference.json",)]
    return paths[0] if len(paths) == 1 else paths


def parser_of(name: str, *files: str, **overrides: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(config(name, *files))
    parser.update({"bundle_root": str(BUNDLES / name), "device": "cpu", **overrides})
    return parser


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slices of noise as CT, MR and fused volume, with a datalist in every section."""
    folder = tmp_path_factory.mktemp("case")
    rng = np.random.default_rng(0)
    for key in ("ct", "mr", "fused"):
        nib.save(
            nib.Nifti1Image(rng.normal(300, 200, (2, 32, 32)).astype(np.float32), np.eye(4)), folder / f"{key}.nii.gz"
        )
    item = {"patient": "A", **{key: f"{key}.nii.gz" for key in ("ct", "mr", "fused")}}
    (folder / "datalist.json").write_text(json.dumps({"test": [item]}))
    return folder


def settings(name: str, case: Path, out: Path) -> dict[str, Any]:
    places = {"bundle_root": str(BUNDLES / name), "dataset_dir": str(case), "output_dir": str(out)}
    return {**places, "device": "cpu", "canvas": CANVAS[name], "sections": ["test"]}


def written(name: str, out: Path) -> np.ndarray:
    (path,) = out.rglob(FILES[name])
    return np.asanyarray(nib.nifti1.load(path).dataobj)


@pytest.fixture(scope="module")
def expected(case: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], np.ndarray]:
    """What the shipped weights make of the case, by a run of the bundle."""
    made: dict[str, np.ndarray] = {}

    def result(name: str) -> np.ndarray:
        if name not in made:
            out = tmp_path_factory.mktemp(name)
            monai.bundle.run(config_file=config(name), **{"logging_file": False, **settings(name, case, out)})
            made[name] = written(name, out)
        return made[name]

    return result


@name_of_bundle
@pytest.mark.parametrize("net_id", ["network_def", "network", "evaluator"])
def test_an_id_works_alone(name: str, net_id: str) -> None:
    found = parser_of(name, **{"dataset#data": []}).get_parsed_content(net_id)
    assert wrong(found.network if net_id == "evaluator" else found, name) == []


@name_of_bundle
@pytest.mark.parametrize("net_id", ["network_def", "network", "validate#evaluator"])
def test_an_id_of_the_evaluation_works_alone(name: str, net_id: str) -> None:
    data = {"ckpt_dir": str(BUNDLES / name / "models"), "validate#dataset#data": [], "validate#handlers": []}
    found = parser_of(name, "train.json", "evaluate.json", **data).get_parsed_content(net_id)
    assert wrong(found.network if net_id == "validate#evaluator" else found, name) == []


@pytest.mark.parametrize("files", [("inference.json",), ("train.json", "evaluate.json")])
def test_the_shipped_network_reads_axial_slices_too(files: tuple[str, ...]) -> None:
    overrides = {"ckpt_dir": str(BUNDLES / "spine_semiseg" / "models")} if "evaluate.json" in files else {}
    network = parser_of("spine_semiseg", *files, **overrides).get_parsed_content("network")
    assert planes_of(network) == {"sagittal", "axial"}


@name_of_bundle
@pytest.mark.parametrize("make", [ConfigWorkflow, create_workflow])
def test_a_workflow_holds_the_trained_network(name: str, make: Callable[..., Any], case: Path, tmp_path: Path) -> None:
    options = {"workflow_type": "inference", "logging_file": False, **settings(name, case, tmp_path)}
    workflow = make(config_file=config(name), **options)
    workflow.initialize()
    assert wrong(workflow.network_def, name) == []
    assert wrong(workflow.evaluator.network, name) == []


@name_of_bundle
def test_a_run_and_an_evaluator_without_initialize_give_the_same(
    name: str, case: Path, tmp_path: Path, expected: Callable[[str], np.ndarray]
) -> None:
    """3D Slicer's module for MONAI bundles: a parser, overrides, and nothing but the evaluator."""
    parser = parser_of(name, **settings(name, case, tmp_path))
    parser.parse(True)
    parser.get_parsed_content("evaluator", instantiate=True).run()
    assert np.array_equal(written(name, tmp_path), expected(name))
    untrained = parser_of(name, **settings(name, case, tmp_path), checkpoint=None).get_parsed_content("network")
    assert wrong(untrained, name) != []


@name_of_bundle
@pytest.mark.parametrize("workflow_type", ["inference", "train"])
def test_load_gives_the_trained_network(name: str, workflow_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BUNDLES / name)
    options: dict[str, Any] = {
        "workflow_type": workflow_type,
        "bundle_dir": BUNDLES,
        "source": "github",
        "device": "cpu",
    }
    network: Any = monai.bundle.load(name, **options)
    assert wrong(network, name) == []


@name_of_bundle
def test_monai_labels_own_way_gives_the_trained_network(name: str, case: Path) -> None:
    """It writes the folder and the device into the config, takes the network, and loads the file itself."""
    parser = ConfigParser()
    parser.read_config(config(name))
    cast(dict[str, Any], parser.config).update({"bundle_root": str(BUNDLES / name), "device": "cpu"})
    network = parser.get_parsed_content("network_def", instantiate=True)
    assert wrong(network, name) == []
    state = {key: value + 1 for key, value in shipped(name).items()}
    network.load_state_dict(state, strict=False)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


@name_of_bundle
def test_users_checkpoint_loaders_have_the_last_word(name: str, case: Path, tmp_path: Path) -> None:
    """As in the bundles of the model zoo; the weights may then lie anywhere."""
    other = {key: value * 0 if value.is_floating_point() else value for key, value in shipped(name).items()}
    torch.save({"model": other}, tmp_path / "other.pt")
    loader = {
        "_target_": "CheckpointLoader",
        "load_path": str(tmp_path / "other.pt"),
        "load_dict": {"model": "@network"},
    }
    given = {**settings(name, case, tmp_path), "handlers": [loader]}
    for checkpoint in (str(BUNDLES / name / "models" / "model.pt"), str(tmp_path / "absent.pt")):
        evaluator = parser_of(name, **given, checkpoint=checkpoint).get_parsed_content("evaluator")
        evaluator.run()
        assert all(torch.equal(value, other[key]) for key, value in evaluator.network.state_dict().items())


@name_of_bundle
def test_absent_weights_are_one_sentence(name: str, case: Path, tmp_path: Path) -> None:
    given = {**settings(name, case, tmp_path), "checkpoint": str(tmp_path / "absent.pt")}
    workflow = ConfigWorkflow(config(name), workflow_type="inference", logging_file=False, **given)
    with pytest.raises(MissingPathError, match=r"The checkpoint .*absent\.pt does not exist"):
        _cause(workflow.initialize)
    with pytest.raises(SpinefuseError, match=r"The checkpoint .*absent\.pt does not exist"):
        _cause(parser_of(name, **given).get_parsed_content("evaluator").run)
    for net_id in ("network_def", "network"):
        network = parser_of(name, **given).get_parsed_content(net_id).eval()
        with pytest.raises(WeightsError, match=r"no trained weights.*absent\.pt does not exist"):
            network(torch.zeros(1, 2 if name == "spine_fusion" else 1, 32, 32))
    assert list(tmp_path.iterdir()) == []


def _deltas() -> Iterator[tuple[str, str]]:
    for name in NAMES:
        for path in sorted((BUNDLES / name / "configs").glob("*.json")):
            content = json.loads(path.read_text())
            other = any("network_def" in key for key in content) and not any(
                key.startswith("train#") for key in content
            )
            method = other and path.name != "each_image.json"  # the shipped weights on every image there is
            if method and path.name not in ("train.json", "inference.json"):
                yield name, path.name


def test_a_check_from_another_folder_ends_in_one_sentence(tmp_path: Path) -> None:
    configs = BUNDLES / "spine_semiseg" / "configs"
    command = [sys.executable, "-m", "monai.bundle", "verify_net_in_out", "network_def"]
    command += ["--meta_file", str(configs / "metadata.json"), "--config_file", str(configs / "inference.json")]
    environment = {**os.environ, "PYTHONPATH": str(BUNDLES.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("spinefuse: The network has no trained weights, so it does not run. The checkpoint models/")
    assert last.endswith("Run in the folder of the bundle, or give --bundle_root PATH.")


@pytest.mark.parametrize(("name", "delta"), list(_deltas()))
def test_a_method_refuses_the_weights_of_another_whatever_id_is_taken(name: str, delta: str) -> None:
    """A method without weights is no network to load, and one of the same network is the trained one."""
    for net_id in ("network_def", "network"):
        network = parser_of(name, "inference.json", delta).get_parsed_content(net_id)
        if not network.state_dict():
            continue
        with pytest.raises(WeightsError, match=r"no trained weights.*model\.pt belongs to another network"):
            network(torch.zeros(1, 2 if name == "spine_fusion" else 1, 32, 32))


def test_a_network_of_ones_own_is_loaded_or_refused_too(tmp_path: Path) -> None:
    own = {
        "_target_": "UNet",
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 4,
        "channels": [2, 4],
        "strides": [2],
    }
    given = {"network_def": own, "dataset#data": [], "save_disagreement": False, "save_trust": False}
    network = parser_of("spine_semiseg", **given).get_parsed_content("evaluator").network
    with pytest.raises(WeightsError, match="belongs to another network"):
        network(torch.zeros(1, 1, 32, 32))
    state = {key: value + 1 for key, value in network.state_dict().items()}
    torch.save(state, tmp_path / "own.pt")
    loaded = parser_of("spine_semiseg", **given, checkpoint=str(tmp_path / "own.pt")).get_parsed_content("network")
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())


@name_of_bundle
def test_a_training_starts_at_random_or_where_it_is_told(name: str) -> None:
    models = BUNDLES / name / "models" / "model.pt"
    assert wrong(parser_of(name, "train.json").get_parsed_content("network"), name) != []
    assert wrong(parser_of(name, "train.json", checkpoint=str(models)).get_parsed_content("network"), name) == []
    parser = parser_of(name, "train.json", "fine_tune.json")
    parser.get_parsed_content("initialize#4")
    assert wrong(parser.get_parsed_content("network"), name) == []


def test_a_federation_sends_its_weights_to_an_evaluation_that_has_no_file(cohort: Path, tmp_path: Path) -> None:
    small = {"unet_channels": [2] * 5, "vnet_channels": [2] * 5, "canvas": [32, 32], "device": "cpu"}
    site_dir = tmp_path / "site"
    shutil.copytree(cohort, site_dir)
    site = FederatedSite(
        "a", site_dir, tmp_path / "out", plan_federation(BUNDLES / "spine_semiseg", 1, overrides=small), 1
    )
    assert site.evaluate(site.weights()).keys() >= {"val_mean_dice"}
    site.close()


def _cause(call: Callable[[], Any]) -> None:
    """Call; raise what lies below the errors in which MONAI wraps others."""
    try:
        call()
    except Exception as error:
        found: BaseException | None = error
        while found is not None and not isinstance(found, SpinefuseError):
            found = found.__cause__ or found.__context__
        raise (found or error) from None
