from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator

import pytest

from spinefuse_ext.console import is_verbose, quiet_libraries, start_console


@pytest.fixture(autouse=True)
def _console() -> Iterator[None]:
    """Leave logging as it was."""
    before, level = list(logging.root.handlers), logging.root.level
    with warnings.catch_warnings():
        yield
    start_console()
    logging.root.handlers[:] = before
    logging.root.setLevel(level)


def say() -> None:
    logging.getLogger("spinefuse_ext.volumes.volume").info("ours")
    logging.getLogger("ignite.engine.engine.SupervisedEvaluator").error("theirs")
    logging.getLogger("pydicom").warning("nvImageCodec is not available")
    logging.getLogger("somebody").info("chatter")
    logging.getLogger("somebody").warning("rare")


def test_a_verb_shows_our_sentences_and_rare_warnings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    start_console()
    say()
    assert capsys.readouterr().err == "ours\nrare\n"
    assert not is_verbose()


def test_verbose_brings_the_libraries_back(capsys: pytest.CaptureFixture[str]) -> None:
    start_console(verbose=True)
    with quiet_libraries():
        say()
    shown = capsys.readouterr().err
    assert "pydicom: nvImageCodec is not available" in shown
    assert len(shown.splitlines()) == 5


def test_starting_twice_does_not_say_everything_twice(capsys: pytest.CaptureFixture[str]) -> None:
    start_console()
    start_console()
    say()
    assert capsys.readouterr().err.count("ours") == 1


def test_a_logger_with_a_stream_of_its_own_is_quiet_for_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    from monai.apps.utils import get_logger

    logger = get_logger("monai.test_console")
    start_console()
    with quiet_libraries():
        logger.warning("inside")
        warnings.warn("inside", stacklevel=1)
    logger.warning("after")
    shown = capsys.readouterr()
    assert "inside" not in shown.out + shown.err
    assert "after" in shown.out
