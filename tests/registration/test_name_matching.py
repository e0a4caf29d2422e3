from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from spinefuse_ext.registration import Landmarks, fit_landmarks, read_landmarks, vertebrae_from_names
from spinefuse_ext.validation import LandmarkError

CORNERS = np.array([[0.0, 0, 0], [40, 0, 0], [0, 30, 0], [0, 0, 90], [25, 20, 60]])
NAMES = ("L1 Körper", "L2", "L3", "L4", "L5")


def points(*names: str, shift: float = 0.0) -> Landmarks:
    return Landmarks(names, CORNERS[: len(names)] + shift)


def test_names_that_only_one_list_has_are_left_out_and_said() -> None:
    fit = fit_landmarks(points(*NAMES), points("L1 Körper", "extra", "L3", "L4", "L5", shift=7.0))
    assert fit.names == ("L1 Körper", "L3", "L4", "L5")
    assert fit.fre_rms_mm == pytest.approx(0, abs=1e-9)
    assert fit.left_out == (("L2",), ("extra",))
    assert fit.to_dict()["left_out"] == {"ct": ["L2"], "mr": ["extra"]}
    (sentence,) = fit.warnings
    assert sentence.startswith(
        "Only the 4 landmarks whose names both lists have were used; left out were L2 of the CT list"
    )
    assert sentence in fit.summary()


@pytest.mark.parametrize("model", ["affine", "thin_plate"])
def test_a_model_that_needs_four_refuses_three(model: str) -> None:
    with pytest.raises(
        LandmarkError, match=rf"at least 4 landmark pairs for the model {model}, got 3 \(L1 Körper, L2, L3\)"
    ):
        fit_landmarks(points(*NAMES), points(*NAMES[:3], "a", "b"), model)


def test_unicode_forms_of_a_name_are_one_name() -> None:
    decomposed = tuple(unicodedata.normalize("NFD", name) for name in NAMES)
    assert decomposed != NAMES
    fit = fit_landmarks(points(*NAMES), points(*decomposed))
    assert fit.names == NAMES
    assert fit.left_out == ((), ())
    with pytest.raises(LandmarkError, match="L1 Körper stand more than once"):
        points(NAMES[0], decomposed[0])


@pytest.mark.parametrize("other", ["l1 körper", "L1_Körper", "L1-KÖRPER", "L1\u00a0Körper"])
def test_a_near_miss_that_can_be_only_one_is_taken_and_said(other: str) -> None:
    fit = fit_landmarks(points(*NAMES), points(other.replace("\u00a0", "_"), *NAMES[1:]))
    assert fit.names == NAMES
    assert any("was taken for L1 Körper of the CT list" in sentence for sentence in fit.warnings)


def test_a_near_miss_of_two_is_not_guessed() -> None:
    fit = fit_landmarks(points("L1", *NAMES[1:]), points("l1", *NAMES[1:4], "L_1"))
    assert fit.names == ("L1", *NAMES[1:4])  # "L_1" is no "L1", but "l1" is
    fit = fit_landmarks(points("a-b", *NAMES[1:]), points("A B", *NAMES[1:4], "a_b"))
    assert fit.names == NAMES[1:4]
    assert fit.left_out == (("a-b", "L5"), ("A B", "a_b"))


def test_vertebrae_follow_the_points_that_are_left() -> None:
    fixed = Landmarks(("L1 a", "L1 b", "L2 a", "L2 b", "L3 a"), CORNERS)
    moving = Landmarks(fixed.names[1:], CORNERS[1:])
    fit = fit_landmarks(fixed, moving, "per_vertebra", vertebrae=vertebrae_from_names(fixed))
    assert fit.names == fixed.names[1:]
    assert fit.fre_rms_mm < 0.1


def test_a_file_gives_names_in_one_form_and_names_its_repeats(tmp_path: pytest.TempPathFactory) -> None:
    path = tmp_path / "a.csv"  # type: ignore[operator]
    path.write_text("name,x,y,z\nL1 K\u00f6rper,0,0,0\n L2 ,1,0,0\n", encoding="utf-8")
    assert read_landmarks(path).names == ("L1 Körper", "L2")
    path.write_text("name,x,y,z\nL1 K\u00f6rper,0,0,0\nL1 Ko\u0308rper,1,0,0\n", encoding="utf-8")
    with pytest.raises(LandmarkError, match="line 3: the name L1 K\u00f6rper was already used at line 2"):
        read_landmarks(path)
