from __future__ import annotations

import importlib
import inspect
import json
import resource
import subprocess
import sys

import pytest

from spinefuse_ext.__main__ import VERBS
from spinefuse_ext.verb_help import find_definition, verb_help, verb_options

each_verb = pytest.mark.parametrize("verb", VERBS)


@each_verb
def test_help_says_what_the_signature_says(verb: str) -> None:
    place, what = VERBS[verb]
    module, name = place.split(":")
    signature = inspect.signature(getattr(importlib.import_module(module), name))
    told = {option.name: option.default for option in verb_options(place)}
    assert list(told) == [one.name for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    for one in signature.parameters.values():
        if one.kind is one.VAR_KEYWORD:
            assert "--ID VALUE" in verb_help(verb, place, what)
        elif one.kind is not one.VAR_POSITIONAL:
            empty = one.default is None or one.default in ((), "")
            shown = None if one.default is one.empty else "none" if empty else str(one.default)
            assert told[one.name] == shown


def test_help_has_a_line_for_each_option_with_its_meaning() -> None:
    lines = verb_help("segment", *VERBS["segment"]).splitlines()
    assert lines[0] == "usage: spinefuse segment [IMAGE] [OUT] [--option VALUE ...]"
    assert "  --out TEXT              folder to write to; results of an earlier run in it are replaced." in lines
    assert max(map(len, lines)) <= 100


def test_a_name_that_nobody_defines_is_an_error() -> None:
    with pytest.raises(LookupError, match="defines no gone"):
        find_definition("spinefuse_ext.data", "gone")


def test_no_help_brings_torch_or_monai() -> None:
    """`spinefuse segment --help` took 5.9 CPU s and 457 MiB, as it imported the verb."""
    code = f"""
import sys
from spinefuse_ext.__main__ import main
for verb in {json.dumps(list(VERBS))}:
    main([verb, "--help"])
main(["--version"])
print(sorted({{"torch", "monai", "numpy", "itk"}} & set(sys.modules)))
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout.endswith("\n[]\n")
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used_s < 3, f"all {len(VERBS)} helps took {used_s:.1f} CPU s"
