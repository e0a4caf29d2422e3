"""The stacks in a series of images: groups that lie alike, one echo, phase or slab each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from spinefuse_ext.dicom_files.copies import without_copies
from spinefuse_ext.dicom_files.placed import Placed, alike, by_place, described, in_order
from spinefuse_ext.dicom_files.spacing import is_even, runs
from spinefuse_ext.dicom_files.telling import DIFFERENCES, value_of

_Tag = str | int


#: Tags that never differ within one volume: images that these tell apart are not mixed, however evenly they lie.
_NEVER_MIXED: tuple[_Tag, ...] = ("EffectiveEchoTime", "EchoTime", "EchoNumbers", "DiffusionBValue")


class Part(NamedTuple):
    """One stack of a series: its images in spatial order and what tells it from others of its plane, if anything."""

    images: list[Placed]
    facts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join((described(self.images), *self.facts))


class Group(NamedTuple):
    """Images of one orientation, spacing and size, in spatial order, and the stacks that they make."""

    images: list[Placed]
    parts: list[Part]


def divided(images: Sequence[Placed]) -> tuple[list[Group], list[Placed]]:
    """Return the stacks among images, in the order of their InstanceNumber, and the copies that were left out.

    Images that lie alike and are evenly spaced are one stack. Others are divided by the tags that tell images of one
    place apart, then at holes, then by the order of their numbers where each place has as many images. What cannot be
    divided into even stacks stays whole.
    """
    groups, copies = [], []
    for group in alike(images):
        kept, doubled = without_copies(in_order(group))
        copies += doubled
        groups.append(Group(kept, _parts(kept)))
    return sorted(groups, key=lambda group: _first(group.images)), copies


def _parts(images: list[Placed]) -> list[Part]:
    ways: tuple[Callable[[list[Placed]], list[Part]], ...] = (_by_one_tag, _by_tags, _by_holes, _by_numbers)
    if is_even(images):
        ways = (_interleaved,)
    found = next((parts for way in ways if (parts := way(images))), [Part(images)])
    return sorted(found, key=lambda part: _first(part.images))


def _first(images: Sequence[Placed]) -> tuple[int, str, int]:
    """The lowest number of an image and, where that is equal, its file and frame: an order that does not change."""
    return min((_number(image) or 0, str(image.slice.path), image.slice.frame or 0) for image in images)


def _number(image: Placed) -> int | None:
    if image.slice.frame is not None:
        return image.slice.frame
    text = value_of(image.slice.header, "InstanceNumber")
    return int(text) if text.lstrip("-").isdigit() else None


def _interleaved(images: list[Placed]) -> list[Part]:
    """Parts of an even stack that lie between each other, as two echoes do that were shifted by half a slice."""
    for tag in _NEVER_MIXED:
        values = [value_of(image.slice.header, tag) for image in images]
        changes = sum(one != other for one, other in pairwise(values))
        parts = _by_value(images, tag)
        if parts and changes >= len(parts) and all(is_even(part.images) for part in parts):
            return parts
    return []


def _by_one_tag(images: list[Placed]) -> list[Part]:
    """Parts by the first tag that leaves even stacks only; none where there is no such tag."""
    for tag in DIFFERENCES:
        parts = _by_value(images, tag)
        if parts and all(is_even(part.images) for part in parts):
            return parts
    return []


def _by_tags(images: list[Placed], tags: Sequence[_Tag] = tuple(DIFFERENCES)) -> list[Part]:
    """Parts by several tags, one after the other, and by holes where the tags have told the rest apart."""
    for place, tag in enumerate(tags):
        smaller = [_further(part, tags[place + 1 :]) for part in _by_value(images, tag)]
        if smaller and all(smaller):
            return [part for parts in smaller for part in parts]
    return []


def _further(part: Part, tags: Sequence[_Tag]) -> list[Part]:
    if is_even(part.images):
        return [part]
    found = _by_tags(part.images, tags) or _by_holes(part.images) or _by_numbers(part.images)
    return [Part(each.images, (*part.facts, *each.facts)) for each in found]


def _by_value(images: list[Placed], tag: _Tag) -> list[Part]:
    """Parts by the value of a tag, unless these are more than the images of a place or, without such, single images."""
    values: dict[str, list[Placed]] = {}
    for image in images:
        values.setdefault(value_of(image.slice.header, tag), []).append(image)
    crowd = max(map(len, by_place(images)))
    least = min(map(len, values.values()))
    if len(values) < 2 or (len(values) > crowd if crowd > 1 else least < 2):
        return []
    return [Part(part, (f"{DIFFERENCES[tag]} {value or 'not said'}",)) for value, part in values.items()]


def _by_holes(images: list[Placed]) -> list[Part]:
    """Slabs of two or more slices with holes between them; none where a part is smaller or not even."""
    found = runs(images)
    if len(found) < 2 or not all(len(part) > 1 and is_even(part) for part in found):
        return []
    return [Part(part) for part in found]


def _by_numbers(images: list[Placed]) -> list[Part]:
    """The first, second, ... image of each place by its number; none where places have unlike numbers of images."""
    places = by_place(images)
    numbers = [_number(image) for image in images]
    if len({len(place) for place in places}) > 1 or len(places[0]) < 2 or len(set(numbers)) < len(images):
        return []
    ordered = [sorted(place, key=lambda image: _number(image) or 0) for place in places]
    parts = [list(part) for part in zip(*ordered, strict=True)]
    # volumes were scanned, or stored, one after the other at every place; anything else is no order to trust
    if not all(is_even(part) for part in parts) or not _in_turn(parts):
        return []
    return [Part(part, (f"image {place} of each place",)) for place, part in enumerate(parts, 1)]


def _in_turn(parts: Sequence[Sequence[Placed]]) -> bool:
    """Whether the numbers run through whole volumes one after the other, or through the images of each place."""
    numbers = [[_number(image) or 0 for image in part] for part in parts]
    one_after_other = all(max(earlier) < min(later) for earlier, later in pairwise(numbers))
    strides = {later - earlier for column in zip(*numbers, strict=True) for earlier, later in pairwise(column)}
    return one_after_other or strides == {1}
