from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spinefuse_ext.verbs.commands import evaluate, fuse, segment
from spinefuse_ext.verbs.outputs import FUSED, replaced

Status = Callable[[int], None]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with inputs, and ``out`` with everything that an earlier run of any verb left there."""
    monkeypatch.chdir(tmp_path)
    for name in ("ct.nii.gz", "mr.nii.gz", "image.nii.gz", "model.pt"):
        (tmp_path / name).touch()
    names: tuple[str, ...] = (
        "fused.nii.gz",
        "contribution.nii.gz",
        "fused_dicom/1.dcm",
        "overlay/sagittal_001.png",
        "notes.txt",
    )
    names += ("prediction.nii.gz", "prediction_unet.nii.gz", "prediction.dcm", "trust.json", "disagreement.nii.gz")
    for name in (*names, "metrics.csv", "val_mean_dice_raw.csv", "scores.csv", "table.csv"):
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "out" / name).write_text("earlier")
    return tmp_path / "out"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Let bundle runs write one file into ``output_dir`` and end with a status."""

    def prepare(name: str, status: int) -> None:
        @contextmanager
        def write(bundle: Path, configs: Sequence[str], overrides: dict[str, Any]) -> Iterator[Any]:
            own = name if bundle.name == "spine_semiseg" or "metrics" in name else "fused.nii.gz"
            (Path(overrides["output_dir"]) / own).write_text("new")
            if status:
                raise SystemExit(status)
            yield SimpleNamespace(run=lambda: None, finalize=lambda: None)

        monkeypatch.setattr("spinefuse_ext.runs.run.open_workflow", write)
        for told in ("fused", "segmented"):  # what is written here is no image
            monkeypatch.setattr(f"spinefuse_ext.verbs.single_case.tell_{told}", lambda *_: None)
        monkeypatch.setattr("spinefuse_ext.verbs.commands.tell_scores", lambda folder: None)

    return prepare


def content(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


VERBS: dict[str, tuple[str, Callable[[], Any], tuple[str, ...]]] = {
    "fuse": (
        "fused.nii.gz",
        lambda: fuse("ct.nii.gz", "mr.nii.gz", "out", checkpoint="model.pt"),
        ("fused", "contr", "overl"),
    ),
    "segment": (
        "prediction.nii.gz",
        lambda: segment("image.nii.gz", "out", checkpoint="model.pt"),
        ("prediction", "trust", "disagreement"),
    ),
    "segment a pair": (
        "prediction.nii.gz",
        lambda: segment(
            None, "out", ct="ct.nii.gz", mr="mr.nii.gz", checkpoint="model.pt", fusion_checkpoint="model.pt"
        ),
        ("prediction", "trust", "disagreement", "fused", "contr", "overl"),
    ),
    "evaluate": (
        "metrics.csv",
        lambda: evaluate("semiseg", "data", "out", "model.pt"),
        ("metrics", "val_", "scores"),
    ),
}
each_verb = pytest.mark.parametrize("verb", VERBS)


@each_verb
def test_the_results_of_a_run_are_all_of_it(verb: str, folder: Path, run: Callable[[str, int], None]) -> None:
    name, call, own = VERBS[verb]
    before = content(folder)
    run(name, 0)
    call()
    after = content(folder)
    assert {path for path, text in after.items() if text == "new"} >= {name}
    assert {path: text for path, text in after.items() if text == "earlier"} == {
        path: text for path, text in before.items() if not path.startswith(own)
    }


@each_verb
def test_a_run_that_fails_leaves_the_results_of_the_earlier_one(
    verb: str, folder: Path, run: Callable[[str, int], None]
) -> None:
    name, call, _ = VERBS[verb]
    before = content(folder)
    run(name, 2)
    with pytest.raises(SystemExit):
        call()
    assert content(folder) == before


def test_what_is_read_stays_where_it_is(folder: Path) -> None:
    with replaced(folder, FUSED, [str(folder / "fused_dicom")]):
        assert (folder / "fused_dicom" / "1.dcm").is_file()
        assert not (folder / "fused.nii.gz").exists()
    assert (folder / "fused_dicom" / "1.dcm").is_file()


def test_a_run_that_fails_in_a_new_folder_leaves_what_it_made(tmp_path: Path) -> None:
    def fail() -> None:
        with replaced(tmp_path, FUSED):
            (tmp_path / "fused.nii.gz").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "fused.nii.gz").is_file()


def test_labels_of_an_earlier_fused_volume_are_told(
    folder: Path, run: Callable[[str, int], None], caplog: pytest.LogCaptureFixture
) -> None:
    run("fused.nii.gz", 0)
    with caplog.at_level(logging.WARNING):
        fuse("ct.nii.gz", "mr.nii.gz", "out", checkpoint="model.pt")
    assert "prediction.nii.gz" in caplog.text
    assert "were made of the fused volume that was here before; make them again." in caplog.text
