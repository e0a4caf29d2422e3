from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spinefuse_ext.validation import ConfigError, MissingPathError
from spinefuse_ext.verbs.doctor import FILES, check_bundle, doctor

BUNDLES = Path(__file__).parents[2] / "bundles"
Change = Callable[[Path], None]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    copy = tmp_path / "spine_semiseg"
    for name in FILES:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(BUNDLES / "spine_semiseg" / name, copy / name)
    return copy


def edited(file: str, **values: Any) -> Change:
    def change(bundle: Path) -> None:
        path = bundle / "configs" / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def test_versions_device_and_precision_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    doctor()
    shown = capsys.readouterr().out
    for name in ("torch", "monai", "itk"):
        assert f"{name} " in shown
        assert importlib.metadata.version(name) in shown
    assert "Device: " in shown
    assert "float32" in shown


def test_a_package_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("spinefuse_ext.verbs.doctor.PACKAGES", ("no-such-package-here",))
    doctor()
    assert "no-such-package-here not installed" in capsys.readouterr().out


def test_a_whole_bundle_is_called_whole(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_bundle(bundle) == []
    doctor(str(bundle))
    assert "is whole; trained weights: none yet, train first" in capsys.readouterr().out
    (bundle / "models").mkdir()
    (bundle / "models" / "model.pt").touch()
    doctor(str(bundle))
    assert f"trained weights: {bundle / 'models' / 'model.pt'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        pytest.param(lambda bundle: (bundle / "LICENSE").unlink(), "LICENSE is missing", id="file"),
        pytest.param(edited("metadata.json", version="9.9"), "does not name version 9.9", id="changelog"),
        pytest.param(edited("inference.json", network_def={}), "network_def differs between", id="network"),
        pytest.param(edited("train.json", labels=["air", "bone"]), "channel_def .* differs from labels", id="labels"),
    ],
)
def test_each_fault_of_a_bundle_is_found(change: Change, finding: str, bundle: Path) -> None:
    change(bundle)
    assert len(check_bundle(bundle)) == 1
    with pytest.raises(ConfigError, match=f"spine_semiseg is not whole: .*{finding}"):
        doctor(str(bundle))


def test_a_bundle_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match=r"The bundle .*gone does not exist"):
        check_bundle(tmp_path / "gone")
