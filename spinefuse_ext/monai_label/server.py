"""Start MONAI Label with the app of this package in one command."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from spinefuse_ext.bundle.commands import BUNDLES
from spinefuse_ext.files import whole_file
from spinefuse_ext.monai_label.bundles import BundleSource, provide_bundle
from spinefuse_ext.monai_label.origins import ORIGINS, origin_list
from spinefuse_ext.validation import ConfigError, MissingPackageError

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

    ``--studies`` is a folder of ``X_ct.nii.gz`` with ``X_mr.nii.gz`` beside them or in ``mr/``, or the address of a
    DICOMweb server. ``--app`` holds copies of the bundles, the weights that the server trains, its logs and what it
    keeps; a second start goes on with them. At the first start the bundles come from ``--bundles`` (a folder of bundles
    or of their archives), ``--repo`` (OWNER/REPO/TAG on GitHub) or ``--url`` (``{name}`` stands for the bundle), by
    default from ``./bundles``, and their weights from ``--fusion_checkpoint`` and ``--checkpoint`` where given. What is
    downloaded must have the SHA-256 that was published beside it, or that ``--checksums`` says: files as `spinefuse
    pack` writes them, with commas between them, or ``none`` to take it as it is.
    ``--dry_run`` makes the app and stops. The server asks nobody who they are: leave ``--host`` at this computer.
    Of pages in a browser only the server's own may use it, OHIF at ``/ohif/`` among them; ``--origins`` names further
    ones, such as ``http://viewer.hospital.org:3000``, with commas between them.
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
    with whole_file(folder / "main.py") as temporary:
        temporary.write_text(_MAIN, encoding="utf-8")
