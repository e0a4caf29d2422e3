from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import pytest

from spinefuse_ext.networks import keep_freed_memory


def _library(monkeypatch: pytest.MonkeyPatch, **functions: object) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(**functions))


def test_asks_for_reuse_of_large_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[int, int] = {}

    def mallopt(option: int, value: int) -> int:
        asked[option] = value
        return 1

    _library(monkeypatch, mallopt=mallopt)
    assert keep_freed_memory()
    assert asked == {-3: 2**30, -1: 2**31 - 1, -2: 2**28}


def test_says_when_the_library_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    _library(monkeypatch, mallopt=lambda option, value: 0)
    assert not keep_freed_memory()


def test_does_nothing_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    _library(monkeypatch)
    assert not keep_freed_memory()


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_loads_no_library_on_other_systems(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("loaded a library"))
    assert not keep_freed_memory()
