"""``spinefuse benchmark weights`` from end to end with a network of a few channels on images of a few voxels."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from spinefuse_ext.__main__ import main
from spinefuse_ext.benchmark import benchmark
from spinefuse_ext.metrics import overlap_table
from spinefuse_ext.validation import ConfigError
from spinefuse_ext.volumes import read_volume

BUNDLE = Path(__file__).parents[2] / "bundles" / "spine_semiseg"
SHAPE = (4, 40, 48)
SMALL: dict[str, Any] = {"unet_channels": [4, 4, 4, 4, 4], "canvas": [48, 48], "device": "cpu", "keep_spine": False}
OPTIONS: dict[str, Any] = {"delta": "supervised_unet.json", **SMALL}
AFFINE = np.diag([3.0, 1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a UNet of 4 channels, as they are drawn."""
    parser = ConfigParser()
    parser.read_config([str(BUNDLE / "configs" / name) for name in ("inference.json", "supervised_unet.json")])
    parser.update({**SMALL, "checkpoint": None, "bundle_root": str(BUNDLE)})
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.save(parser.get_parsed_content("network_def").state_dict(), path)
    return path


@pytest.fixture
def data(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A volume with three structures, one of pictures, and one with bodies alone; the panel lists them."""
    from skimage import io

    folder = tmp_path / "data"
    folder.mkdir()
    label = np.zeros(SHAPE, dtype=np.uint8)
    for number in (1, 2, 3):
        label[:, 8 * number : 8 * number + 6, 10:30] = number
    image = np.choose(label, [20, 200, 120, 60]) + rng.integers(0, 9, SHAPE)
    for name, voxels in (("image", image.astype(np.int16)), ("label", 10 * label), ("bodies", label)):
        nib.save(nib.Nifti1Image(voxels, AFFINE), folder / f"{name}.nii.gz")
    for name, voxels in (("images", image.astype(np.uint8)), ("masks", label)):
        (folder / name).mkdir()
        for index in range(SHAPE[0]):
            picture = voxels[index, ::-1, ::-1].T  # superior up, anterior left
            io.imsave(folder / name / f"pat_s{index:03d}.png", picture, check_contrast=False)
    structures = {"10": "vertebra", "20": "disc", "30": "canal"}
    pictures = {"pattern": r"(pat)_s(\d+)$", "spacing_mm": [1, 1, 3]}
    cases = [
        {
            "name": "file",
            "group": "files",
            "image": "image.nii.gz",
            "labels": [{"file": "label.nii.gz", "relabel": structures}],
        },
        {
            "name": "stack",
            "group": "stacks",
            "image": {"slices": "images", **pictures},
            "labels": [
                {"file": {"slices": "masks", **pictures}, "relabel": {"1": "vertebra", "2": "disc", "3": "canal"}}
            ],
        },
        {
            "name": "bodies",
            "group": "files",
            "image": "image.nii.gz",
            "key": "mr",
            "labels": [{"file": "bodies.nii.gz", "relabel": "bodies"}],
        },
    ]
    (folder / "panel.json").write_text(json.dumps({"cases": cases}), encoding="utf-8")
    return folder


def run(data: Path, out: Path, weights: Path, **options: Any) -> dict[str, Any]:
    benchmark(
        "weights", str(data / "panel.json"), str(out), data_dir=str(data), checkpoint=str(weights), **OPTIONS, **options
    )
    content: dict[str, Any] = json.loads((out / "table.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture
def measured(data: Path, weights: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    out = tmp_path / "out"
    return out, run(data, out, weights, variants=["native", "flip_head_feet"])


def test_every_case_and_variant_has_the_scores_of_the_prediction_that_was_written(
    measured: tuple[Path, dict[str, Any]], data: Path
) -> None:
    out, content = measured
    found = {(case["case"], case["variant"]): case for case in content["cases"]}
    assert set(found) == {
        (name, variant) for name in ("file", "stack", "bodies") for variant in ("native", "flip_head_feet")
    }
    label = read_volume(data / "label.nii.gz")
    label.set_array(label.as_tensor() / 10)
    own = overlap_table(read_volume(out / "predictions" / "file" / "native" / "prediction.nii.gz"), label)
    assert {"vertebra", "disc", "canal"} <= set(own)
    for name, row in own.items():
        if name == "sacrum":  # the label of this case does not know it
            continue
        assert found["file", "native"]["dice"][name] == pytest.approx(row["dice"], abs=1e-6)
    assert found["bodies", "native"]["dice"] == {}
    assert len(found["bodies", "native"]["bodies"]["recall"]) == 3
    assert found["file", "native"]["cpu_s"] > 0
    trust = json.loads((out / "predictions" / "file" / "native" / "trust.json").read_text(encoding="utf-8"))
    assert found["file", "native"]["trust"]["disc"] == trust["structures"]["disc"]["trust"]


def test_a_stack_of_pictures_is_the_volume_that_was_cut_into_them(measured: tuple[Path, dict[str, Any]]) -> None:
    found = {(case["case"], case["variant"]): case for case in measured[1]["cases"]}
    assert found["stack", "native"]["dice"] == pytest.approx(found["file", "native"]["dice"], abs=1e-6)


def test_the_same_image_stored_the_other_way_round_has_the_same_scores(measured: tuple[Path, dict[str, Any]]) -> None:
    found = {(case["case"], case["variant"]): case for case in measured[1]["cases"]}
    assert found["file", "flip_head_feet"]["dice"] == pytest.approx(found["file", "native"]["dice"], abs=1e-6)


def test_tables_pictures_and_the_page_are_there(measured: tuple[Path, dict[str, Any]]) -> None:
    out, content = measured
    with (out / "table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(content["cases"])
    assert float(rows[0]["vertebra"]) == content["cases"][0]["dice"]["vertebra"]
    page = (out / "table.md").read_text(encoding="utf-8")
    for name in ("file", "stack", "bodies"):
        assert f"pictures/{name}.png" in page
        assert (out / "pictures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "trust.png").is_file()
    assert content["trust"]["count"] == 12  # three structures of two cases, twice


def test_what_was_measured_is_not_measured_again_until_weights_or_settings_change(
    measured: tuple[Path, dict[str, Any]], data: Path, weights: Path, tmp_path: Path
) -> None:
    out, content = measured
    prediction = out / "predictions" / "file" / "native" / "prediction.nii.gz"
    prediction.unlink()
    assert run(data, out, weights, variants=["native"], pictures=False)["cases"][0] == content["cases"][0]
    assert not prediction.exists()
    other = tmp_path / "other.pt"
    torch.save({name: value + 0.1 for name, value in torch.load(weights).items()}, other)
    run(data, out, other, variants=["native"], groups=["files"], pictures=False)
    assert prediction.exists()


def test_earlier_weights_stand_beside_the_new_ones(
    measured: tuple[Path, dict[str, Any]], data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = f"before={measured[0] / 'table.json'}"
    run(data, tmp_path / "new", weights, quick=True, beside=[earlier], name="after", pictures=False)
    header = "| group | variant | after | after, rows | after, far | before | before, rows | before, far |"
    assert header in capsys.readouterr().out
    assert header in (tmp_path / "new" / "table.md").read_text(encoding="utf-8")


def test_the_state_of_a_training_is_a_checkpoint(data: Path, weights: Path, tmp_path: Path) -> None:
    state = {"epoch": 1, "iteration": 1, "max_epochs": 1, "trainer": {}, "validator": {}}
    torch.save({**state, "objects": {"network": torch.load(weights)}}, tmp_path / "training_epoch_0001.pt")
    of_state = run(data, tmp_path / "a", tmp_path / "training_epoch_0001.pt", quick=True, groups=["stacks"])
    of_weights = run(data, tmp_path / "b", weights, quick=True, groups=["stacks"])
    assert of_state["cases"][0]["dice"] == of_weights["cases"][0]["dice"]


def test_a_label_without_what_it_should_hold_is_refused(data: Path, weights: Path, tmp_path: Path) -> None:
    panel = json.loads((data / "panel.json").read_text(encoding="utf-8"))
    panel["cases"][0]["labels"][0]["relabel"] = {"7": "vertebra"}
    (data / "panel.json").write_text(json.dumps(panel), encoding="utf-8")
    with pytest.raises(Exception, match=r"holds nothing of vertebra; its numbers are \[0, 10, 20, 30\]"):
        run(data, tmp_path / "out", weights)


def test_an_unknown_subject_ends_with_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", "wait", str(data / "panel.json"), str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "It is one of weights." in capsys.readouterr().err


def test_a_setting_that_no_config_knows_is_refused(data: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean canvas"):
        run(data, tmp_path / "out", weights, canvass=[32, 32])
