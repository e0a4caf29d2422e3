"""Start MONAI Label with the app of this package in one command."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from spinefuse_ext.files import atomic_write
from spinefuse_ext.monai_label.bundles import BundleSource, provide_bundle
from spinefuse_ext.monai_label.origins import ORIGINS, origin_list
from spinefuse_ext.validation import ConfigError, MissingPackageError
from spinefuse_ext.verbs.paths import BUNDLES

logger = logging.getLogger(__name__)

_MAIN = '''"""Made by `spinefuse label-server`; `monailabel start_server --app FOLDER` starts it too."""

from spinefuse_ext.monai_label.app import SpineLabelApp  # noqa: F401
'''


def label_server(  # noqa: PLR0913 (the options of the verb, all keyword-only but one)
    studies: str,
    *,
    app: str = "spinefuse-label",
    bundles: str | None = None,
    repo: str | None = None,
    url: str | None = None,
    version: str | None = None,
    checksums: str | None = None,
    fusion_checkpoint: str | None = None,
    checkpoint: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    origins: str | Sequence[str] = (),
    dry_run: bool = False,
) -> None:
    """Start a MONAI Label server for 3D Slicer or OHIF: ``spinefuse label-server --studies DIR``.

    The server asks nobody who they are: leave ``--host`` at this computer. What is downloaded must have the SHA-256
    that was published beside it, or that ``--checksums`` says. Of pages in a browser only the server's own may use it,
    OHIF at ``/ohif/`` among them.

    Args:
        studies: folder of ``X_ct.nii.gz`` with ``X_mr.nii.gz`` beside them or in ``mr/``, or the address of a DICOMweb
            server.
        app: copies of the bundles, the weights that the server trains, its logs and what it keeps; a second start goes
            on with them.
        bundles: first start: folder of bundles or of their archives; ``./bundles`` by default.
        repo: first start: OWNER/REPO/TAG on GitHub, or OWNER/REPO on the Hugging Face Hub.
        url: first start: address of an archive; ``{name}`` stands for the bundle.
        version: of the release; the newest by default.
        checksums: files with SHA-256, as ``spinefuse pack`` writes them, with commas between them; ``none`` takes a
            download as it is.
        fusion_checkpoint: first start: weights of the fusion; those of the bundle by default.
        checkpoint: first start: weights of the segmentation; those of the bundle by default.
        host: address that the server listens on.
        port: of the server.
        origins: further pages that may use it, such as ``http://viewer.hospital.org:3000``, with commas between them.
        dry_run: make the app and stop.
    """
    allowed = origin_list(origins)
    if find_spec("monailabel") is None:
        raise ConfigError(
            "MONAI Label is not installed here; `make monailabel` installs it beside spinefuse, and "
            ".venv-monailabel/bin/spinefuse then has this command too."
        )
    folder = Path(app).absolute()
    source = BundleSource(bundles, repo, url, version, checksums)
    weights = {BUNDLES["fusion"]: fusion_checkpoint, BUNDLES["semiseg"]: checkpoint}
    for name in BUNDLES.values():
        provide_bundle(name, folder / "model", source, weights[name])
    write_app(folder)
    if dry_run:
        logger.info("The app is in %s.", folder)
        return
    os.environ[ORIGINS] = ",".join(allowed)
    from monailabel.main import Main

    tools = Path(sys.executable).parent  # dcmqi and torchrun stand there, whether the environment is activated or not
    os.environ["PATH"] = os.pathsep.join((str(tools), os.environ.get("PATH", "")))
    if str(studies).startswith(("http://", "https://")):
        check_dcmqi(folder)
    sys.argv = ["monailabel", "start_server", "--app", str(folder), "--studies", str(studies)]
    sys.argv += ["--host", str(host), "--port", str(port)]
    Main().run()


def check_dcmqi(app: Path) -> None:
    """Raise ``MissingPackageError`` where the programs are missing that write DICOM SEG for a DICOMweb server."""
    places = os.pathsep.join((os.environ.get("PATH", ""), str(app / "bin")))
    if shutil.which("itkimage2segimage", path=places) is None:
        raise MissingPackageError(
            "DICOM SEG is written by dcmqi, which is not installed; `pip install dcmqi` brings it."
        )


def write_app(folder: Path) -> None:
    """Write ``main.py``, by which MONAI Label finds the app."""
    with atomic_write(folder / "main.py") as temporary:
        temporary.write_text(_MAIN, encoding="utf-8")
