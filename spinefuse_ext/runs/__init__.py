"""What stands between a config and an engine: settings read and checked, and a run as a call or as a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinefuse_ext.renamed import renamed
from spinefuse_ext.runs.checks import check_run
from spinefuse_ext.runs.tell import log_run

__all__ = ["check_run", "log_run"]

if not TYPE_CHECKING:
    __getattr__ = renamed(__name__, {"tell_run": "spinefuse_ext.runs.log_run"})
