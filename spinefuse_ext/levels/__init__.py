"""Levels: every vertebra and disc of a label volume told apart, numbered and named, with the evidence."""

from __future__ import annotations

from spinefuse_ext.levels.command import levels
from spinefuse_ext.levels.cross_check import Contradiction, CrossCheck, cross_check
from spinefuse_ext.levels.find import Known, find_levels
from spinefuse_ext.levels.record import Level, Levels, read_levels

__all__ = [
    "Contradiction",
    "CrossCheck",
    "Known",
    "Level",
    "Levels",
    "cross_check",
    "find_levels",
    "levels",
    "read_levels",
]
