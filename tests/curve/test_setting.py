"""Sides, pictures and tokens of a setting."""

import pytest

from benchmarks.curve.setting import ANYRES, STATIC, Setting


@pytest.mark.parametrize(
    ("resolution", "tokens"), [(256, 16), (512, 64), (768, 144), (1024, 256)]
)
def test_tokens_are_those_of_the_paper(resolution: int, tokens: int) -> None:
    assert Setting(STATIC, resolution).tokens(64) == tokens


def test_anyres_is_four_tiles_and_an_overview() -> None:
    setting = Setting(ANYRES, 2048)
    assert setting.side == 1024
    assert setting.pictures == 5
    assert setting.tokens(64) == 1280


@pytest.mark.parametrize(
    ("method", "resolution", "fits"),
    [
        (STATIC, 192, True),
        (STATIC, 100, False),
        (STATIC, 0, False),
        (ANYRES, 256, True),
        (ANYRES, 192, False),
        (ANYRES, 129, False),
    ],
)
def test_sides_must_be_multiples_of_the_stride(
    method: str, resolution: int, fits: bool
) -> None:
    assert Setting(method, resolution).fits(64) is fits
