"""``python -m monai.bundle``, whose words reach the terminal as printable text from the first one on.

MONAI tells the values of a run before it looks at a config, so at that time nothing of a bundle can step in.
"""

from __future__ import annotations

from collections.abc import Sequence
from runpy import run_module

from spinefuse_ext.printable import protect_terminal

_MONAI, _OURS = "monai.bundle", "spinefuse_ext.bundle.in_terminal"


def in_terminal(command: Sequence[str]) -> list[str]:
    """Return what to start for a ``PYTHON -m monai.bundle ...`` whose words are to be printable."""
    python, option, module, *rest = command
    return [python, option, _OURS if module == _MONAI else module, *rest]


if __name__ == "__main__":
    protect_terminal()
    run_module(_MONAI, run_name="__main__", alter_sys=True)
