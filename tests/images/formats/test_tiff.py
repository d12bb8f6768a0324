"""TIFF of all depths, layouts and byte orders."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastvlm_mlx.errors import ImageError
from fastvlm_mlx.images.decode import open_image, upright_size
from fastvlm_mlx.images.formats import libtiff
from tests.images.formats.corpus import FILES
from tests.images.formats.tiff_files import DEFLATE, PACKBITS, tiff
from tests.images.samples import UPRIGHT, Array, encoded, noise

INVERTED, GREY, COLOURS, PALETTE, INKS = 0, 1, 2, 3, 5
EXTRA, COLOUR_MAP, SAMPLE_FORMAT, ORIENTATION = 338, 320, 339, 274

HEIGHT, WIDTH = 37, 53

LAYOUTS: list[dict[str, Any]] = [
    {},
    {"rows": 8},
    {"rows": 300},
    {"tile": 16},
    {"order": ">", "rows": 5},
    {"compression": DEFLATE},
    {"compression": DEFLATE, "tile": 32, "order": ">"},
    {"compression": PACKBITS, "rows": 5},
    {"big": True},
    {"big": True, "order": ">"},
]

DEPTHS = [9, 10, 11, 12, 14, 15, 16]


def drawn(bits: int, channels: int = 1) -> Array:
    generator = np.random.default_rng(bits)
    samples = generator.integers(0, 1 << bits, (HEIGHT, WIDTH, channels))
    samples[0, 0], samples[0, 1] = 0, (1 << bits) - 1
    return samples


def in_eight_bits(samples: Array, bits: int) -> Array:
    return np.round(samples * 255 / ((1 << bits) - 1)).astype(int)


def off(data: bytes, expected: Array) -> int:
    found = np.asarray(open_image(data)).astype(int)
    assert upright_size(data) == found.shape[:2]
    return int(np.abs(found - expected).max())


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("bits", [1, 2, 4, 8, *DEPTHS])
def test_grey_and_inverted_grey(bits: int, layout: dict[str, Any]) -> None:
    samples = drawn(bits)
    expected = in_eight_bits(samples, bits)
    assert off(tiff(samples, bits, GREY, **layout), expected) <= 1
    assert off(tiff(samples, bits, INVERTED, **layout), 255 - expected) <= 1


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12])
def test_the_lowest_bit_first(bits: int) -> None:
    samples = drawn(bits)
    expected = in_eight_bits(samples, bits)
    assert off(tiff(samples, bits, GREY, fill_order=2), expected) <= 1


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_colours(bits: int, layout: dict[str, Any], planar: int) -> None:
    samples = drawn(bits, 3)
    data = tiff(samples, bits, COLOURS, planar=planar, **layout)
    assert off(data, in_eight_bits(samples, bits)) <= 1


@pytest.mark.parametrize(("channels", "kind"), [(2, 1), (2, 2), (4, 0), (4, 1), (4, 2)])
@pytest.mark.parametrize("bits", [10, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_transparency_and_inks_go_the_road_of_eight_bits(
    bits: int, order: str, channels: int, kind: int
) -> None:
    eight = in_eight_bits(drawn(bits, channels), bits)
    most = (1 << bits) - 1
    wide = np.round(eight * most / 255).astype(int)
    colours = GREY if channels == 2 else COLOURS
    fields = {EXTRA: [kind]}
    twin = np.asarray(open_image(tiff(eight, 8, colours, fields=fields))).astype(int)
    assert off(tiff(wide, bits, colours, order=order, fields=fields), twin) <= 1
    if channels == 4:
        twin = np.asarray(open_image(tiff(eight, 8, INKS))).astype(int)
        assert off(tiff(wide, bits, INKS, order=order), twin) <= 1


@pytest.mark.parametrize("bits", [4, 8, 10, 16])
def test_a_palette(bits: int) -> None:
    colours = np.random.default_rng(0).integers(0, 1 << 16, (3, 1 << bits))
    samples = drawn(bits)
    fields = {COLOUR_MAP: colours.ravel().tolist()}
    expected = (colours >> 8).T[samples[:, :, 0]]
    assert off(tiff(samples, bits, PALETTE, fields=fields), expected) <= 1


@pytest.mark.parametrize("layout", [{}, {"order": ">", "tile": 16}], ids=str)
@pytest.mark.parametrize(("bits", "channels"), [(8, 1), (8, 3), (16, 1), (16, 3)])
def test_differences(bits: int, channels: int, layout: dict[str, Any]) -> None:
    """Predictor 2: each sample is told by what it adds to the one before."""
    samples = drawn(bits, channels)
    colours = GREY if channels == 1 else COLOURS
    data = tiff(samples, bits, colours, predictor=2, compression=DEFLATE, **layout)
    assert off(data, in_eight_bits(samples, bits)) <= 1


@pytest.mark.parametrize("number", UPRIGHT)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", [1, DEFLATE])
def test_orientation_is_applied_once(number: int, bits: int, compression: int) -> None:
    """Pillow applies it to some kinds of TIFF by itself, when they are loaded."""
    samples = drawn(bits, 3)
    fields = {ORIENTATION: [number]}
    data = tiff(samples, bits, COLOURS, fields=fields, compression=compression)
    assert off(data, UPRIGHT[number](in_eight_bits(samples, bits))) <= 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encoded(Image.new("F", (9, 9)), "TIFF"), "floating-point.*8 bits"),
        (tiff(drawn(16), 16, fields={SAMPLE_FORMAT: [2]}), "signed pixels.*unsigned"),
        (tiff(drawn(16), 16, fields={259: [50001]}), "of a kind that is not read"),
        (tiff(drawn(12, 3), 12, 6), "of a kind that is not read"),
        (tiff(drawn(12), 12, fields={277: [900]}), "of a kind that is not read"),
        (tiff(drawn(12), 12, tile=16, fields={322: [9999]}), "not read|missing"),
        (tiff(drawn(10), 10, PALETTE, fields={320: [1, 2, 3]}), "palette is not whole"),
        (encoded(Image.new("I", (9, 9), 70_000), "TIFF"), "32-bit"),
    ],
)
def test_what_is_not_read_is_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        open_image(data)


def test_more_rows_than_there_are_in_the_last_strip() -> None:
    """Some writers count those of the strips before."""
    samples = drawn(8)
    lengths = [8 * WIDTH] * 5
    data = tiff(samples, 8, GREY, rows=8, fields={279: lengths})
    assert off(data, samples) == 0


def test_only_the_first_page_counts() -> None:
    first = noise(20, 10)
    data = encoded(first, "TIFF", save_all=True, append_images=[noise(9, 30)])
    assert off(data, np.asarray(first)) == 0


@pytest.mark.parametrize("name", ["TIFF, JPEG", "TIFF, LZW", "TIFF, group 4"])
def test_damage_is_not_reported_past_python(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """libtiff would write to the terminal by itself."""
    assert libtiff._setters(), "libtiff is out of reach in this build of Pillow"
    whole = FILES[name]
    for seed in range(60):
        generator = np.random.default_rng(seed)
        damaged = bytearray(whole)
        for place in generator.integers(8, len(whole), 4):
            damaged[place] = generator.integers(256)
        try:
            open_image(bytes(damaged))
        except ImageError:
            pass
    assert capfd.readouterr().err == ""


def test_messages_are_as_before_afterwards() -> None:
    """What the caller's own Pillow says of its own files is not ours to hide."""

    def handlers() -> list[int | None]:
        found = [setter(None) for setter in libtiff._setters()]
        for setter, handler in zip(libtiff._setters(), found, strict=True):
            setter(handler)
        return found

    before = handlers()
    with libtiff.quiet(), libtiff.quiet():
        assert handlers() == [None, None]
    assert handlers() == before and before[0]
