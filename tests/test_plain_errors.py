from __future__ import annotations

import errno
import itertools
import logging
import os
import subprocess
import sys

import pytest

from spinefuse_ext.plain_errors import install, plain_message, runs_as_bundle_command
from spinefuse_ext.validation import SpinefuseError


def raised(*chain: BaseException, explicit: bool = True) -> BaseException:
    """The last of ``chain``, each raised because of the one before."""
    for cause, effect in itertools.pairwise(chain):
        effect.__cause__, effect.__context__ = (cause, cause) if explicit else (None, cause)
    return chain[-1]


@pytest.mark.parametrize("explicit", [True, False])
def test_bad_input_is_found_below_what_wraps_it(explicit: bool) -> None:
    error = raised(SpinefuseError("no CT"), RuntimeError("config"), ValueError("outer"), explicit=explicit)
    assert plain_message(error) == "no CT"
    assert plain_message(SpinefuseError("itself")) == "itself"


def test_other_errors_are_not_bad_input() -> None:
    assert plain_message(None) is None
    assert plain_message(raised(KeyError("x"), ValueError("y"))) is None


def test_what_a_file_system_says_of_a_file_is_one_sentence() -> None:
    error = OSError(errno.EROFS, "Read-only file system", "/mnt/x/events")
    assert plain_message(error) == (
        "/mnt/x/events: Read-only file system; check the path, the rights on it and the room on its disk."
    )
    assert plain_message(BrokenPipeError(errno.EPIPE, "Broken pipe")) is None


def run(statement: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from spinefuse_ext.plain_errors import install\n"
    code += "from spinefuse_ext.validation import SpinefuseError\ninstall()\nsys.stdout.write('before')\n" + statement
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_an_uncaught_bad_input_ends_the_process_with_one_line_and_status_2() -> None:
    done = run("raise RuntimeError('wrapped') from SpinefuseError('no CT')")
    assert (done.returncode, done.stdout, done.stderr) == (2, "before", "spinefuse: no CT\n")


def test_the_traceback_is_there_for_those_who_ask() -> None:
    done = run("raise SpinefuseError('no CT')", SPINEFUSE_DEBUG="1")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("spinefuse: no CT\n")


LOGGED = """
import logging
logging.basicConfig(format="%(message)s")
try:
    raise RuntimeError("wrapped") from {cause}
except RuntimeError:
    logging.exception("stopped")
"""


def test_what_an_engine_logs_of_bad_input_on_its_way_has_no_traceback() -> None:
    assert run(LOGGED.format(cause="SpinefuseError('no CT')")).stderr == "stopped\n"
    assert "Traceback" in run(LOGGED.format(cause="SpinefuseError('no CT')"), SPINEFUSE_DEBUG="1").stderr
    assert "Traceback" in run(LOGGED.format(cause="KeyError('x')")).stderr


def test_a_mistake_in_the_program_keeps_its_traceback_and_status() -> None:
    done = run("1 / 0")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "spinefuse:" not in done.stderr


def test_installing_twice_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(logging, "_logRecordFactory", logging.getLogRecordFactory())  # put back afterwards
    install()
    hook = sys.excepthook
    install()
    assert sys.excepthook is hook is not sys.__excepthook__


def test_a_test_run_is_no_bundle_command() -> None:
    assert not runs_as_bundle_command()
