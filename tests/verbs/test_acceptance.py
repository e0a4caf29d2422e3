"""What the MONAI model zoo asks of a bundle, by the commands that its users type, away from the bundle's folder."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, create_workflow

from spinefuse_ext.data import write_phantoms
from spinefuse_ext.networks import load_weights

NAMES = ("spine_fusion", "spine_semiseg")
CHANNELS = {"spine_fusion": 2, "spine_semiseg": 1}
SIZES = {"spine_fusion": [(1, 96, 128), (3, 64, 48), (1, 256, 144), (1, 37, 5)]}
SIZES["spine_semiseg"] = [(1, 96, 128), (3, 64, 48), (1, 256, 144), (2, 32, 32)]
AXES = "{0: 'batch', 2: 'height', 3: 'width'}"
ONNX = f"{{'input_names': ['image'], 'output_names': ['pred'], 'dynamic_axes': {{'image': {AXES}, 'pred': {AXES}}}}}"
TOLERANCE = 1e-5  # of values in [0, 1], float32

name_of_bundle = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def bundles(small_bundle: Callable[[str, Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both bundles, their networks small and their weights random."""
    root = tmp_path_factory.mktemp("bundles")
    for name in NAMES:
        small_bundle(name, root)
    return root


@pytest.fixture
def command(bundles: Path, tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs ``python -m monai.bundle VERB`` in an empty folder and returns what it says."""

    def run(verb: str, *arguments: str) -> str:
        line = [sys.executable, "-W", "ignore", "-m", "monai.bundle", verb, *arguments]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout + done.stderr

    return run


def given(bundle: Path, *, meta: bool = False) -> list[str]:
    """The options that every verb needs from another folder."""
    options = ["--config_file", str(bundle / "configs" / "inference.json"), "--bundle_root", str(bundle)]
    return options + (["--meta_file", str(bundle / "configs" / "metadata.json")] if meta else [])


def network(bundle: Path) -> torch.nn.Module:
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser["bundle_root"] = str(bundle)
    made: torch.nn.Module = parser.get_parsed_content("network_def").eval()
    load_weights(made, bundle / "models" / "model.pt")
    return made


def images(name: str) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.rand(batch, CHANNELS[name], *size) for batch, *size in SIZES[name]]


@pytest.mark.slow
@pytest.mark.assets
@name_of_bundle
def test_verify_metadata(command: Callable[..., str], bundles: Path, assets: Path, tmp_path: Path, name: str) -> None:
    schema = shutil.copy(assets / "data" / "schema" / "meta_schema_20240725.json", tmp_path / "schema.json")
    meta = str(bundles / name / "configs" / "metadata.json")
    assert "verified with no error" in command("verify_metadata", "--meta_file", meta, "--filepath", str(schema))


@pytest.mark.slow
@name_of_bundle
@pytest.mark.parametrize("net_id", ["network_def", "network"])
def test_verify_net_in_out(command: Callable[..., str], bundles: Path, name: str, net_id: str) -> None:
    said = command("verify_net_in_out", net_id, *given(bundles / name, meta=True), "--n", "2")
    assert "data shape of network is verified with no error" in said


@pytest.mark.slow
@name_of_bundle
def test_ckpt_export_computes_the_same_at_every_size(command: Callable[..., str], bundles: Path, name: str) -> None:
    bundle = bundles / name
    command("ckpt_export", *given(bundle))
    extra = {"metadata.json": b"", "inference.json": b""}
    exported = torch.jit.load(str(bundle / "models" / "model.ts"), _extra_files=extra).eval()
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert json.loads(extra["metadata.json"])["version"] == metadata["version"]
    assert json.loads(extra["inference.json"])["network_def"]
    original = network(bundle)
    for image in images(name):
        with torch.no_grad():
            torch.testing.assert_close(exported(image), original(image), atol=TOLERANCE, rtol=0)


@pytest.mark.slow
@name_of_bundle
def test_onnx_export_computes_the_same_at_every_size(
    command: Callable[..., str], bundles: Path, tmp_path: Path, name: str
) -> None:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason="the extra onnx brings it")
    runtime = pytest.importorskip("onnxruntime", reason="the extra onnx brings it")
    bundle, path = bundles / name, tmp_path / "model.onnx"
    command(
        *("onnx_export", "network_def", "--filepath", str(path), *given(bundle, meta=True)),
        *("--ckpt_file", str(bundle / "models" / "model.pt"), "--input_shape", f"[2,{CHANNELS[name]},96,128]"),
        *("--converter_kwargs", ONNX),
    )
    session = runtime.InferenceSession(path)
    original = network(bundle)
    for image in images(name):
        (computed,) = session.run(["pred"], {"image": image.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(computed, original(image).numpy(), atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="TensorRT needs a GPU of NVIDIA")
@pytest.mark.skipif(importlib.util.find_spec("torch_tensorrt") is None, reason="torch_tensorrt is not installed")
@name_of_bundle
def test_trt_export_computes_the_same(command: Callable[..., str], bundles: Path, tmp_path: Path, name: str) -> None:
    bundle, path = bundles / name, tmp_path / "model_trt.ts"
    command(
        *("trt_export", "network_def", "--filepath", str(path), *given(bundle, meta=True), "--precision", "fp32"),
        *("--ckpt_file", str(bundle / "models" / "model.pt"), "--input_shape", f"[1,{CHANNELS[name]},96,128]"),
    )
    importlib.import_module("torch_tensorrt")
    image = images(name)[0].cuda()
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(str(path))(image), network(bundle).cuda()(image), atol=1e-3, rtol=0)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small phantom as the test case, its CT standing for a fused volume."""
    root = tmp_path_factory.mktemp("phantom")
    write_phantoms(root, cases=1, size_mm=(32.0, 48.0, 48.0), spacing_mm=2.0, dicom=False)
    files = {"ct": "ct.nii.gz", "mr": "mr.nii.gz", "fused": "ct.nii.gz"}
    item = {"patient": "case_000", **{key: f"case_000/{file}" for key, file in files.items()}}
    (root / "datalist.json").write_text(json.dumps({"test": [item]}))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["run", "run_workflow"])
@pytest.mark.parametrize(("name", "result"), [("spine_fusion", "fused"), ("spine_semiseg", "prediction")])
def test_inference_by_command(
    command: Callable[..., str], bundles: Path, phantom: Path, tmp_path: Path, *, name: str, result: str, verb: str
) -> None:
    command(
        *(verb, *given(bundles / name), "--dataset_dir", str(phantom), "--sections", "['test']"),
        *("--output_dir", str(tmp_path / "out")),
    )
    assert [path.parent.name for path in (tmp_path / "out").rglob(f"{result}.nii.gz")] == ["case_000"]


@name_of_bundle
@pytest.mark.parametrize(("file", "kind"), [("train.json", "train"), ("inference.json", "inference")])
def test_a_workflow_that_monai_creates_has_every_property(
    bundles: Path, phantom: Path, tmp_path: Path, *, name: str, file: str, kind: str
) -> None:
    item = json.loads((phantom / "datalist.json").read_text())["test"][0]
    item["label"] = "case_000/label.nii.gz"
    sections: dict[str, Any] = {
        section: [{**item, "patient": section}] for section in ("labelled", "unlabelled", "validation", "test")
    }
    datalist = tmp_path / "all.json"
    datalist.write_text(json.dumps(sections))
    workflow = create_workflow(
        config_file=str(bundles / name / "configs" / file),
        workflow_type=kind,
        logging_file=False,
        bundle_root=str(bundles / name),
        dataset_dir=str(phantom),
        datalist=str(datalist),
        output_dir=str(tmp_path / "out"),
        device="cpu",
        **({"cache": "none", "ckpt_dir": str(tmp_path / "models")} if kind == "train" else {}),
    )
    assert workflow.check_properties() == []
    assert workflow.version == json.loads((bundles / name / "configs" / "metadata.json").read_text())["version"]
