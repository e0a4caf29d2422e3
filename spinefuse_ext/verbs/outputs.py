"""Results of an earlier run in the folder of a new one: all of them go, or all of them stay."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)

#: What each verb writes into its folder, as patterns.
FUSED = ("fused.nii.gz", "fused_dicom", "contribution.nii.gz", "features.nii.gz", "overlay")
SEGMENTED = ("prediction*.nii.gz", "prediction.dcm", "disagreement.nii.gz", "trust.json", "levels.*")
SCORED = ("metrics.csv", "val_*_raw.csv", "val_*_summary.csv", "scores.csv", "summary.csv")


@contextmanager
def replaced(folder: str | Path, patterns: Collection[str], inputs: Iterable[str] = ()) -> Iterator[None]:
    """Set aside what an earlier run left in ``folder`` for the length of a new one, so that both never lie mixed.

    Success deletes it. After an error it comes back, and what the new run has written by then is deleted; where nothing
    was set aside, that stays.

    Args:
        folder: of the results.
        patterns: of the names of results.
        inputs: paths that the new run reads, which stay where they are.
    """
    folder, read = Path(folder), {Path(path).absolute() for path in inputs}
    earlier = [path for path in _found(folder, patterns) if path.absolute() not in read]
    if not earlier:
        yield
        return
    aside = Path(tempfile.mkdtemp(prefix=".earlier.", dir=folder))
    try:
        for path in earlier:
            path.rename(aside / path.name)
        yield
    except BaseException:
        for path in _found(folder, patterns):
            if path.absolute() not in read:
                _delete(path)
        for path in aside.iterdir():
            path.rename(folder / path.name)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    logger.info("Replaced in %s: %s", folder, ", ".join(path.name for path in earlier))


def tell_outdated(folder: str | Path, patterns: Collection[str], source: str) -> None:
    """Warn of results in ``folder`` that were made of the former ``source``."""
    found = [path.name for path in _found(Path(folder), patterns)]
    if found:
        logger.warning(
            "%s: %s were made of the %s that was here before; make them again.", folder, ", ".join(found), source
        )


def _found(folder: Path, patterns: Collection[str]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
