from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from spinefuse_ext import __version__
from spinefuse_ext.handlers.checkpoints import stored_devices
from spinefuse_ext.networks import load_weights
from spinefuse_ext.validation import ConfigError, MissingPathError, PackError, WeightsError
from spinefuse_ext.verbs.pack import pack

BUNDLE = Path(__file__).parents[2] / "bundles" / "spine_fusion"
VERSION = "0.5.9"
TITLE = f"spine_fusion_v{VERSION}"


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def network(bundle: Path) -> torch.nn.Module:
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser["bundle_root"] = str(bundle)
    made: torch.nn.Module = parser.get_parsed_content("network_def")
    return made


@pytest.fixture
def bundle(small_bundle: Callable[[str, Path], Path], tmp_path: Path) -> Path:
    """A small fusion bundle of a version of its own, and things beside it that no release may hold."""
    folder = small_bundle("spine_fusion", tmp_path / "work")
    edit(folder / "configs" / "metadata.json", lambda meta: meta.update(version=VERSION, changelog={VERSION: "test"}))
    for name in ("eval/c/fused.nii.gz", "data/c/ct.nii.gz", "models/training_epoch_3.pt", "configs/.old.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not for others")
    return folder


def content(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_the_archive_holds_bundle_weights_and_package_and_nothing_else(bundle: Path, tmp_path: Path) -> None:
    pack(str(bundle), out=tmp_path / "dist")
    files = content(tmp_path / "dist" / f"{TITLE}.zip")
    package = {name for name in files if name.startswith("spine_fusion/spinefuse_ext/")}
    configs = {f"spine_fusion/configs/{path.name}" for path in (BUNDLE / "configs").iterdir()}
    others = {f"spine_fusion/{name}" for name in ("LICENSE", "docs/README.md", "docs/data_license.txt")}
    assert set(files) - package == configs | others | {"spine_fusion/models/model.pt"}
    assert {
        f"spine_fusion/spinefuse_ext/{name}" for name in ("__init__.py", "networks/__init__.py", "py.typed")
    } <= package
    assert not [name for name in files if re.search(r"__pycache__|\.pyc$|/\.|tests/", name)]


def test_a_link_out_of_the_bundle_is_not_released(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "private.md").write_text("not for others")
    (bundle / "docs" / "private.md").symlink_to(tmp_path / "private.md")
    with pytest.raises(PackError, match=r"private\.md is a link that leads out of the bundle"):
        pack(str(bundle), out=tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


def test_the_weights_of_the_archive_are_those_of_the_bundle(bundle: Path, tmp_path: Path) -> None:
    pack(str(bundle), out=tmp_path)
    path = tmp_path / "model.pt"
    path.write_bytes(content(tmp_path / f"{TITLE}.zip")["spine_fusion/models/model.pt"])
    packed = torch.load(path, weights_only=True)
    expected = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert packed.keys() == expected.keys()
    assert all(torch.equal(packed[name], expected[name]) for name in packed)


def test_weights_that_a_gpu_saved_are_packed_for_the_cpu(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    with monkeypatch.context() as on_gpu:
        on_gpu.setattr("torch.serialization.location_tag", lambda storage: "cuda:0")
        torch.save({"model": weights}, bundle / "models" / "model.pt")
    pack(str(bundle), out=tmp_path)
    path = tmp_path / "model.pt"
    path.write_bytes(content(tmp_path / f"{TITLE}.zip")["spine_fusion/models/model.pt"])
    assert stored_devices(path) == {"cpu"}
    assert all(torch.equal(value, weights[name]) for name, value in torch.load(path, weights_only=True).items())


def test_equal_content_gives_equal_bytes(bundle: Path, tmp_path: Path) -> None:
    pack(str(bundle), out=tmp_path / "first")
    copy = tmp_path / "elsewhere" / "spine_fusion"
    shutil.copytree(bundle, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1e9, 1e9))
        if path.is_file():
            path.chmod(0o600)
    pack(str(copy), out=tmp_path / "second")
    first, second = (tmp_path / folder / f"{TITLE}.zip" for folder in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_checksum_and_list_of_releases_are_those_of_the_archive(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "model_info.json").write_text('{"spine_fusion_v0.1.0": {"checksum": "1", "source": "there"}}')
    pack(str(bundle), out=tmp_path, repo="someone/spines/v1")
    archive = (tmp_path / f"{TITLE}.zip").read_bytes()
    line = (tmp_path / f"spine_fusion-{VERSION}.sha256").read_text()
    assert line == f"{hashlib.sha256(archive).hexdigest()}  {TITLE}.zip\n"
    assert json.loads((tmp_path / "model_info.json").read_text()) == {
        "spine_fusion_v0.1.0": {"checksum": "1", "source": "there"},
        TITLE: {
            "checksum": hashlib.sha1(archive, usedforsecurity=False).hexdigest(),
            "source": f"https://github.com/someone/spines/releases/download/v1/{TITLE}.zip",
        },
    }


def test_a_checkpoint_of_a_run_becomes_plain_weights(bundle: Path, tmp_path: Path) -> None:
    state = network(bundle).state_dict()
    torch.save({"network": state, "epoch": torch.tensor(3)}, tmp_path / "training_epoch_3.pt")
    pack(str(bundle), out=tmp_path, checkpoint=tmp_path / "training_epoch_3.pt")
    path = tmp_path / "model.pt"
    path.write_bytes(content(tmp_path / f"{TITLE}.zip")["spine_fusion/models/model.pt"])
    loaded = network(bundle)
    load_weights(loaded, path)
    assert torch.load(path, weights_only=True).keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())


def test_a_bundle_without_weights_is_packed_only_when_asked_for(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(PackError, match=r"has no models/model\.pt; put .* or give --without_weights"):
        pack(str(bundle), out=tmp_path)
    assert not (tmp_path / f"{TITLE}.zip").exists()
    pack(str(bundle), out=tmp_path, without_weights=True)
    assert "WITHOUT WEIGHTS" in capsys.readouterr().out
    assert not [name for name in content(tmp_path / f"{TITLE}.zip") if "/models/" in name]


def test_another_content_under_the_same_version_is_told(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pack(str(bundle), out=tmp_path)
    pack(str(bundle), out=tmp_path)
    assert "raise the version" not in caplog.text
    (bundle / "docs" / "README.md").write_text("other")
    pack(str(bundle), out=tmp_path)
    assert f"{TITLE}.zip replaces one of other content; if that was released, raise the version." in caplog.text


def spoil_metadata(**values: Any) -> Callable[[Path], object]:
    return lambda bundle: edit(bundle / "configs" / "metadata.json", lambda meta: meta.update(values))


def spoil_weights(bundle: Path) -> None:
    state = network(bundle).state_dict()
    first = next(iter(state))
    torch.save({**state, first: torch.full_like(state[first], torch.nan)}, bundle / "models" / "model.pt")


def old_package(bundle: Path) -> None:
    (bundle / "spinefuse_ext").mkdir()
    (bundle / "spinefuse_ext" / "__init__.py").write_text('"""Old."""\n\n__version__ = "0.0.1"\n')


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        pytest.param(spoil_metadata(version="9.9.9"), PackError, "changelog .* does not name version 9.9.9", id="log"),
        pytest.param(
            spoil_metadata(version="1.0rc1", changelog={"1.0rc1": "x"}),
            PackError,
            "must be three numbers",
            id="version",
        ),
        pytest.param(lambda bundle: (bundle / "LICENSE").unlink(), PackError, "LICENSE is missing", id="licence"),
        pytest.param(
            spoil_metadata(required_packages_version={"spinefuse": "0.0.2"}),
            PackError,
            f"metadata.json says version 0.0.2 of spinefuse, but {re.escape(__version__)} is running",
            id="required-package",
        ),
        pytest.param(old_package, PackError, "its folder spinefuse_ext says version 0.0.1", id="vendored-package"),
        pytest.param(
            lambda bundle: [
                edit(bundle / "configs" / f"{name}.json", lambda config: config["network_def"].update(dim=16))
                for name in ("train", "inference")
            ],
            WeightsError,
            "belongs to another network",
            id="other-network",
        ),
        pytest.param(spoil_weights, WeightsError, "holds weights that are not finite, .* train again", id="nan"),
        pytest.param(
            lambda bundle: (bundle / "models" / "model.pt").write_text("x"), WeightsError, "not a checkpoint", id="text"
        ),
    ],
)
def test_what_cannot_be_released_is_refused_and_nothing_is_written(
    bundle: Path, tmp_path: Path, spoil: Callable[[Path], object], error: type[Exception], message: str
) -> None:
    spoil(bundle)
    with pytest.raises(error, match=message):
        pack(str(bundle), out=tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


def test_a_name_that_monai_would_cut_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(PackError, match="spine_vertebrae needs a name without `_v`"):
        pack(str(bundle.rename(tmp_path / "spine_vertebrae")), out=tmp_path)


def test_a_version_that_monai_would_sort_wrongly_is_told(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil_metadata(version="0.10.0", changelog={"0.10.0": "x"})(bundle)
    pack(str(bundle), out=tmp_path)
    assert "MONAI compares versions as text, so it takes 0.10.0 for older than 0.9.0" in caplog.text


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param({"repo": "someone/spines"}, ConfigError, "must be OWNER/REPO/TAG", id="repo"),
        pytest.param({"checkpoint": "no.pt"}, MissingPathError, "no.pt does not exist", id="checkpoint"),
        pytest.param({"checkpoint": "w.pt", "without_weights": True}, ConfigError, "needs exactly one", id="both"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    bundle: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pack(str(bundle), out=tmp_path, **options)


def test_a_damaged_list_of_releases_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "model_info.json").write_text("[]")
    with pytest.raises(PackError, match=r"model_info\.json is no list of releases"):
        pack(str(bundle), out=tmp_path, repo="someone/spines/v1")


def test_both_bundles_of_the_project_are_packed_by_default_with_their_weights(tmp_path: Path) -> None:
    pack(out=tmp_path)
    archives = sorted(tmp_path.glob("*.zip"))
    assert [path.stem.partition("_v")[0] for path in archives] == ["spine_fusion", "spine_semiseg"]
    for archive in archives:
        assert f"{archive.stem.partition('_v')[0]}/models/model.pt" in content(archive)
