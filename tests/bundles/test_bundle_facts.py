from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from monai.bundle import ComponentLocator, ConfigItem, ConfigParser
from monai.bundle.config_item import ConfigComponent
from monai.utils import ensure_tuple

from spinefuse_ext.enums import CaseKeys, Section
from spinefuse_ext.labels import STRUCTURES
from spinefuse_ext.verbs.doctor import check_bundle

BUNDLES = Path(__file__).parents[2] / "bundles"
NAMES = ("spine_fusion", "spine_semiseg")
FULL = {"train.json", "inference.json", "metadata.json"}
#: Ids that deltas add to what train.json defines.
NEW_IDS = {
    *("sections", "surface_tolerance_mm"),
    "vgg16_weights",  # a file that only U2Fusion's training can use
    "weights",  # of fine_tune.json
    *("patch_size", "flip", "contrast"),  # of any_contrast.json
    *("channels", "fusion_dim", "fusion_weights", "network_def#channels"),  # of networks of CT and MR
    *("modality_dropout", "picture_weight"),  # of their training
    "train#dataset#data#optional",
}
#: Ids that the deltas for many processes add.
RANK_IDS = {
    *("sync_batch_norm", "finalize", "validate#share_buffers"),
    *(f"{part}#rank_handlers" for part in ("train", "validate")),
    *(f"{part}sampler" for part in ("train#", "train#rank_", "train#halves_", "train#unlabelled_", "validate#")),
    *(f"{loader}#sampler" for loader in ("train#dataloader", "train#unlabelled_dataloader", "validate#dataloader")),
}
#: Deltas that hold values only, no component.
PLAIN = {"metadata.json", "volume_3d.json", "cddfuse.json", "all_labels.json"}
#: Deltas of inference alone.
OF_INFERENCE = {"each_image.json"}
#: What they add.
NEW_IN_INFERENCE = {
    "registration_model",
    "registration_refine",
    "registration_keys",
    "image_weights",
    "network_def#image_weights",
}
#: Fusion methods that differ from the default in their network alone, so that one delta serves every command.
METHODS = ("mean", "max", "laplacian", "wavelet", "guided", "ct", "mr", "cddfuse", "u2fusion", "blend", "selection")
DELTAS = sorted(path for name in NAMES for path in (BUNDLES / name / "configs").glob("*.json") if path.name not in FULL)
CONFIGS = sorted(path for name in NAMES for path in (BUNDLES / name / "configs").glob("*.json"))
IDS_OF_TRAIN = (
    *("bundle_root", "device", "dataset_dir", "datalist", "output_dir", "ckpt_dir", "network_def", "network"),
    *("spatial_dims", "canvas", "slice_axis", "batch_size", "learning_rate", "epochs", "val_interval", "amp"),
    *("compile", "cache_dir", "seed", "initialize", "run"),
    *(f"train#{name}" for name in ("preprocessing", "dataset", "dataloader", "inferer", "handlers", "key_metric")),
    *("train#trainer", "validate#evaluator", "validate#dataset", "validate#handlers", "validate#key_metric"),
)
IDS_OF_INFERENCE = ("dataset", "dataloader", "preprocessing", "inferer", "postprocessing", "handlers", "evaluator")

name_of_bundle = pytest.mark.parametrize("name", NAMES)


def relative(path: Path) -> str:
    return str(path.relative_to(BUNDLES))


def base_of(delta: Path) -> str:
    return "inference.json" if delta.name in OF_INFERENCE else "train.json"


def config(name: str, file: str) -> dict[str, Any]:
    loaded: dict[str, Any] = ConfigParser.load_config_file(BUNDLES / name / "configs" / file)
    return loaded


def entries(content: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary of a config, at any depth."""
    if isinstance(content, dict):
        yield content
    for child in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from entries(child)


def strings(content: Any) -> Iterator[str]:
    """Every string of a config: keys and values, at any depth."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from strings(value)
    elif isinstance(content, list):
        for value in content:
            yield from strings(value)


@name_of_bundle
def test_bundle_is_whole(name: str) -> None:
    assert check_bundle(BUNDLES / name) == []
    assert (BUNDLES / name / "configs" / "evaluate.json").is_file()
    assert "Apache License" in (BUNDLES / name / "LICENSE").read_text()


@name_of_bundle
@pytest.mark.assets
def test_metadata_fits_the_schema_of_monai(name: str, assets: Path) -> None:
    schema = json.loads((assets / "data" / "schema" / "meta_schema_20240725.json").read_text())
    metadata = config(name, "metadata.json")
    assert metadata["schema"].endswith("meta_schema_20240725.json")
    jsonschema.validate(metadata, schema)


@name_of_bundle
def test_version_is_the_newest_of_the_changelog(name: str) -> None:
    metadata = config(name, "metadata.json")
    versions = [tuple(map(int, version.split("."))) for version in metadata["changelog"]]
    assert max(versions) == tuple(map(int, metadata["version"].split(".")))
    assert all(line.strip() for line in metadata["changelog"].values())


def test_classes_are_those_of_the_package_everywhere() -> None:
    channels = config("spine_semiseg", "metadata.json")["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert channels == {str(index): structure for index, structure in STRUCTURES.items()}
    for file in ("train.json", "inference.json"):
        assert config("spine_semiseg", file)["labels"] == list(STRUCTURES.values())


@name_of_bundle
def test_training_and_inference_share_network_and_preprocessing(name: str) -> None:
    train, inference = config(name, "train.json"), config(name, "inference.json")
    assert train["network_def"] == inference["network_def"]
    assert train["network"] == inference["network"]
    steps = train["train"]["deterministic_transforms"]  # MONAI Label cannot leave a LoadImaged out that has no file
    assert [step for step in steps if step["_target_"] != "LoadImaged"] == inference["preprocessing"]["transforms"]
    assert train["validate"]["preprocessing"]["transforms"] == "%train#deterministic_transforms"
    shared = set(train) & set(inference) - {"initialize", "run", "case_keys", "checkpoint"}
    assert {key for key in shared if train[key] != inference[key]} == set()


@name_of_bundle
def test_every_tool_finds_its_ids(name: str) -> None:
    train = ConfigParser(config(name, "train.json"))
    inference = ConfigParser(config(name, "inference.json"))
    assert [key for key in IDS_OF_TRAIN if key not in train] == []
    assert [key for key in IDS_OF_INFERENCE if key not in inference] == []


@name_of_bundle
def test_monai_label_can_read_the_configs(name: str) -> None:
    """What MONAI Label 0.8.5 demands of a bundle: it reads one file, and gives ``image`` and a device as a string."""
    train, inference = config(name, "train.json"), config(name, "inference.json")
    handlers = train["train"]["handlers"]
    assert isinstance(handlers, list)
    assert all(isinstance(handler, dict) for handler in handlers)
    for file in (train, inference):
        assert "_meta_" not in file
        assert not any(text.startswith("%") and ".json" in text for text in strings(file))
        assert not any("@device." in text for text in strings(file))
        spacings = [entry for entry in entries(file) if entry.get("_target_") == "Spacingd"]
        assert not any("image" in ensure_tuple(entry["keys"]) for entry in spacings)
    for steps in (inference["preprocessing"]["transforms"], train["train"]["deterministic_transforms"]):
        assert steps[0]["_target_"] == "spinefuse_ext.transforms.FindImagesd"
    ((_, output),) = config(name, "metadata.json")["network_data_format"]["outputs"].items()
    numbers = list(output["channel_def"])
    assert numbers == [str(number) for number in range(len(numbers))]
    assert len({text.lower() for text in output["channel_def"].values()}) == len(numbers)
    assert (BUNDLES / name / "configs" / "logging.conf").is_file()


@pytest.mark.parametrize("path", DELTAS, ids=relative)
def test_delta_overrides_only_what_train_defines(path: Path) -> None:
    base = ConfigParser(ConfigParser.load_config_file(path.parent / base_of(path)))
    unknown = {key for key in ConfigParser.load_config_file(path) if key.lstrip("+") not in base}
    if path.name in OF_INFERENCE:
        assert unknown <= NEW_IN_INFERENCE
    else:
        assert unknown <= (RANK_IDS if path.name.startswith("multi_gpu") else NEW_IDS)


@pytest.mark.parametrize("method", METHODS)
def test_a_fusion_method_is_the_same_network_in_training_and_inference(method: str) -> None:
    assert {key.lstrip("+") for key in config("spine_fusion", f"{method}.json")} == {"network_def"}
    folder, networks = BUNDLES / "spine_fusion" / "configs", []
    for base in ("train.json", "inference.json"):
        parser = ConfigParser(ConfigParser.load_config_files([str(folder / base), str(folder / f"{method}.json")]))
        networks.append(parser.get_parsed_content("network_def"))
    assert str(networks[0]) == str(networks[1])
    assert str(networks[0]) != str(ConfigParser(config("spine_fusion", "train.json")).get_parsed_content("network_def"))


@pytest.mark.parametrize("path", CONFIGS, ids=relative)
def test_every_component_can_be_found(path: Path) -> None:
    targets = [entry for entry in entries(ConfigParser.load_config_file(path)) if "_target_" in entry]
    assert bool(targets) == (path.name not in PLAIN)
    locator = ComponentLocator()
    for entry in targets:
        bare = {"_target_": entry["_target_"], "_mode_": "callable"}
        assert callable(ConfigComponent(bare, locator=locator).instantiate()), entry["_target_"]


@pytest.mark.parametrize("path", CONFIGS, ids=relative)
def test_no_component_is_named_like_a_module(path: Path) -> None:
    """Python 3.12 and newer would take the module instead of what the package calls by its name."""
    targets = {str(entry.get("_target_")) for entry in entries(ConfigParser.load_config_file(path))}
    assert not [name for name in targets if name.startswith("spinefuse_ext.") and _is_module(name)]


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # what stands before the last dot is a module, no package
        return False


def test_a_component_that_does_not_exist_is_not_found() -> None:
    """The test above can fail."""
    with pytest.raises((ModuleNotFoundError, AttributeError), match="LossOfNerve"):
        ConfigComponent({"_target_": "monai.losses.LossOfNerve"}, locator=ComponentLocator()).instantiate()


@pytest.mark.parametrize("path", CONFIGS, ids=relative)
def test_every_reference_points_at_something(path: Path) -> None:
    files = [path] if path.name in FULL else [path.parent / base_of(path), path]
    parser = ConfigParser(ConfigParser.load_config_files([str(file) for file in files]))
    references = {ref for text in strings(parser.get()) for ref in re.findall(r"(?<!\w)[@%]([A-Za-z_][\w#]*)", text)}
    assert {ref for ref in references if ref not in parser} == set()


@pytest.mark.parametrize("path", CONFIGS, ids=relative)
def test_image_is_never_respaced_and_no_key_clashes_with_its_prefixes(path: Path) -> None:
    """MONAI's ``Spacingd`` fails on other keys that begin with the name of one of its own and an underscore."""
    content = ConfigParser.load_config_file(path)
    for respaced in [entry["keys"] for entry in entries(content) if entry.get("_target_") == "Spacingd"]:
        keys = ensure_tuple(ConfigParser({**content, "respaced": respaced}).get_parsed_content("respaced"))
        assert "image" not in keys
    written = [
        key
        for entry in entries(content)
        for option in ("keys", "names", "name", "key_dst", "label_key", "orig_keys")
        for key in ([entry[option]] if isinstance(entry.get(option), str) else entry.get(option) or [])
        if isinstance(key, str)
    ]
    assert [key for key in written if re.match(r"(ct|mr|label|image)_", key)] == []


@name_of_bundle
def test_handlers_of_training_are_a_literal_list(name: str) -> None:
    """MONAI's federated client walks the list and reads the ``_target_`` of each."""
    handlers = config(name, "train.json")["train"]["handlers"]
    assert isinstance(handlers, list)
    assert all(isinstance(handler, dict) and isinstance(handler["_target_"], str) for handler in handlers)


@name_of_bundle
def test_what_a_user_changes_stands_before_the_first_component(name: str) -> None:
    for file in ("train.json", "inference.json"):
        content = config(name, file)
        kinds = ["component" if ConfigComponent.is_instantiable(value) else "value" for value in content.values()]
        numbers = [kind for key, kind in zip(content, kinds, strict=True) if key not in ("initialize", "run")]
        first = numbers.index("component")
        plain = [key for key, value in list(content.items())[first:] if isinstance(value, (int, float, str, bool))]
        assert plain == []


def test_data_keys_of_the_configs_are_those_of_the_package() -> None:
    keys = {str(member) for member in CaseKeys}
    assert set(config("spine_fusion", "train.json")["pair_keys"]) <= keys
    assert set(config("spine_semiseg", "train.json")["image_keys"]) <= keys


def test_sections_that_the_configs_ask_for_are_those_of_datalists() -> None:
    asked = [
        entry["sections"]
        for path in CONFIGS
        for entry in entries(ConfigParser.load_config_file(path))
        if isinstance(entry.get("sections"), list)
    ]
    assert len(asked) > 4
    assert {section for sections in asked for section in sections} <= {str(section) for section in Section}


def test_expressions_are_legal_python() -> None:
    for path in CONFIGS:
        for text in strings(ConfigParser.load_config_file(path)):
            if text.startswith("$"):
                mode = "exec" if text.startswith("$import ") else "eval"
                compile(re.sub(r"[@%]([\w#]+)", lambda match: match[1].replace("#", "_"), text[1:]), text, mode)
                assert ConfigItem(text).get_config() == text
