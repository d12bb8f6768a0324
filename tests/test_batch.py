"""Many requests together against each of them alone."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastvlm_mlx import FastVLM, FastVLMError, Outcome, Request
from fastvlm_mlx.device.thread import device_thread
from fastvlm_mlx.errors import ImageError, OptionError, PromptError
from fastvlm_mlx.timings import Timings

QUESTION = "What is in this picture?"

Asked = dict[str, Any]


@pytest.fixture
def vlm(vlm: FastVLM) -> FastVLM:
    """The golden, knowing nothing of what was asked before."""
    vlm.engine.caches.clear()
    return vlm


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Noise of any shape."""
    draw = np.random.default_rng(0)
    sizes = [(20, 30), (64, 64), (150, 100), (90, 130), (7, 9), (128, 128)]
    return [
        Image.fromarray(draw.integers(0, 256, (*size, 3), np.uint8)) for size in sizes
    ]


def alone(vlm: FastVLM, asked: Asked) -> tuple[object, ...]:
    """What a request comes to by itself: tokens, text and ending, or its error."""
    options = {key: value for key, value in asked.items() if key != "images"}
    prompt = options.pop("prompt")
    try:
        result = vlm.generate(asked.get("images"), prompt, **options)
    except FastVLMError as error:
        return type(error), str(error)
    return result.token_ids, result.text, result.finish_reason, result.stop


def shown(outcome: Outcome) -> tuple[object, ...]:
    """The same of an outcome."""
    result = outcome.result
    if result is None:
        return type(outcome.error), str(outcome.error)
    return result.token_ids, result.text, result.finish_reason, result.stop


def mixed(count: int, pictures: list[Image.Image]) -> list[Asked]:
    """Requests of every kind, some of which must fail."""
    draw = random.Random(0)
    return [_request(draw, pictures) for _ in range(count)]


def _request(draw: random.Random, pictures: list[Image.Image]) -> Asked:
    words = draw.choices(["a", "red", "circle?", "été", "<|im_end|>", "雪"], k=30)
    text = " ".join(words[: draw.choice([1, 3, 8, 20])])
    asked: Asked = {"prompt": text, "max_tokens": draw.randint(1, 10)}
    count = draw.choice([0, 0, 1, 1, 1, 2, 4])
    asked["images"] = draw.sample(pictures, count)
    if count and draw.random() < 0.3:
        asked["prompt"] = "<image>".join(["so "] * count + [text])
    if draw.random() < 0.3:
        asked["system"] = text[::-1]
    asked["resolution"] = draw.choice([64, 64, 64, "64x128", None])
    if draw.random() < 0.2:
        asked["stop"] = draw.choice(["e", ["a", "in"]])
    if draw.random() < 0.2:
        asked |= {"temperature": 0.8, "seed": draw.randrange(99), "top_p": 0.9}
    if draw.random() < 0.1:
        asked["use_cache"] = False
    if draw.random() < 0.05:
        asked |= draw.choice([{"kv_bits": 8, "kv_group_size": 32}, {"max_kv_size": 90}])
    if draw.random() < 0.06:
        asked |= draw.choice(
            [
                {"images": ["nowhere.png"]},
                {"temperature": -1},
                {"prompt": "long " * 600},
                {"prompt": "<image> <image>", "images": pictures[:1]},
                {"prompt": " "},
            ]
        )
    return asked


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.drills)])
def test_a_batch_answers_as_one_by_one(
    vlm: FastVLM, pictures: list[Image.Image], count: int
) -> None:
    """Token for token, whatever stands beside a request."""
    requests = mixed(count, pictures)
    expected = [alone(vlm, asked) for asked in requests]
    kinds = {each[2] if len(each) == 4 else each[0] for each in expected}
    assert kinds >= {"stop", "length", ImageError, OptionError, PromptError}
    for size in (1, 2, 4, 8):
        vlm.engine.caches.clear()
        outcomes = vlm.batch(requests, batch_size=size)
        assert [shown(outcome) for outcome in outcomes] == expected, size


@pytest.mark.parametrize("name", ["apple-train", "apple-fused"])
def test_other_checkpoints(
    load_golden: Callable[[str], FastVLM], name: str, pictures: list[Image.Image]
) -> None:
    vlm, requests = load_golden(name), mixed(30, pictures)
    expected = [alone(vlm, asked) for asked in requests]
    vlm.engine.caches.clear()
    assert [shown(each) for each in vlm.batch(requests, batch_size=5)] == expected


# --- outcomes ---------------------------------------------------------------------


def test_outcomes_come_in_the_order_asked_with_their_ids(vlm: FastVLM) -> None:
    counts = [9, 1, 5, 2, 7]
    asked = [Request("Say it.", max_tokens=n, id=f"n{n}") for n in counts]
    outcomes = vlm.batch(asked, batch_size=3)
    assert [each.id for each in outcomes] == ["n9", "n1", "n5", "n2", "n7"]
    assert [each.index for each in outcomes] == [0, 1, 2, 3, 4]
    lengths = [len(each.result.token_ids) for each in outcomes if each.result]
    assert lengths == counts


def test_as_finished_the_shortest_comes_first(vlm: FastVLM) -> None:
    asked = [Request("Say it.", max_tokens=count) for count in (9, 1, 5)]
    order = [each.index for each in vlm.batch_as_finished(asked, batch_size=3)]
    assert order == [1, 2, 0]


def test_requests_are_taken_as_there_is_room(vlm: FastVLM) -> None:
    """So there may be no end of them."""
    taken = 0

    def endless() -> Iterator[Asked]:
        nonlocal taken
        while True:
            taken += 1
            yield {"prompt": "Say it.", "max_tokens": 2}

    outcomes = vlm.batch_as_finished(endless(), batch_size=2)
    found = {next(outcomes).index for _ in range(10)}
    assert len(found) == 10 and found <= set(range(16))
    outcomes.close()  # type: ignore[attr-defined]
    assert taken < 20


def test_nothing_asked_nothing_answered(vlm: FastVLM) -> None:
    assert vlm.batch([]) == []


def test_one_that_fails_fails_alone(vlm: FastVLM, picture: Image.Image) -> None:
    good: Asked = {"prompt": QUESTION, "images": picture, "max_tokens": 4}
    bad: list[Any] = [
        {"prompt": QUESTION, "images": "nowhere.png", "id": "lost"},
        {"prompt": QUESTION, "temprature": 1},
        {"images": [picture]},
        {"prompt": 5},
        {"prompt": QUESTION, "images": 5},
        "What?",
        {"prompt": QUESTION, "resolution": 63},
        {"prompt": QUESTION, "images": picture, "resolution": 4096},
    ]
    outcomes = vlm.batch([good, *bad, good], batch_size=2)
    errors = [type(each.error) for each in outcomes]
    assert errors == [
        type(None),
        ImageError,
        OptionError,
        PromptError,
        PromptError,
        ImageError,
        OptionError,
        OptionError,
        PromptError,
        type(None),
    ]
    assert outcomes[0].text == outcomes[-1].text
    assert outcomes[1].id == "lost"
    assert "temprature" in str(outcomes[2].error)
    with pytest.raises(ImageError, match="does not exist"):
        _ = outcomes[1].text


def test_what_nobody_foresaw_is_the_outcome_of_its_request(
    vlm: FastVLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is not hidden: whoever wants the text gets the error."""
    build = vlm.engine.tokenizer.build

    def failing(messages: Any, lengths: Any) -> Any:
        return 1 / 0 if messages[-1].text == "Fail." else build(messages, lengths)

    monkeypatch.setattr(vlm.engine.tokenizer, "build", failing)
    texts = ["Say it.", "Fail.", "Say it."]
    outcomes = vlm.batch([Request(text, max_tokens=3) for text in texts])
    assert [type(each.error) for each in outcomes] == [
        type(None),
        ZeroDivisionError,
        type(None),
    ]
    with pytest.raises(ZeroDivisionError):
        _ = outcomes[1].text


def test_threads_end_with_the_run(vlm: FastVLM, picture: Image.Image) -> None:
    outcomes = vlm.batch_as_finished([Request(QUESTION, picture)] * 9, batch_size=2)
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while any(each.name.startswith("fastvlm-open") for each in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_another_thread_may_go_on(vlm: FastVLM, pictures: list[Image.Image]) -> None:
    asked = [Request(QUESTION, each, max_tokens=6) for each in pictures]
    expected = [each.text for each in vlm.batch(asked)]
    outcomes = vlm.batch_as_finished(asked, batch_size=2)
    found = {}
    for _ in asked:

        def take() -> None:
            outcome = next(outcomes)
            found[outcome.index] = outcome.text

        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
    assert [found[index] for index in range(len(asked))] == expected


@pytest.mark.parametrize("size", [0, -1, 1.5, "8", None])
def test_a_batch_size_that_is_none(vlm: FastVLM, size: Any) -> None:
    with pytest.raises(OptionError, match=r"batch_size is .*; expected"):
        vlm.batch([], batch_size=size)


def test_what_a_result_of_a_batch_says(vlm: FastVLM, picture: Image.Image) -> None:
    (outcome,) = vlm.batch([Request(QUESTION, picture, max_tokens=4)])
    result = outcome.result
    assert result is not None
    expected = vlm.generate(picture, QUESTION, max_tokens=4)
    assert result.prompt_tokens == expected.prompt_tokens
    assert result.image_tokens == expected.image_tokens == 4
    assert result.peak_memory > 0
    names = {each.name for each in fields(Timings)}
    assert {name for name in names if getattr(result.timings, name) > 0} == names


# --- pictures and prompts are shared ----------------------------------------------


def test_questions_about_one_picture_encode_and_read_it_once(
    vlm: FastVLM, picture: Image.Image
) -> None:
    asked = [Request(f"Number {n}?", picture, max_tokens=2) for n in range(6)]
    before = vlm.cache_stats.images_encoded
    results = [each.result for each in vlm.batch(asked, batch_size=6)]
    assert vlm.cache_stats.images_encoded - before == 1
    first, *others = sorted(each.reused_tokens for each in results if each)
    assert first == 0
    assert min(others) > 4  # the picture's positions, and what stands before it


def test_pictures_go_through_the_tower_together(
    vlm: FastVLM, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []
    encode = vlm.engine.model.encode_image
    monkeypatch.setattr(
        vlm.engine.model,
        "encode_image",
        lambda pixels: runs.append(len(pixels)) or encode(pixels),  # type: ignore[func-returns-value]
    )
    held = threading.Thread(target=device_thread.run, args=(_all_are_opened(vlm, 6),))
    held.start()
    vlm.batch([Request(QUESTION, each, max_tokens=1) for each in pictures])
    held.join()
    assert runs == [len(pictures)]


def _all_are_opened(vlm: FastVLM, count: int) -> Callable[[], None]:
    """Keep the device busy until that many requests have arrived."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while len(vlm.engine.scheduler._arrived) < count:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    return wait


DIALS: tuple[Asked, ...] = (
    {"resolution": 64, "anyres": True},
    {"resolution": 192, "keep_aspect": True},
    {"resolution": 128, "keep_aspect": True, "anyres": True},
    {"resolution": "auto", "max_visual_tokens": 4},
    {"resolution": "auto:256", "keep_aspect": True},
    {"anyres": True},
    {"resolution": "64x128"},
    {},
)


@pytest.mark.parametrize("count", [1, pytest.param(6, marks=pytest.mark.drills)])
def test_pictures_of_every_setting_in_one_batch(
    vlm: FastVLM, pictures: list[Image.Image], count: int
) -> None:
    """Squares, frames and views of unlike sizes, each as it would be alone."""
    asked = [
        {"prompt": QUESTION, "images": [picture], "max_tokens": 6, **dial}
        for picture in pictures[-count - 1 : -1]
        for dial in DIALS
    ]
    found = vlm.batch(asked, batch_size=7)
    vlm.engine.caches.clear()
    for outcome, each in zip(found, asked, strict=True):
        assert shown(outcome) == alone(vlm, each)
    results = [outcome.result for outcome in found if outcome.result]
    assert {result.image_tokens for result in results} > {4, 5, 6, 20}
    for result in results:
        assert sum(image.tokens for image in result.images) == result.image_tokens


# --- requests ---------------------------------------------------------------------


def test_a_request_holds_what_it_was_given() -> None:
    request = Request("Hm?", "a.png", system="s", id=3, max_tokens=5, stop="x")
    assert request.images == ("a.png",)
    assert (request.prompt, request.system, request.id) == ("Hm?", "s", 3)
    assert request.options.max_tokens == 5
    assert request.options.stop == ("x",)
    with pytest.raises(AttributeError):
        request.prompt = "other"  # type: ignore[misc]


@pytest.mark.parametrize("images", [None, (), []])
def test_a_request_without_pictures(images: Any) -> None:
    assert Request("Hm?", images).images == ()


def test_several_pictures_of_any_kind() -> None:
    images: list[Any] = [b"data", Path("a.png"), np.zeros((2, 2), np.uint8)]
    assert len(Request("Hm?", images).images) == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompt": "a", "image": "b"}, "no image; expected .*images"),
        ({"prompt": "a", 5: "b"}, "A request is dict"),
        ({}, 'no "prompt"'),
        ({"prompt": None}, "prompt is NoneType"),
        ({"prompt": "a", "system": 3}, "system is int"),
        (None, "A request is NoneType"),
    ],
)
def test_what_is_no_request(given: Any, message: str) -> None:
    with pytest.raises(FastVLMError, match=message):
        Request.of(given)
