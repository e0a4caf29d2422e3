"""The verbs that work with bundles, and the steps that configs of earlier versions name here."""

from spinefuse_ext.runs import check_run, tell_run

__all__ = ["check_run", "tell_run"]
