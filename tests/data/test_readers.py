from __future__ import annotations

import pytest

from spinefuse_ext.data import installed_readers, readers
from spinefuse_ext.validation import MissingPackageError


def test_every_reader_stays_where_its_package_is_there() -> None:
    assert installed_readers(["ITKReader", "NibabelReader"]) == ["ITKReader", "NibabelReader"]
    assert installed_readers(["my.own.Reader"]) == ["my.own.Reader"]


def test_a_reader_without_its_package_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(readers, "installed", lambda package: package != "itk")
    with caplog.at_level("INFO"):
        assert installed_readers(["ITKReader", "NibabelReader"]) == ["NibabelReader"]
    assert "ITKReader needs the package itk, which is not installed" in caplog.text
    with pytest.raises(MissingPackageError, match="ITKReader needs the package itk"):
        installed_readers(["ITKReader"])
