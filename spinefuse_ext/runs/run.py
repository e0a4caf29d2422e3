"""One run of a bundle: checked before it starts, shown as a command, and done in this process or in one of its own."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from spinefuse_ext.console import is_verbose, quiet_libraries, tell
from spinefuse_ext.enums import CaseKeys
from spinefuse_ext.plain_errors import own_error
from spinefuse_ext.runs.checks import settings_checked
from spinefuse_ext.runs.command import bundle_command, check_settings, shell_line, workflow_values
from spinefuse_ext.runs.configs import config_files, merged_configs
from spinefuse_ext.runs.progress import add_progress, close_lines
from spinefuse_ext.runs.settings import typed_settings


@dataclass(frozen=True)
class BundleRun:
    """One bundle run: the bundle, its configs, the settings of the verb and those that a person typed."""

    bundle: Path
    configs: Sequence[str]
    own: Mapping[str, Any]
    typed: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All overrides by config id; what was typed is read as the kind of value that the configs hold."""
        files = config_files(self.bundle, self.configs)
        return {**self.own, **typed_settings(merged_configs(files), self.typed)}

    @property
    def image_keys(self) -> list[str]:
        """Keys of the images that the network sees, by the configs and what was typed."""
        keys = self._value("image_keys", [CaseKeys.FUSED])
        return [str(key) for key in keys] if isinstance(keys, list) else [str(keys)]

    @property
    def takes_either(self) -> bool:
        """Whether the network takes a CT, an MR, or both."""
        return set(self.image_keys) == {"ct", "mr"} and self._value("allow_missing", False) is True

    @property
    def labels(self) -> list[str]:
        """Names of the classes that the network tells apart, background first; none where no config lists them."""
        return list(map(str, self._value("labels", [])))

    def _value(self, name: str, default: Any) -> Any:
        """A setting as the run gets it, not evaluated."""
        configured = merged_configs(config_files(self.bundle, self.configs)).get(name, default)
        return self.settings.get(name, configured)

    def check(self) -> None:
        """Raise an error for a config or a setting that the run would be refused for."""
        check_settings(self.bundle, self.configs, self.settings)

    def start(self) -> None:
        """Run it, as :func:`run_bundle`."""
        run_bundle(self.bundle, self.configs, self.settings)


def run_bundle(bundle: Path, configs: Sequence[str], overrides: Mapping[str, Any], *, process: bool = False) -> str:
    """Print the ``python -m monai.bundle run`` command, do what it does, and return it as one line for a shell.

    Args:
        bundle: folder of the bundle.
        configs: names of its config files, or files of one's own, merged left to right.
        overrides: settings by config id.
        process: run the command itself, in a process of its own whose memory and crash are its own too; else the run
            is a call in this process, and its errors are exceptions.

    Raises:
        MissingPathError: a config that is not there.
        ConfigError: an override that no config has a place for or that would be ignored.
        SpinefuseError: what the run refuses.
        SystemExit: with the status of the process, when it fails; it has said why.
    """
    command = bundle_command(bundle, configs, overrides)
    line = shell_line(command)
    tell(f"$ {line}")
    if process or "args_file" in overrides:  # a file of arguments is read by the command alone
        status = subprocess.run(command, check=False).returncode
        if status:
            raise SystemExit(status)
        return line
    with open_workflow(bundle, configs, overrides) as workflow:
        workflow.run()
        workflow.finalize()
        del workflow  # what this held is freed when the run is closed
    return line


@contextmanager
def open_workflow(bundle: Path, configs: Sequence[str], overrides: Mapping[str, Any]) -> Iterator[ConfigWorkflow]:
    """Yield MONAI's workflow of a run whose settings were checked, initialised in this process; free it in the end.

    ``sys.path``, to which a workflow adds its bundle, is as before afterwards. The seed of a run stays set.
    """
    searched = list(sys.path)
    sys.path.insert(1, str(bundle))  # where a bundle of one's own may keep its code
    try:
        with quiet_libraries():
            workflow = _workflow(bundle, configs, overrides)
            with settings_checked():
                workflow.initialize()
            yield workflow
            del workflow
    except Exception as error:
        own = own_error(error)
        if own is None or own is error:
            raise
        raise own from None  # without what MONAI wraps around it
    finally:
        close_lines()
        sys.path[:] = searched
        gc.collect()  # engines and handlers hold each other, and the network


def _workflow(bundle: Path, configs: Sequence[str], overrides: Mapping[str, Any]) -> ConfigWorkflow:
    """The workflow that ``monai.bundle run`` makes; what it logs is the console's, but for ``--verbose``."""
    values = workflow_values(bundle, overrides)
    if not is_verbose():
        values.setdefault("logging_file", False)
    workflow = ConfigWorkflow(config_file=config_files(bundle, configs), workflow_type=None, **values)
    if not is_verbose():  # else the engine tells it
        add_progress(workflow.parser, workflow.run_id)
    return workflow
