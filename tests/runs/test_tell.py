from __future__ import annotations

import logging

import pytest
import torch

from spinefuse_ext.runs import log_run


def test_the_line_names_device_processes_and_switches(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "1")
    with caplog.at_level(logging.INFO):
        log_run("cpu", amp=True, channels_last=True, cache="disk")
    assert (
        "Running on cpu, 1 process, mixed precision bfloat16, torch.compile off, channels last on, cache disk"
        in caplog.text
    )


def test_one_process_of_several_speaks(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with caplog.at_level(logging.INFO):
        for rank in range(3):
            monkeypatch.setenv("RANK", str(rank))
            assert "3 processes, mixed precision off" in log_run("cpu")
    assert caplog.text.count("Running on") == 1


@pytest.mark.parametrize(
    ("processor", "amp", "warned"), [("AVX2", True, True), ("AVX512", True, False), ("AVX2", False, False)]
)
def test_a_processor_that_mixed_precision_makes_slow_is_told(
    processor: str, amp: bool, warned: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    log_run("cpu", amp=amp)
    assert ("give --amp False" in caplog.text) == warned
