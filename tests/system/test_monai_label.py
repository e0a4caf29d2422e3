"""A real MONAI Label server with this project's app and bundles, from the first upload to the next case to label.

It runs in an environment of its own (`make monailabel`), and this file only talks to it over HTTP.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from spinefuse_ext.data import write_phantoms
from tests.system.dicomweb import Archive
from tests.torchscript import save_program

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("SPINEFUSE_MONAILABEL", ROOT / ".venv-monailabel")) / "bin" / "python"
SMALL = {
    "spine_fusion": {
        "canvas": [64, 64],
        "patch_size": [32, 32],
        "crops_per_case": 1,
        "batch_size": 2,
        "network_def#dim": 8,
        "network_def#num_blocks": [1, 1],
        "network_def#num_heads": 2,
    },
    "spine_semiseg": {
        "canvas": [64, 64],
        "crops_per_case": 2,
        "unet_channels": [4, 8, 8, 8, 8],
        "vnet_channels": [4, 8, 8, 8, 8],
    },
}
VIEWER = "http://viewer.example:3000"
NAMES = ("c0_ct", "c1_ct", "c2_ct")
STRUCTURES = json.loads((ROOT / "bundles/spine_semiseg/configs/inference.json").read_text())["labels"][1:]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.is_file(), reason=f"no MONAI Label in {PYTHON.parents[1]}; `make monailabel` first"),
]


class Server:
    """A MONAI Label server in a process of its own, spoken to over HTTP."""

    def __init__(self, command: list[str], log: Path, **variables: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = log
        variables |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MONAI_LABEL_AUTO_UPDATE_SCORING": "false"}
        self.process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(self.port)],
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
            cwd=log.parent,
        )

    def wait(self, seconds: float = 600) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                self.json("GET", "/info/")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.5)
        raise AssertionError(f"no answer in {seconds} s: {self.log.read_text()[-3000:]}")

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, {"Content-Type": kind})
        request.method = method
        with urllib.request.urlopen(request, timeout=300) as answer:
            content: bytes = answer.read()
        return content

    def json(self, method: str, path: str, **values: Any) -> Any:
        return json.loads(self.ask(method, path, json.dumps(values).encode() if values else None))

    def form(self, method: str, path: str, fields: dict[str, str], files: dict[str, Path]) -> bytes:
        """A request as a browser's form with files sends it."""
        mark = uuid.uuid4().hex
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n'.encode() for n, v in fields.items()
        ]
        for name, path_ in files.items():
            head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{path_.name}"\r\n\r\n'
            parts.append(head.encode() + path_.read_bytes() + b"\r\n")
        return self.ask(
            method, path, b"".join(parts) + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"
        )

    def infer(self, model: str, image: str, **params: Any) -> dict[str, Any]:
        answer = self.form("POST", f"/infer/{model}?image={image}&output=json", {"params": json.dumps(params)}, {})
        found: dict[str, Any] = json.loads(answer)
        return found

    def volume(self, model: str, image: str, to: Path, **params: Any) -> nib.Nifti1Image:
        to.write_bytes(
            self.form("POST", f"/infer/{model}?image={image}&output=image", {"params": json.dumps(params)}, {})
        )
        volume: nib.Nifti1Image = nib.load(to)
        return volume

    def finish(self, task: str, seconds: float = 300) -> dict[str, Any]:
        """Wait for the end of a training or a scoring."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status: dict[str, Any] = self.json("GET", f"/{task}/?all=false")
            if status["status"] not in ("SUBMITTED", "RUNNING"):
                assert status["status"] == "DONE", "\n".join(status["details"])
                return status
            time.sleep(0.5)
        raise AssertionError(f"{task} does not end: {self.log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both bundles with tiny networks and random weights."""
    root = tmp_path_factory.mktemp("bundles")
    for name, values in SMALL.items():
        shutil.copytree(ROOT / "bundles" / name, root / name, ignore=shutil.ignore_patterns("models", "eval"))
        for file in ("train", "inference"):
            path = root / name / "configs" / f"{file}.json"
            parser = ConfigParser(ConfigParser.load_config_file(path))
            for key, value in values.items():
                if "#" in key or key in parser.config:
                    parser[key] = value
            path.write_text(json.dumps(parser.config, indent=4))
        torch.manual_seed(0)
        network = parser.get_parsed_content("network_def")
        (root / name / "models").mkdir()
        torch.save(network.state_dict(), root / name / "models" / "model.pt")
    return root


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(
        tmp_path_factory.mktemp("phantoms"), cases=3, size_mm=(40, 96, 96), spacing_mm=2.0, dicom=False
    )


def same_grid(volume: nib.Nifti1Image, phantom: Path) -> bool:
    ct = nib.load(phantom / "ct.nii.gz")
    return volume.shape == ct.shape and np.allclose(volume.affine, ct.affine, atol=1e-3)


@pytest.fixture(scope="module")
def server(bundles: Path, phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Our app on an empty folder of studies, into which three CTs and MRs are uploaded, one MR by another name."""
    root = tmp_path_factory.mktemp("server")
    options = ["--studies", str(root / "studies"), "--app", str(root / "app"), "--bundles", str(bundles)]
    options += ["--origins", VIEWER]
    started = Server([str(PYTHON), "-m", "spinefuse_ext", "label-server", *options], root / "server.log")
    try:
        started.wait()
        for number in range(3):
            case = phantoms / f"case_{number:03d}"
            started.form("PUT", f"/datastore/?image=c{number}_ct", {}, {"file": case / "ct.nii.gz"})
            mr = f"c{number}_mr" if number < 2 else "other_mr"
            started.form("PUT", f"/datastore/?image={mr}", {}, {"file": case / "mr.nii.gz"})
            for word in ("ct", "mr"):
                name = f"c{number}_{word}_landmarks.mrk.json"
                shutil.copy(case / f"{word}_landmarks.mrk.json", root / "studies" / name)
        yield started
        ended = (0, 128 + signal.SIGTERM, -signal.SIGTERM)
        assert started.stop() in ended, "the server does not end when it is asked to"
    finally:
        started.process.kill()


def test_an_mr_is_no_case_of_its_own(server: Server) -> None:
    about = server.json("GET", "/info/")
    assert about["datastore"]["total"] == 3
    assert set(about["models"]) == {"spine_chain", "spine_fusion", "spine_semiseg"}
    assert set(about["trainers"]) == {"spine_fusion", "spine_semiseg"}
    assert about["labels"] == STRUCTURES


def test_the_chain_labels_the_grid_of_the_ct(server: Server, phantoms: Path, tmp_path: Path) -> None:
    label = server.volume("spine_chain", "c0_ct", tmp_path / "label.nii.gz", keep_fused=True)
    assert same_grid(label, phantoms / "case_000")
    assert label.get_data_dtype() == np.uint8
    assert set(np.unique(label.get_fdata())) <= set(range(len(STRUCTURES) + 1))
    assert "Registered" in server.log.read_text(), "the landmarks beside the pair were not used"

    fused = server.volume("spine_fusion", "c0_ct", tmp_path / "fused.nii.gz")
    kept = nib.load(server.log.parent / "studies" / "fused" / "c0_fused.nii.gz")
    assert same_grid(fused, phantoms / "case_000")
    assert fused.get_data_dtype() == np.float32
    np.testing.assert_allclose(fused.get_fdata(), kept.get_fdata(), atol=1e-6)

    direct = server.volume("spine_semiseg", "c0_ct", tmp_path / "direct.nii.gz")
    np.testing.assert_array_equal(direct.get_fdata(), label.get_fdata())


def test_a_missing_mr_is_one_sentence(server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.infer("spine_chain", "c2_ct")
    assert refused.value.code == 400
    assert "No MR was found for" in json.loads(refused.value.read())["detail"]
    assert server.infer("spine_chain", "c2_ct", mr="other_mr")["trust"].keys() == set(STRUCTURES)


def test_the_next_case_is_the_one_with_most_disagreement(server: Server) -> None:
    assert server.json("POST", "/activelearning/disagreement")["id"] == "c0_ct", "without scores, the first by name"
    server.json("POST", "/scoring/disagreement")
    server.finish("scoring")
    scores = json.loads((server.log.parent / "app" / "scores" / "disagreement.json").read_text())
    assert set(scores) == {"c0_ct", "c1_ct"}, "the MR of c2_ct is not found, so it cannot be scored"
    offered = server.json("POST", "/activelearning/disagreement")
    assert offered["id"] == "c1_ct", "c0_ct was offered before"
    assert offered["disagreement"] == scores["c1_ct"]["score"] == server.infer("spine_chain", "c1_ct")["disagreement"]


def test_an_edited_label_trains_with_the_unlabelled_case_and_the_new_weights_count(
    server: Server, phantoms: Path, tmp_path: Path
) -> None:
    before = server.infer("spine_chain", "c1_ct")["trust"]
    server.form("PUT", "/datastore/label?image=c0_ct&tag=final", {}, {"label": phantoms / "case_000" / "label.nii.gz"})
    assert server.json("GET", "/info/")["datastore"]["completed"] == 1
    server.json("POST", "/train/spine_semiseg", max_epochs=1, pretrained=False)
    server.finish("train")
    log = server.log.read_text()
    assert "1 unlabelled cases: c1_ct" in log
    assert "c2_ct is left out: No MR was found" in log
    assert server.infer("spine_chain", "c1_ct")["trust"] != before

    assert server.json("POST", "/activelearning/disagreement")["outdated"] is True
    server.json("POST", "/scoring/disagreement")
    server.finish("scoring")
    assert "Scored 1 of 2 unlabelled images" in server.log.read_text()


def test_the_fusion_trains_on_every_pair(server: Server) -> None:
    server.json("POST", "/train/spine_fusion", max_epochs=1, val_split=0.5)
    server.finish("train")
    assert "Training with 1 cases, validation with 1." in server.log.read_text()


def test_a_batch_leaves_out_what_it_cannot_do(server: Server) -> None:
    server.json("POST", "/batch/infer/spine_chain?images=unlabeled", max_workers=1)
    server.finish("batch/infer")
    labels = server.log.parent / "studies" / "labels" / "original"
    assert [path.name for path in labels.iterdir()] == ["c1_ct.nii.gz"]


@pytest.fixture
def marker(server: Server) -> Iterator[Path]:
    """A file that every attack would leave where the server runs."""
    path = server.log.parent / "marker"
    yield path
    assert not path.exists(), "somebody was let in"


def evil(sign: str = "$") -> str:
    return f"{sign}__import__('pathlib').Path('marker').touch()"


BUILDING = {"_target_": "subprocess.getoutput", "cmd": "touch marker"}
HOSTILE = [
    *({"registration_model": value} for value in (evil(), [evil()], " " + evil(), "@device", "%device", BUILDING)),
    *({"registration_model": value} for value in ("elastic", 7)),
    *({"registration_refine": value} for value in (evil(), [evil()], BUILDING, "perhaps")),
    *({"device": value} for value in (evil(), [evil()], BUILDING, "@network_def", "cuda:x")),
    *({"model_filename": value} for value in (evil(), "../../model.pt", "/etc/passwd", "absent.pt", [evil()])),
    *({"result_extension": value} for value in (evil(), "/../../x.nii.gz", ".py")),
    *({"result_dtype": value} for value in (evil(), "object", BUILDING)),
    {"keep_fused": evil()},
    {"logging": evil()},
    *({"save_label": True, "label_tag": tag} for tag in ("../../out", "/tmp/out", evil(), "..")),
    *({"unknown": value} for value in (evil(), [[{"deep": evil()}]], BUILDING, {"a#b": 1}, {evil(): 1})),
    *({"mr": value} for value in (evil(), BUILDING, [evil()])),
    {"ct_landmarks": evil(), "mr_landmarks": evil()},
    {"transform": evil()},
    *({"mr": value} for value in (["x"], "x" * 5000)),
]
FILES = {"mr", "ct_landmarks", "transform"}


@pytest.mark.parametrize("model", ["spine_chain", "spine_fusion", "spine_semiseg"])
def test_no_value_of_an_inference_is_evaluated(server: Server, marker: Path, model: str) -> None:
    server.infer("spine_chain", "c0_ct", keep_fused=True)  # what spine_semiseg alone begins with
    for params in HOSTILE:
        if (
            model == "spine_semiseg"
            and all(isinstance(value, str) for value in params.values())
            and FILES & set(params)
        ):
            with contextlib.suppress(urllib.error.HTTPError):  # it looks for no such file
                server.infer(model, "c0_ct", **params)
            assert not marker.exists(), params
            continue
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.infer(model, "c0_ct", **params)
        assert refused.value.code == 400, params
        sentence = json.loads(refused.value.read())["detail"]
        assert sentence.endswith((".", "?")), sentence
        assert "\n" not in sentence
        assert not marker.exists(), params
    right = {"device": "cpu", "registration_model": ["rigid", "affine"], "registration_refine": False}
    assert server.infer("spine_chain", "c0_ct", **right)["trust"].keys() == set(STRUCTURES)


@pytest.mark.parametrize(
    ("path", "params"),
    [
        *(
            ("/train/spine_semiseg", {"max_epochs": value})
            for value in (evil(), [evil()], BUILDING, 0, "1; touch marker")
        ),
        *(
            ("/train/spine_fusion", {name: evil()})
            for name in ("device", "val_split", "gpus", "model_filename", "run_id")
        ),
        ("/train/spine_fusion", {"tracking": "mlflow", "tracking_uri": evil()}),
        ("/train/spine_fusion", {"tracking": "mlflow", "tracking_uri": "http://127.0.0.1:1/"}),
        ("/train/spine_fusion", {"tracking": evil()}),
        ("/train/spine_fusion", {"tracking": "mlflow", "tracking_experiment_name": evil()}),
        ("/train/spine_semiseg", {"unlabelled_dir": evil()}),
        ("/train/spine_semiseg", {"bundle_path": "/tmp"}),
        ("/train/", {"spine_semiseg": {"max_epochs": evil()}}),
        *(
            ("/batch/infer/spine_chain", {name: evil()})
            for name in ("device", "registration_model", "label_tag", "gpus")
        ),
        ("/batch/infer/spine_chain", {"label_tag": "../../out"}),
        ("/scoring/disagreement", {"device": evil()}),
        ("/scoring/disagreement", {"bundle_path": "/tmp"}),
        ("/activelearning/disagreement", {"strategy": evil()}),
        ("/activelearning/disagreement", {"client_id": BUILDING}),
    ],
)
def test_no_value_of_a_task_or_a_strategy_is_evaluated(
    server: Server, marker: Path, path: str, params: dict[str, Any]
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.json("POST", path, **params)
    assert refused.value.code == 400
    assert json.loads(refused.value.read())["detail"].endswith((".", "?"))
    assert not marker.exists()


@pytest.mark.parametrize("run_sync", ["false", "true"])
def test_a_folder_of_a_client_is_no_place_of_code(server: Server, marker: Path, tmp_path: Path, run_sync: str) -> None:
    (tmp_path / "sitecustomize.py").write_text("open('marker', 'w')")
    with pytest.raises(urllib.error.HTTPError, match="400"):
        server.json("POST", f"/scoring/disagreement?run_sync={run_sync}", bundle_path=str(tmp_path))


@pytest.mark.parametrize(
    "name", ["../out", "..%2Fout", "/tmp/out", "a/b", "a%5Cb", "..", ".hidden", "%00", "a%0Ab", "x" * 300]
)
def test_an_upload_stays_in_the_store(server: Server, phantoms: Path, name: str) -> None:
    case = phantoms / "case_000"
    before = sorted(server.log.parent.rglob("*"))
    for path, files in (
        (f"/datastore/?image={name}", {"file": case / "ct.nii.gz"}),
        (f"/datastore/label?image={name}", {"label": case / "label.nii.gz"}),
        (f"/datastore/label?image=c0_ct&tag={name}", {"label": case / "label.nii.gz"}),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.form("PUT", path, {}, files)
        assert refused.value.code == 400
        assert "is a plain name" in json.loads(refused.value.read())["detail"]
    assert sorted(server.log.parent.rglob("*")) == before


def test_only_images_and_labels_are_taken_and_a_link_leads_nowhere(
    server: Server, phantoms: Path, tmp_path: Path
) -> None:
    for name in ("sitecustomize.py", "meta.info", "noending", "a.pt"):
        (tmp_path / name).write_text("open('marker', 'w')")
        with pytest.raises(urllib.error.HTTPError, match="400"):
            server.form("PUT", f"/datastore/?image={name.partition('.')[0]}", {}, {"file": tmp_path / name})
    outside, link = tmp_path / "outside.nii.gz", server.log.parent / "studies" / "linked.nii.gz"
    outside.write_text("mine")
    link.symlink_to(outside)
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.form("PUT", "/datastore/?image=linked", {}, {"file": phantoms / "case_000" / "ct.nii.gz"})
    assert "leads out of the studies by a link" in json.loads(refused.value.read())["detail"]
    assert outside.read_text() == "mine"
    link.unlink()


def test_a_session_keeps_to_its_own_folder(server: Server, phantoms: Path, tmp_path: Path) -> None:
    escape, whole = tmp_path / "escape.tar", tmp_path / "whole.zip"
    with tarfile.open(escape, "w") as archive:
        archive.add(phantoms / "case_000" / "ct.nii.gz", arcname="../../../../../../../../../../tmp/spinefuse_escaped")
    with zipfile.ZipFile(whole, "w") as packed:
        packed.write(phantoms / "case_000" / "ct.nii.gz", "image/ct.nii.gz")
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.form("PUT", "/session/?uncompress=true", {}, {"files": escape})
    assert "leads out of its folder" in json.loads(refused.value.read())["detail"]
    assert not Path("/tmp/spinefuse_escaped").exists()
    opened = json.loads(server.form("PUT", "/session/?uncompress=true", {}, {"files": whole}))
    assert server.json("GET", f"/session/{opened['session_id']}")["name"] == opened["session_id"]
    server.ask("DELETE", f"/session/{opened['session_id']}")

    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "meta.info").write_text('{"image": "/absent"}')  # a session whose image is gone is deleted with its folder
    for method, path in (("GET", "/session/.."), ("DELETE", "/session/.."), ("GET", "/session/%2E%2E")):
        with pytest.raises(urllib.error.HTTPError, match=r"40\d"):
            server.ask(method, path)
    with pytest.raises(urllib.error.HTTPError):
        server.form("POST", f"/infer/spine_chain?session_id={kept}", {"params": "{}"}, {})
    assert (kept / "meta.info").is_file()


def test_a_page_of_somebody_else_may_not_use_the_server(server: Server) -> None:
    def status(path: str, method: str = "GET", **headers: str) -> tuple[int, str | None]:
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", None, headers, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.headers.get("access-control-allow-origin")
        except urllib.error.HTTPError as error:
            return error.code, error.headers.get("access-control-allow-origin")

    own = f"http://127.0.0.1:{server.port}"
    assert status("/info/")[0] == 200, "3D Slicer sends no origin"
    assert status("/info/", Origin=own)[0] == 200
    assert status("/ohif/", Origin=own)[0] == 200
    assert status("/info/", Origin=VIEWER) == (200, VIEWER)
    asked = {"Origin": VIEWER, "Access-Control-Request-Method": "POST"}
    assert status("/train/spine_fusion", "OPTIONS", **asked) == (200, VIEWER)
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{server.port + 1}", f"{own}.evil.example"):
        assert status("/info/", Origin=origin) == (403, None)
        assert status("/infer/spine_chain?image=c0_ct", "POST", Origin=origin) == (403, None)
        ask = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        assert status("/train/spine_fusion", "OPTIONS", **ask) == (403, None)
    rebound = {"Host": f"evil.example:{server.port}", "Origin": f"http://evil.example:{server.port}"}
    assert status("/info/", **rebound) == (403, None)


def test_a_program_in_place_of_the_weights_is_not_run(server: Server, marker: Path, tmp_path: Path) -> None:
    weights = server.log.parent / "app" / "model" / "spine_fusion" / "models" / "model.pt"
    before = weights.read_bytes()
    program = tmp_path / "model.pt"
    save_program(program, "marker")
    server.form("PUT", "/model/spine_fusion", {}, {"file": program})
    try:
        for ask in (lambda: server.infer("spine_fusion", "c1_ct"), lambda: server.infer("spine_chain", "c1_ct")):
            with pytest.raises(urllib.error.HTTPError) as refused:
                ask()
            assert "is a TorchScript archive, which may run code" in json.loads(refused.value.read())["detail"]
        server.json("POST", "/train/spine_fusion", max_epochs=1)
        with pytest.raises(AssertionError, match="is a TorchScript archive"):
            server.finish("train")
    finally:
        weights.write_bytes(before)


def test_a_training_that_a_client_waits_for_does_not_end_the_server(server: Server) -> None:
    for bad in ({"model_filename": "absent.pt"}, {"max_epochs": evil()}):
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.json("POST", "/train/spine_fusion?run_sync=true", **bad)
        assert refused.value.code == 400
    assert server.json("GET", "/info/")["datastore"]["total"] >= 3


def test_a_file_may_be_called_anything(server: Server, marker: Path, phantoms: Path) -> None:
    studies, log = server.log.parent / "studies", server.log.read_text()
    names = ("$__import__('os').system('touch marker')", "@device", "%#canvas@#1", "a #12\x1b]0;owned\x07")
    for name in names:
        for word in ("ct", "mr"):
            shutil.copy(phantoms / "case_000" / f"{word}.nii.gz", studies / f"{name}_{word}.nii.gz")
            shutil.copy(
                phantoms / "case_000" / f"{word}_landmarks.mrk.json", studies / f"{name}_{word}_landmarks.mrk.json"
            )
    end = time.monotonic() + 30
    while server.json("GET", "/info/")["datastore"]["total"] < 3 + len(names) and time.monotonic() < end:
        time.sleep(0.5)
    for name in names:
        image = urllib.parse.quote(f"{name}_ct")
        assert server.infer("spine_chain", image)["trust"].keys() == set(STRUCTURES)
    server.json("POST", "/train/spine_fusion", max_epochs=1, val_split=0)
    server.finish("train")
    assert f"Training with {2 + len(names)} cases" in server.log.read_text()[len(log) :]
    assert "\x1b]0;" not in server.log.read_text()


def test_monai_labels_own_app_runs_the_bundles(bundles: Path, phantoms: Path, tmp_path: Path) -> None:
    app = PYTHON.parents[1] / "monailabel" / "sample-apps" / "monaibundle"
    shutil.copytree(app, tmp_path / "app", ignore=shutil.ignore_patterns("model", "__pycache__"))
    shutil.copytree(bundles, tmp_path / "app" / "model")
    studies = tmp_path / "studies"
    for number in range(3):
        for word, source in (("ct", "ct"), ("mr", "mr_aligned"), ("fused", "mr_aligned")):
            folder = studies if word == "ct" else studies / word
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(phantoms / f"case_{number:03d}" / f"{source}.nii.gz", folder / f"c{number}_{word}.nii.gz")
    options = ["--app", str(tmp_path / "app"), "--studies", str(studies), "--conf", "zoo_source", "ngc"]
    models = ["--conf", "models", "spine_fusion,spine_semiseg", "--conf", "sam2", "false"]
    started = Server([str(PYTHON), "-m", "monailabel.main", "start_server", *options, *models], tmp_path / "server.log")
    try:
        started.wait()
        for model, values in (("spine_fusion", 1.0), ("spine_semiseg", 4.0)):
            result = started.volume(model, "c1_ct", tmp_path / f"{model}.nii.gz", device="cpu")
            assert same_grid(result, phantoms / "case_001")
            assert 0 <= result.get_fdata().min() <= result.get_fdata().max() <= values
        label = {"label": phantoms / "case_000" / "label.nii.gz"}
        started.form("PUT", "/datastore/label?image=c0_ct&tag=final", {}, label)
        weights = tmp_path / "app" / "model" / "spine_semiseg" / "models"
        started.json("POST", "/train/spine_semiseg", max_epochs=1, val_split=0, device="cpu", unlabelled_dir="")
        started.finish("train")
        assert (weights / "model_final.pt").is_file()
        assert "c2_ct.nii.gz" in started.log.read_text(), "the unlabelled cases were not read"
        assert started.json("POST", "/activelearning/first")["id"] == "c1_ct"
    finally:
        started.stop()


def test_a_dicom_archive_gives_the_pair_and_gets_the_label(bundles: Path, tmp_path: Path) -> None:
    if not (PYTHON.parent / "itkimage2segimage").is_file():
        pytest.skip(f"no dcmqi beside {PYTHON}; `pip install dcmqi` there first")
    case = write_phantoms(tmp_path / "case", cases=1, size_mm=(48, 64, 64), spacing_mm=2.0) / "case_000"
    archive = Archive(sorted(case.glob("*_dicom/*")))
    series = {file.Modality: file.SeriesInstanceUID for file in archive.files}
    options = ["--studies", archive.address, "--app", str(tmp_path / "app"), "--bundles", str(bundles)]
    command = [str(PYTHON), "-m", "spinefuse_ext", "label-server", *options]
    started = Server(command, tmp_path / "server.log", MONAI_LABEL_DICOMWEB_CACHE_PATH=str(tmp_path / "cache"))
    try:
        started.wait()
        with pytest.raises(urllib.error.HTTPError) as refused:
            started.infer("spine_chain", series["CT"])
        assert "different FrameOfReferenceUIDs" in json.loads(refused.value.read())["detail"]
        assert b"OHIF" in started.ask("GET", "/ohif/")
        cache = next((tmp_path / "cache").iterdir())
        for word in ("ct", "mr"):
            shutil.copy(case / f"{word}_landmarks.mrk.json", cache / f"{series[word.upper()]}_landmarks.mrk.json")
        label = started.volume("spine_chain", series["CT"], tmp_path / "label.nii.gz")
        assert sorted(label.shape) == sorted(nib.load(case / "ct.nii.gz").shape)

        names = json.dumps({"label_info": [{"name": name} for name in ("vertebra", "disc", "canal")]})
        path = f"/datastore/label?image={series['CT']}&tag=final"
        started.form("PUT", path, {"params": names}, {"label": tmp_path / "label.nii.gz"})
        stored = archive.files[-1]
        assert stored.Modality == "SEG"
        assert stored.ReferencedSeriesSequence[0].SeriesInstanceUID == series["CT"]
    finally:
        started.stop()
