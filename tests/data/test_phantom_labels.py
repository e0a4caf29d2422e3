from __future__ import annotations

import numpy as np

from spinefuse_ext.data import make_phantom
from spinefuse_ext.data.phantom import make_phantom_labels


def test_labels_are_those_of_the_whole_phantom() -> None:
    size = (75.0, 75.0, 75.0)
    whole = make_phantom(3, size_mm=size, spacing_mm=3.0, slice_mm=3.0)
    alone = make_phantom_labels(3, size_mm=size, spacing_mm=3.0)
    assert (alone.label.numpy() == whole.label.numpy()).all()
    assert (alone.vertebrae.numpy() == whole.vertebrae.numpy()).all()


def test_a_bone_is_where_the_motion_takes_it() -> None:
    phantom = make_phantom_labels(5, size_mm=(120.0, 120.0, 120.0), spacing_mm=3.0)
    affine = phantom.label.affine.numpy()
    for number in (21, 22):
        before, after = (
            affine[:3, :3] @ np.argwhere(image.numpy()[0] == number).mean(0) + affine[:3, 3]
            for image in (phantom.vertebrae, phantom.moved_vertebrae)
        )
        assert np.linalg.norm(phantom.motion(before[None])[0] - after) < 4.0
