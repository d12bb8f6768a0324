"""Pictures of every kind in, the reference's pixels or an ImageError out."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image

from fastvlm_mlx.errors import ImageError
from fastvlm_mlx.images.decode import (
    DECODE_MARGIN,
    MAX_ASPECT,
    MAX_FILE_BYTES,
    PictureFile,
    open_ahead,
    open_image,
    read_file,
    upright_size,
)
from fastvlm_mlx.images.resize import prepare
from tests.probes import noise

Array = NDArray[Any]


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixels(source: Any) -> Array:
    image = open_image(source)
    assert image.mode == "RGB"
    return np.asarray(image)


# --- modes ------------------------------------------------------------------------


def test_rgb_stays_as_it_is() -> None:
    image = noise(0, 7, 5)
    assert np.array_equal(pixels(image), np.asarray(image))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_shows_white_paper(mode: str) -> None:
    """As transformers' image processors have it; a logo would drown in black."""
    values = np.random.default_rng(0).integers(0, 256, (5, 7, len(mode)), np.uint8)
    image = Image.fromarray(values)
    assert image.mode == mode
    alpha = values[:, :, -1:] / 255
    expected = values[:, :, :-1] * alpha + 255 * (1 - alpha)
    assert np.abs(pixels(encoded(image)) - expected).max() <= 1  # PIL rounds in bytes


def test_an_array_with_alpha_is_treated_like_a_picture() -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    assert np.array_equal(pixels(values), pixels(Image.fromarray(values)))


def test_grey_is_repeated() -> None:
    values = np.arange(35, dtype=np.uint8).reshape(5, 7)
    expected = np.repeat(values[:, :, None], 3, axis=2)
    assert np.array_equal(pixels(encoded(Image.fromarray(values))), expected)


def test_one_bit_is_black_and_white() -> None:
    bits = np.eye(9, dtype=bool)
    expected = np.repeat(np.where(bits, 255, 0)[:, :, None], 3, axis=2)
    assert np.array_equal(pixels(encoded(Image.fromarray(bits))), expected)


@pytest.mark.parametrize("transparency", [None, 2, bytes([0, 128, 255, 7])])
def test_palette_is_looked_up(transparency: int | bytes | None) -> None:
    palette = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
    indices = np.arange(36, dtype=np.uint8).reshape(6, 6) % 4
    image = Image.fromarray(indices, "L").copy()
    image.putpalette(palette.tobytes())
    options: dict[str, Any] = {}
    alpha = np.full(4, 255)
    if isinstance(transparency, int):
        alpha[transparency] = 0
    elif transparency is not None:
        alpha[:] = list(transparency)
    if transparency is not None:
        options["transparency"] = transparency
    seen = (alpha / 255)[indices][:, :, None]
    expected = palette[indices] * seen + 255 * (1 - seen)
    assert np.abs(pixels(encoded(image, **options)) - expected).max() <= 1


@pytest.mark.parametrize(
    ("ink", "expected"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 0, 0), (255, 0, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
    ],
)
def test_cmyk_is_ink_on_white(
    ink: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    data = encoded(Image.new("CMYK", (4, 4), ink), "TIFF")
    assert (pixels(data) == expected).all()


@pytest.mark.parametrize(
    ("dtype", "format"), [(np.uint16, "PNG"), (np.uint16, "TIFF"), (np.int32, "TIFF")]
)
def test_sixteen_bits_are_rounded_to_eight(dtype: type, format: str) -> None:
    """convert("RGB") of PIL would turn everything above 255 into white."""
    values = np.arange(0, 1 << 16, 7)[: 90 * 100].reshape(90, 100)
    data = encoded(Image.fromarray(values.astype(dtype)), format)
    assert np.array_equal(pixels(data)[:, :, 0], np.round(values / 65535 * 255))


def test_thirty_two_bits_are_refused() -> None:
    image = Image.fromarray(np.full((4, 4), 70000, np.int32))
    with pytest.raises(ImageError, match="32-bit.*8 or 16"):
        open_image(image)


def test_float_pixels_are_refused() -> None:
    with pytest.raises(ImageError, match="floating-point.*8 bits"):
        open_image(Image.new("F", (4, 4)))


def test_a_mode_that_pil_cannot_convert_is_refused() -> None:
    with pytest.raises(ImageError, match="La.*RGB"):
        open_image(Image.new("La", (4, 4)))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_near_black_stays_near_black(mode: str) -> None:
    """mlx-vlm takes a picture whose largest value is 1 for one in [0, 1]."""
    image = Image.fromarray(np.eye(64, dtype=np.uint8))
    for source in (image.convert(mode), encoded(image.convert(mode))):
        found = prepare(open_image(source), (64, 64), "pad")
        assert np.array_equal(found[:, :, 1], np.eye(64))


# --- orientation ------------------------------------------------------------------

# What a viewer has to do to the stored rows, by EXIF orientation (CIPA DC-008).
UPRIGHT: dict[int, Callable[[Array], Array]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def oriented(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = number
    return exif


@pytest.mark.parametrize("number", UPRIGHT)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_pictures_are_turned_upright_once(number: int, format: str) -> None:
    image = noise(0, 6, 4)
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(image, format, exif=oriented(number), **options)
    expected = UPRIGHT[number](np.asarray(image))
    assert np.array_equal(pixels(data), expected)


def test_a_pil_image_is_turned_upright_too() -> None:
    image = noise(0, 6, 4)
    image.getexif()[ExifTags.Base.Orientation] = 6
    assert np.array_equal(pixels(image), np.rot90(np.asarray(image), -1))


@pytest.mark.parametrize("number", [0, 9, 65535])
def test_unknown_orientations_are_ignored(number: int) -> None:
    image = noise(0, 6, 4)
    data = encoded(image, exif=oriented(number))
    assert np.array_equal(pixels(data), np.asarray(image))


@pytest.mark.parametrize("cut", range(0, 26, 3))
def test_damaged_exif_does_not_spoil_a_picture(cut: int) -> None:
    image = Image.new("RGB", (16, 8), "red")
    exif = b"Exif\0\0" + oriented(1).tobytes().removeprefix(b"Exif\0\0")[:cut]
    found = pixels(encoded(image, "JPEG", exif=exif, quality=100))
    assert found.shape == (8, 16, 3) and found[0, 0, 0] > 250


# Tag, type and value of a field beside the orientation; PIL parses each, and cannot
# write it again.
DAMAGED_FIELDS = [
    (ExifTags.Base.XResolution, 2, b"abc\0"),
    (ExifTags.Base.XResolution, 7, b"abcd"),
    (ExifTags.Base.Copyright, 12, b"\0\0\0\0"),
]


@pytest.mark.parametrize(("tag", "kind", "value"), DAMAGED_FIELDS)
def test_orientation_counts_beside_damaged_fields(
    tag: int, kind: int, value: bytes
) -> None:
    """ImageOps.exif_transpose leaves such pictures lying on their side."""
    fields = struct.pack("<HHIHH", ExifTags.Base.Orientation, 3, 1, 6, 0)
    fields += struct.pack("<HHI", tag, kind, len(value)) + value
    exif = b"Exif\0\0II*\0\x08\0\0\0\2\0" + fields + b"\0\0\0\0"
    data = encoded(Image.new("RGB", (8, 4)), "JPEG", exif=exif)
    assert open_image(data).size == (4, 8)


@given(exif=st.binary(max_size=80))
def test_any_exif_at_all_is_survived(exif: bytes) -> None:
    image = Image.new("RGB", (8, 8), "red")
    data = encoded(image, "JPEG", exif=b"Exif\0\0II*\0" + exif)
    assert pixels(data).shape == (8, 8, 3)


# --- sources ----------------------------------------------------------------------


def test_path_text_bytes_and_image_are_the_same_picture(
    picture: Image.Image, picture_file: Path
) -> None:
    data = picture_file.read_bytes()
    sources = [picture_file, str(picture_file), data, bytearray(data), memoryview(data)]
    for source in (*sources, picture, np.asarray(picture)):
        assert np.array_equal(pixels(source), np.asarray(picture)), type(source)


def test_home_is_found(picture_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(picture_file.parent))
    assert open_image(f"~/{picture_file.name}").size == (150, 100)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_array_shapes(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    array[..., 3:] = 255  # where there is a fourth channel, nothing shines through
    colors = array.reshape(4, 5, -1)[:, :, :3]
    assert np.array_equal(pixels(array), np.broadcast_to(colors, (4, 5, 3)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_arrays_are_shares_of_255(dtype: type) -> None:
    expected = np.arange(256).reshape(16, 16)
    found = pixels((expected / 255).astype(dtype))
    assert np.array_equal(found[:, :, 0], expected)


def test_boolean_arrays_are_black_and_white() -> None:
    assert pixels(np.array([[True, False]])).tolist() == [[[255] * 3, [0] * 3]]


def test_views_need_not_be_contiguous() -> None:
    array = np.asarray(noise(0, 8, 6))
    assert np.array_equal(pixels(array[::-2, ::2]), array[::-2, ::2])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4, 5), np.uint8), r"\(3, 4, 5\); expected \(H, W\)"),
        (np.zeros((3, 4, 2), np.uint8), r"\(3, 4, 2\)"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"\(1, 4, 4, 3\)"),
        (np.array(1, np.uint8), r"\(\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 4), np.int64), "int64; expected uint8"),
        (np.zeros((4, 4), np.uint16), "uint16; expected uint8"),
        (np.zeros((4, 4), complex), "complex128; expected uint8"),
        (np.full((4, 4), "x"), "expected uint8"),
        (np.full((4, 4), None), "object; expected uint8"),
        (np.full((4, 4), 1.01), r"within \[0, 1\]"),
        (np.full((4, 4), -0.01), r"within \[0, 1\]"),
        (np.full((4, 4), np.nan), r"within \[0, 1\]"),
        (np.full((4, 4), np.inf), r"within \[0, 1\]"),
    ],
)
def test_other_arrays_are_refused(array: Array, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        open_image(array)


@pytest.mark.parametrize("source", [None, 3, [], object()])
def test_other_objects_are_refused(source: Any) -> None:
    with pytest.raises(ImageError, match=f"{type(source).__name__}; expected a path"):
        open_image(source)


# --- what is no picture -----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.png", "missing.png does not exist; expected a picture file"),
        (".", "cannot be read: Is a directory"),
        ("a\0b", "cannot be read: embedded null byte"),
        ("x" * 5000, "cannot be read: File name too long"),
    ],
)
def test_a_path_that_cannot_be_read(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        open_image(os.path.join(tmp_path, name))


def test_an_unknown_home_is_an_image_error() -> None:
    with pytest.raises(ImageError, match="~nobody-here/x.png does not exist"):
        open_image("~nobody-here/x.png")


@pytest.mark.parametrize(
    "url",
    ["https://example.org/a.png", "http://a/b", "ftp://a/b", "s3://a/b", "data:,x"],
)
def test_a_url_is_refused_with_what_to_do_instead(url: str) -> None:
    for source in (url, Path(url)):
        with pytest.raises(ImageError, match="is a URL; download the picture"):
            open_image(source)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty; expected a picture file"),
        (b"What is this?\n", "not a picture that Pillow can read; expected for"),
        (b"\x89PNG\r\n\x1a\n", "the image data"),
        (b"GIF89a", "the image data"),
        (b"%PDF-1.7\n", "not a picture that Pillow can read"),
    ],
)
def test_data_that_is_no_picture(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        open_image(data)
    (tmp_path / "file.png").write_bytes(data)
    with pytest.raises(ImageError, match="file.png"):
        open_image(tmp_path / "file.png")


def test_a_pil_image_whose_file_is_closed(picture_file: Path) -> None:
    with Image.open(picture_file) as image:
        pass
    with pytest.raises(ImageError, match="damaged or cut off"):
        open_image(image)


FILES = {
    "PNG": encoded(noise(0, 40, 30)),
    "JPEG": encoded(noise(0, 40, 30), "JPEG", exif=oriented(6)),
    "GIF": encoded(noise(0, 40, 30).convert("P"), "GIF"),
    "WEBP": encoded(noise(0, 40, 30), "WEBP", lossless=True),
    "TIFF": encoded(noise(0, 40, 30), "TIFF", compression="tiff_lzw"),
    "BMP": encoded(noise(0, 40, 30), "BMP"),
}


def opens_or_says_why(data: bytes) -> None:
    """An ImageError or a picture that can be used, and nothing else."""
    try:
        image = open_image(data)
    except ImageError as error:
        assert str(error).startswith("the image data ")
    else:
        assert prepare(image, (64, 64), "pad").shape == (64, 64, 3)


@pytest.mark.parametrize("format", FILES)
def test_a_truncated_file_says_so(format: str) -> None:
    """Half a picture is not silently answered about."""
    with pytest.raises(ImageError, match="cut off|damaged|not a picture"):
        open_image(FILES[format][: len(FILES[format]) // 2])


@pytest.mark.parametrize("format", FILES)
@given(data=st.data())
def test_no_cut_leads_to_another_error(format: str, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(FILES[format]) - 1))
    opens_or_says_why(FILES[format][:end])


@pytest.mark.parametrize("format", FILES)
@given(data=st.data())
def test_no_flipped_bytes_lead_to_another_error(
    format: str, data: st.DataObject
) -> None:
    # half of the flips hit the header, where most of the damage is done
    position = st.integers(0, 64) | st.integers(0, len(FILES[format]) - 1)
    flips = st.dictionaries(position, st.integers(1, 255), min_size=1, max_size=8)
    damaged = bytearray(FILES[format])
    for place, mask in data.draw(flips).items():
        damaged[place] ^= mask
    opens_or_says_why(bytes(damaged))


# --- sizes ------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(body) - 4) + body
    end = b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", zlib.crc32(body)) + end


@pytest.mark.parametrize("side", [13_400, 18_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    """13,400² is over the bound; PIL alone would warn, and refuse from 18,920² on."""
    with pytest.raises(ImageError, match="too large|at most 178,956,970 are decoded"):
        open_image(png_header(side, side))


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1), (MAX_ASPECT + 1, 1)])
def test_a_strip_too_narrow_is_refused(size: tuple[int, int]) -> None:
    message = f"{size[0]}x{size[1]} pixels; the long side.*{MAX_ASPECT} times"
    for source in (Image.new("RGB", size), np.zeros((size[1], size[0]), np.uint8)):
        with pytest.raises(ImageError, match=message):
            open_image(source)


def test_the_longest_strip_is_taken() -> None:
    image = open_image(Image.new("RGB", (MAX_ASPECT, 1), "white"))
    assert prepare(image, (64, 64), "pad").shape == (64, 64, 3)


# --- sizes before opening ---------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_in_a_header_is_that_of_the_upright_picture(orientation: int) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    noise(0, 40, 70).save(file, "JPEG", exif=exif)
    for source in (file.getvalue(), Image.open(file)):
        assert upright_size(source) == open_image(source).size[::-1]


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (3, 5, 3), (3, 5, 4)])
def test_the_size_of_an_array(shape: tuple[int, ...]) -> None:
    assert upright_size(np.zeros(shape, np.uint8)) == (3, 5)


@pytest.mark.parametrize("source", [b"", b"no picture", "nowhere.png", 5, (1, 2)])
def test_what_has_no_size_is_an_image_error(source: Any) -> None:
    with pytest.raises(ImageError) as expected:
        open_image(source)
    with pytest.raises(ImageError) as found:
        upright_size(source)
    assert str(found.value) == str(expected.value)


def test_no_size_is_given_of_what_cannot_be_used() -> None:
    file = io.BytesIO()
    Image.new("L", (10_000, 1)).save(file, "PNG")
    with pytest.raises(ImageError, match="10000x1 pixels; the long side may be"):
        upright_size(file.getvalue())


def test_a_file_too_large_for_a_picture_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "disk.img"
    with file.open("wb") as opened:
        opened.truncate(MAX_FILE_BYTES + 1)  # sparse: it takes no room
    with pytest.raises(ImageError, match="at most 1,073,741,824 bytes"):
        open_image(file)


def test_a_device_is_no_picture() -> None:
    with pytest.raises(ImageError, match="expected a picture file"):
        open_image("/dev/zero")


# --- files, undecoded -------------------------------------------------------------


def test_a_file_is_read_once_and_decoded_later(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (3, 2), "red").save(path)
    file = read_file(path)
    assert file is not None
    assert (file.data, file.name) == (path.read_bytes(), str(path))
    path.unlink()
    assert open_image(file).size == (3, 2)
    assert read_file(file.data) == PictureFile(file.data, "the image data")


@pytest.mark.parametrize("source", [Image.new("RGB", (1, 1)), np.zeros((1, 1, 3)), 5])
def test_what_is_no_file_is_not_read(source: Any) -> None:
    assert read_file(source) is None


def test_a_damaged_file_is_called_by_its_name() -> None:
    with pytest.raises(ImageError, match="photo.png is not a picture"):
        open_image(PictureFile(b"junk", "photo.png"))


# --- large JPEGs ------------------------------------------------------------------


def scene(width: int, height: int) -> Image.Image:
    """Amplitudes that fall with frequency, as those of photographs do."""
    generator = np.random.default_rng(0)
    spectrum = np.fft.rfft2(generator.normal(size=(3, height, width)))
    frequency = np.hypot(
        np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    )
    falling = np.fft.irfft2(spectrum / (frequency + 1 / width), (height, width))
    grey, tint = falling[0], falling.std(axis=(1, 2), keepdims=True)
    values = (grey + 0.3 * falling) / tint * 40 + 128
    rounded = values.clip(0, 255).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(rounded.transpose(1, 2, 0)))


SCENE = scene(640, 416)


@pytest.mark.parametrize(
    ("size", "mode", "share"),
    [
        ((64, 64), "pad", 4),  # 640 = 10 x 64
        ((64, 64), "crop", 2),  # 416 = 6.5 x 64
        ((128, 128), "pad", 2),
        ((128, 128), "crop", 1),
        ((192, 192), "pad", 1),
        ((64, 192), "pad", 2),  # the height decides
        ((64, 192), "crop", 1),
        ((64, 64), "stretch", 2),
        ((64, 192), "stretch", 1),
        (None, "pad", 1),
    ],
)
def test_a_large_jpeg_is_decoded_smaller(
    size: tuple[int, int] | None, mode: Any, share: int
) -> None:
    for progressive in (False, True):
        data = encoded(SCENE, "JPEG", progressive=progressive)
        found = open_image(data, size, mode).size
        assert found == (640 // share, 416 // share)


@pytest.mark.parametrize(
    ("width", "height", "mode", "share"),
    [
        (640, 416, "pad", 4),
        (640, 420, "pad", 2),  # 110 rows of black above it
        (640, 419, "pad", 1),
        (642, 418, "pad", 2),
        (642, 418, "crop", 2),
        (643, 418, "crop", 1),
    ],
)
def test_a_share_that_would_move_the_picture_is_not_taken(
    width: int, height: int, mode: Any, share: int
) -> None:
    data = encoded(Image.new("RGB", (width, height)), "JPEG")
    found = open_image(data, (64, 64), mode).size
    assert found == (width // share, height // share)


@given(width=st.integers(64, 1500), height=st.integers(64, 1500))
def test_enough_is_left_for_the_frame(width: int, height: int) -> None:
    data = encoded(Image.new("RGB", (width, height)), "JPEG")
    whole = max(width, height)
    for share in (1, 2, 4, 8):
        side = 64 * share
        left = max(open_image(data, (side, side)).size)
        assert left == whole or left >= DECODE_MARGIN * side


def difference(found: Array, expected: Array) -> Array:
    off: Array = np.abs(found.astype(int) - expected)
    return off


@pytest.mark.parametrize("number", UPRIGHT)
@pytest.mark.parametrize("mode", ["pad", "crop", "stretch"])
def test_decoded_smaller_it_is_nearly_the_same_picture(number: int, mode: Any) -> None:
    """Within what DECODE_MARGIN states, the right way up."""
    data = encoded(SCENE, "JPEG", quality=90, exif=oriented(number))
    size = (192, 64) if number > 4 else (64, 192)
    size = size if mode == "pad" else (64, 64)
    smaller, whole = open_image(data, size, mode), open_image(data)
    upright = whole.width // 2, whole.height // 2
    assert smaller.size == (size[::-1] if number > 4 else upright)
    off = difference(prepare(smaller, size, mode), prepare(whole, size, mode))
    assert 0 < off.mean() < 1
    assert np.quantile(off, 0.999) <= 8


@pytest.mark.parametrize(("height", "found"), [(832, (64, 64)), (836, (209, 320))])
def test_turned_last_only_if_as_much_is_cut_on_both_sides(
    height: int, found: tuple[int, int]
) -> None:
    """98 or 97 columns to 64: an odd one would be cut from the other side."""
    lying = encoded(Image.new("RGB", (1280, height)), "JPEG", exif=oriented(6))
    assert open_image(lying, (64, 64), "crop").size == found


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_ink_are_decoded_smaller_too(mode: str) -> None:
    data = encoded(SCENE.convert(mode), "JPEG", quality=90)
    found = prepare(open_image(data, (64, 64)), (64, 64), "pad")
    off = difference(found, prepare(open_image(data), (64, 64), "pad"))
    assert open_image(data, (64, 64)).size == (160, 104)
    assert off.mean() < 1


def test_a_telephones_jpeg_with_a_second_picture_is_decoded_smaller() -> None:
    """Some append a depth or gain map; Pillow calls the format MPO."""
    data = encoded(SCENE, "MPO", save_all=True, append_images=[noise(0, 20, 10)])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    found = open_image(data, (64, 64))
    assert found.size == (160, 104)
    expected = prepare(open_image(data), (64, 64), "pad")
    assert difference(prepare(found, (64, 64), "pad"), expected).mean() < 1


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "GIF", "WEBP"])
def test_other_formats_are_decoded_in_full(format: str) -> None:
    data = encoded(SCENE, format)
    whole = np.asarray(open_image(data))
    assert np.array_equal(np.asarray(open_image(data, (64, 64))), whole)


def test_a_callers_own_image_is_left_alone() -> None:
    """It may be a file that has not been read yet, and is the caller's to decode."""
    image = Image.open(io.BytesIO(encoded(SCENE, "JPEG")))
    assert open_image(image, (64, 64)).size == SCENE.size == image.size


@given(data=st.data())
def test_damage_to_a_large_jpeg_leads_to_no_other_error(data: st.DataObject) -> None:
    whole = bytearray(encoded(scene(200, 130), "JPEG", exif=oriented(6)))
    position = st.integers(0, 700) | st.integers(0, len(whole) - 1)
    for place, mask in data.draw(
        st.dictionaries(position, st.integers(1, 255), min_size=1, max_size=8)
    ).items():
        whole[place] ^= mask
    try:
        image = open_image(bytes(whole), (16, 16))
    except ImageError as error:
        assert str(error).startswith("the image data ")
    else:
        assert prepare(image, (16, 16), "pad").shape == (16, 16, 3)


# --- ahead of time ----------------------------------------------------------------


def test_pictures_opened_ahead_are_the_same_in_the_same_order() -> None:
    data = encoded(SCENE, "JPEG")
    sources: list[Any] = [noise(0, 30, 20), data, encoded(noise(5, 9, 9))]
    for exact in (False, True):
        ahead = open_ahead(sources, lambda _: ((64, 128), "pad"), exact)
        for source, future in zip(sources, ahead, strict=True):
            opened = open_image(source, None if exact else (64, 128))
            expected = prepare(opened, (64, 128), "pad")
            assert np.array_equal(pixels(future), expected)
            again = prepare(open_image(future, (64, 128)), (64, 128), "pad")
            assert np.array_equal(again, expected)  # as the engine takes it


def test_what_is_wrong_with_one_is_raised_in_its_place() -> None:
    sources: list[Any] = [noise(0, 8, 8), b"", noise(0, 9, 9)]
    ahead = open_ahead(sources, lambda _: ((64, 64), "pad"))
    assert pixels(ahead[0]).shape == pixels(ahead[2]).shape == (64, 64, 3)
    for _ in range(2):
        with pytest.raises(ImageError, match="the image data is empty"):
            open_image(ahead[1])
