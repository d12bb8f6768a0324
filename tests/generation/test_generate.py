"""Tokens against a loop without a cache, and a scripted answer as a stream of text."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from fastvlm_mlx import FastVLM, GenerationOptions, TextStream, Timings
from fastvlm_mlx.caches.kv import positions_in, restore, take
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.generation import generate as generate_module
from fastvlm_mlx.generation.generate import generate_step, make_sampler
from fastvlm_mlx.model.fastvlm import FastVLMModel
from fastvlm_mlx.model.language import KVCache
from fastvlm_mlx.text.tokenizer import Prompt
from tests.goldens.tokenizer import build_tokenizer

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")
TOKENIZER = build_tokenizer(SPECIALS)

GREEDY = GenerationOptions()
VOCABULARY = 320

Stream = Callable[..., TextStream]


def ids(text: str) -> list[int]:
    return list(TOKENIZER.encode(text).ids)


# --- tokens -----------------------------------------------------------------------


def likeliest(logits: mx.array) -> int:
    """The token after the last position."""
    token: Any = mx.argmax(logits[0, -1]).item()
    return int(token)


def without_cache(model: FastVLMModel, embeds: mx.array, count: int) -> list[int]:
    """Greedy tokens, everything computed again for each of them."""
    tokens: list[int] = []
    for _ in range(count):
        tokens.append(likeliest(model(embeds)))
        embeds = mx.concatenate([embeds, model.embed(tokens[-1:])], axis=1)
    return tokens


def with_cache(
    vlm: FastVLM, embeds: mx.array, count: int, step: int = 2048
) -> list[int]:
    sampler = make_sampler(GREEDY, VOCABULARY)
    cache = vlm.model.make_cache()
    tokens = generate_step(vlm.model, embeds, cache, sampler, count, prefill_step=step)
    return list(tokens)


@pytest.mark.parametrize("name", ["fast_vlm-train", "apple-train", "apple-fused"])
@pytest.mark.parametrize("length", [1, 12])
def test_the_cache_changes_nothing(
    load_golden: Callable[[str], FastVLM], name: str, length: int
) -> None:
    vlm = load_golden(name)
    embeds = vlm.model.embed(range(40, 40 + length))
    assert with_cache(vlm, embeds, 24) == without_cache(vlm.model, embeds, 24)


@pytest.mark.parametrize("step", [1, 5, 11, 12])
def test_prefill_in_steps_changes_nothing(vlm: FastVLM, step: int) -> None:
    embeds = vlm.model.embed(range(40, 52))
    expected = without_cache(vlm.model, embeds, 8)
    assert with_cache(vlm, embeds, 8, step) == expected


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_as_many_tokens_as_asked_for_and_no_more_work(
    vlm: FastVLM, count: int, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last token is not decoded once more, on a GPU neither."""
    monkeypatch.setattr(generate_module, "runs_ahead", lambda: ahead)
    cache = vlm.model.make_cache()
    sampler = make_sampler(GREEDY, VOCABULARY)
    embeds = vlm.model.embed(range(10))
    tokens = list(generate_step(vlm.model, embeds, cache, sampler, count))
    assert len(tokens) == count
    assert cache[0].offset == 10 + count - 1
    assert tokens == with_cache(vlm, embeds, count)


def test_a_gpu_works_one_token_ahead(
    vlm: FastVLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets: dict[bool, list[int]] = {}
    for ahead in (False, True):
        monkeypatch.setattr(generate_module, "runs_ahead", lambda now=ahead: now)
        cache, sampler = vlm.model.make_cache(), make_sampler(GREEDY, VOCABULARY)
        tokens = generate_step(vlm.model, vlm.model.embed([1, 2]), cache, sampler, 3)
        offsets[ahead] = [cache[0].offset for _ in tokens]
    assert offsets == {False: [2, 3, 4], True: [3, 4, 4]}


def test_caches_may_be_exchanged_between_steps(vlm: FastVLM) -> None:
    caches = [vlm.model.make_cache()]

    def copied(cache: KVCache) -> KVCache:
        copies = vlm.model.make_cache()
        restore(copies, take(cache, positions_in(cache)))
        caches.append(copies)
        return copies

    embeds, sampler = vlm.model.embed(range(10)), make_sampler(GREEDY, VOCABULARY)
    tokens = generate_step(
        vlm.model, embeds, caches[0], sampler, 6, between_steps=copied
    )
    assert list(tokens) == with_cache(vlm, embeds, 6)
    assert [cache[0].offset for cache in caches] == [10, 11, 12, 13, 14, 15]


def test_the_work_is_scheduled_before_anything_is_waited_for(vlm: FastVLM) -> None:
    calls: list[str] = []
    sampler = make_sampler(GREEDY, VOCABULARY)
    tokens = generate_step(
        vlm.model,
        vlm.model.embed([1, 2]),
        vlm.model.make_cache(),
        sampler,
        2,
        on_scheduled=lambda: calls.append("scheduled"),
    )
    for _ in tokens:
        calls.append("token")
    assert calls == ["scheduled", "token", "token"]


# --- sampling ---------------------------------------------------------------------

LOGITS = mx.array([[0.0, 3.0, 1.0, 2.0]])


def draws(count: int = 200, **options: Any) -> list[int]:
    """Tokens sampled from LOGITS, all at once."""
    sampler = make_sampler(GenerationOptions(seed=0, **options), vocab_size=4)
    tokens: Any = sampler(mx.repeat(LOGITS, count, axis=0)).tolist()
    return list(tokens)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0},
        {"temperature": 1e-3},
        {"temperature": 1.0, "top_k": 1},
        {"temperature": 1.0, "top_p": 1e-6},
        {"temperature": 1.0, "min_p": 1.0},
    ],
)
def test_these_leave_the_likeliest_token_only(options: dict[str, Any]) -> None:
    assert set(draws(**options)) == {1}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {0, 1, 2, 3}),
        ({"top_k": 4}, {0, 1, 2, 3}),
        ({"top_k": 10**6}, {0, 1, 2, 3}),  # more than there are
        ({"top_k": 2}, {1, 3}),
        ({"top_p": 0.85}, {1, 3}),  # 0.64 and 0.24
        ({"min_p": 0.2}, {1, 3}),  # the third has a share of 0.14
    ],
)
def test_these_leave_the_likeliest_few(
    options: dict[str, Any], expected: set[int]
) -> None:
    assert set(draws(temperature=1.0, **options)) == expected


def test_tokens_are_drawn_by_their_probability() -> None:
    counts = np.bincount(draws(4000, temperature=1.0), minlength=4)
    expected = np.exp([0, 3, 1, 2]) / np.exp([0, 3, 1, 2]).sum()
    np.testing.assert_allclose(counts / 4000, expected, atol=0.03)


def test_temperature_flattens() -> None:
    cool, hot = (draws(1000, temperature=t).count(1) for t in (0.5, 5.0))
    assert cool > 800 > 500 > hot


# --- text -------------------------------------------------------------------------


@pytest.fixture
def stream(vlm: FastVLM) -> Stream:
    """A stream whose tokens are given."""

    def scripted(
        tokens: list[int] | Iterator[int],
        prompt: Prompt | None = None,
        timings: Timings | None = None,
        **options: Any,
    ) -> TextStream:
        return TextStream(
            iter(tokens),
            prompt or Prompt((1, 2, 3), ((1, 2),)),
            vlm.tokenizer,
            vlm.config,
            GenerationOptions(**options),
            lambda: timings or Timings(),
        )

    return scripted


def test_pieces_join_to_the_text(stream: Stream) -> None:
    answer = stream(ids("A red disc, ça va."))
    assert "".join(list(answer)) == answer.result.text == "A red disc, ça va."
    assert answer.result.token_ids == tuple(ids("A red disc, ça va."))
    assert (answer.result.finish_reason, answer.result.stop) == ("length", None)


@pytest.mark.parametrize("end", ["<|im_end|>", "<|endoftext|>"])
def test_either_end_token_ends_the_answer(stream: Stream, end: str) -> None:
    """Users of the original report answers that run on past the second one."""
    result = stream([*ids("red"), *ids(end), *ids("never")]).result
    assert (result.text, result.token_ids) == ("red", tuple(ids("red")))
    assert (result.finish_reason, result.stop) == ("stop", end)


def test_an_answer_may_be_empty(stream: Stream) -> None:
    answer = stream(ids("<|im_end|>"))
    assert list(answer) == []
    assert (answer.result.text, answer.result.token_ids) == ("", ())


def test_a_stop_string_is_cut_off_and_named(stream: Stream) -> None:
    answer = stream(ids("One. Two. Three."), stop=("Four", ". T"))
    assert "".join(answer) == "One"
    assert (answer.result.finish_reason, answer.result.stop) == ("stop", ". T")
    assert answer.result.token_ids == tuple(ids("One. T"))


def test_a_stop_string_may_come_with_the_last_token(stream: Stream) -> None:
    result = stream(ids("One."), stop=(".",)).result
    assert (result.text, result.finish_reason, result.stop) == ("One", "stop", ".")


def test_half_a_stop_string_is_shown_at_the_end(stream: Stream) -> None:
    for tail in ([], ids("<|im_end|>")):
        answer = stream([*ids("One ST"), *tail], stop=("STOP",))
        assert "".join(answer) == answer.result.text == "One ST"


def test_half_a_character_is_shown_at_the_end(stream: Stream) -> None:
    """And may itself be what a stop string asks for."""
    cut = ids("a日")[:-1]
    assert stream(cut).result.text == "a\ufffd"
    result = stream(cut, stop=("\ufffd",)).result
    assert (result.text, result.finish_reason, result.stop) == ("a", "stop", "\ufffd")


def test_no_token_is_asked_for_after_the_stop(stream: Stream) -> None:
    def tokens() -> Iterator[int]:
        yield from ids("One.")
        raise AssertionError("one token too many")

    assert stream(tokens(), stop=(".",)).result.text == "One"


def test_text_is_given_as_soon_as_it_is_there(stream: Stream) -> None:
    taken: list[int] = []

    def tokens() -> Iterator[int]:
        for token in ids("What is"):
            taken.append(token)
            yield token

    answer = stream(tokens())
    assert next(answer) == "What"
    assert len(taken) == 1


def test_close_says_cancelled(stream: Stream) -> None:
    answer = stream(ids("What is this?"))
    first = next(answer)
    answer.close()
    assert list(answer) == []
    assert answer.result.text == first == "What"
    assert (answer.result.finish_reason, answer.result.stop) == ("cancelled", None)


def test_close_before_the_first_token(stream: Stream) -> None:
    answer = stream(ids("What is this?"))
    answer.close()
    assert (answer.result.text, answer.result.token_ids) == ("", ())
    assert answer.result.finish_reason == "cancelled"
    assert answer.result.timings.decode == 0


def test_close_after_the_end_changes_nothing(stream: Stream) -> None:
    answer = stream(ids("One."), stop=(".",))
    result = answer.result
    answer.close()
    assert answer.result is result
    assert result.finish_reason == "stop"


def test_close_where_the_stop_string_was_met(stream: Stream) -> None:
    """One token held both the last text and the stop: the answer was over."""
    answer = stream(ids(" picture"), stop=("ture",))
    assert next(answer) == " pic"
    answer.close()
    assert (answer.result.text, answer.result.finish_reason) == (" pic", "stop")


def test_a_failing_model_is_not_taken_for_an_end(stream: Stream) -> None:
    def tokens() -> Iterator[int]:
        yield from ids("One")
        raise MemoryError

    answer = stream(tokens())
    with pytest.raises(MemoryError):
        list(answer)
    assert answer.result.finish_reason == "cancelled"
    assert answer.result.text == "One"


# --- cost -------------------------------------------------------------------------


def test_the_parts_before_the_first_token_add_up() -> None:
    parts = ("load_image", "preprocess", "tokenize", "encode", "project", "prefill")
    powers = {part: 2.0**power for power, part in enumerate(parts)}
    assert Timings(**powers, decode=1e6).time_to_first_token == 2**6 - 1


def test_the_result_counts_positions(stream: Stream) -> None:
    prompt = Prompt(tuple(range(20)), ((1, 4), (7, 6)))
    result = stream(ids("red"), prompt).result
    assert (result.prompt_tokens, result.image_tokens) == (20, 10)


def test_rates_are_tokens_by_seconds(stream: Stream) -> None:
    result = stream(
        ids("What is this"), timings=Timings(prefill=0.5, decode=2.0)
    ).result
    assert result.prompt_tps == 3 / 0.5
    later = len(result.token_ids) - 1
    assert result.generation_tps == later / 2.0


def test_an_empty_answer_has_no_rate(stream: Stream) -> None:
    result = stream(ids("<|im_end|>")).result
    assert result.generation_tps == 0


# --- what an answer leaves behind -------------------------------------------------


@pytest.fixture
def left(vlm: FastVLM) -> Callable[[Iterator[int]], tuple[TextStream, list[Any]]]:
    """A stream and the list of all that it says when it ends."""

    def scripted(tokens: Iterator[int]) -> tuple[TextStream, list[Any]]:
        said: list[Any] = []
        stream = TextStream(
            tokens,
            Prompt((1, 2, 3), ()),
            vlm.tokenizer,
            vlm.config,
            GenerationOptions(),
            Timings,
            reused=2,
            on_finish=lambda generated: said.append(list(generated)),
            on_result=lambda result: said.append(result.finish_reason),
        )
        return stream, said

    return scripted


Left = Callable[[Iterator[int]], tuple[TextStream, list[Any]]]


def test_an_answer_leaves_its_tokens_with_the_end(left: Left) -> None:
    stream, said = left(iter(ids("red<|im_end|>")))
    assert stream.result.reused_tokens == 2
    assert said == [ids("red<|im_end|>"), "stop"]


def test_a_closed_answer_leaves_what_there_was(left: Left) -> None:
    stream, said = left(iter(ids("red")))
    next(stream)
    stream.close()
    assert said == [ids("red")[:1], "cancelled"]


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_an_answer_that_failed_leaves_nothing(
    left: Left, error: type[BaseException]
) -> None:
    """A step was cut short: some layers have seen its token and others have not."""

    def failing() -> Iterator[int]:
        yield from ids("red")
        raise error

    stream, said = left(failing())
    with pytest.raises(error):
        list(stream)
    assert said == []
    stream.close()
    assert said == ["cancelled"]
    assert stream.result.text == "red"
