"""What stands between a config and an engine: settings read and checked, and a run as a call or as a command."""

from spinefuse_ext.runs.checks import check_run
from spinefuse_ext.runs.tell import tell_run

__all__ = ["check_run", "tell_run"]
