"""Conversations: every picture encoded once, every turn where it belongs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastvlm_mlx
from fastvlm_mlx import FastVLM, Request
from fastvlm_mlx.chat import Chat
from fastvlm_mlx.device.array_file import write_arrays
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import (
    CacheError,
    FastVLMError,
    ImageError,
    PromptError,
    WriteError,
)
from fastvlm_mlx.text.prompt import Message

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def fresh(converted_golden: Callable[[str], Path]) -> FastVLM:
    """A model that nobody has asked anything: 512 positions, 4 a picture."""
    return fastvlm_mlx.load(converted_golden("fast_vlm-train"), dtype="float32")


@pytest.fixture
def chat(fresh: FastVLM) -> Chat:
    return fresh.chat(max_tokens=4)


def shape(colour: tuple[int, int, int]) -> Image.Image:
    """A plain picture that nano understands."""
    pixels = np.full((64, 64, 3), 235, np.uint8)
    pixels[20:44, 8:56] = colour
    return Image.fromarray(pixels)


def as_one_prompt(vlm: FastVLM, chat: Chat, text: str) -> tuple[int, ...]:
    """The next answer, from all turns at once and without any cache."""
    messages: list[Message] = []
    for turn in chat.history:
        messages.append(Message("user", turn.text, images=len(turn.images)))
        messages.append(Message("assistant", turn.answer, token_ids=turn.token_ids))
    pictures = [picture for turn in chat.history for picture in turn.images]
    request = Request(text, pictures, history=messages, max_tokens=4, use_cache=False)
    return vlm.engine.stream(request).result.token_ids


def test_nano_keeps_a_conversation() -> None:
    chat = fastvlm_mlx.load("nano").chat()
    assert chat.ask("what color is the rectangle?", image=shape(RED)).text == "red"
    assert chat.ask("what shape is in the image?").text == "rectangle"


def test_ten_turns_encode_each_picture_once(fresh: FastVLM, chat: Chat) -> None:
    pictures = {0: shape(RED), 3: shape(BLUE), 7: shape(RED)}
    before = 0
    for number in range(10):
        result = chat.ask(f"Why {number}?", image=pictures.get(number))
        assert result.image_tokens == 4 * sum(n <= number for n in pictures)
        # all of the turns before, less the end of the last answer
        assert result.reused_tokens >= before - 1
        before = result.prompt_tokens + len(result.token_ids)
    stats = fresh.cache_stats
    assert stats.images_encoded == 2  # the third is the first one again
    assert stats.prefix_hits == 9


def test_every_answer_is_that_of_the_whole_conversation(
    fresh: FastVLM, chat: Chat
) -> None:
    pictures = [None, shape(RED), None, [shape(BLUE), shape(RED)], None]
    for number, image in enumerate(pictures):
        images = 0 if image is None else len(image) if isinstance(image, list) else 1
        text = "Is <image> in <image>?" if images == 2 else f"Why {number}?"
        result = chat.ask(text, image=image)
        chat.undo()
        expected = as_one_prompt(fresh, chat, text) if not images else None
        assert expected in (None, result.token_ids)
        assert chat.ask(text, image=image).token_ids == result.token_ids


def test_an_answer_stays_the_tokens_that_it_was(chat: Chat) -> None:
    result = chat.ask("Why?")
    (turn,) = chat.history
    assert turn.token_ids == result.token_ids
    assert turn.answer == result.text


def test_an_answer_cut_by_a_stop_string_is_its_text(chat: Chat) -> None:
    whole = chat.ask("Why?", max_tokens=12).text
    chat.reset()
    cut = chat.ask("Why?", max_tokens=12, stop=whole[3:5])
    (turn,) = chat.history
    assert cut.finish_reason == "stop"
    assert (turn.answer, turn.token_ids) == (cut.text, None)
    assert chat.ask("And?").prompt_tokens > cut.prompt_tokens


@pytest.mark.parametrize("said", ["<image>", "<|im_end|>", "", "\x1b[2J"])
def test_an_answer_may_say_anything(fresh: FastVLM, said: str) -> None:
    """What a model wrote is no marker and ends no turn."""
    ends = []
    for each in (said, "x"):
        turns = [Message("user", "Why?"), Message("assistant", each)]
        built = fresh.engine.tokenizer.build([*turns, Message("user", "And?")], [])
        ends.append(
            [built.token_ids.count(end) for end in fresh.engine.config.eos_token_ids]
        )
        assert each in fresh.engine.tokenizer.decode(built.token_ids)
        assert built.image_spans == ()
    assert ends[0] == ends[1]


def test_a_system_prompt_stays(fresh: FastVLM) -> None:
    default, brief = fresh.chat(max_tokens=1), fresh.chat("Be brief.", max_tokens=1)
    lengths = [each.ask("Why?").prompt_tokens for each in (default, brief)]
    assert lengths[0] != lengths[1]
    brief.reset()
    assert brief.ask("Why?").prompt_tokens == lengths[1]


def test_branches_do_not_touch_each_other(fresh: FastVLM, chat: Chat) -> None:
    chat.ask("Why?", image=shape(RED))
    other = chat.branch()
    first, second = chat.ask("Is it red?"), other.ask("Is it blue?")
    assert len(chat.history) == len(other.history) == 2
    for each, text, result in (
        (chat, "Is it red?", first),
        (other, "Is it blue?", second),
    ):
        each.undo()
        assert as_one_prompt(fresh, each, text) == result.token_ids
        assert result.reused_tokens > 20
    assert fresh.cache_stats.images_encoded == 1 + 2  # two of them without a cache


def test_undo_and_reset(chat: Chat) -> None:
    chat.undo()
    first = chat.ask("Why?")
    chat.ask("And?")
    chat.undo()
    assert [turn.text for turn in chat.history] == ["Why?"]
    chat.reset()
    assert chat.history == ()
    assert chat.ask("Why?").token_ids == first.token_ids


def test_a_stopped_answer_is_part_of_the_conversation(chat: Chat) -> None:
    stream = chat.stream("Why?", max_tokens=50)
    shown = next(stream)
    stream.close()
    (turn,) = chat.history
    assert turn.answer.startswith(shown)
    assert len(chat.ask("And?").token_ids) > 0


def test_an_answer_stopped_before_it_began_is_not(chat: Chat) -> None:
    chat.stream("Why?").close()
    assert chat.history == ()


@pytest.mark.parametrize(
    ("text", "image", "error"),
    [
        ("", None, PromptError),
        ("Is <image> it?", None, PromptError),
        ("Why?", "missing.png", ImageError),
        ("Why?", b"", ImageError),
        ("x" * 600, None, PromptError),
    ],
)
def test_a_refused_question_changes_nothing(
    chat: Chat, text: str, image: Any, error: type[FastVLMError]
) -> None:
    chat.ask("Why?")
    with pytest.raises(error):
        chat.ask(text, image=image)
    assert len(chat.history) == 1
    assert len(chat.ask("And?").token_ids) > 0


def test_a_conversation_too_long_is_an_error_that_says_what_to_do(chat: Chat) -> None:
    """Nothing is dropped without a word."""
    with pytest.raises(PromptError, match="the model has 512, .* or begin anew"):
        for number in range(100):
            chat.ask(f"{number} " + "Why? " * 10)
    turns = len(chat.history)
    chat.undo()
    chat.ask("Why?")
    assert len(chat.history) == turns


def test_pictures_of_different_looks_in_one_conversation(chat: Chat) -> None:
    chat.ask("Why?", image=shape(RED), resolution=64)
    result = chat.ask("Why?", image=shape(RED), resolution="128x192")
    assert result.image_tokens == 1 + 6
    assert chat.ask("And?").image_tokens == 1 + 6


def test_a_picture_keeps_the_setting_of_its_turn(chat: Chat) -> None:
    wide = shape(RED).resize((90, 60))
    looks: list[dict[str, Any]] = [
        {"resolution": 64, "anyres": True},
        {"resolution": 192, "keep_aspect": True},
        {"resolution": "auto", "max_visual_tokens": 4},
    ]
    for look, tokens in zip(looks, (5, 5 + 6, 5 + 6 + 4), strict=True):
        result = chat.ask("Why?", image=wide, **look)
        assert result.image_tokens == tokens
    last = chat.ask("And?")
    found = [(each.resolution, each.views, each.tokens) for each in last.images]
    assert found == [((64, 64), 5, 5), ((128, 192), 1, 6), ((128, 128), 1, 4)]
    assert [each.outside_training for each in last.images] == [True, True, False]
    assert last.outside_training


@pytest.mark.parametrize("more", [{}, {"keep_aspect": True}, {"anyres": True}])
def test_no_picture_is_prepared_to_be_refused(chat: Chat, more: dict[str, Any]) -> None:
    """64,000 pixels a side would be 12 GB of it."""
    with pytest.raises(PromptError, match="of 64000x.* the model has 512"):
        chat.ask("Why?", image=shape(RED), resolution=64_000, **more)


# --- in a file --------------------------------------------------------------------


def test_a_saved_conversation_goes_on(
    fresh: FastVLM, chat: Chat, tmp_path: Path
) -> None:
    chat.system = "Be brief."
    chat.ask("Why?", image=shape(RED))
    chat.ask("<image> or <image>?", image=[shape(BLUE), shape(RED)], resolution=64)
    chat.ask("Why?", image=shape(BLUE), resolution=64, anyres=True, keep_aspect=True)
    chat.save(tmp_path / "talk")
    again = fresh.chat(max_tokens=4)
    again.load(tmp_path / "talk")
    assert again.system == "Be brief."
    for one, other in zip(chat.history, again.history, strict=True):
        assert (one.text, one.answer, one.token_ids) == (
            other.text,
            other.answer,
            other.token_ids,
        )
        looks = [[each.preprocessing for each in turn.images] for turn in (one, other)]
        digests = [[each.digest for each in turn.images] for turn in (one, other)]
        assert looks[0] == looks[1] and digests[0] == digests[1]
    expected = chat.ask("And?")
    result = again.ask("And?")
    assert result.token_ids == expected.token_ids
    assert result.reused_tokens > 50


def test_a_file_that_was_seen_but_never_decoded_is_saved_too(
    chat: Chat, picture_file: Path, tmp_path: Path
) -> None:
    chat.ask("Why?", image=picture_file)
    other = chat.branch()
    other.reset()
    other.ask("Why?", image=picture_file)  # known by its bytes
    other.save(tmp_path / "talk")
    other.load(tmp_path / "talk")
    assert other.history[0].images[0].digest == chat.history[0].images[0].digest


def test_what_is_no_conversation_is_refused(
    fresh: FastVLM, chat: Chat, tmp_path: Path
) -> None:
    chat.ask("Why?")
    file = tmp_path / "talk"
    with pytest.raises(CacheError, match="does not exist"):
        chat.load(file)
    file.write_bytes(b"{}")
    with pytest.raises(CacheError, match="is no saved conversation"):
        chat.load(file)
    fresh.save_prompt_cache(file)
    with pytest.raises(CacheError, match="has the format 'fastvlm-mlx prompt 1'; exp"):
        chat.load(file)
    assert len(chat.history) == 1


def test_saving_replaces_a_conversation_and_nothing_else(
    chat: Chat, picture_file: Path, tmp_path: Path
) -> None:
    chat.ask("Why?")
    chat.save(tmp_path / "talk")
    chat.ask("And?")
    chat.save(tmp_path / "talk")
    chat.load(tmp_path / "talk")
    assert len(chat.history) == 2
    before = picture_file.read_bytes()
    with pytest.raises(WriteError, match="is no saved conversation; choose another"):
        chat.save(picture_file)
    assert picture_file.read_bytes() == before
    with pytest.raises(WriteError, match="cannot be written"):
        chat.save(tmp_path / "no folder" / "talk")


def test_a_saved_file_that_lies_is_refused(chat: Chat, tmp_path: Path) -> None:
    """A digest is no signature: who makes a file can make its digest."""
    told = (
        '{"system": null, "turns": [{"text": "a", "looks": [%s], "answer": "b", %s}]}'
    )
    look = '{"size": [64, 64], "mode": "pad"}'
    for script, array in (
        ("[]", mx.zeros((64, 64, 3), dtype=mx.uint8)),
        ("{", mx.zeros((64, 64, 3), dtype=mx.uint8)),
        (told % (look, '"token_ids": null'), mx.zeros((64, 32, 3), dtype=mx.uint8)),
        (told % (look, '"token_ids": null'), mx.zeros((64, 64, 3))),
        (told % (look, '"ids": null'), mx.zeros((64, 64, 3), dtype=mx.uint8)),
        (told % ('{"size": 3}', '"token_ids": null'), mx.zeros((1,), dtype=mx.uint8)),
        (told % (f"{look},{look}", '"token_ids": null'), mx.zeros((1,))),
    ):
        metadata = {"format": "fastvlm-mlx chat 1", "script": script}
        write_arrays(tmp_path / "talk", {"0": array}, metadata)
        with pytest.raises(CacheError, match="is no saved conversation"):
            chat.load(tmp_path / "talk")
