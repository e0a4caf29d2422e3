"""What stands around a bundle: checks before a run, and the commands that start one."""

from spinefuse_ext.bundle.checks import check_run
from spinefuse_ext.bundle.tell import tell_run

__all__ = ["check_run", "tell_run"]
