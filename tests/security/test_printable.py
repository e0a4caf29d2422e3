from __future__ import annotations

import io
import logging
import sys
import unicodedata
from pathlib import Path

import pytest

from spinefuse_ext.__main__ import main
from spinefuse_ext.printable import PrintableStream, one_line, printable, protect_log

#: Sets the title of the window, clears the screen, turns the writing direction, goes back in the line.
HOSTILE = "a\x1b]0;owned\x07\x1b[2J\x9b31m\u202egpj\u2066\r\udc80\x00b"


def obeyed(text: str) -> set[str]:
    """The characters of ``text`` that a terminal would not show."""
    kinds = {character: unicodedata.category(character) for character in text if character not in "\n\t"}
    return {
        character
        for character, kind in kinds.items()
        if kind in ("Cc", "Cs", "Zl", "Zp") or character in "\u202e\u2066"
    }


def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    assert printable(HOSTILE) == r"a\x1b]0;owned\x07\x1b[2J\x9b31m\u202egpj\u2066\r\udc80\x00b"
    assert not obeyed("".join(printable(chr(code)) for code in range(0x3000)))
    assert one_line("two\nlines\t") == r"two\nlines"


@pytest.mark.parametrize(
    "text", ["Wirbelsäule 椎骨 עמוד 척추 ستون", "e\u0301 \N{EN DASH} µ ± °", "tab\tand\nline", "👩\u200d⚕️"]
)
def test_names_of_every_language_stay_as_they_are(text: str) -> None:
    assert printable(text) == text


def test_a_stream_passes_text_and_a_progress_bar_and_nothing_else() -> None:
    inner = io.StringIO()
    stream = PrintableStream(inner)
    for text in (HOSTILE, "\n", "\r 50%|#####", "\n\x1b[A", "\x1b[A\x1b]0;x\x07"):
        stream.write(text)
    assert inner.getvalue() == printable(HOSTILE) + "\n\r 50%|#####\n\x1b[A" + r"\x1b[A\x1b]0;x\x07"
    assert stream.isatty() is False


def test_a_log_has_no_control_characters_in_message_or_traceback(caplog: pytest.LogCaptureFixture) -> None:
    before = logging.getLogRecordFactory()
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("spinefuse_ext.hostile")
    logger.addHandler(handler)
    try:
        protect_log()
        protect_log()
        logger.warning("case %s of %d", HOSTILE, 3)
        logger.warning(f"{HOSTILE}\nsecond line")
        try:
            raise KeyError(HOSTILE)
        except KeyError as error:
            logger.exception("stopped by %s", str(error.args[0]))
    finally:
        logging.setLogRecordFactory(before)
        logger.removeHandler(handler)
    written = handler.stream.getvalue()
    assert not obeyed(written)
    assert f"case {printable(HOSTILE)} of 3\n" in written
    assert "Traceback" in written


def test_a_refusal_is_one_printable_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = HOSTILE.replace("\x00", "\n").replace("\udc80", "")
    for arguments in (["datalist", str(tmp_path / name)], [name], ["register", "--ct", name, f"--{name}", "x"]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        shown = capsys.readouterr().err
        assert not obeyed(shown)
        assert shown.count("\n") == 1
        assert r"\x1b]0;owned\x07" in shown
        sys.stdout.write(HOSTILE)  # what any verb tells
        assert not obeyed(capsys.readouterr().out)


@pytest.mark.slow
def test_a_bundle_run_shows_nothing_of_a_name_to_be_obeyed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name = str(tmp_path / HOSTILE.replace("\x00", "").replace("\udc80", ""))
    with pytest.raises(SystemExit, match="2"):
        main(["train", "fusion", "--dataset_dir", name, "--out", str(tmp_path / "run")])
    shown = capfd.readouterr()
    assert r"\x1b]0;owned\x07" in shown.out  # the command
    assert r"\x1b]0;owned\x07" in shown.err  # what is wrong with it
    assert not obeyed(shown.out + shown.err)
    assert "spinefuse: The dataset folder (dataset_dir)" in shown.err
