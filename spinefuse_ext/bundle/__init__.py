"""Names of an earlier version, which went to ``verbs``, ``comparison`` and ``runs``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinefuse_ext.renamed import renamed

if not TYPE_CHECKING:
    __getattr__ = renamed(
        __name__,
        {"check_run": "spinefuse_ext.runs.check_run", "tell_run": "spinefuse_ext.runs.log_run"},
    )
