"""Released archives arrive by every way that MONAI knows, and run where there is nothing but MONAI."""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.request
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import download

from spinefuse_ext.verbs.pack import pack
from tests.hiding import HIDE

MONAI = "monai[fire,ignite,jsonschema,nibabel,tensorboard,tqdm]"
REPO = "someone/spines/v1"
NAMES = ("spine_fusion", "spine_semiseg")
#: Takes away what MONAI and its extras do not bring, and this checkout, from every Python that finds it.
ALONE = (
    HIDE
    + """
from pathlib import Path
sys.meta_path[:] = [each for each in sys.meta_path if "editable" not in f"{each.finder} {type(each.finder)}"]
sys.path[:] = [path for path in sys.path if not (Path(path) / "spinefuse_ext").is_dir()]
"""
)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a web server on this machine, and the folder that it shows."""
    folder = tmp_path_factory.mktemp("web")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", folder
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def dist(small_bundle: Callable[[str, Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``pack`` writes of both bundles, their networks made small."""
    root = tmp_path_factory.mktemp("release")
    pack(*(str(small_bundle(name, root / "bundles")) for name in NAMES), out=root / "dist", repo=REPO)
    return root / "dist"


@pytest.fixture
def github(web: tuple[str, Path], dist: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hosts of GitHub on this machine, with a release of both bundles; returns the folder of all hosts."""
    address, folder = web
    requests = pytest.importorskip("requests", reason="MONAI asks for the newest version with it")

    class ToThisMachine(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> Any:
            return urllib.request.build_opener().open(f"{address}/{req.host}{req.selector}")

    get = requests.get
    monkeypatch.setattr(requests, "get", lambda url, **kwargs: get(url.replace("https:/", address), **kwargs))
    monkeypatch.setattr(urllib.request, "_opener", urllib.request.build_opener(ToThisMachine))
    owner, name, tag = REPO.split("/")
    release = folder / "github.com" / owner / name / "releases" / "download" / tag
    release.mkdir(parents=True, exist_ok=True)
    for path in dist.iterdir():
        (release / path.name).write_bytes(path.read_bytes())
    return folder


def version_of(dist: Path, name: str) -> str:
    (archive,) = dist.glob(f"{name}_v*.zip")
    return archive.stem.removeprefix(f"{name}_v")


def check_arrived(folder: Path, dist: Path) -> None:
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    assert metadata["version"] == version_of(dist, folder.name)
    assert torch.load(folder / "models" / "model.pt", weights_only=True)
    assert (folder / "spinefuse_ext" / "__init__.py").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_an_archive_arrives_from_an_address(web: tuple[str, Path], dist: Path, tmp_path: Path, name: str) -> None:
    address, folder = web
    (archive,) = dist.glob(f"{name}_v*.zip")
    (folder / archive.name).write_bytes(archive.read_bytes())
    download(name=name, url=f"{address}/{archive.name}", bundle_dir=str(tmp_path), progress=False)
    check_arrived(tmp_path / name, dist)


def test_an_archive_arrives_from_a_file_by_the_command(dist: Path, tmp_path: Path) -> None:
    (archive,) = dist.glob("spine_fusion_v*.zip")
    command = [sys.executable, "-m", "monai.bundle", "download", "--name", "spine_fusion"]
    command += ["--url", archive.as_uri(), "--bundle_dir", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    check_arrived(tmp_path / "spine_fusion", dist)


@pytest.mark.parametrize("name", NAMES)
def test_a_named_version_arrives_from_github(github: Path, dist: Path, tmp_path: Path, name: str) -> None:
    version = version_of(dist, name)
    options: dict[str, Any] = {"source": "github", "repo": REPO, "bundle_dir": str(tmp_path), "progress": False}
    download(name=name, version=version, **options)
    check_arrived(tmp_path / name, dist)


@pytest.mark.parametrize("name", NAMES)
def test_the_newest_version_is_found_by_the_list_at_the_tag(
    github: Path, dist: Path, tmp_path: Path, name: str
) -> None:
    known = json.loads((dist / "model_info.json").read_text())
    info = github / "raw.githubusercontent.com" / REPO / "models" / "model_info.json"
    info.parent.mkdir(parents=True, exist_ok=True)
    info.write_text(json.dumps({f"{name}_v0.0.1": {"checksum": "", "source": ""}, **known}))
    download(name=name, source="github", repo=REPO, bundle_dir=str(tmp_path), progress=False)
    check_arrived(tmp_path / name, dist)


def test_the_newest_version_is_found_among_the_files_of_a_hosting_release(
    github: Path, dist: Path, tmp_path: Path
) -> None:
    """All that ``pack`` writes may be attached: the checksums do not look like versions to MONAI."""
    owner, name, _ = REPO.split("/")
    releases = github / "api.github.com" / "repos" / owner / name / "releases"
    releases.parent.mkdir(parents=True, exist_ok=True)
    assets = [{"name": path.name} for path in sorted(dist.iterdir())]
    releases.write_text(json.dumps([{"tag_name": "hosting_storage_v1", "assets": assets}]))
    hosting = github / "github.com" / owner / name / "releases" / "download" / "hosting_storage_v1"
    if not hosting.exists():
        hosting.symlink_to(hosting.parent / "v1")
    repo = f"{owner}/{name}/hosting_storage_v1"
    download(name="spine_fusion", source="github", repo=repo, bundle_dir=str(tmp_path), progress=False)
    check_arrived(tmp_path / "spine_fusion", dist)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one case of three images on one grid, and its datalist."""
    root = tmp_path_factory.mktemp("cases")
    rng = np.random.default_rng(0)
    for name in ("ct", "mr", "fused"):
        voxels = rng.normal(0, 300, (4, 40, 48)).astype(np.float32)
        nib.save(nib.Nifti1Image(voxels, np.diag([3.0, 1.0, 1.0, 1.0])), root / f"{name}.nii.gz")
    item = {"patient": "a", **{name: f"{name}.nii.gz" for name in ("ct", "mr", "fused")}}
    (root / "datalist.json").write_text(json.dumps({"test": [item]}))
    return root


@pytest.fixture
def elsewhere(tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs a command of ``monai.bundle``, far from the bundle, by a Python without us."""
    (tmp_path / "nowhere").mkdir()

    def run(python: str, hide: str, verb: str, *arguments: str) -> str:
        (tmp_path / "sitecustomize.py").write_text(hide)
        environment = {**os.environ, "PYTHONPATH": str(tmp_path) if hide else "", "OMP_NUM_THREADS": "1"}
        start = functools.partial(
            subprocess.run, cwd=tmp_path / "nowhere", env=environment, capture_output=True, text=True, check=False
        )
        assert start([python, "-c", "import spinefuse_ext"]).returncode == 1, "only the archive may hold the package"
        done = start([python, "-W", "ignore", "-m", "monai.bundle", verb, *arguments])
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return str(done.stdout + done.stderr)

    return run


@pytest.fixture
def alone(elsewhere: Callable[..., str]) -> Callable[..., str]:
    """The same with this Python, from which everything is hidden that MONAI does not bring."""
    return functools.partial(elsewhere, sys.executable, ALONE)


@pytest.fixture(scope="module")
def fresh_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python into which MONAI with its extras was installed, and nothing else."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    constraints = str(Path(__file__).parents[2] / "constraints.txt")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-c", constraints, "torch", MONAI], check=True)
    return python


def check_runs(run: Callable[..., str], root: Path, case: Path, out: Path, result: str) -> None:
    """Inference writes a volume on the grid of the case; the network can be verified and exported."""
    here = ["--config_file", str(root / "configs" / "inference.json"), "--bundle_root", str(root)]
    run("run", *here, "--dataset_dir", str(case), "--sections", "['test']", "--output_dir", str(out))
    (written,) = out.rglob(f"{result}.nii.gz")
    image, source = nib.load(written), nib.load(case / "ct.nii.gz")
    assert image.shape == source.shape
    np.testing.assert_allclose(image.affine, source.affine)
    assert np.isfinite(image.get_fdata()).all()
    assert len(np.unique(image.get_fdata())) > 1
    run("verify_net_in_out", "network_def", "--meta_file", str(root / "configs" / "metadata.json"), *here)
    run("ckpt_export", *here)
    assert (root / "models" / "model.ts").is_file()


def unpacked(dist: Path, name: str, folder: Path) -> Path:
    (archive,) = dist.glob(f"{name}_v*.zip")
    download(name=name, url=archive.as_uri(), bundle_dir=str(folder), progress=False)
    return folder / name


results = pytest.mark.parametrize(("name", "result"), [("spine_fusion", "fused"), ("spine_semiseg", "prediction")])


@pytest.mark.slow
@results
def test_an_unpacked_archive_runs_with_monai_alone(
    alone: Callable[..., str], dist: Path, case: Path, tmp_path: Path, *, name: str, result: str
) -> None:
    check_runs(alone, unpacked(dist, name, tmp_path), case, tmp_path / "out", result)


@pytest.mark.slow
@pytest.mark.skipif("SPINEFUSE_REHEARSE" not in os.environ, reason="installs PyTorch and MONAI: make rehearse")
@results
def test_an_unpacked_archive_runs_in_a_fresh_environment(
    elsewhere: Callable[..., str], fresh_python: str, dist: Path, case: Path, tmp_path: Path, *, name: str, result: str
) -> None:
    run = functools.partial(elsewhere, fresh_python, "")
    check_runs(run, unpacked(dist, name, tmp_path), case, tmp_path / "out", result)


@pytest.mark.slow
def test_monai_alone_is_told_what_a_dicom_folder_needs(
    alone: Callable[..., str], dist: Path, case: Path, tmp_path: Path
) -> None:
    root = unpacked(dist, "spine_fusion", tmp_path)
    (tmp_path / "ct_dicom").mkdir()
    item = {"patient": "a", "ct": str(tmp_path / "ct_dicom"), "mr": str(case / "mr.nii.gz")}
    (tmp_path / "datalist.json").write_text(json.dumps({"test": [item]}))
    with pytest.raises(AssertionError, match=r"needs the package (itk|pydicom), which is not installed; `pip install"):
        alone(
            "run",
            *("--config_file", str(root / "configs" / "inference.json")),
            *("--bundle_root", str(root), "--dataset_dir", str(tmp_path), "--sections", "['test']"),
        )
