from __future__ import annotations

from typing import Any

import pytest
from monai.bundle import ConfigParser

from spinefuse_ext.runs.configs import bundle_config
from spinefuse_ext.verbs.commands import find_bundle
from spinefuse_ext.verbs.demo import SMALL_FUSION, SMALL_SEMISEG, inference_settings


@pytest.mark.parametrize(("task", "small"), [("fusion", SMALL_FUSION), ("semiseg", SMALL_SEMISEG)])
def test_what_the_demo_trains_fits_what_it_labels_with(task: str, small: dict[str, Any]) -> None:
    bundle, shapes = find_bundle(task), []
    for file, settings in (("train.json", small), ("inference.json", inference_settings(task, small))):
        config = bundle_config(bundle, (file,), {**settings, "device": "cpu"})
        network = ConfigParser(config).get_parsed_content("network_def")
        shapes.append({name: value.shape for name, value in network.state_dict().items()})
        assert config["canvas"] == small["canvas"]
    assert shapes[0] == shapes[1]
    assert set(inference_settings(task, small)) < set(small)
