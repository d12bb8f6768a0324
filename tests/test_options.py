"""Every option refuses what lies outside its range, and takes its ends."""

from typing import Any

import pytest

from fastvlm_mlx.errors import OptionError
from fastvlm_mlx.options import GenerationOptions, parse_resolution


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 1),
        ("temperature", 0.0),
        ("temperature", 5.0),
        ("top_p", 1e-9),
        ("top_p", 1.0),
        ("min_p", 0.0),
        ("min_p", 1.0),
        ("top_k", 0),
        ("top_k", 10**9),
        ("seed", 0),
        ("seed", 2**64 - 1),
        ("stop", ()),
        ("stop", ("a", " ")),
        ("image_mode", "crop"),
        ("exact_pixels", True),
        ("resolution", (64, 128)),
    ],
)
def test_the_ends_of_a_range_belong_to_it(name: str, value: object) -> None:
    options: dict[str, Any] = {name: value}
    assert getattr(GenerationOptions(**options), name) == value


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("max_tokens", 0, "at least 1"),
        ("max_tokens", -5, "at least 1"),
        ("temperature", -0.1, "0 or more"),
        ("temperature", float("nan"), "0 or more"),
        ("temperature", float("inf"), "0 or more"),
        ("top_p", 0, "above 0, up to 1"),
        ("top_p", 1.01, "above 0, up to 1"),
        ("top_p", float("nan"), "above 0, up to 1"),
        ("min_p", -0.1, "between 0 and 1"),
        ("min_p", 1.1, "between 0 and 1"),
        ("top_k", -1, "0 or more"),
        ("seed", -1, r"in \[0, 2\*\*64\)"),
        ("seed", 2**64, r"in \[0, 2\*\*64\)"),
        ("stop", ("a", ""), "strings that are not empty"),
        ("prefill_step", 0, "at least 1"),
        ("max_kv_size", 0, "at least 1"),
        ("kv_bits", 3, "4 or 8"),
        ("kv_group_size", 16, "32, 64 or 128"),
        ("quantized_kv_start", -1, "0 or more"),
    ],
)
def test_outside_its_range_an_option_names_itself(
    name: str, value: object, expected: str
) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(OptionError, match=f"^{name} is .*; expected .*{expected}"):
        GenerationOptions(**options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 2.5),
        ("max_tokens", "5"),
        ("max_tokens", None),
        ("temperature", "hot"),
        ("top_p", None),
        ("min_p", "0"),
        ("top_k", 1.5),
        ("seed", 1.5),
        ("seed", "1"),
        ("stop", (1,)),
        ("stop", None),
        ("resolution", (64,)),
        ("resolution", (64, 64, 64)),
        ("resolution", (64.0, 64.0)),
        ("resolution", 64.5),
        ("image_mode", "stretch"),
        ("use_cache", 1),
        ("use_cache", None),
        ("prefill_step", 2.5),
        ("max_kv_size", "9"),
        ("kv_bits", 4.0),
        ("kv_group_size", None),
        ("quantized_kv_start", None),
        ("exact_pixels", 1),
    ],
)
def test_another_type_is_refused_at_once(name: str, value: object) -> None:
    """Not as a TypeError in the middle of an answer."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(OptionError, match=f"^{name} is .*; expected "):
        GenerationOptions(**options)


def test_a_window_is_not_quantized() -> None:
    with pytest.raises(OptionError, match="kv_bits is 8 and max_kv_size 99; expected"):
        GenerationOptions(kv_bits=8, max_kv_size=99)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("512", (512, 512)), ("512x768", (512, 768)), ("64X128", (64, 128))],
)
def test_resolution_is_height_by_width(text: str, expected: tuple[int, int]) -> None:
    assert parse_resolution(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "x", "64x", "x64", "64x64x64", "-64", "64.0", "6 4", "64*64", "big", "٦٤"],
)
def test_other_resolutions_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="expected a number of pixels such as 512"):
        parse_resolution(text)


def test_a_number_longer_than_python_reads_is_refused() -> None:
    with pytest.raises(OptionError, match="expected a number of pixels such as 512"):
        parse_resolution("9" * 5000)
