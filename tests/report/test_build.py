from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from monai.transforms import LoadImage

from spinefuse_ext.report import build_report
from spinefuse_ext.report.run_folder import Case, open_run
from spinefuse_ext.report.run_sections import duration
from spinefuse_ext.report.segmentation_section import overlaps
from spinefuse_ext.validation import ImageReadError, MissingPathError, SpinefuseError

HEADINGS = ["Summary", "Registration", "Fusion", "Training curves", "Segmentation", "How it was made", "Limits"]


def _text(page: Path) -> str:
    """What a reader sees: the page without styles, pictures and tags."""
    html = page.read_text(encoding="utf-8")
    body = re.sub(r"(?s)<style>.*?</style>", "", html)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


def _pictures(page: Path) -> int:
    return page.read_text(encoding="utf-8").count("<img src=")


def test_whole_run_is_shown(run_folder: Path) -> None:
    page = build_report(run_folder)
    html, text = page.read_text(encoding="utf-8"), _text(page)
    assert page == run_folder / "report.html"
    assert re.findall(r"<h2>(.*?)</h2>", html) == HEADINGS
    assert _pictures(page) == 10  # 2 registrations, 2 fusions, 1 + 3 curves, 2 segmentations
    assert "Segmentation networks, who taught whom. Last values: steps in which the second network taught" in text
    worst = Case(run_folder / "cases" / "spine_02").fit()
    assert worst is not None
    row = f"spine_02 rigid 4 {worst.fre_rms_mm:.2f} {worst.tre_mean_mm:.2f} {worst.tre_largest_mm:.2f} {worst.worst}"
    for shown in (row, f"largest {worst.tre_mean_mm:.2f} mm", "spine_02, the case with the largest TRE", "EN"):
        assert shown in text
    assert "spinefuse phantom data --cases 2" in text
    assert "2 min 13 s" in text
    assert "not found" not in text


def test_overlap_is_that_of_the_files(run_folder: Path) -> None:
    cases = open_run(run_folder).cases()
    scores = overlaps(cases)
    label, prediction = (
        np.asarray(LoadImage(image_only=True)(run_folder / "cases" / "spine_01" / f"{name}.nii.gz")) == 2
        for name in ("label", "prediction")
    )
    both = np.count_nonzero(label & prediction)
    assert scores["Dice"]["spine_01"][2] == pytest.approx(2 * both / (label.sum() + prediction.sum()))
    assert scores["Jaccard"]["spine_01"][2] == pytest.approx(both / np.count_nonzero(label | prediction))


def test_out_names_the_page(run_folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(run_folder / "cases")
    assert build_report(run_folder, tmp_path / "new" / "page.html") == tmp_path / "new" / "page.html"
    assert not (run_folder / "report.html").exists()


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        ("cases", "No folder cases/ was found"),
        ("fusion", "Fusion network: no TensorBoard event files were found below fusion/"),
        ("semiseg", "No metric files were found below semiseg/"),
        ("commands.txt", "No commands.txt was found"),
        ("cases/*/registration.json", "No registration.json was found"),
        ("cases/*/mr.nii.gz", "there is no picture of the registration"),
        ("cases/*/fused.nii.gz", "there is no picture of the fusion"),
        ("cases/*/prediction.nii.gz", "there is no picture of the segmentation"),
        ("cases/*/label.nii.gz", "there is no overlap with a truth"),
        ("cases/*/mr_before.nii.gz", "The MR before registration was not found"),
    ],
)
def test_absent_part_is_said_in_plain_words(run_folder: Path, absent: str, said: str) -> None:
    for path in run_folder.glob(absent):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for extra in run_folder.glob("cases/spine_02"):  # one case is enough here
        shutil.rmtree(extra)
    assert said in _text(build_report(run_folder))


def test_folder_without_any_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="holds none of cases, fusion, semiseg"):
        build_report(tmp_path)
    with pytest.raises(MissingPathError, match=r"Run folder .* does not exist"):
        build_report(tmp_path / "absent")
    assert not any(tmp_path.iterdir())


def test_hostile_case_name_stays_text(run_folder: Path) -> None:
    shutil.rmtree(run_folder / "cases" / "spine_02")
    (run_folder / "cases" / "spine_01").rename(run_folder / "cases" / "<script>alert(1)<")
    page = build_report(run_folder)
    assert "<script" not in page.read_text(encoding="utf-8")
    assert "<script>alert(1)<" in _text(page)


def test_original_mr_is_brought_onto_the_ct_grid_by_headers(run_folder: Path, save_image: Callable[..., None]) -> None:
    folder = run_folder / "cases" / "spine_01"
    (folder / "mr_before.nii.gz").unlink()
    affine = np.diag([-2.0, -2.0, 2.0, 1.0])
    affine[:3, 3] = (10, 10, 90)
    x, y, z = (np.arange(60)[index] for index in np.ix_(range(60), range(60), range(60)))
    save_image(folder / "original.nii.gz", 300 + (10 - 2.0 * x) + 2 * (10 - 2.0 * y) + 3 * (90 + 2.0 * z), affine)
    case = Case(folder)
    before = case.mr_before(case.volume("ct"))
    assert before is not None
    assert before.shape == case.volume("ct").shape
    # the MR is a ramp over the patient's mm, so each voxel's value tells where it was taken from
    right, anterior, superior = before.affine[:3].numpy() @ np.array([12, 20, 20, 1.0])
    assert before[0, 12, 20, 20].item() == pytest.approx(300 + right + 2 * anterior + 3 * superior, rel=1e-3)


def test_image_on_another_grid_is_refused(run_folder: Path, save_image: Callable[..., None]) -> None:
    save_image(run_folder / "cases" / "spine_01" / "mr.nii.gz", np.zeros((5, 5, 5)))
    with pytest.raises(ImageReadError, match=r"mr\.nii\.gz should lie on the grid of ct\.nii\.gz"):
        build_report(run_folder)
    assert not (run_folder / "report.html").exists()


def test_unreadable_image_is_named(run_folder: Path) -> None:
    (run_folder / "cases" / "spine_01" / "ct.nii.gz").write_bytes(b"no image")
    with pytest.raises(ImageReadError, match=r"ct\.nii\.gz cannot be read as an image"):
        build_report(run_folder)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("timings.json", "{", r"timings\.json should hold JSON"),
        ("timings.json", "[1]", "should hold a JSON object, got a list"),
        ("timings.json", '{"a": "soon"}', "should map each step to its seconds"),
        ("cases/spine_01/registration.json", '{"points": [1, 2]}', "should map point names to fre_mm and tre_mm"),
        ("cases/spine_01/registration.json", '{"tre_mean_mm": "good"}', "should hold a number of mm in tre_mean_mm"),
    ],
)
def test_broken_json_is_named(run_folder: Path, file: str, content: str, message: str) -> None:
    (run_folder / file).write_text(content)
    with pytest.raises(SpinefuseError, match=message):
        build_report(run_folder)


def test_fit_without_leave_one_out_errors_is_shown_with_dashes(run_folder: Path) -> None:
    shutil.rmtree(run_folder / "cases" / "spine_02")
    points = {"L1": {"fre_mm": 0.5, "tre_mm": None}}
    fit = {"model": "rigid", "points": points, "fre_rms_mm": 0.5, "tre_mean_mm": None, "worst": None}
    (run_folder / "cases" / "spine_01" / "registration.json").write_text(json.dumps(fit))
    assert "spine_01 rigid 1 0.50 \N{EN DASH} \N{EN DASH} \N{EN DASH}" in _text(build_report(run_folder))


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.44, "8.4 s"), (59.96, "1 min 0 s"), (125, "2 min 5 s"), (3785, "1 h 3 min")]
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
