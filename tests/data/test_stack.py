from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import io

from spinefuse_ext.data import stack_slices
from spinefuse_ext.data.stack import PLANES
from spinefuse_ext.validation import ImageReadError, MissingPathError
from spinefuse_ext.volumes import read_volume

#: Where a viewer shows the patient's parts: the codes of (downwards, to the right, next slice) in each plane.
CODES = {"sagittal": ("I", "P", "R"), "coronal": ("I", "L", "P"), "axial": ("P", "L", "S")}


def pictures(folder: Path, volume: np.ndarray, case: str = "anna") -> Path:
    folder.mkdir(exist_ok=True)
    for index in range(volume.shape[-1]):
        io.imsave(folder / f"{case}_s{index + 1}.png", volume[..., index], check_contrast=False)
    return folder


@pytest.mark.parametrize("plane", PLANES)
def test_stack_has_the_orientation_and_spacing_of_its_plane(
    plane: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    volume = rng.integers(0, 255, (5, 7, 3), dtype=np.uint8)
    (path,) = stack_slices(
        pictures(tmp_path / "in", volume), tmp_path / "out", name="mr", plane=plane, spacing_mm=(1, 0.5, 4)
    )
    assert path == tmp_path / "out" / "anna" / "mr.nii.gz"
    image = nib.Nifti1Image.from_filename(path)
    assert nib.aff2axcodes(image.affine) == CODES[plane]
    np.testing.assert_allclose(nib.affines.voxel_sizes(image.affine), (1, 0.5, 4))
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume)
    assert image.get_data_dtype() == np.uint8


@settings(deadline=None, max_examples=15)
@given(
    shape=st.tuples(*[st.integers(2, 9)] * 3),
    plane=st.sampled_from(sorted(PLANES)),
    spacing=st.tuples(*[st.floats(0.3, 5)] * 3),
)
def test_the_centre_is_the_origin_and_the_reader_gives_the_values_back(
    shape: tuple[int, int, int],
    plane: str,
    spacing: tuple[float, float, float],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("stack")
    volume = np.random.default_rng(0).integers(0, 60000, shape, dtype=np.uint16)
    (path,) = stack_slices(pictures(folder, volume), folder, name="ct", plane=plane, spacing_mm=spacing)
    image = read_volume(path)
    centre = image.affine.numpy() @ [*((np.array(image.shape[1:]) - 1) / 2), 1]
    np.testing.assert_allclose(centre[:3], 0, atol=1e-4)
    stored = nib.Nifti1Image(image.as_tensor()[0].numpy(), image.affine.numpy())
    codes = nib.orientations.axcodes2ornt(CODES[plane])
    back = stored.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(stored.affine), codes))
    np.testing.assert_array_equal(back.get_fdata(), volume)


def test_slices_are_ordered_by_number_and_cases_kept_apart(tmp_path: Path) -> None:
    for case, base in (("anna", 10), ("bert", 100)):
        volume = np.tile(base + np.arange(12, dtype=np.uint8), (2, 3, 1))
        pictures(tmp_path, volume, case)
    paths = stack_slices(tmp_path, tmp_path, name="mr")
    assert [path.parent.name for path in paths] == ["anna", "bert"]
    values = [np.asarray(nib.Nifti1Image.from_filename(path).dataobj)[0, 0].tolist() for path in paths]
    assert values == [list(range(10, 22)), list(range(100, 112))]  # 2 comes before 10


def test_labels_are_renamed_and_a_foreign_value_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path, np.array([[[0], [128]], [[255], [0]]], dtype=np.uint8))
    (path,) = stack_slices(tmp_path, tmp_path, name="label", relabel={0: 0, 128: 2, 255: 1})
    assert np.asarray(nib.Nifti1Image.from_filename(path).dataobj)[..., 0].tolist() == [[0, 2], [1, 0]]
    with pytest.raises(ImageReadError, match=r"Case anna holds the values \[255\] that relabel does not name"):
        stack_slices(tmp_path, tmp_path, name="other", relabel={0: 0, 128: 2})
    assert not list(tmp_path.rglob("other*"))


def test_wrong_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match=r"The folder of slices .*absent does not exist"):
        stack_slices(tmp_path / "absent", tmp_path, name="mr")
    with pytest.raises(ImageReadError, match=r"has no .png file whose name fits the pattern"):
        stack_slices(tmp_path, tmp_path, name="mr")
    pictures(tmp_path, np.zeros((4, 4, 2), dtype=np.uint8))
    with pytest.raises(ImageReadError, match="Unknown plane oblique; choose one of sagittal, coronal, axial"):
        stack_slices(tmp_path, tmp_path, name="mr", plane="oblique")
    io.imsave(tmp_path / "anna_s3.png", np.zeros((5, 4), dtype=np.uint8), check_contrast=False)
    with pytest.raises(ImageReadError, match=r"anna_s3.png is \(5, 4\), but anna_s1.png is \(4, 4\)"):
        stack_slices(tmp_path, tmp_path, name="mr")
    colour = tmp_path / "colour"
    colour.mkdir()
    io.imsave(colour / "carl_1.png", np.zeros((4, 4, 3), dtype=np.uint8), check_contrast=False)
    with pytest.raises(ImageReadError, match=r"carl_1.png has 3 axes \(4, 4, 3\); expected a grey picture"):
        stack_slices(colour, tmp_path, name="mr")
    assert not list(tmp_path.rglob("*.nii.gz"))


def test_pictures_of_a_system_are_no_slices(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = pictures(tmp_path / "in", rng.integers(0, 255, (5, 7, 3), dtype=np.uint8))
    (folder / "._anna_s1.png").write_bytes(b"\0\5\x16\7")
    assert stack_slices(folder, tmp_path / "out", name="mr") == [tmp_path / "out" / "anna" / "mr.nii.gz"]
