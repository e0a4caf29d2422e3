"""Packages that a machine may lack, such as one that has MONAI alone: who needs them says so in one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec

from monai.utils import OptionalImportError

from spinefuse_ext.validation import MissingPackageError

#: What pip calls a package that Python imports under another name.
_PIP_NAMES = {"skimage": "scikit-image", "pywt": "PyWavelets", "ignite": "pytorch-ignite"}
_OURS = __name__.partition(".")[0]


def installed(*packages: str) -> bool:
    """Whether Python finds all of ``packages``, by the names that it imports; none of them is imported."""
    return _first_missing(packages) is None


def names_without(module: str, names: list[str], *packages: str) -> Callable[[str], object]:
    """Return a ``__getattr__`` for ``module``, whose ``names`` cannot be had without ``packages``.

    Asking for one of them raises ``MissingPackageError`` with the first package that is missing.
    """

    def missing_name(name: str) -> object:
        package = _first_missing(packages)
        if name in names and package is not None:
            raise MissingPackageError(missing_sentence(package, f"{module}.{name}"))
        raise AttributeError(f"module {module} has no attribute {name}")

    return missing_name


def missing_sentence(package: str, who: str = "This step") -> str:
    """One sentence on ``package``, by the name that Python imports, which ``who`` needs."""
    pip = _PIP_NAMES.get(package, package)
    return f"{who} needs the package {pip}, which is not installed; `pip install {pip}` brings it."


def package_missing_for(error: BaseException) -> str | None:
    """Return the package whose absence ``error`` is about, or None: another error, or a module of this package."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    if isinstance(error, OptionalImportError):  # MONAI's, which has the name in its text only
        found = re.search(r"(?:No module named '|required package `)([\w.]+)", str(error))
        name = found[1] if found else None
    package = (name or "").partition(".")[0]
    return package if package and package != _OURS and find_spec(package) is None else None


def _first_missing(packages: tuple[str, ...]) -> str | None:
    return next((package for package in packages if find_spec(package) is None), None)
