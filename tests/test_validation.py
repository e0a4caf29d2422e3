from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch

from spinefuse_ext import validation
from spinefuse_ext.enums import Competition
from spinefuse_ext.validation import (
    ConfigError,
    MissingPathError,
    SpinefuseError,
    check_choice,
    check_exists,
    check_same_shape,
    check_spatial_dims,
)


def test_every_cause_has_a_type_that_says_what_it_means() -> None:
    kinds = [
        kind for _, kind in inspect.getmembers(validation, inspect.isclass) if kind.__module__ == validation.__name__
    ]
    assert len(kinds) > 8
    assert all(issubclass(kind, SpinefuseError) and kind.__doc__ for kind in kinds)
    assert issubclass(SpinefuseError, ValueError)


def test_a_choice_is_found_or_all_choices_are_named() -> None:
    assert check_choice("base", "lsra", {"lsra": 1, "inn": 2}) == 1
    assert check_choice("competition", "soft", Competition) is Competition.SOFT
    with pytest.raises(ConfigError, match=r"competition cannot be 'softt'; did you mean 'soft'.* one of sharpened, "):
        check_choice("competition", "softt", Competition)
    with pytest.raises(ConfigError, match=r"base cannot be '0123456789'\. It is one of inn, lsra\."):
        check_choice("base", "0123456789", {"lsra": 1, "inn": 2})


def test_shapes_are_listed_by_name() -> None:
    check_same_shape(ct=torch.zeros(1, 2), mr=torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"got ct \(1, 2\), mr \(2, 1\). Register or resample the pair first"):
        check_same_shape(ct=torch.zeros(1, 2), mr=torch.zeros(2, 1))


@pytest.mark.parametrize("dims", [1, 4, 0])
def test_only_pictures_and_volumes_are_accepted(dims: int) -> None:
    check_spatial_dims(2)
    check_spatial_dims(3)
    with pytest.raises(ValueError, match=f"Expected spatial_dims 2 or 3, got {dims}"):
        check_spatial_dims(dims)


def test_a_missing_path_is_named_with_the_nearest_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_exists(str(tmp_path), "The folder") == tmp_path
    with pytest.raises(
        MissingPathError, match=rf"The CT .*a/b/c.nii does not exist; .* is {tmp_path}\. Check the path"
    ):
        check_exists(tmp_path / "a" / "b" / "c.nii", "The CT")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingPathError, match=rf"The MR x/y.nii does not exist; .* is {tmp_path}\."):
        check_exists("x/y.nii", "The MR")
