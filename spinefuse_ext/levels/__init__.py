"""Levels: every vertebra and disc of a label volume told apart, numbered and named, with the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinefuse_ext.levels.command import levels
from spinefuse_ext.levels.cross_check import Contradiction, CrossCheck, cross_check
from spinefuse_ext.levels.find import KnownLevels, find_levels
from spinefuse_ext.levels.record import Level, Levels, read_levels
from spinefuse_ext.renamed import renamed

__all__ = [
    "Contradiction",
    "CrossCheck",
    "KnownLevels",
    "Level",
    "Levels",
    "cross_check",
    "find_levels",
    "levels",
    "read_levels",
]

if not TYPE_CHECKING:
    __getattr__ = renamed(__name__, {"Known": "spinefuse_ext.levels.find.KnownLevels"})
