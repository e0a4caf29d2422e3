"""The command line: ``spinefuse VERB ...``, also as ``python -m spinefuse_ext VERB ...``; a verb is a function."""

from __future__ import annotations

import importlib
import io
import logging
import sys
from typing import Any

from fire.helptext import HelpText
from fire.trace import FireTrace

from spinefuse_ext.printable import one_line, protect_terminal

VERBS: dict[str, tuple[str, str]] = {
    "phantom": ("spinefuse_ext.data:write_phantoms", "make synthetic spine cases with CT, MR, landmarks and labels"),
    "landmarks": ("spinefuse_ext.registration:landmarks_from_labels", "make landmarks from the centres of labels"),
    "register": ("spinefuse_ext.registration:register_case", "bring an MR onto the grid of its CT by landmarks"),
    "stack": ("spinefuse_ext.data:stack_slices", "make volumes from folders of slice pictures"),
    "datalist": ("spinefuse_ext.data:make_datalist", "list the cases of a folder by section, patient by patient"),
    "prepare": ("spinefuse_ext.cohort:prepare_cohort", "register the cases of a table, list them, show them on a page"),
    "train": ("spinefuse_ext.bundle.commands:train", "train the fusion or the segmentation network"),
    "evaluate": ("spinefuse_ext.bundle.commands:evaluate", "score a trained network on the validation cases"),
    "fuse": ("spinefuse_ext.bundle.commands:fuse", "fuse a registered CT and MR into one volume"),
    "segment": ("spinefuse_ext.bundle.commands:segment", "label vertebrae, sacrum, discs and canal of a fused volume"),
    "dicom-fused": ("spinefuse_ext.dicom:write_fused", "write a fused volume as a DICOM series on that of its CT"),
    "dicom-seg": ("spinefuse_ext.dicom:write_seg", "write a label volume as DICOM SEG of the series it belongs to"),
    "compare": (
        "spinefuse_ext.bundle.compare:compare",
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
    "doctor": ("spinefuse_ext.bundle.doctor:doctor", "show what is installed and check a bundle"),
    "pack": ("spinefuse_ext.bundle.pack:pack", "make release archives of the bundles"),
    "demo": ("spinefuse_ext.bundle.demo:demo", "do the whole job on phantom cases"),
}


def main(arguments: list[str] | None = None) -> None:
    """Run one verb; bad input gives one line and exit status 2, ``--debug`` adds the traceback.

    A verb whose result has an ``exit_status`` ends with it.
    """
    protect_terminal()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(_usage())
        return
    verb, *rest = arguments
    if verb not in VERBS:
        _fail(f"unknown verb {verb}; choose one of {', '.join(VERBS)}.")
    from spinefuse_ext.plain_errors import plain_message  # brings torch and monai, which help does not need

    _show_any_name()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("monai").setLevel(logging.ERROR)  # optional decoders that are not installed are no news
    logging.getLogger("tensorboard").setLevel(logging.WARNING)
    try:
        result = _run(verb, rest)
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
    status = getattr(result, "exit_status", 0)
    if status:
        raise SystemExit(status)


def _run(verb: str, words: list[str]) -> Any:
    """Run a verb on the words after it, or show its help."""
    from spinefuse_ext.arguments import asks_for_help, bind_arguments

    module, function = VERBS[verb][0].split(":")
    command = getattr(importlib.import_module(module), function)
    if asks_for_help(words):
        sys.stdout.write(HelpText(command, FireTrace(command, name=f"spinefuse {verb}")) + "\n")
        return None
    bound = bind_arguments(verb, command, words)
    return command(*bound.args, **bound.kwargs)


def _show_any_name() -> None:
    """Write file names that are no text in this terminal's encoding with escapes, instead of failing on them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _usage() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}} {what}" for verb, (_, what) in VERBS.items()]
    return "\n".join(["usage: spinefuse VERB [options]   (spinefuse VERB --help shows the options)", "", *lines, ""])


def _fail(message: str) -> None:
    sys.stderr.write(f"spinefuse: {one_line(message)}\n")
    raise SystemExit(2)


if __name__ == "__main__":
    main()
