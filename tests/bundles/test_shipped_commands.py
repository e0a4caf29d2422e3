"""The commands that the pages show, on the files that are shipped and a machine without a GPU; images are tiny."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ConfigParser
from monai.handlers import CheckpointLoader

from spinefuse_ext.__main__ import main
from spinefuse_ext.handlers.checkpoints import stored_devices
from spinefuse_ext.validation import ResumeError

pytestmark = pytest.mark.slow

BUNDLES = Path(__file__).parents[2] / "bundles"
NAMES = ("spine_fusion", "spine_semiseg")
CANVAS = [48, 48]
CHANNELS = {"spine_fusion": 2, "spine_semiseg": 1}
name_of_bundle = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cases of two slices, with every image and label, in the sections of a training."""
    root = tmp_path_factory.mktemp("cases")
    rng = np.random.default_rng(0)
    sections: dict[str, list[dict[str, str]]] = {}
    for section in ("labelled", "unlabelled", "validation"):
        (root / section).mkdir()
        images = {key: rng.normal(300, 200, (2, 48, 48)).astype(np.float32) for key in ("ct", "mr", "fused")}
        images["label"] = np.digitize(images["fused"], [200, 300, 500]).astype(np.uint8)
        for key, voxels in images.items():
            nib.save(nib.Nifti1Image(voxels, np.eye(4)), root / section / f"{key}.nii.gz")
        keys = ("ct", "mr", "fused") if section == "unlabelled" else images
        sections[section] = [{"patient": section, **{key: f"{section}/{key}.nii.gz" for key in keys}}]
    (root / "datalist.json").write_text(json.dumps(sections))
    return root


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Both bundles as they are shipped, to be written into."""
    shutil.copytree(BUNDLES, tmp_path / "bundles", ignore=shutil.ignore_patterns("eval"))
    return tmp_path / "bundles"


def files(bundle: Path, *names: str) -> dict[str, Any]:
    paths = [str(bundle / "configs" / name) for name in names or ("inference.json",)]
    return {"config_file": paths[0] if len(paths) == 1 else paths, "bundle_root": str(bundle)}


def run(bundle: Path, *names: str, **overrides: Any) -> None:
    canvas = {"canvas": CANVAS, "device": "cpu"}
    monai.bundle.run(**files(bundle, *names), **{"logging_file": False, **canvas, **overrides})


def image(name: str) -> torch.Tensor:
    return torch.rand(2, CHANNELS[name], 48, 64)


def network(bundle: Path) -> torch.nn.Module:
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser.update({"bundle_root": str(bundle), "device": "cpu"})
    made: torch.nn.Module = parser.get_parsed_content("network").eval()
    return made


@name_of_bundle
def test_ckpt_export(name: str, copy: Path) -> None:
    monai.bundle.ckpt_export(**files(copy / name))
    exported = torch.jit.load(str(copy / name / "models" / "model.ts")).eval()
    with torch.no_grad():
        pair = image(name)
        torch.testing.assert_close(exported(pair), network(BUNDLES / name)(pair))


@name_of_bundle
def test_onnx_export(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    bundle = BUNDLES / name
    monai.bundle.onnx_export(
        "network_def",
        filepath=str(tmp_path / "model.onnx"),
        ckpt_file=str(bundle / "models" / "model.pt"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        input_shape=[2, CHANNELS[name], 48, 64],
        **files(bundle),
    )
    session, pair = runtime.InferenceSession(tmp_path / "model.onnx"), image(name)
    (computed,) = session.run(None, {session.get_inputs()[0].name: pair.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(computed), network(bundle)(pair), atol=1e-4, rtol=1e-3)


@name_of_bundle
@pytest.mark.assets
def test_verify_metadata(name: str, assets: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    shutil.copyfile(assets / "data" / "schema" / "meta_schema_20240725.json", schema)
    monai.bundle.verify_metadata(meta_file=str(BUNDLES / name / "configs" / "metadata.json"), filepath=str(schema))


@name_of_bundle
def test_monais_checkpoint_loader(name: str) -> None:
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / name / "configs" / "train.json"))
    made = parser.get_parsed_content("network_def")
    engine = Engine(lambda engine, batch: None)
    CheckpointLoader(str(BUNDLES / name / "models" / "model.pt"), {"model": made}).attach(engine)
    engine.run([0], max_epochs=1)
    state = torch.load(BUNDLES / name / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, state[key]) for key, value in made.state_dict().items())


@name_of_bundle
def test_inference_and_evaluation(name: str, cases: Path, copy: Path, tmp_path: Path) -> None:
    places = {"dataset_dir": str(cases), "sections": ["validation"]}
    run(copy / name, output_dir=str(tmp_path / "out"), **places)
    assert list((tmp_path / "out").rglob("*.nii.gz"))
    run(copy / name, "train.json", "evaluate.json", output_dir=str(tmp_path / "scores"), **places)
    assert (tmp_path / "scores" / "metrics.csv").is_file()


@name_of_bundle
def test_fine_tuning(name: str, cases: Path, copy: Path, tmp_path: Path) -> None:
    small: dict[str, Any] = {"crops_per_case": 1, "batch_size": 1, "epochs": 1, "learning_rate": 1e-9}
    small |= {"patch_size": [32, 32], "stage3_epochs": 0} if name == "spine_fusion" else {"vnet_dropout": 0.1}
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval"), "dataset_dir": str(cases)}
    run(copy / name, "train.json", "fine_tune.json", **small, **places)
    tuned = torch.load(tmp_path / "models" / "model_final.pt", weights_only=True)
    shipped = torch.load(BUNDLES / name / "models" / "model.pt", weights_only=True)
    learnt = [key for key, _ in network(BUNDLES / name).named_parameters() if not key.startswith("axial.")]
    same = [torch.allclose(tuned[key], shipped[key].to(tuned[key].dtype), atol=1e-6) for key in learnt]
    assert all(same), "hardly anything was learnt"
    assert not any(key.startswith("axial.") for key in tuned)
    assert {device for path in (tmp_path / "models").iterdir() for device in stored_devices(path)} == {"cpu"}


def test_trainings_as_monai_label_starts_them(cases: Path, copy: Path) -> None:
    """Its task overrides the handlers, with a CheckpointLoader before them, and trains in the bundle's folder again."""
    bundle = copy / "spine_semiseg"
    handlers = ConfigParser.load_config_file(bundle / "configs" / "train.json")["train"]["handlers"]
    weights = {"load_path": str(bundle / "models" / "model.pt"), "load_dict": {"model": "$@network"}, "strict": False}
    labelled = [{"image": str(cases / "labelled" / "fused.nii.gz"), "label": str(cases / "labelled" / "label.nii.gz")}]
    given: dict[str, Any] = {
        "train#trainer#max_epochs": 1,
        "train#dataset#data": labelled,
        "validate#dataset#data": labelled,
        "train#unlabelled_dataset#data": [{"image": labelled[0]["image"]}],
        "train#handlers": [{"_target_": "CheckpointLoader", **weights}, *handlers],
        "val_interval": 1,
    }
    for _ in range(2):
        run(bundle, "train.json", **given)
    assert stored_devices(bundle / "models" / "model.pt") == {"cpu"}
    with pytest.raises(ResumeError, match="is of another training"):
        _cause(bundle, {key: value for key, value in given.items() if key != "train#handlers"})


def _cause(bundle: Path, overrides: dict[str, Any]) -> None:
    try:
        run(bundle, "train.json", **overrides)
    except Exception as error:
        found: BaseException = error
        while not isinstance(found, ResumeError) and (found.__cause__ or found.__context__):
            found = found.__cause__ or found.__context__ or found
        raise found from None


def test_the_verbs_with_the_weights_that_the_bundles_hold(cases: Path, tmp_path: Path) -> None:
    case, out = cases / "validation", tmp_path / "out"
    pair = ["--ct", f"{case}/ct.nii.gz", "--mr", f"{case}/mr.nii.gz"]
    main(["segment", *pair, "--out", str(out), "--canvas", "[48,48]"])
    assert not (out / "fused.nii.gz").exists()
    main(["segment", *pair, "--fused", "--out", str(out), "--canvas", "[48,48]"])
    assert nib.nifti1.load(out / "fused.nii.gz").shape == (2, 48, 48)
    assert set(np.unique(nib.nifti1.load(out / "prediction.nii.gz").dataobj)) <= {0, 1, 2, 3}
