"""Several stacks in one series are listed, and one of them is chosen by its number or by one of its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from spinefuse_ext.dicom import read_series, write_fused
from spinefuse_ext.dicom.source import find_source
from spinefuse_ext.validation import ImageReadError
from spinefuse_ext.volumes import read_volume

_UID = "1.2.3.4"
_SHARED = {"modality": "MR", "SeriesInstanceUID": _UID, "SeriesNumber": 7, "StudyInstanceUID": "1.2.3"}
Write = Callable[..., np.ndarray]


@pytest.fixture
def write_stack(write_series) -> Write:
    """Write one stack of the series, in a folder of its own, its images numbered from ``first``."""

    def write(folder: Path, heights: tuple[float, ...], first: int, **tags: object) -> np.ndarray:
        stored = np.random.default_rng(first).integers(0, 2000, (len(heights), 5, 4))
        write_series(folder, heights, stored=stored, **{**_SHARED, **tags})
        paths = sorted(folder.iterdir(), key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])
        for place, path in enumerate(paths):
            image = pydicom.dcmread(path)
            image.InstanceNumber = first + place
            image.save_as(path)
        return stored

    return write


def _values(stored: np.ndarray) -> np.ndarray:
    return 2 * stored.T - 1024


_AXIAL = (0.0, 3.0, 6.0, 9.0)


def _turned(angle_deg: float) -> list[float]:
    angle = np.radians(angle_deg)
    return [1, 0, 0, 0, float(np.cos(angle)), float(np.sin(angle))]


@pytest.mark.parametrize("spelling", ["7/stack{}", "7/{}", f"{_UID}/stack{{}}", "small mr/stack{}", "stack{}"])
def test_slabs_of_other_angles_are_listed_and_chosen(spelling: str, tmp_path: Path, write_stack: Write) -> None:
    slabs = [
        write_stack(tmp_path / str(number), tuple(30.0 * number + height for height in _AXIAL), 1 + 4 * number,
                    ImageOrientationPatient=_turned(6 * number))
        for number in range(3)
    ]  # fmt: skip
    message = (
        r"MR 'small MR' .number 7, 12 slices, 1.2.3.4. holds 3 stacks: "
        r"7/stack1 .axial, 4 slices, S 0 to 9 mm: MR. to MR..; "
        r"7/stack2 .axial, 4 slices, S 30 to 39 mm: .*; 7/stack3 .*Name one in place of the series, for example "
        r"--mr_series 7/stack1"
    )
    with pytest.raises(ImageReadError, match=message):
        read_series(tmp_path, "MR")
    for number, stored in enumerate(slabs, 1):
        image = read_series(tmp_path, "MR", series=spelling.format(number))
        assert image.meta["warnings"][0].endswith(
            f"7/stack{number} was read (axial, 4 slices, S {30 * number - 30} to {30 * number - 21} mm)"
        )
        if number == 1:  # the others are oblique, and set upright
            np.testing.assert_array_equal(image.numpy()[0], _values(stored))
    with pytest.raises(ImageReadError, match=r"has no stack 4; it holds 3 stacks: 7/stack1"):
        read_series(tmp_path, "MR", series=spelling.format(4))


def test_parallel_slabs_with_a_gap_are_listed_and_chosen(tmp_path: Path, write_stack: Write) -> None:
    slabs = [
        write_stack(tmp_path / str(height), (height, height + 4, height + 8), 1 + int(height))
        for height in (0.0, 36.0, 73.0)
    ]
    with pytest.raises(ImageReadError, match=r"7/stack1 .axial, 3 slices, S 0 to 8 mm: .*7/stack2 .* S 36 to 44 mm"):
        read_series(tmp_path, "MR")
    for number, stored in enumerate(slabs, 1):
        np.testing.assert_array_equal(read_series(tmp_path, series=f"7/stack{number}").numpy()[0], _values(stored))


def test_a_missing_slice_is_still_named_as_missing(tmp_path: Path, write_stack: Write) -> None:
    write_stack(tmp_path, (0.0, 3.0, 9.0, 12.0), 1)
    with pytest.raises(ImageReadError, match=r"1 slice is missing between MR\d and MR\d, export the series again. Or "):
        read_series(tmp_path, "MR")


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ([{"EchoTime": 20}, {"EchoTime": 90.5}], ["echo time 20", "echo time 90.5"]),
        ([{"EchoNumbers": 1}, {"EchoNumbers": 2}], ["echo 1", "echo 2"]),
        ([{"ImageType": ["ORIGINAL", "PRIMARY", kind]} for kind in "MP"], [r"image type ORIGINAL\\PRIMARY\\M", "P"]),
        ([{"TemporalPositionIdentifier": number} for number in (1, 2, 3)], ["time point 1", "time point 2", "point 3"]),
        ([{"DiffusionBValue": 0.0}, {"DiffusionBValue": 800.0}], ["b-value 0", "b-value 800"]),
        ([{"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}], ["acquisition 1", "acquisition 2"]),
        ([{}, {}], ["image 1 of each place", "image 2 of each place"]),
    ],
)  # fmt: skip
def test_volumes_of_one_place_are_listed_and_chosen(
    tags: list[dict[str, object]], words: list[str], tmp_path: Path, write_stack: Write
) -> None:
    volumes = [write_stack(tmp_path / str(place), _AXIAL, 1 + 4 * place, **each) for place, each in enumerate(tags)]
    with pytest.raises(ImageReadError, match=rf"holds {len(tags)} stacks: .*" + ".*".join(words)):
        read_series(tmp_path, "MR")
    for number, stored in enumerate(volumes, 1):
        np.testing.assert_array_equal(read_series(tmp_path, series=f"7/stack{number}").numpy()[0], _values(stored))


def test_echoes_of_several_time_points_are_told_apart(tmp_path: Path, write_stack: Write) -> None:
    kinds = [(echo, time) for time in (1, 2) for echo in (20, 90)]
    volumes = [
        write_stack(tmp_path / str(place), _AXIAL, 1 + 4 * place, EchoTime=echo, TemporalPositionIdentifier=time)
        for place, (echo, time) in enumerate(kinds)
    ]
    with pytest.raises(ImageReadError, match=r"holds 4 stacks: .*7/stack2 .*echo time 90, time point 1"):
        read_series(tmp_path, "MR")
    for number, stored in enumerate(volumes, 1):
        np.testing.assert_array_equal(read_series(tmp_path, series=f"7/{number}").numpy()[0], _values(stored))


def test_slabs_of_two_echoes_are_told_apart(tmp_path: Path, write_stack: Write) -> None:
    for place, (echo, height) in enumerate([(20, 0.0), (90, 0.0), (20, 30.0), (90, 30.0)]):
        stored = write_stack(tmp_path / str(place), (height, height + 3, height + 6), 1 + 3 * place, EchoTime=echo)
    with pytest.raises(ImageReadError, match=r"holds 4 stacks: "):
        read_series(tmp_path, "MR")
    image = read_series(tmp_path, series="7/stack4")
    np.testing.assert_array_equal(image.numpy()[0], _values(stored))
    assert "S 30 to 36 mm, echo time 90" in image.meta["warnings"][0]


def test_echoes_that_lie_between_each_other_are_not_mixed(tmp_path: Path, write_stack: Write) -> None:
    first = write_stack(tmp_path / "20", (0.0, 4.0, 8.0), 1, EchoTime=20)
    second = write_stack(tmp_path / "90", (2.0, 6.0, 10.0), 4, EchoTime=90)
    with pytest.raises(ImageReadError, match=r"holds 2 stacks: .*echo time 20.*echo time 90"):
        read_series(tmp_path, "MR")
    for number, stored in enumerate((first, second), 1):
        np.testing.assert_array_equal(read_series(tmp_path, series=f"7/stack{number}").numpy()[0], _values(stored))


def test_private_b_values_tell_diffusion_images_apart(tmp_path: Path, write_stack: Write) -> None:
    for place, b_value in enumerate((1_000_000_050, 1_000_000_800)):  # as GE writes them
        stored = write_stack(tmp_path / str(place), _AXIAL, 1)
        for path in (tmp_path / str(place)).iterdir():
            image = pydicom.dcmread(path)
            image.add_new(0x00430010, "LO", "GEMS_PARM_01")
            image.add_new(0x00431039, "IS", [b_value, 8, 0, 0])
            image.save_as(path)
    with pytest.raises(ImageReadError, match=r"b-value 50.*b-value 800"):
        read_series(tmp_path, "MR")
    np.testing.assert_array_equal(read_series(tmp_path, series="7/stack2").numpy()[0], _values(stored))


def test_images_of_another_size_are_a_stack_of_their_own(tmp_path: Path, write_series, write_stack: Write) -> None:
    first = write_stack(tmp_path / "a", _AXIAL, 1)
    second = np.random.default_rng(5).integers(0, 2000, (3, 6, 7))
    write_series(tmp_path / "b", (0.0, 3.0, 6.0), stored=second, InstanceNumber=9, **_SHARED)
    for number, stored in enumerate((first, second), 1):
        np.testing.assert_array_equal(read_series(tmp_path, series=f"7/stack{number}").numpy()[0], _values(stored))


def test_a_file_that_is_named_chooses_its_stack(tmp_path: Path, write_stack: Write) -> None:
    volumes = [write_stack(tmp_path / f"{echo}", _AXIAL, echo, EchoTime=echo) for echo in (20, 90)]
    for path in (tmp_path / "20").iterdir():
        path.rename(tmp_path / "90" / f"first_{path.name}")
    for name, stored in (("first_MR1", volumes[0]), ("MR1", volumes[1])):
        image = read_volume(tmp_path / "90" / name, "MR")
        np.testing.assert_array_equal(image.numpy()[0], _values(stored))
        assert "of the 2 stacks of MR 'small MR'" in image.meta["warnings"][0]


def test_a_description_with_a_slash_and_a_number_is_a_description(tmp_path: Path, write_stack: Write) -> None:
    stored = write_stack(tmp_path, _AXIAL, 1, SeriesDescription="T2/2")
    np.testing.assert_array_equal(read_series(tmp_path, series="T2/2").numpy()[0], _values(stored))
    np.testing.assert_array_equal(read_series(tmp_path, series="T2/2/stack1").numpy()[0], _values(stored))


def test_a_stack_of_a_ct_gets_its_fused_series(tmp_path: Path, write_stack: Write) -> None:
    for place in range(2):
        write_stack(tmp_path / "ct" / str(place), (0.0 + 50 * place, 3.0 + 50 * place), 1 + 2 * place, modality="CT")
    ct = read_volume(tmp_path / "ct", "CT", "7/stack2")
    write_fused(ct * 0 + 0.5, tmp_path / "ct", tmp_path / "fused", series="7/stack2")
    written = sorted(pydicom.dcmread(path).ImagePositionPatient[2] for path in (tmp_path / "fused").iterdir())
    assert written == [50, 53]
    with pytest.raises(ImageReadError, match=r"for example --series 7/stack1"):
        write_fused(ct * 0 + 0.5, tmp_path / "ct", tmp_path / "fused")


def _enhanced(folder: Path, stacks: list[tuple[str, float, list[float]]], path: str = "all") -> np.ndarray:
    """Write one multi-frame MR of (stack id, echo time, heights) and return its stored frames."""
    count = sum(len(heights) for *_, heights in stacks)
    stored = np.random.default_rng(4).integers(0, 2000, (count, 5, 4)).astype("<u2")
    image = Dataset()
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedMRImageStorage
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.SeriesInstanceUID, image.SeriesNumber, image.Modality = _UID, 7, "MR"
    image.Rows, image.Columns, image.NumberOfFrames = 5, 4, count
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    frames = []
    for stack, echo, heights in stacks:
        for height in heights:
            frame = Dataset()
            frame.FrameContentSequence = Sequence([_item(StackID=stack)])
            frame.PlanePositionSequence = Sequence([_item(ImagePositionPatient=[0, 0, height])])
            frame.MREchoSequence = Sequence([_item(EffectiveEchoTime=echo)])
            frames.append(frame)
    shared = Dataset()
    shared.PlaneOrientationSequence = Sequence([_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])])
    shared.PixelMeasuresSequence = Sequence([_item(PixelSpacing=[1, 1], SliceThickness=3)])
    image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence(frames)
    image.PixelData = stored.tobytes()
    folder.mkdir(exist_ok=True)
    pydicom.dcmwrite(folder / path, image, enforce_file_format=True)
    return stored


def _item(**tags: object) -> Dataset:
    item = Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return item


def test_stacks_and_echoes_of_a_multi_frame_file_are_told_apart(tmp_path: Path) -> None:
    heights = [0.0, 3.0, 6.0]
    stored = _enhanced(tmp_path, [("1", 20.0, heights), ("1", 90.0, heights), ("2", 20.0, [4.0, 8.0, 12.0])])
    with pytest.raises(ImageReadError, match=r"holds 3 stacks: "):
        read_series(tmp_path, "MR")
    for number in range(1, 4):
        image = read_series(tmp_path, series=f"7/stack{number}")
        np.testing.assert_array_equal(image.numpy()[0], stored[3 * number - 3 : 3 * number].T)
    assert len(find_source(tmp_path, "MR", "7/stack2").slices) == 3


def test_a_multi_frame_file_that_is_named_is_read_alone(tmp_path: Path) -> None:
    first = _enhanced(tmp_path, [("1", 20.0, [0.0, 3.0])], "first")
    _enhanced(tmp_path, [("1", 20.0, [0.0, 3.0, 6.0])], "second")
    np.testing.assert_array_equal(read_volume(tmp_path / "first", "MR").numpy()[0], first.T)


@pytest.mark.parametrize("kind", ["ImageType", "private"])
def test_a_siemens_mosaic_is_refused_by_name(kind: str, tmp_path: Path, write_stack: Write) -> None:
    write_stack(tmp_path, (0.0,), 1)
    image = pydicom.dcmread(tmp_path / "MR0")
    if kind == "ImageType":
        image.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    else:
        image.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
        image.add_new(0x0019100A, "US", 28)
    image.save_as(tmp_path / "MR0")
    for path in (tmp_path, tmp_path / "MR0"):
        with pytest.raises(ImageReadError, match=r"MR0 is a Siemens mosaic, .* convert MR 'small MR' .* dcm2niix"):
            read_volume(path, "MR")


def test_many_stacks_are_not_all_listed(tmp_path: Path, write_stack: Write) -> None:
    for number in range(14):
        write_stack(tmp_path / str(number), (0.0, 3.0), 1 + 2 * number, ImageOrientationPatient=_turned(5 * number))
    with pytest.raises(ImageReadError, match=r"holds 14 stacks: .*7/stack12 .*; and 2 more"):
        read_series(tmp_path, "MR")
