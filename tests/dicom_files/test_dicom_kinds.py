"""What is DICOM is told by content: files without preamble or File Meta, any name, and what is no image beside them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, generate_uid

from spinefuse_ext.dicom import find_series, is_dicom, read_series, write_fused
from spinefuse_ext.validation import ImageReadError
from spinefuse_ext.volumes import read_volume


def _data_set(image: FileDataset, *, implicit: bool, little: bool = True) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
    write_dataset(buffer, image)
    return buffer.getvalue()


def _no_preamble(path: Path) -> bytes:
    return path.read_bytes()[132:]


def _only_prefix(path: Path) -> bytes:
    return path.read_bytes()[128:]


def _implicit(path: Path) -> bytes:
    return _data_set(pydicom.dcmread(path), implicit=True)


def _explicit(path: Path) -> bytes:
    return _data_set(pydicom.dcmread(path), implicit=False)


def _big_endian(path: Path) -> bytes:
    image = pydicom.dcmread(path)
    image.PixelData = image.pixel_array.astype(">i2").tobytes()
    return _data_set(image, implicit=False, little=False)


def _no_syntax(path: Path) -> bytes:
    content = path.read_bytes()
    meta = pydicom.dcmread(path).file_meta
    start = 132 + 12 + meta.FileMetaInformationGroupLength
    classes = b"".join(
        struct.pack("<HH2sH", 2, number, b"UI", len(value)) + value
        for number, value in ((2, b"1.2.840.10008.5.1.4.1.1.2\0"), (3, b"1.2.3\0"))
    )
    return content[:132] + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(classes)) + classes + content[start:]


@pytest.mark.parametrize("stripped", [_no_preamble, _only_prefix, _implicit, _explicit, _big_endian, _no_syntax])
def test_files_that_lack_their_beginning_are_read(stripped, tmp_path: Path, write_series) -> None:
    stored = write_series(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(stripped(path))
        assert is_dicom(path)
    image = read_series(tmp_path, "CT")
    np.testing.assert_array_equal(image.numpy()[0], 2 * stored.T - 1024)
    np.testing.assert_array_equal(read_volume(tmp_path / "CT2", "CT"), image)


def test_a_fused_series_refers_to_files_without_preamble(tmp_path: Path, write_series) -> None:
    write_series(tmp_path / "ct", StudyInstanceUID="1.2.3")
    for path in (tmp_path / "ct").iterdir():
        path.write_bytes(_implicit(path))
    fused = read_series(tmp_path / "ct")
    out = write_fused(fused * 0 + 0.5, tmp_path / "ct", tmp_path / "fused")
    assert len(list(out.iterdir())) == 4


def test_images_without_a_series_uid_are_the_series_of_their_folder_and_number(tmp_path: Path, write_series) -> None:
    first = write_series(tmp_path / "a", SeriesNumber=2)
    write_series(tmp_path / "b", SeriesNumber=3)
    for path in tmp_path.rglob("CT*"):
        image = pydicom.dcmread(path)
        del image.SeriesInstanceUID
        image.save_as(path)
    assert [series.number_of_slices for series in find_series(tmp_path)] == [4, 4]
    for image in (read_series(tmp_path / "a"), read_series(tmp_path, series="2")):
        np.testing.assert_array_equal(image.numpy()[0], 2 * first.T - 1024)


def test_other_files_and_hidden_folders_beside_the_images_are_passed_over(tmp_path: Path, write_series) -> None:
    stored = write_series(tmp_path)
    others = {
        "README.txt": b"Open me with a viewer.\n",
        "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        ".DS_Store": b"\0\0\0\1Bud1" + bytes(600),
        "._CT1": b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + bytes(80),
        "desktop.ini": "[.ShellClassInfo]\r\n".encode("utf-16"),
        "report.pdf": b"%PDF-1.7\n",
        "series.json": b'{"Modality": "CT"}',
        "zeros": bytes(5000),
        "empty": b"",
        "short": b"\x08\x00",
        "numbers": struct.pack("<2048H", *range(2048)),
        "group_8": struct.pack("<HHI", 8, 5, 10) + b"ISO_IR 100" + bytes(100),
    }
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
        assert not is_dicom(tmp_path / name)
    for folder in (".cache", "__MACOSX", "sub/.hidden"):
        write_series(tmp_path / folder)
    np.testing.assert_array_equal(read_series(tmp_path).numpy()[0], 2 * stored.T - 1024)


def test_a_hidden_folder_that_is_named_is_read(tmp_path: Path, write_series) -> None:
    stored = write_series(tmp_path / ".cache" / "ct")
    np.testing.assert_array_equal(read_series(tmp_path / ".cache" / "ct").numpy()[0], 2 * stored.T - 1024)


def test_dicom_without_an_image_is_passed_over_and_refused_when_named(tmp_path: Path, write_series) -> None:
    stored = write_series(tmp_path)
    report = pydicom.dcmread(tmp_path / "CT1")
    for tag in ("Rows", "Columns", "PixelData", "ImagePositionPatient"):
        del report[tag]
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"  # encapsulated PDF
    report.Modality, report.SOPInstanceUID = "DOC", generate_uid()
    report.save_as(tmp_path / "report.dcm")
    np.testing.assert_array_equal(read_series(tmp_path).numpy()[0], 2 * stored.T - 1024)
    with pytest.raises(ImageReadError, match=r"report.dcm is DICOM, but holds no image; name an image of the scan"):
        read_volume(tmp_path / "report.dcm", "CT")
    (tmp_path / "notes.dcm").write_text("no image, whatever the name")
    with pytest.raises(ImageReadError, match=r"notes.dcm is no DICOM file, whatever its name says"):
        read_volume(tmp_path / "notes.dcm", "CT")


def test_an_odd_value_that_only_tells_images_apart_does_not_keep_an_image_from_being_read(
    tmp_path: Path, write_series
) -> None:
    stored = write_series(tmp_path)
    for path in tmp_path.iterdir():
        image = pydicom.dcmread(path)
        image.AcquisitionNumber = 7
        image.save_as(path)
        path.write_bytes(path.read_bytes().replace(b"IS\x02\x007 ", b"IS\x02\x00x?"))
    np.testing.assert_array_equal(read_series(tmp_path).numpy()[0], 2 * stored.T - 1024)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_plain_syntaxes_hold_the_same_values(syntax: str, tmp_path: Path, write_series) -> None:
    stored = write_series(tmp_path)
    for path in tmp_path.iterdir():
        image = pydicom.dcmread(path)
        little = syntax != ExplicitVRBigEndian
        image.PixelData = image.pixel_array.astype("<i2" if little else ">i2").tobytes()
        image.file_meta.TransferSyntaxUID = syntax
        plain = FileDataset(
            str(path),
            image,
            preamble=bytes(128),
            file_meta=image.file_meta,
            is_implicit_VR=little,
            is_little_endian=little,
        )
        plain.save_as(path)
    np.testing.assert_array_equal(read_series(tmp_path).numpy()[0], 2 * stored.T - 1024)
