from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spinefuse_ext.registration import Landmarks, fit_landmarks
from spinefuse_ext.report import build_report
from spinefuse_ext.report.fit_file import read_fit
from spinefuse_ext.validation import SpinefuseError


@pytest.mark.parametrize("model", ["rigid", "similarity", "affine", "thin_plate", "per_vertebra"])
def test_the_page_shows_every_model_and_its_warnings(model: str, tmp_path: Path, rng: np.random.Generator) -> None:
    points = rng.uniform((-30, -30, 0), (30, 30, 120), (17, 3))
    names = tuple(f"L{1 + place // 4} <{place}>" for place in range(17))
    order = [1, 0, *range(2, 17)]
    fit = fit_landmarks(Landmarks(names, points), Landmarks(names, points[order] + 5), model)
    assert [suspect.kind for suspect in fit.suspects] == ["swapped"]
    file = tmp_path / "run" / "cases" / "a" / "registration.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(fit.to_dict()))
    assert read_fit(file).warnings == fit.warnings
    page = Path(build_report(tmp_path / "run")).read_text(encoding="utf-8")
    assert model in page
    assert "a: Landmarks L1 &lt;0&gt; and L1 &lt;1&gt; look swapped" in page


def test_warnings_that_are_no_sentences_are_refused(tmp_path: Path) -> None:
    (tmp_path / "registration.json").write_text('{"warnings": "none"}')
    with pytest.raises(SpinefuseError, match="should hold a list of sentences in warnings, got 'none'"):
        read_fit(tmp_path / "registration.json")
