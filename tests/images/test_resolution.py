"""The dial: which frame a picture gets, by its size and what was asked."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastvlm_mlx import FastVLM
from fastvlm_mlx.config import LONGEST_FRAME, FastVLMConfig
from fastvlm_mlx.errors import OptionError, PromptError
from fastvlm_mlx.images.preprocessing import ImageInfo, Preprocessing
from fastvlm_mlx.images.resolution import (
    check,
    choose_preprocessing,
    image_info,
    positions,
    visual_tokens,
)
from fastvlm_mlx.options import GenerationOptions
from fastvlm_mlx.planning.geometry import published_config

CONFIG = published_config("0.5b")  # trained at 1024
NANO = replace(
    CONFIG,
    vision_config=replace(
        CONFIG.vision_config,
        image_size=(512, 512),
        trained_resolutions=(128, 256, 384, 512),
    ),
)
STRIDE = 64

sides = st.integers(1, 12_000)
pictures = st.tuples(sides, sides).filter(lambda size: max(size) <= 100 * min(size))
"""(H, W): longer strips are no picture here (image.MAX_ASPECT)."""
configs = st.sampled_from([CONFIG, NANO])


def look(
    picture: tuple[int, int], config: FastVLMConfig = CONFIG, **asked: Any
) -> Preprocessing:
    return choose_preprocessing(config, GenerationOptions.of(**asked), picture)


def size(picture: tuple[int, int], **asked: Any) -> tuple[int, int]:
    return look(picture, **asked).size


# --- frames of the picture's own shape --------------------------------------------


@pytest.mark.parametrize(
    ("picture", "resolution", "expected"),
    [
        ((3000, 4000), 1024, (768, 1024)),
        ((4000, 3000), 1024, (1024, 768)),
        ((1080, 1920), 1024, (576, 1024)),
        ((1080, 1920), 1536, (896, 1536)),  # 864 lies between 832 and 896: upwards
        ((500, 500), 512, (512, 512)),
        ((300, 301), 512, (512, 512)),
        ((1, 1), 256, (256, 256)),
        ((1700, 600), 1024, (1024, 384)),  # 361 is nearer to 384 than to 320
    ],
)
def test_frames(
    picture: tuple[int, int], resolution: int, expected: tuple[int, int]
) -> None:
    found = look(picture, resolution=resolution, keep_aspect=True)
    assert (found.size, found.mode) == (expected, "stretch")


def test_a_thin_strip_is_centred_and_not_widened() -> None:
    found = look((100, 10_000), resolution=1536, keep_aspect=True)
    assert found == Preprocessing(
        (128, 1536), "pad"
    )  # 15 pixels high in a frame of 128


@given(pictures, st.integers(1, 24), configs)
@example((1, 100), 1, CONFIG)
@example((12_000, 120), 24, CONFIG)
def test_a_frame_has_the_shape_of_its_picture(
    picture: tuple[int, int], tokens: int, config: FastVLMConfig
) -> None:
    """The longer side is the resolution, the other off by half a token at most."""
    resolution = tokens * STRIDE
    found = look(picture, config, resolution=resolution, keep_aspect=True)
    assert max(found.size) == resolution
    assert (found.size[0] - found.size[1]) * (picture[0] - picture[1]) >= 0
    assert max(found.size) <= LONGEST_FRAME * min(found.size)
    exact = resolution * min(picture) / max(picture)
    if found.mode == "stretch":
        assert abs(min(found.size) - exact) <= STRIDE / 2
    else:
        assert exact < min(found.size)
    square = Preprocessing((resolution, resolution), "pad")
    vision = config.vision_config
    assert 0 < visual_tokens(vision, found) <= visual_tokens(vision, square)


def test_without_a_resolution_the_trained_one_is_the_longer_side() -> None:
    assert size((600, 800), keep_aspect=True) == (768, 1024)


# --- auto -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("picture", "asked", "expected"),
    [
        ((3000, 4000), {}, (1024, 1024)),  # no more than in training
        ((3000, 4000), {"resolution": "auto:1536"}, (1536, 1536)),  # unless asked
        ((1000, 1200), {"resolution": "auto:1536"}, (1216, 1216)),
        ((3000, 4000), {"resolution": "auto:512"}, (512, 512)),
        ((3000, 4000), {"resolution": "auto:128"}, (128, 128)),
        ((300, 200), {}, (320, 320)),  # nothing is gained above
        ((320, 320), {}, (320, 320)),
        ((10, 10), {}, (256, 256)),
        ((3000, 4000), {"max_visual_tokens": 256}, (1024, 1024)),
        ((3000, 4000), {"max_visual_tokens": 255}, (960, 960)),
        ((3000, 4000), {"max_visual_tokens": 16}, (256, 256)),
        ((3000, 4000), {"max_visual_tokens": 16, "keep_aspect": True}, (192, 256)),
        ((3000, 4000), {"keep_aspect": True}, (768, 1024)),
        ((300, 400), {"keep_aspect": True}, (320, 448)),
        ((400, 900), {"image_mode": "crop"}, (448, 448)),  # what stands out is cut
        ((900, 900), {"anyres": True}, (512, 512)),  # tiles of 1024 together
        ((900, 900), {"anyres": True, "max_visual_tokens": 80}, (256, 256)),
        ((9000, 9000), {"anyres": True, "max_visual_tokens": 1280}, (1024, 1024)),
        ((300, 200), {"resolution": "auto:999999936"}, (320, 320)),
    ],
)
def test_auto(
    picture: tuple[int, int], asked: dict[str, Any], expected: tuple[int, int]
) -> None:
    assert size(picture, **{"resolution": "auto", **asked}) == expected


@pytest.mark.parametrize(
    ("picture", "asked", "expected"),
    [
        ((10, 10), {}, 128),
        ((129, 100), {}, 256),
        ((300, 200), {}, 384),
        ((9000, 9000), {}, 512),
        ((9000, 9000), {"max_visual_tokens": 63}, 384),
        ((9000, 9000), {"resolution": "auto:500"}, None),
        ((9000, 9000), {"resolution": "auto:640"}, 640),
        ((9000, 9000), {"resolution": "auto:320"}, 256),
    ],
)
def test_auto_keeps_to_what_was_trained_where_there_is_a_choice(
    picture: tuple[int, int], asked: dict[str, Any], expected: int | None
) -> None:
    asked = {"resolution": "auto", **asked}
    if expected is None:
        with pytest.raises(OptionError, match=r"auto:500; expected .* multiple of 64"):
            look(picture, NANO, **asked)
    else:
        assert look(picture, NANO, **asked).size == (expected, expected)


@given(
    pictures,
    configs,
    st.integers(1, 2000),
    st.sampled_from(["auto", "auto:256", "auto:1536"]),
    st.booleans(),
    st.booleans(),
)
@example((1, 100), CONFIG, 1, "auto", True, True)
def test_auto_never_passes_its_budget(
    picture: tuple[int, int],
    config: FastVLMConfig,
    budget: int,
    resolution: str,
    keep_aspect: bool,
    anyres: bool,
) -> None:
    """Nor is a whole step of the dial larger than what the picture has to show."""
    asked = {"resolution": resolution, "keep_aspect": keep_aspect, "anyres": anyres}
    free = look(picture, config, **asked)
    try:
        found = look(picture, config, **asked, max_visual_tokens=budget)
    except OptionError as error:
        least = re.search(r"takes (\d+) at the smallest resolution", str(error))
        assert least and budget < int(least[1])
        assert int(least[1]) <= visual_tokens(config.vision_config, free)
    else:
        assert visual_tokens(config.vision_config, found) <= budget
        assert max(found.size) <= max(free.size)
    step = 128 if config is NANO else STRIDE
    lowest = 128 if config is NANO else 256
    assert max(free.whole_size) < max(max(picture), 2 * lowest) + 2 * step


@given(
    pictures,
    configs,
    st.sampled_from([64, 384, 1024, 1536, "auto", "auto:640", "auto:1536"]),
    st.booleans(),
    st.booleans(),
)
@example((100, 10_000), CONFIG, 1536, True, False)
def test_a_picture_brought_to_its_frame_gets_the_same_frame(
    picture: tuple[int, int],
    config: FastVLMConfig,
    resolution: int | str,
    keep_aspect: bool,
    crops: bool,
) -> None:
    """So the command may prepare it before the model is there."""
    mode = "crop" if crops and not keep_aspect else None
    asked = {"resolution": resolution, "keep_aspect": keep_aspect, "image_mode": mode}
    first = look(picture, config, **asked)
    assert look(first.size, config, **asked).size == first.size


def test_a_budget_too_small_says_what_is_the_least() -> None:
    message = (
        r"max_visual_tokens is 15; an image of 3000x4000 takes 16 at the smallest "
        r"resolution, 256x256\. Raise it"
    )
    with pytest.raises(OptionError, match=message):
        look((3000, 4000), resolution="auto", max_visual_tokens=15)
    with pytest.raises(OptionError, match="takes 80 at .* 256x256 in 5 views"):
        look((9, 9), resolution="auto", max_visual_tokens=79, anyres=True)


# --- what is refused, and what is said --------------------------------------------


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"resolution": 1000}, "1000x1000 does not fit: .* multiples of 64"),
        ({"resolution": "64x1088"}, "64x1088 is too long"),
        ({"resolution": 1000, "keep_aspect": True}, "1000x1000 does not fit"),
        ({"resolution": 0, "keep_aspect": True}, "0x0 does not fit"),
        ({"resolution": "auto:1000"}, "auto:1000; expected a positive multiple of 64"),
        ({"resolution": "auto:0"}, "auto:0; expected a positive multiple of 64"),
    ],
)
def test_a_resolution_that_the_encoder_does_not_take(
    asked: dict[str, Any], message: str
) -> None:
    """Wrong even where there is no picture."""
    options = GenerationOptions.of(**asked)
    for refuse in (
        lambda: check(CONFIG, options),
        lambda: choose_preprocessing(CONFIG, options, (10, 20)),
    ):
        with pytest.raises(OptionError, match=message):
            refuse()


def test_more_positions_than_the_model_has() -> None:
    short = replace(CONFIG, max_length=1000)
    fits = Preprocessing((1024, 1024), "pad")
    assert positions(short, fits) == 256
    with pytest.raises(PromptError, match="1024x1024 in 5 views takes 1280 positions"):
        positions(short, replace(fits, anyres=True))
    with pytest.raises(PromptError, match="2048x2048 takes 1024 positions; the model"):
        check(short, GenerationOptions.of(resolution=2048))
    check(short, GenerationOptions.of(resolution=2048, keep_aspect=True))


@pytest.mark.parametrize(
    ("asked", "outside"),
    [
        ({}, False),
        ({"resolution": 1024}, False),
        ({"resolution": 512}, True),
        ({"resolution": "1024x768"}, True),
        ({"anyres": True}, True),
        ({"keep_aspect": True}, True),
    ],
)
def test_what_training_never_saw(asked: dict[str, Any], outside: bool) -> None:
    found = image_info(CONFIG.vision_config, look((600, 800), **asked))
    assert found.outside_training is outside


def test_every_trained_resolution_is_inside() -> None:
    for side in (64, 128, 256, 384, 512, 576):
        found = look((9, 9), NANO, resolution=side)
        outside = side in (64, 576)
        assert image_info(NANO.vision_config, found).outside_training is outside


def test_what_a_result_says(vlm: FastVLM) -> None:
    asked = {"resolution": "128x192", "anyres": True}
    found = image_info(
        vlm.engine.config.vision_config, look((5, 5), vlm.engine.config, **asked)
    )
    assert found == ImageInfo(
        resolution=(128, 192), views=5, tokens=30, outside_training=True
    )
