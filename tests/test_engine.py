"""The whole way, from a picture and a question to an answer, on small models."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastvlm_mlx
from fastvlm_mlx import FastVLM, engine
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import FastVLMError, ImageError, OptionError, PromptError
from fastvlm_mlx.images import image as picture_module
from fastvlm_mlx.images.resize import prepare
from fastvlm_mlx.text.prompt import Message
from tests.probes import first_logits

QUESTION = "What is in this picture?"
SAMPLED: dict[str, Any] = {"temperature": 1.0, "max_tokens": 12}


@pytest.fixture
def other() -> Image.Image:
    """A picture that is not the one of conftest.py."""
    return Image.radial_gradient("L").resize((90, 120)).convert("RGB")


def likeliest(logits: mx.array) -> int:
    """The token after the last position."""
    token: Any = mx.argmax(logits[0, -1]).item()
    return int(token)


def embeds_by_hand(vlm: FastVLM, prompt: str, images: list[Image.Image]) -> mx.array:
    """The prompt with its pictures, each step spelled out."""
    size = vlm.engine.config.vision_config.image_size
    values = [mx.array(prepare(image, size, "pad")) / 255 for image in images]
    projected = [
        vlm.engine.model.project(vlm.engine.model.encode_image(v[None])) for v in values
    ]
    lengths = [each.shape[1] for each in projected]
    built = vlm.engine.tokenizer.build([Message("user", prompt, len(images))], lengths)
    embeds = np.array(vlm.engine.model.embed(built.token_ids))
    for (start, length), picture in zip(built.image_spans, projected, strict=True):
        embeds[0, start : start + length] = np.array(picture[0])
    return mx.array(embeds)


def greedy_by_hand(
    vlm: FastVLM, prompt: str, images: list[Image.Image], count: int
) -> list[int]:
    """An answer without cache, stream or options."""
    embeds, tokens = embeds_by_hand(vlm, prompt, images), list[int]()
    for _ in range(count):
        tokens.append(likeliest(vlm.engine.model(embeds)))
        embeds = mx.concatenate([embeds, vlm.engine.model.embed(tokens[-1:])], axis=1)
    return tokens


# --- answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fast_vlm-train", "apple-fused"])
def test_an_answer_equals_the_one_by_hand(
    load_golden: Callable[[str], FastVLM], picture: Image.Image, name: str
) -> None:
    vlm = load_golden(name)
    result = vlm.generate(picture, QUESTION, max_tokens=16)
    expected = greedy_by_hand(vlm, QUESTION, [picture], 16)
    assert list(result.token_ids) == expected[: len(result.token_ids)]
    ended = expected[len(result.token_ids) :][:1]
    assert ended == [] or ended[0] in vlm.engine.config.eos_token_ids


@pytest.mark.parametrize("prompt", ["<image> and <image>?", QUESTION])
def test_two_pictures_stand_where_they_belong(
    vlm: FastVLM, picture: Image.Image, other: Image.Image, prompt: str
) -> None:
    """mlx-vlm puts the second one a token too far."""
    for images in ([picture, other], [other, picture]):
        result = vlm.generate(images, prompt, max_tokens=10)
        expected = greedy_by_hand(vlm, prompt, images, 10)
        assert list(result.token_ids) == expected[: len(result.token_ids)]


def test_the_first_logits_equal_those_by_hand(
    vlm: FastVLM, picture: Image.Image, other: Image.Image
) -> None:
    images = [picture, other]
    found = first_logits(vlm, images, QUESTION)
    expected = vlm.engine.model(embeds_by_hand(vlm, QUESTION, images))[0, -1]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_model_sees_bytes_divided_by_255(
    vlm: FastVLM, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[mx.array] = []
    encode = vlm.engine.model.encode_image

    def spy(pixel_values: mx.array) -> mx.array:
        seen.append(pixel_values)
        return encode(pixel_values)

    monkeypatch.setattr(vlm.engine.model, "encode_image", spy)
    vlm.generate(picture, QUESTION, resolution="128x192", max_tokens=1, use_cache=False)
    expected = prepare(picture, (128, 192), "pad")[None] / np.float32(255)
    assert np.array_equal(np.array(seen[0]), expected)


def test_pictures_and_their_order_and_place_matter(
    vlm: FastVLM, picture: Image.Image, other: Image.Image
) -> None:
    asked = [
        ([picture], "<image> red?"),
        ([other], "<image> red?"),
        ([picture], "red? <image>"),
        ([picture, other], "<image> or <image>?"),
        ([other, picture], "<image> or <image>?"),
        ([picture, other], "<image><image> or ?"),
        ([], "red?"),
    ]
    logits = [np.array(first_logits(vlm, *each)) for each in asked]
    for index, found in enumerate(logits):
        for another in logits[:index]:
            assert np.abs(found - another).max() > 1e-3


def test_a_stream_joins_to_the_whole_answer(vlm: FastVLM, picture: Image.Image) -> None:
    stream = vlm.stream(picture, QUESTION, max_tokens=20)
    pieces = list(stream)
    assert "".join(pieces) == stream.result.text
    again = vlm.generate(picture, QUESTION, max_tokens=20)
    assert again.text == stream.result.text
    assert again.token_ids == stream.result.token_ids


def test_prefill_in_steps_changes_nothing(vlm: FastVLM, picture: Image.Image) -> None:
    """Steps of 5 cut through the picture too."""
    fresh: dict[str, Any] = {"max_tokens": 12, "use_cache": False}
    expected = vlm.generate(picture, QUESTION, **fresh).token_ids
    stepped = vlm.generate(picture, QUESTION, prefill_step=5, **fresh)
    assert stepped.token_ids == expected


def test_every_kind_of_source_gives_the_same_answer(
    vlm: FastVLM, picture: Image.Image, picture_file: Path
) -> None:
    sources: list[Any] = [
        picture_file,
        str(picture_file),
        picture_file.read_bytes(),
        picture,
    ]
    answers = {
        vlm.generate(source, QUESTION, max_tokens=6).token_ids
        for source in [*sources, np.asarray(picture), [picture], (picture,)]
    }
    assert len(answers) == 1


@pytest.mark.parametrize("nothing", [None, [], ()])
def test_text_alone_is_answered(vlm: FastVLM, nothing: Any) -> None:
    result = vlm.generate(nothing, QUESTION, max_tokens=8)
    expected = greedy_by_hand(vlm, QUESTION, [], 8)
    assert list(result.token_ids) == expected[: len(result.token_ids)]
    assert result.image_tokens == 0
    assert result.timings.preprocess == 0


def test_a_system_prompt_counts(vlm: FastVLM) -> None:
    default = vlm.generate(None, QUESTION, max_tokens=1).prompt_tokens
    longer = vlm.generate(None, QUESTION, max_tokens=1, system="Be brief. " * 9)
    shorter = vlm.generate(None, QUESTION, max_tokens=1, system="")
    assert shorter.prompt_tokens < default < longer.prompt_tokens


# --- sampling ---------------------------------------------------------------------


def test_a_seed_repeats_an_answer(vlm: FastVLM, picture: Image.Image) -> None:
    first, second = (
        vlm.generate(picture, QUESTION, seed=7, **SAMPLED).token_ids for _ in range(2)
    )
    assert first == second


def test_other_seeds_give_other_answers(vlm: FastVLM, picture: Image.Image) -> None:
    answers = {
        vlm.generate(picture, QUESTION, seed=seed, **SAMPLED).token_ids
        for seed in range(4)
    }
    assert len(answers) == 4


def test_a_seed_holds_though_others_draw_in_between(
    vlm: FastVLM, picture: Image.Image
) -> None:
    """MLX's random state is one for the whole process; a stream is read later."""
    expected = vlm.generate(picture, QUESTION, seed=7, **SAMPLED).token_ids
    stream = vlm.stream(picture, QUESTION, seed=7, **SAMPLED)
    for _ in stream:
        mx.random.seed(99)
        mx.eval(mx.random.uniform())
    assert stream.result.token_ids == expected


# --- cost and end -----------------------------------------------------------------


def test_one_token_is_one_token(vlm: FastVLM, picture: Image.Image) -> None:
    result = vlm.generate(picture, QUESTION, max_tokens=1)
    assert len(result.token_ids) == 1
    assert result.finish_reason == "length"
    assert result.generation_tps == 0


def test_a_stop_string_ends_the_answer(vlm: FastVLM, picture: Image.Image) -> None:
    whole = vlm.generate(picture, QUESTION, max_tokens=20).text
    stop = whole[3:5]
    for given in (stop, (stop,), [stop, "never"]):
        result = vlm.generate(picture, QUESTION, max_tokens=20, stop=given)
        assert result.text == whole[: whole.index(stop)]
        assert (result.finish_reason, result.stop) == ("stop", stop)


def test_an_end_token_ends_the_answer(
    vlm: FastVLM, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = vlm.engine.config.eos_token_ids[-1]
    monkeypatch.setattr(
        engine, "make_sampler", lambda *_: lambda logits: mx.array([end])
    )
    result = vlm.generate(picture, QUESTION)
    assert (result.text, result.token_ids, result.stop) == ("", (), "<|im_end|>")


def test_a_closed_stream_is_cancelled(vlm: FastVLM, picture: Image.Image) -> None:
    stream = vlm.stream(picture, QUESTION, max_tokens=50)
    next(stream)
    stream.close()
    assert stream.result.finish_reason == "cancelled"
    assert 0 < len(stream.result.token_ids) < 50


def test_the_context_ends_an_answer(vlm: FastVLM) -> None:
    """Prompt and answer share it: 512 positions here."""
    prompt = "x" * 470
    result = vlm.generate(None, prompt, max_tokens=200)
    assert result.prompt_tokens + len(result.token_ids) <= 512
    assert result.finish_reason in ("length", "stop")
    with pytest.raises(PromptError, match="the model has 512, answer included"):
        vlm.generate(None, "x" * 512)


def test_prompt_tokens_count_every_visual_one(
    vlm: FastVLM, picture: Image.Image
) -> None:
    """mlx-vlm reports 17 of 271."""
    text = vlm.generate(None, "\n" + QUESTION, max_tokens=1)
    assert text.prompt_tokens > 20
    for count in (1, 2, 3):
        result = vlm.generate([picture] * count, QUESTION, max_tokens=1)
        assert result.image_tokens == 4 * count
        assert result.prompt_tokens == text.prompt_tokens + 4 * count


def test_times_are_parts_of_the_time_that_passed(
    vlm: FastVLM, picture_file: Path
) -> None:
    start = time.perf_counter()
    result = vlm.generate(picture_file, QUESTION, max_tokens=4, use_cache=False)
    passed = time.perf_counter() - start
    times = vars(result.timings)
    assert set(times) == {
        *("load_image", "preprocess", "tokenize"),
        *("encode", "project", "prefill", "decode"),
    }
    assert all(0 < seconds for seconds in times.values()), times
    before = sum(times.values()) - result.timings.decode
    assert math.isclose(result.timings.time_to_first_token, before)
    assert before + result.timings.decode <= passed
    assert result.peak_memory > 0


def test_time_before_a_stream_is_read_is_nobodys(
    vlm: FastVLM, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller who waits before reading has not waited for the model."""
    stream = vlm.stream(picture, QUESTION, max_tokens=2)
    while vlm.engine.scheduler.running or vlm.engine.scheduler.preparing:
        time.sleep(0.001)
    clock = time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + 1000)
    assert stream.result.timings.time_to_first_token < 1000


# --- resolution and mode ----------------------------------------------------------


@pytest.mark.parametrize(
    ("resolution", "tokens"),
    [(None, 4), (64, 1), ("192", 9), ("128x192", 6), ((256, 64), 4), ([64, 128], 2)],
)
def test_resolution_decides_the_number_of_tokens(
    vlm: FastVLM, picture: Image.Image, resolution: Any, tokens: int
) -> None:
    result = vlm.generate(picture, QUESTION, resolution=resolution, max_tokens=1)
    assert result.image_tokens == tokens


@pytest.mark.parametrize("resolution", [100, "0", "64x65", (0, 64), (-64, 64), "x"])
def test_a_resolution_off_the_grid_is_a_wrong_option(
    vlm: FastVLM, picture: Image.Image, resolution: Any
) -> None:
    with pytest.raises(OptionError, match="resolution|multiples of 64"):
        vlm.generate(picture, QUESTION, resolution=resolution)


def test_a_resolution_beyond_the_context_is_refused_before_any_work(
    vlm: FastVLM, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64,000 pixels a side would first be 12 GB of picture, then hours of encoding."""
    monkeypatch.setattr(picture_module, "prepare", None)
    with pytest.raises(PromptError, match="takes 1000000 positions; .* has 512. Lower"):
        vlm.generate(picture, QUESTION, resolution=64_000)


def test_image_mode_is_the_models_own_unless_chosen(
    vlm: FastVLM, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[str] = []

    def spy(image: Image.Image, size: tuple[int, int], mode: Any) -> Any:
        modes.append(mode)
        return prepare(image, size, mode)

    monkeypatch.setattr(picture_module, "prepare", spy)
    for chosen in (None, "pad", "crop"):
        vlm.generate(picture, QUESTION, image_mode=chosen, max_tokens=1)
    assert modes == ["pad", "pad", "crop"]


# --- refusals ---------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["", " \n\t"])
def test_an_empty_prompt_is_refused(
    vlm: FastVLM, picture: Image.Image, prompt: str
) -> None:
    with pytest.raises(PromptError, match="prompt is empty; expected a question"):
        vlm.generate(picture, prompt)


def test_an_unknown_option_names_the_known_ones(vlm: FastVLM) -> None:
    message = "unknown option max_new_tokens; expected anyres, exact_pixels, .*"
    with pytest.raises(OptionError, match=message):
        vlm.generate(None, QUESTION, max_new_tokens=5)  # type: ignore[call-arg]


def test_options_are_checked_before_the_picture_is_opened(vlm: FastVLM) -> None:
    with pytest.raises(OptionError, match="max_tokens is 0"):
        vlm.generate("missing.png", QUESTION, max_tokens=0)


@pytest.mark.parametrize("image", ["missing.png", b"", ["missing.png"], 5, [None]])
def test_what_is_no_picture_is_an_image_error(vlm: FastVLM, image: Any) -> None:
    with pytest.raises(ImageError):
        vlm.generate(image, QUESTION)


def test_a_failed_call_leaves_the_model_usable(
    vlm: FastVLM, picture: Image.Image
) -> None:
    expected = vlm.generate(picture, QUESTION, max_tokens=4).token_ids
    with pytest.raises(FastVLMError):
        vlm.generate([picture, "missing.png"], QUESTION)
    assert vlm.generate(picture, QUESTION, max_tokens=4).token_ids == expected


# --- load -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_dtype_answers(
    converted_golden: Callable[[str], Path], picture: Image.Image, dtype: str
) -> None:
    vlm = fastvlm_mlx.load(converted_golden("apple-train"), dtype=dtype)
    assert str(vlm.engine.model.embed_dtype).endswith(dtype)
    result = vlm.generate(picture, QUESTION, max_tokens=3)
    assert len(result.token_ids) == 3 or result.finish_reason == "stop"


def test_load_refuses_an_unknown_dtype(converted_golden: Callable[[str], Path]) -> None:
    with pytest.raises(OptionError, match="dtype is 'int4'; expected one of float32"):
        fastvlm_mlx.load(converted_golden("apple-train"), dtype="int4")
