from __future__ import annotations

import io
import sys

import pytest
import torch
from monai.inferers import SlidingWindowInferer
from tqdm import tqdm

from spinefuse_ext.console import silence
from spinefuse_ext.networks import window_inferer
from spinefuse_ext.networks.counted_inferer import CountedInferer
from spinefuse_ext.progress_bar import PlainProgress, progress_bar, stage


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_for_each_tenth_of_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = list(PlainProgress(range(40), title="Fusing", unit="window", interval_s=0))
    shown = capsys.readouterr().err
    assert numbers == list(range(40))
    assert "\r" not in shown
    lines = shown.splitlines()
    assert [line.partition(" (")[0] for line in lines] == [f"Fusing: {part}%" for part in range(10, 101, 10)]
    assert lines[0].startswith("Fusing: 10% (4/40 windows, ")


def test_a_short_stage_is_one_line_and_nothing_done_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainProgress[int](total=2, title="Training", unit="epoch") as bar:
        bar.set_postfix({"loss": 0.5})
        bar.update(2)
    with PlainProgress[int](total=2, title="Training", unit="epoch"):
        pass
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith("Training: 100% (2/2 epochs, ")
    assert line.endswith("), loss=0.5\n")


def test_a_terminal_gets_a_bar_and_a_silent_call_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with silence():
        list(progress_bar(range(3), title="Fusing", unit="window"))
    assert terminal.getvalue() == ""
    bar = progress_bar(range(3), title="Fusing", unit="window")
    assert isinstance(bar, tqdm)
    assert list(bar) == [0, 1, 2]
    assert "Fusing: 100%" in terminal.getvalue()


@pytest.mark.parametrize(
    ("dims", "size", "options"),
    [(2, (16, 16), {}), (2, (64, 64), {}), (3, (4, 16, 16), {"overlap": 0.5}), (2, (16, 16), {"largest": (24, 24)})],
)
def test_every_window_of_a_volume_is_counted_under_the_title_of_the_stage(
    dims: int, size: tuple[int, ...], options: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    image = torch.rand(1, 1, 6, 40, 33)
    inferer = window_inferer(dims, size, 0, progress=True, sw_batch_size=4, **options)  # type: ignore[arg-type]
    with stage("Segmenting"):
        result = inferer(image, lambda window: 2 * window)
    assert torch.allclose(result, 2 * image)
    line = capsys.readouterr().err.splitlines()[-1]
    done, total = line.partition("(")[2].partition(" ")[0].split("/")
    assert line.startswith("Segmenting: 100% (")
    assert done == total
    plain = window_inferer(dims, size, 0, sw_batch_size=4, **options)  # type: ignore[arg-type]
    assert torch.equal(plain(image, lambda window: 2 * window), result)


def test_counting_asks_for_nothing_but_the_windows() -> None:
    counted = CountedInferer(SlidingWindowInferer((16, 16, 16), sw_batch_size=2), (16, 16, 16))
    assert torch.equal(counted(torch.ones(1, 1, 8, 8, 8), lambda window: window), torch.ones(1, 1, 8, 8, 8))
