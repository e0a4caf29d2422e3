"""The command line: ``spinefuse VERB ...``, also as ``python -m spinefuse_ext VERB ...``; a verb is a function."""

from __future__ import annotations

import difflib
import importlib
import io
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from spinefuse_ext import __version__
from spinefuse_ext.console import start_console, tell_paths
from spinefuse_ext.option_names import unknown_option
from spinefuse_ext.printable import one_line, protect_terminal
from spinefuse_ext.verb_help import verb_help

VERBS: dict[str, tuple[str, str]] = {
    "phantom": ("spinefuse_ext.data:write_phantoms", "make synthetic spine cases with CT, MR, landmarks and labels"),
    "landmarks": ("spinefuse_ext.registration:landmarks_from_labels", "make landmarks from the centres of labels"),
    "register": ("spinefuse_ext.verbs.commands:register", "bring an MR onto the grid of its CT, by landmarks or bones"),
    "stack": ("spinefuse_ext.data:stack_slices", "make volumes from folders of slice pictures"),
    "datalist": ("spinefuse_ext.data:make_datalist", "list the cases of a folder by section, patient by patient"),
    "prepare": ("spinefuse_ext.cohort:prepare_cohort", "register the cases of a table, list them, show them on a page"),
    "train": ("spinefuse_ext.verbs.commands:train", "train the fusion or the segmentation network"),
    "evaluate": ("spinefuse_ext.verbs.commands:evaluate", "score a trained network on the validation cases"),
    "fuse": ("spinefuse_ext.verbs.commands:fuse", "fuse a registered CT and MR into one volume"),
    "segment": ("spinefuse_ext.verbs.commands:segment", "label vertebrae, sacrum, discs and canal of a fused volume"),
    "levels": ("spinefuse_ext.levels:levels", "number and name every vertebra and disc of a label volume"),
    "dicom-fused": ("spinefuse_ext.dicom:write_fused", "write a fused volume as a DICOM series on that of its CT"),
    "dicom-seg": ("spinefuse_ext.dicom:write_seg", "write a label volume as DICOM SEG of the series it belongs to"),
    "compare": (
        "spinefuse_ext.comparison.compare:compare",
        "make one table of fusion methods, of inputs of the segmentation, or of ways to learn it",
    ),
    "benchmark": ("spinefuse_ext.benchmark:benchmark", "measure segmentation weights on a panel of images"),
    "federate": (
        "spinefuse_ext.federated:federate",
        "train one network across hospitals, simulated on folders of cases",
    ),
    "label-server": (
        "spinefuse_ext.monai_label.server:label_server",
        "start a MONAI Label server for 3D Slicer or OHIF",
    ),
    "report": ("spinefuse_ext.report:build_report", "make the offline HTML report of a run folder"),
    "doctor": ("spinefuse_ext.verbs.doctor:doctor", "show what is installed and check a bundle"),
    "pack": ("spinefuse_ext.verbs.pack:pack", "make release archives of the bundles"),
    "demo": ("spinefuse_ext.verbs.demo:demo", "do the whole job on phantom cases"),
}

#: Verbs that return a path and have told more of it than where it is.
_TELL_THEMSELVES = ("dicom-fused", "dicom-seg")


def main(arguments: list[str] | None = None) -> None:
    """Run one verb; bad input gives one line and exit status 2, ``--debug`` adds the traceback.

    ``--verbose`` shows what the libraries log, too. A verb whose result has an ``exit_status`` ends with it.
    """
    protect_terminal()
    _show_any_name()
    words, switches = _without_switches(list(sys.argv[1:] if arguments is None else arguments))
    if _informs(words):
        return
    unknown = unknown_option(words[0], VERBS[words[0]][0], words[1:])
    if unknown is not None:
        _fail(unknown)
    start_console(verbose="--verbose" in switches)
    with _ends_cleanly():
        result = _guarded(words[0], words[1:], debug="--debug" in switches)
    if words[0] not in _TELL_THEMSELVES:
        tell_paths(result)
    status = getattr(result, "exit_status", 0)
    if status:
        raise SystemExit(status)


def _guarded(verb: str, words: list[str], *, debug: bool) -> Any:
    """The result of a verb; errors that are told in one line end the program, unless ``debug``."""
    from spinefuse_ext.plain_errors import plain_message  # brings torch and monai, which help does not need

    try:
        return _run(verb, words)
    except KeyboardInterrupt:
        if debug:
            raise
        sys.stderr.write(f"\nspinefuse: {verb} was stopped.\n")
        raise SystemExit(130) from None  # as a shell says it
    except Exception as error:
        message = plain_message(error)
        if message is None or debug:
            raise
        _fail(message)


def _without_switches(words: list[str]) -> tuple[list[str], set[str]]:
    """The words of a line without what every verb understands, and these switches."""
    end = words.index("--") if "--" in words else len(words)
    switches = {word for word in words[:end] if word in ("--debug", "--verbose")}
    return [word for word in words[:end] if word not in switches] + words[end:], switches


def _informs(words: list[str]) -> bool:
    """Show the version, the list of verbs or the help of one, where the line asks for that; tell whether it did."""
    first, rest = (words or ["help"])[0], words[1:]
    if first == "--version":
        sys.stdout.write(f"spinefuse {__version__}\n")
        return True
    if first in ("-h", "--help", "help") and not rest:
        sys.stdout.write(_usage())
        return True
    asked = rest[0] if first in ("-h", "--help", "help") else first
    if asked not in VERBS:
        _fail(_unknown_verb(asked))
    place, what = VERBS[asked]
    if asked == first and not any(word in ("--help", "-h") for word in rest[: (*rest, "--").index("--")]):
        return False
    sys.stdout.write(verb_help(asked, place, what))
    return True


def _unknown_verb(verb: str) -> str:
    near = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"did you mean {near[0]}? `spinefuse help` lists all." if near else f"choose one of {', '.join(VERBS)}."
    return f"unknown verb {verb}; {hint}"


def _run(verb: str, words: list[str]) -> Any:
    """Run a verb on the words after it."""
    from spinefuse_ext.arguments import bind_arguments, nearest_option
    from spinefuse_ext.validation import ConfigError, UnknownSettingError

    module, function = VERBS[verb][0].split(":")
    command = getattr(importlib.import_module(module), function)
    bound = bind_arguments(verb, command, words)
    try:
        return command(*bound.args, **bound.kwargs)
    except UnknownSettingError as error:
        near = nearest_option(error.name, command, error.near)
        if near is None:
            raise
        raise ConfigError(
            f"`spinefuse {verb}` has no option --{error.name}, and no config defines such a setting; did you mean "
            f"--{near}?"
        ) from error


class _TerminatedError(SystemExit):
    """SIGTERM came."""


@contextmanager
def _ends_cleanly() -> Iterator[None]:
    """While this lasts, SIGTERM ends the program as an exception does, so that what is half written goes."""

    def end(number: int, frame: object) -> None:
        raise _TerminatedError(128 + number)  # as a shell says it

    if threading.current_thread() is not threading.main_thread():  # which alone may say what a signal does
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _TerminatedError:  # told here, since the signal may have come in the middle of a line
        sys.stderr.write("\nspinefuse: stopped by SIGTERM.\n")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _show_any_name() -> None:
    """Write file names that are no text in this terminal's encoding with escapes, instead of failing on them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _usage() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}} {what}" for verb, (_, what) in VERBS.items()]
    ending = "spinefuse VERB --help shows the options of a verb, spinefuse --version the version."
    return "\n".join(["usage: spinefuse VERB [options]", "", *lines, "", ending, ""])


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"spinefuse: {one_line(message)}\n")
    raise SystemExit(2)


if __name__ == "__main__":
    main()
