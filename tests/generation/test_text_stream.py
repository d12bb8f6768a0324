"""A scripted answer as a stream of text."""

import asyncio
import gc
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fastvlm_mlx import AsyncTextStream, FastVLM, GenerationOptions, TextStream
from fastvlm_mlx.generation.prepared import Opened
from fastvlm_mlx.generation.result import Answer, GenerationResult
from fastvlm_mlx.generation.text_stream import Outlet
from fastvlm_mlx.planning.memory_plan import MemoryPlan
from fastvlm_mlx.text.prompt import Prompt
from fastvlm_mlx.timings import Timings
from tests.goldens.tokenizer import build_tokenizer

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")
TOKENIZER = build_tokenizer(SPECIALS)

Stream = Callable[..., TextStream]


def ids(text: str) -> list[int]:
    return list(TOKENIZER.encode(text).ids)


# --- text -------------------------------------------------------------------------


def opened(prompt: Prompt, **options: Any) -> Opened[Any]:
    memory = MemoryPlan(0, 0, 0, 0)
    return Opened(prompt, GenerationOptions(**options), (), (), memory, 1)


@pytest.fixture
def begin(vlm: FastVLM) -> Callable[..., Callable[[Outlet], Callable[[], None]]]:
    """What writes given tokens to an outlet, all at once, as a fast loop does."""
    tokenizer, ends = vlm.engine.tokenizer, vlm.engine.config.eos_token_ids
    names = {each: tokenizer.token_text(each) for each in ends}

    def scripted(
        tokens: list[int] | Iterator[int],
        prompt: Prompt | None = None,
        timings: Timings | None = None,
        **options: Any,
    ) -> Callable[[Outlet], Callable[[], None]]:
        most = len(tokens) if isinstance(tokens, list) else 10**6
        request = opened(prompt or Prompt((1, 2, 3), ((1, 2),)), **options)
        answer = Answer(request, most, tokenizer.stream_decoder(), names)

        def write(outlet: Outlet) -> Callable[[], None]:
            error = None
            try:
                for token in tokens:
                    outlet.put(answer.feed(token), answer.tokens)
                    if answer.finish_reason is not None:
                        break
            except Exception as failure:
                error = failure
            outlet.end(answer.result(timings or Timings(), 0), error)
            return lambda: None

        return write

    return scripted


@pytest.fixture
def stream(begin: Callable[..., Any]) -> Stream:
    """A stream whose tokens are given."""
    return lambda *script, **options: TextStream.begin(begin(*script, **options))


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


def test_each_token_puts_its_text(begin: Callable[..., Any]) -> None:
    """Also one that completes no character puts nothing and holds up nothing."""
    seen: list[tuple[int, str, int]] = []
    taken: list[int] = []

    class Log:
        def put(self, text: str, tokens: int) -> None:
            seen.append((len(taken), text, tokens))

        def end(self, *_: Any) -> None:
            pass

    def tokens() -> Iterator[int]:
        for token in ids("What is"):
            taken.append(token)
            yield token

    begin(tokens())(Log())
    assert seen[0] == (1, "What", 1)
    assert [count for count, *_ in seen] == [tokens for *_, tokens in seen]
    assert "".join(text for _, text, _ in seen) == "What is"


def test_close_says_cancelled(stream: Stream) -> None:
    answer = stream(ids("What is this?"))
    first = next(answer)
    answer.close()
    assert list(answer) == []
    assert answer.result.text == first == "What"
    assert (answer.result.finish_reason, answer.result.stop) == ("cancelled", None)


def test_close_before_the_first_token_is_read(stream: Stream) -> None:
    answer = stream(ids("What is this?"))
    answer.close()
    assert (answer.result.text, answer.result.token_ids) == ("", ())
    assert answer.result.finish_reason == "cancelled"


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


def collected(outlets: list[Outlet]) -> Callable[[Outlet], Callable[[], None]]:
    """Keep the outlet, and write nothing."""

    def start(outlet: Outlet) -> Callable[[], None]:
        outlets.append(outlet)
        return lambda: None

    return start


# --- who reads --------------------------------------------------------------------


@pytest.mark.parametrize("read", [0, 1, 2, 99])
def test_the_result_is_what_was_read(begin: Callable[..., Any], read: int) -> None:
    """It is given once, to whoever wants to know when the answer ends."""
    results: list[GenerationResult] = []
    tokens = ids("One two three.")
    stream = TextStream.begin(begin(tokens), results.append)
    text = "".join(itertools.islice(stream, read))
    stream.close()
    stream.close()
    (result,) = results
    assert result is stream.result
    assert result.text == text
    assert result.finish_reason == ("length" if read == 99 else "cancelled")
    assert list(result.token_ids) == tokens[: len(result.token_ids)]
    assert TOKENIZER.decode([*result.token_ids]) == text


def test_a_reader_that_waits_is_woken_by_another_ones_close() -> None:
    """Nobody is left waiting for an answer that was closed elsewhere."""
    outlets: list[Outlet] = []
    stream = TextStream.begin(collected(outlets))
    found: list[list[str]] = []
    readers = [threading.Thread(target=lambda: found.append([*stream])) for _ in "ab"]
    for reader in readers:
        reader.start()
    outlets[0].end(None, None)
    stream.close()
    for reader in readers:
        reader.join()
    assert found == [[], []]


def test_an_answer_that_nobody_holds_is_cancelled() -> None:
    cancelled: list[bool] = []
    stream = TextStream.begin(lambda _: lambda: cancelled.append(True))
    del stream
    gc.collect()
    assert cancelled == [True]


def test_a_with_block_closes(stream: Stream) -> None:
    with stream(ids("One two")) as answer:
        next(answer)
    assert answer.result.finish_reason == "cancelled"


def test_an_event_loop_reads_the_same(begin: Callable[..., Any]) -> None:
    async def read() -> tuple[list[str], GenerationResult]:
        stream = AsyncTextStream.begin(begin(ids("A red disc, ça va.")))
        return [text async for text in stream], await stream.result()

    pieces, result = asyncio.run(read())
    assert "".join(pieces) == result.text == "A red disc, ça va."


def test_an_event_loop_closes(begin: Callable[..., Any]) -> None:
    async def read() -> GenerationResult:
        async with AsyncTextStream.begin(begin(ids("What is this?"))) as stream:
            assert await anext(stream) == "What"
        return await stream.result()

    result = asyncio.run(read())
    assert (result.text, result.finish_reason) == ("What", "cancelled")


def test_an_event_loop_hears_of_a_failure(begin: Callable[..., Any]) -> None:
    def failing() -> Iterator[int]:
        yield from ids("One")
        raise MemoryError

    async def read() -> None:
        with pytest.raises(MemoryError):
            async for _ in AsyncTextStream.begin(begin(failing())):
                pass

    asyncio.run(read())


def test_a_closed_event_loop_hinders_nobody(begin: Callable[..., Any]) -> None:
    outlets: list[Outlet] = []

    async def leave() -> None:
        stream = AsyncTextStream.begin(collected(outlets))
        stream.cancel()

    asyncio.run(leave())
    outlets[0].put("late", 1)
    outlets[0].end(None, None)
