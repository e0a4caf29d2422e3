from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spinefuse_ext.transforms import FindImagesd, ReadVolumed
from spinefuse_ext.validation import ImageReadError, MissingPathError

AFFINE = np.diag([-2.0, 1.0, 1.0, 1.0])


def volume(path: Path, value: float = 0.0, channels: int = 1) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (4, 5, 6) if channels == 1 else (4, 5, 6, channels)
    nib.save(nib.Nifti1Image(np.full(shape, value, np.float32), AFFINE), path)
    return str(path)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    return volume(tmp_path / "c_ct.nii.gz"), volume(tmp_path / "mr" / "c_mr.nii.gz")


def test_the_pair_of_an_image(pair: tuple[str, str]) -> None:
    ct, mr = pair
    found = FindImagesd(["ct", "mr"])({"image": ct, "label": "l.nii.gz"})
    assert found == {"image": ct, "label": "l.nii.gz", "ct": ct, "mr": mr}


def test_landmarks_come_along_unless_some_are_named(pair: tuple[str, str]) -> None:
    ct, mr = pair
    for name in (ct, mr):
        Path(name.replace(".nii.gz", ".fcsv")).write_text("")
    find = FindImagesd(["ct", "mr"], registration=True)
    assert set(find({"image": ct})) == {"image", "ct", "mr", "landmarks_ct", "landmarks_mr"}
    own = find({"image": ct, "ct_landmarks": "a.fcsv", "mr_landmarks": "b.fcsv"})
    assert (own["landmarks_ct"], own["landmarks_mr"], "ct_landmarks" in own) == ("a.fcsv", "b.fcsv", False)
    assert set(find({"image": ct, "transform": "t.h5"})) == {"image", "ct", "mr", "transform"}


def test_a_case_that_names_its_images_stays_as_it_is(pair: tuple[str, str]) -> None:
    find = FindImagesd(["ct", "mr"], registration=True)
    for case in ({"ct": "a", "mr": "b"}, {"ct": "a", "mr": "b", "image": "c"}, {"patient": "p"}):
        assert find(case) == case


def test_a_named_mr_counts(pair: tuple[str, str], tmp_path: Path) -> None:
    other = volume(tmp_path / "t2.nii.gz")
    assert FindImagesd(["ct", "mr"])({"image": pair[0], "mr": "t2"})["mr"] == other


def test_an_image_without_a_word_is_the_first_key(tmp_path: Path) -> None:
    image = volume(tmp_path / "case_1.nii.gz")
    assert FindImagesd("fused")({"image": image})["fused"] == image


def test_a_ct_is_not_taken_for_a_fused_volume(pair: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match=r"No fused volume was found for .*spine_fusion makes it"):
        FindImagesd("fused")({"image": pair[0]})
    fused = volume(tmp_path / "fused" / "c_fused.nii.gz")
    assert FindImagesd("fused")({"image": pair[0]})["fused"] == fused


def test_a_file_of_two_channels_is_a_pair(tmp_path: Path) -> None:
    both = np.stack([np.full((4, 5, 6), 300.0), np.arange(120.0).reshape(4, 5, 6)], axis=-1).astype(np.float32)
    path = tmp_path / "both.nii.gz"
    nib.save(nib.Nifti1Image(both, AFFINE), path)
    case = ReadVolumed(["ct", "mr"], ["CT", "MR"])(FindImagesd(["ct", "mr"])({"image": str(path)}))
    for number, key in enumerate(("ct", "mr")):
        assert case[key].shape == (1, 4, 5, 6)
        np.testing.assert_array_equal(case[key].numpy()[0], both[..., number])
        np.testing.assert_array_equal(case[key].affine, AFFINE)
    with pytest.raises(ImageReadError, match="2 channels, one is needed"):
        FindImagesd("fused")({"image": str(path)})


def test_each_channel_is_read_as_a_file_of_its_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = {"ct": rng.normal(300, 300, (12, 12, 12)), "mr": rng.uniform(0, 900, (12, 12, 12))}
    values["ct"][0, 0] = values["mr"][-1, -1] = np.nan  # around the field of view
    microns = np.diag([-2000.0, 1000.0, 1000.0, 1.0])
    for name, voxels in (*values.items(), ("both", np.stack(list(values.values()), axis=-1))):
        image = nib.Nifti1Image(voxels.astype(np.float32), microns)
        image.header.set_xyzt_units("micron")
        nib.save(image, tmp_path / f"{name}.nii.gz")
    (tmp_path / "both.nii.gz").rename(tmp_path / "both.nii")  # compressed, whatever its name says
    pair = FindImagesd(["ct", "mr"])({"image": str(tmp_path / "both.nii")})
    alone = ReadVolumed(["ct", "mr"])({key: str(tmp_path / f"{key}.nii.gz") for key in values})
    for key in values:
        np.testing.assert_array_equal(pair[key].numpy(), alone[key].numpy())
        np.testing.assert_array_equal(pair[key].affine, AFFINE)
        assert any("micron" in sentence for sentence in pair[key].meta["warnings"])
