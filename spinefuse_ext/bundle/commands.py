"""Names of an earlier version, which went to ``verbs`` and ``runs``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinefuse_ext.renamed import renamed

_VERBS = ("BUNDLES", "evaluate", "find_bundle", "fuse", "installed_bundles", "listed", "segment", "train")
_NAMES = {name: f"spinefuse_ext.verbs.commands.{name}" for name in _VERBS} | {
    "bundle_command": "spinefuse_ext.runs.command.bundle_command",
    "check_places": "spinefuse_ext.runs.configs.check_places",
    "config_files": "spinefuse_ext.runs.configs.config_files",
    "run_bundle": "spinefuse_ext.runs.run.run_bundle",
}

if not TYPE_CHECKING:
    __getattr__ = renamed(__name__, _NAMES)
