from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine
from monai.transforms import Compose
from torch import nn

from spinefuse_ext.data import DiskCacheDataset
from spinefuse_ext.handlers.training_state import TrainingStateHandler
from spinefuse_ext.losses import vgg16
from spinefuse_ext.networks.weights import fitting_weights
from spinefuse_ext.safe_load import RunsCodeError, check_archive, load_plain
from spinefuse_ext.validation import WeightsError
from tests.torchscript import save_program


class _Reduces:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.marker), "w")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def script(tmp_path: Path, marker: Path) -> Path:
    """A TorchScript archive that leaves the marker when something loads it; it does when torch.load may choose."""
    path = tmp_path / "training_epoch_0001.pt"
    save_program(path, marker)
    torch.load(path, weights_only=False)
    assert marker.is_file(), "the attack is none"
    marker.unlink()
    return path


def test_a_program_in_a_cached_case_is_not_run_and_said(
    script: Path, marker: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    DiskCacheDataset([{"a": 1.0}], Compose([dict]), cache)[0]
    entry = next(cache.glob("*.pt"))
    entry.write_bytes(script.read_bytes())
    assert DiskCacheDataset([{"a": 1.0}], Compose([dict]), cache)[0] == {"a": 1.0}
    assert not marker.exists()
    assert f"{entry} is a TorchScript archive, which may run code" in caplog.text
    check_archive(entry)  # made anew


def test_a_program_for_weights_is_one_sentence(script: Path, marker: Path) -> None:
    network = nn.Linear(1, 2)
    for load in (lambda: fitting_weights(network, script), lambda: vgg16._load(nn.ModuleList(), script)):
        with pytest.raises(WeightsError, match=f"{script} is a TorchScript archive, which may run code"):
            load()
    assert not marker.exists()


@pytest.mark.parametrize("resume", ["latest", None])
def test_a_program_for_a_training_state_is_one_sentence(script: Path, marker: Path, resume: str | None) -> None:
    handler = TrainingStateHandler(save_dir=script.parent, objects={}, resume=resume)
    with pytest.raises(RunsCodeError, match="is a TorchScript archive"):
        handler.start(Engine(lambda engine, batch: None))
    assert not marker.exists()


def _renamed(script: Path, to: Path) -> None:
    """The program with a second archive's names in front, for a reader that looks at them alone."""
    with zipfile.ZipFile(script) as archive, zipfile.ZipFile(to, "w") as other:
        other.writestr("x/data.pkl", b"\x80\x02}.")
        for name in archive.namelist():
            other.writestr(name, archive.read(name))


def _compressed(script: Path, to: Path) -> None:
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}." + bytes(10**7))


def _with_text_before(script: Path, to: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, to)
    to.write_bytes(b"#!" + to.read_bytes())


def _legacy(script: Path, to: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, to, _use_new_zipfile_serialization=False)


def _tar(script: Path, to: Path) -> None:
    with tarfile.open(to, "w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())


def _bare_pickle(script: Path, to: Path) -> None:
    to.write_bytes(pickle.dumps(_Reduces(script.with_name("marker"))))


@pytest.mark.parametrize("make", [_renamed, _compressed, _with_text_before, _legacy, _tar, _bare_pickle])
def test_only_an_archive_of_tensors_is_read(
    make: Callable[[Path, Path], None], script: Path, marker: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    make(script, path)
    with pytest.raises(WeightsError, match=f"^{path} is .*; .*torch.save"):
        fitting_weights(nn.Linear(1, 1), path)
    assert not marker.exists()


def test_a_pickle_of_something_else_in_a_right_archive_is_refused(marker: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"weight": _Reduces(marker)}, path)
    with pytest.raises(WeightsError, match="is not a checkpoint of tensors"):
        fitting_weights(nn.Linear(1, 1), path)
    with pytest.raises(Exception, match="no place"):
        load_plain(path, reader=SimpleNamespace(Unpickler=_refusing(), __name__="pickle"))
    assert not marker.exists()


def _refusing() -> type[pickle.Unpickler]:
    class Refusing(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> object:
            raise pickle.UnpicklingError(f"{module}.{name} has no place")

    return Refusing


def test_the_old_format_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "vgg16.pth"
    torch.save({"weight": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    assert load_plain(path, old_format=True)["weight"].tolist() == [1, 1]


def test_what_torch_saves_is_read(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"epoch": 3, "objects": {"network": nn.Linear(2, 2).state_dict()}, "best": None}, path)
    assert load_plain(path)["objects"]["network"].keys() == {"weight", "bias"}
