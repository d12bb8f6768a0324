"""Requests share what they encoded and read, and no answer shows it."""

import functools
import itertools
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastvlm_mlx
from fastvlm_mlx import FastVLM, Request, engine
from fastvlm_mlx.caches.kv import is_plain
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CacheError, OptionError, PromptError
from fastvlm_mlx.generation import decode as decode_module
from fastvlm_mlx.images import image as picture_module
from fastvlm_mlx.model.language import KVCache
from fastvlm_mlx.text.prompt import Message

Open = Callable[..., FastVLM]
Asked = tuple[list[Any], str]

QUESTIONS = (
    "What is in this picture?",
    "What is in this place?",
    "Is it red?",
    "Why?",
)
COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255), "teal": (0, 128, 128)}
PICTURE_POSITIONS = 4  # of one picture of the golden model


@pytest.fixture
def open_model(converted_golden: Callable[[str], Path]) -> Open:
    """A golden model with caches of its own."""

    def open_one(name: str = "fast_vlm-train", **choices: Any) -> FastVLM:
        return fastvlm_mlx.load(converted_golden(name), dtype="float32", **choices)

    return open_one


@pytest.fixture
def fresh(open_model: Open) -> FastVLM:
    """A model that nobody has asked anything."""
    return open_model()


def noise(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A picture like no other."""
    values = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(values)


def rectangle(colour: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """A picture that nano knows: a plainly oblong rectangle on a pale ground."""
    pixels = np.full((64, 64, 3), 235, np.uint8)
    pixels[20:44, 8:56] = colour
    return pixels


def uncached(vlm: FastVLM, asked: Asked, **options: Any) -> tuple[int, ...]:
    result = vlm.generate(*asked, use_cache=False, **options)
    assert result.reused_tokens == 0
    return result.token_ids


def first_logits(vlm: FastVLM, asked: Asked, **options: Any) -> np.ndarray[Any, Any]:
    """What the first token is chosen by, (V,)."""
    seen: list[mx.array] = []

    def spy(logits: mx.array) -> mx.array:
        seen.append(logits)
        return mx.argmax(logits, axis=-1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "make_sampler", lambda *_: spy)
        vlm.generate(*asked, max_tokens=1, **options)
    return np.array(seen[0][0])


# --- answers ----------------------------------------------------------------------


@pytest.mark.parametrize("count", [20, pytest.param(60, marks=pytest.mark.drills)])
@pytest.mark.parametrize("name", ["fast_vlm-train", "apple-fused"])
def test_answers_with_every_cache_on_equal_answers_without(
    open_model: Open, name: str, count: int
) -> None:
    """Any order of pictures and questions, token for token."""
    vlm, random_ = open_model(name), random.Random(5)
    pictures = [noise(seed) for seed in range(3)]
    markers = ["", "<image> or <image>? ", "First <image>, then <image>. "]
    reused = 0
    for _ in range(count):
        marker = random_.choice(markers)
        images = marker.count("<image>") or random_.randint(0, 3)
        asked = (
            random_.choices(pictures, k=images),
            marker + random_.choice(QUESTIONS),
        )
        result = vlm.generate(*asked, max_tokens=6)
        assert result.token_ids == uncached(vlm, asked, max_tokens=6)
        reused += result.reused_tokens
    assert reused > 8 * count
    assert vlm.cache_stats.reused_positions == reused


def test_working_ahead_as_a_gpu_does_changes_nothing(
    fresh: FastVLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the caches are one token further when an answer is closed or ends."""
    monkeypatch.setattr(decode_module, "runs_ahead", lambda: True)
    picture = noise(1)
    for count, text in itertools.product((1, 2, 5), QUESTIONS):
        asked: Asked = ([picture], text)
        stream = fresh.stream(*asked, max_tokens=9)
        for _ in range(count):
            next(stream, None)
        stream.close()
        kept = fresh.engine.caches.prefixes.last()
        assert len(kept) == kept.states[0][0].shape[2]
        result = fresh.generate(*asked, max_tokens=9)
        assert result.token_ids == uncached(fresh, asked, max_tokens=9)
        chat = fresh.chat(max_tokens=3)
        first = chat.ask(text, image=picture)
        again = chat.ask("Why?")
        assert again.reused_tokens >= first.prompt_tokens + len(first.token_ids) - 1


def test_nano_answers_the_same(nano: FastVLM) -> None:
    """Real weights: the next question costs only what is new, and changes nothing."""
    asked = ["what color is the rectangle?", "what shape is in the image?"]
    for (name, colour), text in itertools.product(COLOURS.items(), asked):
        pixels = rectangle(colour)
        result = nano.generate(pixels, text)
        assert result.text == (name if "color" in text else "rectangle")
        again = nano.generate(pixels, text, use_cache=False)
        assert again.token_ids == result.token_ids
    assert nano.cache_stats.images_encoded == 3 + 6


@pytest.mark.parametrize("names", list(itertools.permutations(COLOURS, 2)))
def test_nano_sees_both_pictures_in_either_order(
    nano: FastVLM, names: tuple[str, str]
) -> None:
    """It was trained on one at a time, so "which one" is beyond it; "is there" is not.

    Nor does it know which of two "the rectangle" is; it names the colour of one.
    """
    pictures = [rectangle(COLOURS[name]) for name in names]
    for name in ("red", "blue"):
        text = f"<image><image>\nis there a {name} shape in the image?"
        expected = "yes" if name in names else "no"
        assert nano.generate(pictures, text).text == expected
    one = nano.generate(pictures, "what color is the rectangle?").text
    assert one in names


def test_the_next_question_reads_only_what_is_new(fresh: FastVLM) -> None:
    picture = noise(1)
    first = fresh.generate(picture, QUESTIONS[0], max_tokens=2)
    second = fresh.generate(picture, QUESTIONS[2], max_tokens=2)
    assert first.reused_tokens == 0
    at = fresh.engine.tokenizer.build(*_one_picture(QUESTIONS[2])).image_spans[0][0]
    assert second.reused_tokens >= at + PICTURE_POSITIONS
    assert second.timings.encode < first.timings.encode
    stats = fresh.cache_stats
    assert (stats.images_encoded, stats.prefix_hits, stats.prefix_misses) == (1, 1, 1)


def _one_picture(text: str) -> tuple[list[Message], list[int]]:
    return [Message("user", text, images=1)], [PICTURE_POSITIONS]


def test_pictures_share_the_system_prompt(fresh: FastVLM) -> None:
    fresh.generate(noise(1), QUESTIONS[0], max_tokens=1)
    other = fresh.generate(noise(2), QUESTIONS[0], max_tokens=1)
    at = fresh.engine.tokenizer.build(*_one_picture(QUESTIONS[0])).image_spans[0][0]
    assert other.reused_tokens == at
    assert fresh.cache_stats.images_encoded == 2


def test_the_same_question_again_reads_one_position(fresh: FastVLM) -> None:
    asked = (noise(1), QUESTIONS[0])
    first = fresh.generate(*asked, max_tokens=8)
    again = fresh.generate(*asked, max_tokens=8)
    assert again.reused_tokens == again.prompt_tokens - 1
    assert again.token_ids == first.token_ids


def test_a_picture_cut_by_the_end_of_what_is_known(fresh: FastVLM) -> None:
    """The same picture twice begins as the picture once, and goes on inside."""
    one, two = [noise(1)], [noise(1), noise(1)]
    fresh.generate(one, "<image>", max_tokens=1)
    result = fresh.generate(two, "<image><image>", max_tokens=5)
    assert 0 < result.reused_tokens < result.prompt_tokens
    assert result.token_ids == uncached(fresh, (two, "<image><image>"), max_tokens=5)


def test_use_cache_false_neither_takes_nor_leaves(fresh: FastVLM) -> None:
    for _ in range(2):
        fresh.generate(noise(1), QUESTIONS[0], max_tokens=2, use_cache=False)
    stats = fresh.cache_stats
    assert stats.images_encoded == 2
    assert stats.feature_bytes == stats.prefix_bytes == 0
    assert stats.prefix_hits == stats.feature_hits == 0


def test_no_bytes_no_cache(open_model: Open) -> None:
    vlm = open_model(cache_bytes=0)
    for _ in range(2):
        assert vlm.generate(noise(1), QUESTIONS[0], max_tokens=2).reused_tokens == 0
    stats = vlm.cache_stats
    assert (stats.feature_bytes, stats.prefix_bytes) == (0, 0)


def test_bytes_are_bounded_while_many_ask(open_model: Open) -> None:
    vlm = open_model(cache_bytes=300_000)
    for seed in range(30):
        asked = ([noise(seed)], QUESTIONS[seed % 4])
        result = vlm.generate(*asked, max_tokens=3)
        assert result.token_ids == uncached(vlm, asked, max_tokens=3)
        stats = vlm.cache_stats
        assert stats.feature_bytes + stats.prefix_bytes <= 300_000
    assert stats.prefix_bytes > 0


def test_a_cancelled_answer_leaves_its_prompt(fresh: FastVLM) -> None:
    asked = ([noise(1)], QUESTIONS[0])
    stream = fresh.stream(*asked, max_tokens=50)
    next(stream)
    stream.close()
    again = fresh.generate(*asked, max_tokens=10)
    assert again.reused_tokens == again.prompt_tokens - 1
    assert again.token_ids == uncached(fresh, asked, max_tokens=10)


def test_an_answer_that_failed_leaves_nothing_of_itself(
    fresh: FastVLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, decode = ([noise(1)], QUESTIONS[0]), fresh.engine.model.decode
    steps = itertools.count()

    def failing(*given: Any) -> mx.array:
        if next(steps) == 3:
            raise MemoryError
        return decode(*given)

    monkeypatch.setattr(fresh.engine.model, "decode", failing)
    stream = fresh.stream(*asked, max_tokens=10)
    with pytest.raises(MemoryError):
        list(stream)
    assert stream.result.finish_reason == "cancelled"
    monkeypatch.setattr(fresh.engine.model, "decode", decode)
    prompt = stream.result.prompt_tokens
    assert len(fresh.engine.caches.prefixes.last()) == prompt
    assert fresh.generate(*asked, max_tokens=10).token_ids == uncached(
        fresh, asked, max_tokens=10
    )


def test_an_image_that_could_not_be_encoded_is_forgotten(
    fresh: FastVLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the failure comes only when the image is waited for."""
    asked: Asked = ([noise(1)], QUESTIONS[0])
    expected = uncached(fresh, asked, max_tokens=4)
    evaluate = mx.eval

    def failing(*arrays: object) -> None:
        if isinstance(arrays[0], list):  # images are waited for together
            assert len(fresh.engine.caches.features) == 1
            raise RuntimeError("out of memory")
        evaluate(*arrays)

    with monkeypatch.context() as patch:
        patch.setattr(mx, "eval", failing)
        stream = fresh.stream(*asked, max_tokens=4)
        with pytest.raises(RuntimeError, match="out of memory"):
            list(stream)
    caches = fresh.engine.caches
    assert len(caches.features) == len(caches.prefixes) == 0
    assert fresh.generate(*asked, max_tokens=4).token_ids == expected


def test_threads_that_show_the_same_picture_encode_it_once(fresh: FastVLM) -> None:
    image = noise(1)
    jobs = [
        functools.partial(fresh.generate, image, text, max_tokens=1)
        for text in QUESTIONS
    ]
    _run(jobs)
    assert fresh.cache_stats.images_encoded == 1


# --- never a stale one ------------------------------------------------------------

SETTINGS: tuple[dict[str, Any], ...] = (
    {"resolution": 64},
    {"resolution": 128},
    {"resolution": "64x128"},
    {"resolution": "128x64"},
    {"resolution": "128x64", "image_mode": "crop"},
    {"resolution": 128, "keep_aspect": True},
    {"resolution": 192, "keep_aspect": True},
    {"resolution": "128x192"},
    {"resolution": 64, "anyres": True},
    {"resolution": 64, "anyres": True, "image_mode": "crop"},
    {"resolution": 64, "anyres": True, "keep_aspect": True},
    {"resolution": 128, "anyres": True},
    {"resolution": 192, "anyres": True, "keep_aspect": True},
    {"resolution": "auto:192", "anyres": True, "keep_aspect": True},
)


def variants(count: int) -> list[tuple[Any, dict[str, Any]]]:
    """A picture in which one pixel differs each time, or one setting."""
    base = np.asarray(noise(3, (48, 64))).copy()
    found: list[tuple[Any, dict[str, Any]]] = [(base, each) for each in SETTINGS]
    see_through = np.dstack([base, np.full(base.shape[:2], 128, np.uint8)])
    found.append((see_through, SETTINGS[0]))
    for number in range(count - len(found)):
        changed = base.copy()
        changed[*divmod(number, 64), number % 3] ^= 0xFF
        found.append((changed, SETTINGS[0]))
    return found


def kv_of(vlm: FastVLM, image: Any, settings: dict[str, Any]) -> bytes:
    """Ask, then take what the model holds of the picture, to the bit."""
    request = Request("Why?", image, max_tokens=1, **settings)
    keys = vlm.engine.open(request).keys
    assert vlm.engine.stream(request).result.token_ids
    kept = vlm.engine.caches.prefixes.find(keys)
    assert kept.keys == keys
    return b"".join(np.array(array).tobytes() for each in kept.states for array in each)


@pytest.mark.parametrize("count", [80, pytest.param(1000, marks=pytest.mark.drills)])
def test_pictures_that_differ_in_a_pixel_or_a_setting(
    open_model: Open, count: int
) -> None:
    """With every cache on, and asked twice, each is seen as itself.

    The system prompt is read first everywhere, so that all sums are of the same
    shapes, and what is held can be compared to the bit.
    """
    vlm, fresh = open_model(cache_bytes=1 << 30), open_model()
    asked, expected = variants(count), []
    fresh.generate(None, "Why?", max_tokens=1)
    system = fresh.engine.caches.prefixes.last()
    for each in asked:
        fresh.engine.caches.clear()
        fresh.engine.caches.prefixes.add(system)
        expected.append(kv_of(fresh, *each))
    assert len(set(expected)) == count
    vlm.generate(None, "Why?", max_tokens=1)
    for _ in range(2):
        assert [kv_of(vlm, *each) for each in asked] == expected
    assert vlm.cache_stats.images_encoded == vlm.cache_stats.feature_misses == count
    assert vlm.cache_stats.reused_positions > 10 * count


def test_what_auto_comes_to_is_the_same_picture(
    fresh: FastVLM, picture_file: Path
) -> None:
    """The way to a frame does not matter, only what the model sees."""
    fresh.generate(picture_file, "Why?", resolution="128x192", max_tokens=1)
    for asked in ({"resolution": 128}, {"resolution": "auto"}, {}):
        fresh.generate(picture_file, "Why?", max_tokens=1, **asked)
    assert fresh.cache_stats.images_encoded == 2


def test_views_outlive_the_process_too(open_model: Open, tmp_path: Path) -> None:
    """On disk as in memory, every setting is a picture of its own."""
    for expected in (len(SETTINGS), 0):
        vlm = open_model(cache_folder=tmp_path)
        for each in SETTINGS:
            asked: Asked = ([noise(1, (48, 64))], "Why?")
            found = vlm.generate(*asked, max_tokens=4, **each)
            assert found.token_ids == uncached(
                open_model(), asked, max_tokens=4, **each
            )
        assert vlm.cache_stats.images_encoded == expected


def test_a_file_that_changes_under_its_name(fresh: FastVLM, tmp_path: Path) -> None:
    """Neither name nor time of a file is trusted."""
    path, answers = tmp_path / "picture.png", []
    for seed in (1, 2, 1):
        noise(seed).save(path)
        answers.append(first_logits(fresh, ([path], "Why?")))
    assert np.abs(answers[0] - answers[1]).max() > 1e-3
    assert np.abs(answers[0] - answers[2]).max() < 1e-5
    assert fresh.cache_stats.images_encoded == 2


def test_a_known_file_is_not_decoded_again(
    fresh: FastVLM, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.generate(picture_file, "Why?", max_tokens=1)
    monkeypatch.setattr(picture_module, "open_image", None)
    for source in (picture_file, str(picture_file), picture_file.read_bytes()):
        assert fresh.generate(source, "Is it red?", max_tokens=1).reused_tokens > 0


def test_a_known_file_of_a_forgotten_picture_is_decoded_again(
    fresh: FastVLM, picture_file: Path
) -> None:
    asked: Any = ([picture_file], "Why?")
    expected = first_logits(fresh, asked)
    fresh.engine.caches.clear()
    assert np.abs(first_logits(fresh, asked) - expected).max() < 1e-5
    assert fresh.cache_stats.images_encoded == 2


# --- on disk ----------------------------------------------------------------------


def test_an_app_that_starts_again_encodes_nothing(
    open_model: Open, tmp_path: Path
) -> None:
    asked = ([noise(1), noise(2)], "<image> or <image>?")
    expected = open_model(cache_folder=tmp_path).generate(*asked, max_tokens=6)
    again = open_model(cache_folder=tmp_path)
    assert again.generate(*asked, max_tokens=6).token_ids == expected.token_ids
    assert again.cache_stats.images_encoded == 0
    assert again.cache_stats.feature_hits == 2


def test_other_weights_share_no_folder(open_model: Open, tmp_path: Path) -> None:
    for name in ("fast_vlm-train", "apple-train"):
        vlm = open_model(name, cache_folder=tmp_path)
        vlm.generate(noise(1), "Why?", max_tokens=1)
        assert vlm.cache_stats.images_encoded == 1


def test_a_weight_that_changed_is_another_model(open_model: Open) -> None:
    one, other = open_model(), open_model()
    assert one.engine.identity == other.engine.identity
    bias = other.engine.model.mm_projector.linear_2.bias
    other = open_model()
    changed = bias + 1
    mx.eval(changed)
    other.engine.model.mm_projector.linear_2.bias = changed
    assert one.engine.identity != other.engine.identity


def test_a_saved_prompt_is_taken_up(open_model: Open, tmp_path: Path) -> None:
    asked, file = ([noise(1)], QUESTIONS[0]), tmp_path / "prompt.safetensors"
    vlm = open_model()
    expected = vlm.generate(*asked, max_tokens=6)
    vlm.save_prompt_cache(file)
    again = open_model()
    again.load_prompt_cache(file)
    result = again.generate(*asked, max_tokens=6)
    assert result.token_ids == expected.token_ids
    assert result.reused_tokens == result.prompt_tokens - 1
    assert again.cache_stats.images_encoded == 0


def test_a_saved_prompt_of_another_model_is_refused(
    open_model: Open, tmp_path: Path
) -> None:
    file = tmp_path / "prompt.safetensors"
    vlm = open_model("fast_vlm-train")
    vlm.generate(None, "Why?", max_tokens=1)
    vlm.save_prompt_cache(file)
    with pytest.raises(CacheError, match="by another model, in another precision"):
        open_model("apple-train").load_prompt_cache(file)
    half = fastvlm_mlx.load("nano", dtype="bfloat16")
    with pytest.raises(CacheError, match="by another model, in another precision"):
        half.load_prompt_cache(file)
    with pytest.raises(CacheError, match="of .* positions, too large for the 1 bytes"):
        open_model("fast_vlm-train", cache_bytes=1).load_prompt_cache(file)


def test_what_is_no_saved_prompt_is_refused(fresh: FastVLM, tmp_path: Path) -> None:
    file = tmp_path / "prompt.safetensors"
    with pytest.raises(CacheError, match="is no saved prompt"):
        fresh.load_prompt_cache(file)
    fresh.chat().save(file)
    with pytest.raises(CacheError, match="has the format 'fastvlm-mlx chat 1'; exp"):
        fresh.load_prompt_cache(file)
    fresh.generate(None, "Why?", max_tokens=1)
    fresh.save_prompt_cache(file)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(CacheError, match="do not have the digest.*Delete it"):
        fresh.load_prompt_cache(file)


# --- room -------------------------------------------------------------------------


def buffers(cache: KVCache) -> list[int]:
    """Where the arrays of caches are in memory."""
    arrays: list[mx.array] = []
    for layer in cache:
        for part in (layer.keys, layer.values):
            arrays += part if isinstance(part, tuple | list) else [part]
    return [np.asarray(array).__array_interface__["data"][0] for array in arrays]


@pytest.fixture
def nano() -> FastVLM:
    """The shipped model; its heads are 64 wide, so that groups divide them."""
    return fastvlm_mlx.load("nano", dtype="float32")


SHAPE: Asked = ([noise(1)], "what shape is in the image?")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prefill_step": 7},
        {"use_cache": False},
        {"max_kv_size": 100},
        {"kv_bits": 8},
        {"kv_bits": 4, "quantized_kv_start": 50},
    ],
)
def test_the_room_is_taken_once(
    nano: FastVLM, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """A prompt and 300 tokens, more than mlx-lm's step of 256: nothing moves."""
    places: dict[bool, set[tuple[int, ...]]] = {True: set(), False: set()}
    run = nano.engine.model.hidden_states

    def spy(embeds: mx.array, cache: KVCache) -> mx.array:
        hidden = run(embeds, cache)
        mx.eval(hidden, [layer.state for layer in cache])
        places[is_plain(cache)].add(tuple(buffers(cache)))
        return hidden

    monkeypatch.setattr(nano.engine.model, "hidden_states", spy)
    monkeypatch.setattr(nano.engine, "_end_tokens", {})
    result = nano.generate(SHAPE[0], SHAPE[1], max_tokens=300, **options)
    assert len(result.token_ids) == 300
    moved = "kv_bits" in options  # once, into packed arrays
    assert [len(each) for each in places.values()] == [1, int(moved)] or (
        "max_kv_size" in options and places[True] == places[False]
    )


@pytest.mark.parametrize("bits", [8, 4])
def test_quantized_keys_and_values_answer_too(nano: FastVLM, bits: int) -> None:
    """About a picture that nano knows; of noise two answers may be as likely."""
    asked: Asked = ([rectangle(COLOURS["red"])], SHAPE[1])
    expected = uncached(nano, asked)
    assert uncached(nano, asked, kv_bits=bits) == expected
    assert uncached(nano, asked, kv_bits=bits, kv_group_size=32) == expected


def test_a_prompt_read_for_a_quantized_answer_serves_a_whole_one(nano: FastVLM) -> None:
    """What is kept is never quantized and never cut, so anybody may go on from it."""
    expected = uncached(nano, SHAPE)
    prompt = nano.generate(*SHAPE, kv_bits=4).prompt_tokens
    assert len(nano.engine.caches.prefixes.last()) == prompt
    again = nano.generate(*SHAPE)
    assert (again.token_ids, again.reused_tokens) == (expected, prompt - 1)


def test_quantization_begins_where_it_is_told_to(
    nano: FastVLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, plain = nano.engine.model.decode, dict[int, bool]()

    def spy(token: mx.array, cache: KVCache) -> mx.array:
        plain[cache[0].offset] = is_plain(cache)
        return run(token, cache)

    monkeypatch.setattr(nano.engine.model, "decode", spy)
    asked = (np.zeros((64, 64, 3), np.uint8), "Describe the picture.")
    length = nano.generate(*asked, max_tokens=1).prompt_tokens
    assert not plain
    nano.generate(*asked, kv_bits=8, quantized_kv_start=length + 2)
    assert plain == {offset: offset < length + 2 for offset in plain}
    assert len(plain) > 3


def test_a_window_keeps_system_prompt_and_pictures(
    fresh: FastVLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Asked = ([noise(1)], QUESTIONS[3])
    whole = fresh.generate(*asked, max_tokens=40, use_cache=False)
    prompt = whole.prompt_tokens
    run, caches = fresh.engine.model.decode, list[KVCache]()
    first: list[np.ndarray[Any, Any]] = []

    def spy(token: mx.array, cache: KVCache) -> mx.array:
        logits = run(token, cache)
        mx.eval(logits)
        first.append(np.array(cache[0].keys))
        caches.append(cache)
        return logits

    monkeypatch.setattr(fresh.engine.model, "decode", spy)
    window = prompt + 6
    result = fresh.generate(*asked, max_tokens=40, max_kv_size=window, use_cache=False)
    assert result.token_ids[:6] == whole.token_ids[:6]
    kept = fresh.engine.open(Request(QUESTIONS[3], asked[0])).prompt.kept
    assert caches[-1][0].offset > window
    assert {cache[0].keys.shape[2] for cache in caches} == {window}
    assert np.array_equal(first[0][:, :, :kept], first[-1][:, :, :kept])
    assert not np.array_equal(first[0][:, :, kept:], first[-1][:, :, kept:])


def test_a_prompt_larger_than_its_window_is_refused(fresh: FastVLM) -> None:
    with pytest.raises(PromptError, match=r"takes \d+ positions; max_kv_size keeps 9."):
        fresh.generate(None, "Why?", max_kv_size=9)


def test_groups_must_divide_heads(fresh: FastVLM) -> None:
    with pytest.raises(OptionError, match="kv_group_size is 128; the model's heads"):
        fresh.generate(None, "Why?", kv_bits=8, kv_group_size=128)


# --- threads ----------------------------------------------------------------------


def test_many_threads_ask_one_model(fresh: FastVLM) -> None:
    pictures = [noise(seed) for seed in range(3)]
    asked = [([picture], text) for picture in pictures for text in QUESTIONS]
    expected = [uncached(fresh, each, max_tokens=6) for each in asked]
    encoded = fresh.cache_stats.images_encoded
    failures: list[object] = []

    def work(offset: int) -> None:
        for number in range(len(asked)):
            index = (number + offset) % len(asked)
            found = fresh.generate(*asked[index], max_tokens=6).token_ids
            if found != expected[index]:
                failures.append((index, found, expected[index]))

    _run([functools.partial(work, offset) for offset in range(0, 12, 3)])
    assert not failures
    assert fresh.cache_stats.images_encoded == encoded + 3


def test_a_stream_may_be_read_in_another_thread(fresh: FastVLM) -> None:
    """MLX's streams belong to threads; what is not computed cannot change hands."""
    asked: Asked = ([noise(1)], QUESTIONS[0])
    expected = uncached(fresh, asked, max_tokens=12)
    stream, tokens = fresh.stream(*asked, max_tokens=12), list[str]()
    _run([lambda: tokens.append(next(stream))])
    tokens.append(next(stream))
    _run([lambda: tokens.extend(stream)])
    assert stream.result.token_ids == expected


def _run(jobs: Sequence[Callable[[], Any]]) -> None:
    """Run jobs in threads of their own; the first error is raised here."""
    errors: list[BaseException] = []

    def guarded(job: Callable[[], Any]) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
