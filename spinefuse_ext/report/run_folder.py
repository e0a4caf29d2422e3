"""What a run left in its folder: cases with their volumes and fits, logs, metric files, commands, timings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from monai.data import MetaTensor
from monai.transforms import ResampleToMatch

from spinefuse_ext.formats import data_paths
from spinefuse_ext.registration.landmark_files import read_landmarks
from spinefuse_ext.registration.landmarks import Landmarks
from spinefuse_ext.report.fit_file import FitFigures, read_fit, read_json
from spinefuse_ext.report.tables import MetricsReport, read_metrics_csv
from spinefuse_ext.report.views import turn_to_ras
from spinefuse_ext.validation import ImageReadError, MissingPathError, SpinefuseError, check_exists
from spinefuse_ext.volumes.volume import read_volume

_PARTS = ("cases", "fusion", "semiseg", "commands.txt", "timings.json")


@dataclass(frozen=True)
class Case:
    """One case's folder; ``volume`` reads an image of it as ``(1, X, Y, Z)`` in RAS."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def has(self, *names: str) -> bool:
        """Whether all these images are there, named without ``.nii.gz``."""
        return all((self.folder / f"{name}.nii.gz").is_file() for name in names)

    def volume(self, name: str) -> MetaTensor:
        return turn_to_ras(read_volume(self.folder / f"{name}.nii.gz"))

    def volumes(self, *names: str) -> dict[str, MetaTensor]:
        """Images of one grid by name; raise ``ImageReadError`` naming two files whose grids differ."""
        images = {name: self.volume(name) for name in names}
        first = next(iter(images))
        for name, image in images.items():
            if image.shape != images[first].shape or not torch.allclose(image.affine, images[first].affine, atol=1e-2):
                raise ImageReadError(
                    f"{self.folder / name}.nii.gz should lie on the grid of {first}.nii.gz {_grid(images[first])}, "
                    f"got {_grid(image)}; resample it onto that grid."
                )
        return images

    def fit(self) -> FitFigures | None:
        """The landmark fit's figures; None when there is no ``registration.json``."""
        file = self.folder / "registration.json"
        return read_fit(file) if file.is_file() else None

    def mr_before(self, ct: MetaTensor) -> MetaTensor | None:
        """The MR on the CT grid by headers alone: ``mr_before.nii.gz`` or the original, resampled; else None."""
        if self.has("mr_before"):
            return self.volumes("ct", "mr_before")["mr_before"]
        fit = self.fit()
        original = self._input(fit.mr if fit else None)
        if original is None:
            return None
        try:
            image = read_volume(original, "MR")
        except ImageReadError:  # a picture less: the page says that there is no "before"
            return None
        return cast(MetaTensor, ResampleToMatch(mode="bilinear", padding_mode="zeros")(image, img_dst=ct))

    def ct_landmarks(self) -> Landmarks | None:
        """The points the fit was made from, where their file is still to be found."""
        fit = self.fit()
        file = self._input(fit.ct_landmarks if fit else None)
        return None if file is None else read_landmarks(file)

    def _input(self, named: str | None) -> Path | None:
        """A file that the fit named, absolute, from the working directory, or from the case or the run folder."""
        places = [Path(), self.folder, self.folder.parent.parent]
        return next((place / named for place in places if (place / named).exists()), None) if named else None


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run; every part of it may be absent."""

    folder: Path

    def cases(self) -> list[Case]:
        root = self.folder / "cases"
        return [Case(path) for path in sorted(data_paths(root.iterdir())) if path.is_dir()] if root.is_dir() else []

    def metrics(self, part: str) -> dict[str, MetricsReport]:
        """Metric files in or below every folder ``eval`` of ``fusion`` or ``semiseg``: folder -> what they hold."""
        root = self.folder / part
        folders = {file.parent for file in root.rglob("*.csv") if "eval" in file.relative_to(root).parts[:-1]}
        return {path.relative_to(root).as_posix(): read_metrics_csv(path) for path in sorted(folders)}

    def commands(self) -> str:
        file = self.folder / "commands.txt"
        return file.read_text(encoding="utf-8").strip() if file.is_file() else ""

    def timings_s(self) -> dict[str, float]:
        file = self.folder / "timings.json"
        timings = read_json(file) if file.is_file() else {}
        try:
            return {step: float(seconds) for step, seconds in timings.items()}
        except (TypeError, ValueError) as error:
            raise SpinefuseError(f"{file} should map each step to its seconds, but {error}; write it again.") from error


def open_run(folder: str | Path) -> RunFolder:
    """The run in ``folder``; raise ``MissingPathError`` when it does not exist or holds no part of a run."""
    folder = check_exists(folder, "Run folder")
    if not any((folder / part).exists() for part in _PARTS):
        raise MissingPathError(
            f"{folder} holds none of {', '.join(_PARTS)}; give the folder that a run wrote its outputs into."
        )
    return RunFolder(folder)


def _grid(image: MetaTensor) -> str:
    origin = ", ".join(f"{value:.1f}" for value in image.affine[:3, 3].tolist())
    return f"(shape {tuple(image.shape[1:])}, origin {origin} mm)"
