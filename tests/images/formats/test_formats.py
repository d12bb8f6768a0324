"""All formats alike: whole files are read, others are refused, and nothing else is."""

import io
import os
import struct
import subprocess
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from fastvlm_mlx.errors import ImageError
from fastvlm_mlx.images.decode import open_image, upright_size
from fastvlm_mlx.images.formats import FORMATS, SUFFIXES, format_of
from fastvlm_mlx.images.resize import prepare
from tests.images.formats.corpus import (
    FILES,
    FILM,
    LAX,
    NO_CHECKSUM,
    as_pillow_has_it,
)
from tests.images.samples import UPRIGHT, Array, encoded, noise, oriented

OURS_ALONE = {"TIFF of 12 bits", "PGM of 16 bits", "BigTIFF"}
"""What Pillow does not read, or wrongly."""

LONGEST_LOSS = 8
"""Bytes at the end of which nobody notices whether they are zeros."""


def pixels(data: bytes) -> Array:
    image = open_image(data)
    assert image.mode == "RGB"
    return np.asarray(image)


WHOLE = {name: pixels(data) for name, data in FILES.items()}


def test_each_format_is_in_the_corpus() -> None:
    found = {each.name for each in map(format_of, FILES.values()) if each}
    assert found == {each.name for each in FORMATS}


def test_suffixes_are_small_and_of_one_format() -> None:
    suffixes = [suffix for each in FORMATS for suffix in each.suffixes.split()]
    assert len(suffixes) == len(SUFFIXES)
    assert all(s.startswith(".") and s == s.lower() for s in suffixes)


@pytest.mark.parametrize("name", FILES)
def test_whole_files_are_read(name: str) -> None:
    assert upright_size(FILES[name]) == WHOLE[name].shape[:2]
    if name not in OURS_ALONE and not name.startswith("HEIF"):
        expected = np.asarray(as_pillow_has_it(FILES[name]))
        assert np.array_equal(WHOLE[name], expected)


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
def test_a_cut_off_file_is_refused(name: str, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(FILES[name]) - 1))
    if name not in LAX:
        with pytest.raises(ImageError):
            open_image(FILES[name][:end])
        return
    try:
        found = pixels(FILES[name][:end])
    except ImageError:
        return
    assert np.array_equal(found, WHOLE[name])


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
def test_a_file_whose_end_is_zeros_is_refused(name: str, data: st.DataObject) -> None:
    """As downloads leave it that reserve their room first."""
    whole = FILES[name]
    end = data.draw(st.integers(0, len(whole) - LONGEST_LOSS))
    if name.startswith("WebP"):  # told by the decoder, where there are many of them
        end = data.draw(st.integers(0, len(whole) - min(200, len(whole) // 2)))
    try:
        found = pixels(whole[:end] + bytes(len(whole) - end))
    except ImageError:
        return
    assert name in NO_CHECKSUM or np.array_equal(found, WHOLE[name])


@pytest.mark.parametrize("trailer", [bytes(64), b"\n", FILM, FILES["JPEG"]])
@pytest.mark.parametrize("name", ["PNG", "JPEG", "JPEG, progressive", "GIF", "WebP"])
def test_what_follows_an_image_does_not_matter(name: str, trailer: bytes) -> None:
    assert np.array_equal(pixels(FILES[name] + trailer), WHOLE[name])


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
def test_no_flipped_bytes_lead_to_another_error(name: str, data: st.DataObject) -> None:
    # half of the flips hit the header, where most of the damage is done
    position = st.integers(0, 64) | st.integers(0, len(FILES[name]) - 1)
    flips = st.dictionaries(position, st.integers(1, 255), min_size=1, max_size=8)
    damaged = bytearray(FILES[name])
    for place, mask in data.draw(flips).items():
        damaged[place] ^= mask
    try:
        size = upright_size(bytes(damaged))
        image = open_image(bytes(damaged))
    except ImageError as error:
        assert str(error).startswith("the image data ") and len(str(error)) < 400
    else:
        assert size == image.size[::-1]
        assert prepare(image, (64, 64), "pad").shape == (64, 64, 3)


# --- what else there is -----------------------------------------------------------

NO_RASTERS = {
    "EPS": encoded(noise(9, 9), "EPS"),
    "PDF": encoded(noise(9, 9), "PDF"),
    "PSD": b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\x09\0\0\0\x09\0\x08\0\3" + bytes(999),
    "WMF": b"\xd7\xcd\xc6\x9a" + bytes(200),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "GRIB": b"GRIB\0\0\0\1" + bytes(200),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(200),
    "BUFR": b"BUFR" + bytes(200),
    "text": b"What is this?\n",
    "zeros": bytes(500),
    "program": b"\x7fELF\2\1\1" + bytes(500),
    "ZIP": b"PK\3\4" + bytes(200),
}


@pytest.mark.parametrize("kind", NO_RASTERS)
def test_what_is_no_raster_starts_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow would have Ghostscript read a page of EPS, whatever its name."""
    log = tmp_path / "log"
    (tmp_path / "gs").write_text(f"#!/bin/sh\necho ran >> {log}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / "holiday.jpg"
    path.write_bytes(NO_RASTERS[kind])
    for source in (path, NO_RASTERS[kind]):
        for read in (open_image, upright_size):
            with pytest.raises(ImageError, match="is not an image that is read here"):
                read(source)
    assert not log.exists()


@pytest.mark.parametrize("name", ["PNG", "GIF", "TIFF, LZW", "AVIF", "HEIF, photo"])
def test_the_callers_warnings_are_left_alone(name: str) -> None:
    """catch_warnings is not safe in threads: filters of one are left behind."""
    before = list(warnings.filters)

    def read() -> None:
        for _ in range(20):
            open_image(FILES[name])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_damaged_exif_raises_no_warning(format: str) -> None:
    """Warnings are errors in these tests; Pillow's parser of EXIF has many."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01\3\0\1\0\0\0\6\0\0\0\x1a\1\5"
    data = encoded(noise(16, 8), format, exif=exif)
    assert open_image(data).size == (8, 16)


def test_damaged_exif_of_avif_raises_no_warning() -> None:
    exif = oriented(6)
    exif[ExifTags.Base.Software] = "somebody"
    data = encoded(noise(16, 8), "AVIF", exif=exif)
    at = data.index(b"MM\0*")
    assert open_image(data[: at + 8] + b"\xff" * 4 + data[at + 12 :]).size == (8, 16)


@pytest.mark.parametrize("tag", [257, 259, 282, 305])
def test_damaged_fields_of_tiff_raise_no_warning(tag: int) -> None:
    """Too many values, and values beyond the file."""
    data = encoded(noise(16, 8), "TIFF", software="somebody", dpi=(72, 72))
    at = data.index(struct.pack("<H", tag), 8)
    many = (
        data[: at + 4] + struct.pack("<L", 0x7FFF if tag > 270 else 2) + data[at + 8 :]
    )
    try:
        assert open_image(many).size == (16, 8)
    except ImageError:
        assert tag < 270


@pytest.mark.parametrize("format", ["PNG", "TIFF", "GIF", "WEBP", "BMP", "JPEG"])
def test_a_large_image_raises_no_warning(format: str) -> None:
    """Pillow warns of more than 89 million pixels; 178 are allowed here."""
    side = 9_500
    image = Image.new("1" if format in ("PNG", "TIFF", "BMP") else "L", (side, side))
    options: dict[str, Any] = {"compression": "group4"} if format == "TIFF" else {}
    options |= {"method": 0, "quality": 1} if format == "WEBP" else {}
    assert upright_size(encoded(image, format, **options)) == (side, side)


# --- orientation ------------------------------------------------------------------


@pytest.mark.parametrize("number", UPRIGHT)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF", "MPO"])
def test_images_are_turned_upright_once(number: int, format: str) -> None:
    image = noise(12, 8) if format in ("PNG", "TIFF", "WEBP") else _halves()
    options: dict[str, Any] = {"lossless": True} if format == "WEBP" else {}
    options |= {"quality": 100} if format in ("JPEG", "AVIF", "MPO") else {}
    data = encoded(image, format, exif=oriented(number), **options)
    expected = UPRIGHT[number](np.asarray(image))
    assert upright_size(data) == expected.shape[:2]
    assert upright_size(Image.open(io.BytesIO(data))) == expected.shape[:2]
    off = np.abs(pixels(data).astype(int) - expected)
    assert off.mean() <= (0 if format in ("PNG", "TIFF", "WEBP") else 5)
    of_pillow = open_image(Image.open(io.BytesIO(data)))
    assert np.array_equal(np.asarray(of_pillow), pixels(data))


def _halves() -> Image.Image:
    """Unlike itself however it is turned, and easy to encode."""
    image = Image.new("RGB", (64, 32), "white")
    image.paste("red", (0, 0, 32, 16))
    image.paste("blue", (32, 16, 64, 32))
    return image


def test_no_other_program_is_needed_by_any_format(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("another program was started")

    for name in ("Popen", "run", "call", "check_call", "check_output"):
        monkeypatch.setattr(subprocess, name, refused)
    monkeypatch.setattr(os, "system", refused)
    for name, data in FILES.items():
        assert np.array_equal(pixels(data), WHOLE[name])
