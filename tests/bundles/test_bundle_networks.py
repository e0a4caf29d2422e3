from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, verify_net_in_out

from spinefuse_ext.validation import WeightsError

BUNDLES = Path(__file__).parents[2] / "bundles"
SMALL: dict[str, dict[str, Any]] = {
    "spine_fusion": {"network_def#dim": 8, "network_def#num_blocks": [1, 1], "network_def#num_heads": 2},
    "spine_semiseg": {"network_def#unet#channels": [4, 8, 16, 32, 64]},
}
CHANNELS = {"spine_fusion": (2, 1), "spine_semiseg": (1, 5)}
name_of_bundle = pytest.mark.parametrize("name", SMALL)


def files(name: str, config: str = "inference.json") -> dict[str, Any]:
    folder = BUNDLES / name / "configs"
    return {"meta_file": str(folder / "metadata.json"), "config_file": str(folder / config)}


@name_of_bundle
@pytest.mark.parametrize("n", [1, 3])
def test_network_takes_and_gives_what_the_metadata_says(name: str, n: int) -> None:
    verify_net_in_out("network", **files(name, "train.json"), device="cpu", n=n, **SMALL[name])


@name_of_bundle
@pytest.mark.parametrize("net_id", ["network_def", "network"])
def test_the_shipped_network_takes_and_gives_what_the_metadata_says(name: str, net_id: str) -> None:
    verify_net_in_out(net_id, **files(name), device="cpu", n=1, bundle_root=str(BUNDLES / name))


@name_of_bundle
def test_a_network_without_its_weights_is_not_verified(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no trained weights.*model\.pt does not exist"):
        verify_net_in_out("network_def", **files(name), device="cpu", n=1, bundle_root=str(tmp_path))


@name_of_bundle
def test_metadata_with_another_channel_count_would_be_noticed(name: str) -> None:
    wrong: dict[str, Any] = {"_meta_#network_data_format#outputs#pred#num_channels": 7}
    with pytest.raises(ValueError, match="output channel number"):
        verify_net_in_out("network", **files(name, "train.json"), device="cpu", n=1, **SMALL[name], **wrong)


@pytest.mark.slow
@name_of_bundle
def test_exported_network_computes_the_same(name: str, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(files(name)["config_file"])
    parser.update({"bundle_root": str(BUNDLES / name), "device": "cpu", "checkpoint": None, **SMALL[name]})
    network = parser.get_parsed_content("network").eval()
    torch.save({"model": network.state_dict()}, tmp_path / "model.pt")
    ckpt_export(
        "network",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(tmp_path / "model.pt"),
        **files(name),
        key_in_ckpt="model",
        device="cpu",
        **SMALL[name],
    )
    exported = torch.jit.load(str(tmp_path / "model.ts")).eval()
    inputs, outputs = CHANNELS[name]
    image = torch.rand(2, inputs, 64, 32)
    with torch.no_grad():
        expected, computed = network(image), exported(image)
    assert computed.shape == (2, outputs, 64, 32)
    torch.testing.assert_close(computed, expected)
