from __future__ import annotations

import numpy as np
import pytest

from spinefuse_ext.registration import Landmarks, fit_landmarks

CORNERS = np.array([[0.0, 0, 0], [40, 0, 0], [0, 30, 0], [0, 0, 90], [25, 20, 60], [-20, 35, 30]])
TURNED = CORNERS[:, [1, 0, 2]] * [1, -1, 1] + [5, 6, 7]  # by 90 degrees, so no list equals the other


def doubts(fixed: np.ndarray, moving: np.ndarray) -> str:
    names = tuple(f"P{row}" for row in range(len(fixed)))
    return " ".join(fit_landmarks(Landmarks(names, fixed), Landmarks(names, moving)).doubts)


def test_a_plain_pair_of_lists_raises_no_doubt(rng: np.random.Generator) -> None:
    for _ in range(20):
        assert doubts(CORNERS, TURNED + rng.normal(0, 2, CORNERS.shape)) == ""


@pytest.mark.parametrize(
    ("fixed", "moving", "sentence"),
    [
        pytest.param(CORNERS, CORNERS, "hold the same coordinates", id="one-list-twice"),
        pytest.param(CORNERS, TURNED * [-1, 1, 1], "looks like a mirror image .* to 0.0 mm", id="mirror"),
        pytest.param(CORNERS, TURNED / 10, "0.1 times as long .* the MR list may be in centimetres", id="mr-cm"),
        pytest.param(
            CORNERS / 1000, TURNED, "1e[+]03 times|All landmarks of the CT list lie within 0.09 mm", id="ct-m"
        ),
        pytest.param(
            CORNERS, TURNED * 2, "Distances between landmarks are 2 times as long in the MR list", id="doubled"
        ),
        pytest.param(
            np.vstack([CORNERS, CORNERS[:1]]),
            np.vstack([TURNED, TURNED[:1] + 9]),
            r"of the CT list lie at one place \(P0 and P6\)",
            id="two-at-one-place",
        ),
        pytest.param(
            CORNERS * [0.05, 0.05, 1], CORNERS * [0.05, 0.05, 1] + 1, "a click error of 1 mm turns the MR", id="thin"
        ),
    ],
)
def test_an_odd_list_is_said(fixed: np.ndarray, moving: np.ndarray, sentence: str) -> None:
    import re

    assert re.search(sentence, doubts(fixed, moving))
