"""The loop: any mix of requests answers as each alone, and none disturbs others.

What is promised in units and steps is counted in units and steps, by stepping the
scheduler by hand on the thread that computes.
"""

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import fastvlm_mlx
from fastvlm_mlx import FastVLM, GenerationResult, Request
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.device.thread import device_thread
from fastvlm_mlx.errors import ImageError
from fastvlm_mlx.scheduling import scheduler as scheduler_module
from fastvlm_mlx.scheduling.scheduled import Slots
from tests.probes import noise

QUESTIONS = ("What is in this picture?", "Is it red?", "Why?", "Say it. " * 12)


IMAGES = [noise(seed, 80, 60) for seed in range(5)]


@pytest.fixture
def fresh(converted_golden: Callable[[str], Path]) -> FastVLM:
    return fastvlm_mlx.load(converted_golden("fast_vlm-train"), dtype="float32")


@pytest.fixture(scope="module")
def shared(converted_golden: Callable[[str], Path]) -> FastVLM:
    return fastvlm_mlx.load(converted_golden("fast_vlm-train"), dtype="float32")


# --- any mix equals lone answers --------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """A request of a mix, how it is asked, and when."""

    images: tuple[int, ...]
    question: int
    options: tuple[tuple[str, Any], ...]
    way: str  # "stream", "other thread", "asyncio" or "batch"
    delay: float  # milliseconds
    cancel_after: int | None  # pieces of text


def options() -> st.SearchStrategy[tuple[tuple[str, Any], ...]]:
    chosen = st.fixed_dictionaries(
        {"max_tokens": st.integers(1, 12), "resolution": st.sampled_from([64, 128])},
        optional={
            "stop": st.sampled_from(["e", "in"]),
            "use_cache": st.sampled_from([True, False, "read"]),
            "max_kv_size": st.just(400),
            "prefill_step": st.integers(3, 40),
        },
    )
    seeded = st.builds(
        lambda base, seed: {**base, "temperature": 0.9, "seed": seed},
        chosen,
        st.integers(0, 9),
    )
    return st.one_of(chosen, seeded).map(lambda each: tuple(sorted(each.items())))


mixes = st.lists(
    st.builds(
        Asked,
        st.lists(st.integers(0, len(IMAGES) - 1), max_size=3).map(tuple),
        st.integers(0, len(QUESTIONS) - 1),
        options(),
        st.sampled_from(["stream", "other thread", "asyncio", "batch"]),
        st.floats(0, 4),
        st.one_of(st.none(), st.none(), st.integers(0, 4)),
    ),
    min_size=1,
    max_size=9,
)


def alone(vlm: FastVLM, asked: Asked) -> GenerationResult:
    """The answer with nothing else going on and nothing remembered."""
    images, question = [IMAGES[n] for n in asked.images], QUESTIONS[asked.question]
    chosen: dict[str, Any] = {**dict(asked.options), "use_cache": False}
    return vlm.generate(images, question, **chosen)


def ask(vlm: FastVLM, asked: Asked) -> GenerationResult:
    """The answer in its own way; whoever cancels reads only some pieces."""
    time.sleep(asked.delay / 1000)
    images, question = [IMAGES[n] for n in asked.images], QUESTIONS[asked.question]
    chosen: Any = dict(asked.options)
    if asked.way == "asyncio":
        return asyncio.run(_ask_in_loop(vlm, asked, images, question, chosen))
    if asked.way == "batch":
        (outcome,) = vlm.batch([Request(question, images, **chosen)])
        assert outcome.result is not None
        return outcome.result
    stream = vlm.stream(images, question, **chosen)
    if asked.way == "other thread":
        thread = threading.Thread(target=_read, args=(stream, asked.cancel_after))
        thread.start()
        thread.join()
    else:
        _read(stream, asked.cancel_after)
    return stream.result


def _read(stream: fastvlm_mlx.TextStream, pieces: int | None) -> None:
    for _ in itertools.islice(stream, pieces):
        pass
    if pieces is not None:
        stream.close()


async def _ask_in_loop(
    vlm: FastVLM, asked: Asked, images: Any, question: str, chosen: Any
) -> GenerationResult:
    if asked.cancel_after is None:
        return await vlm.agenerate(images, question, **chosen)
    stream = await vlm.astream(images, question, **chosen)
    for _ in range(asked.cancel_after):
        try:
            await anext(stream)
        except StopAsyncIteration:
            break
    await stream.aclose()
    return await stream.result()


def check_mix(vlm: FastVLM, mix: list[Asked]) -> None:
    expected = [alone(vlm, asked) for asked in mix]
    vlm.engine.caches.clear()
    found: dict[int, Any] = {}

    def run(index: int) -> None:
        try:
            found[index] = ask(vlm, mix[index])
        except BaseException as error:
            found[index] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(mix))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, whole in enumerate(expected):
        got = found[index]
        assert isinstance(got, GenerationResult), (got, mix[index])
        if got.finish_reason == "cancelled":
            assert whole.text.startswith(got.text), mix[index]
            assert whole.token_ids[: len(got.token_ids)] == got.token_ids, mix[index]
        else:
            assert got.token_ids == whole.token_ids, mix[index]
            assert (got.text, got.finish_reason, got.stop) == (
                *(whole.text, whole.finish_reason),
                whole.stop,
            )
    scheduler = vlm.engine.scheduler
    assert not device_thread.run(
        lambda: [*scheduler.waiting, *scheduler.preparing, *scheduler.running]
    )


@pytest.mark.parametrize("count", [15, pytest.param(200, marks=pytest.mark.drills)])
def test_any_mix_answers_as_each_alone(shared: FastVLM, count: int) -> None:
    @settings(max_examples=count)
    @given(mix=mixes)
    def answers_as_each_alone(mix: list[Asked]) -> None:
        check_mix(shared, mix)

    answers_as_each_alone()


# --- by hand, one turn at a time --------------------------------------------------


@dataclass
class Log:
    """An outlet that notes at which turn what came."""

    clock: Callable[[], int]
    times: list[int] = field(default_factory=list)
    result: GenerationResult | None = None
    error: Exception | None = None
    over: bool = False

    def put(self, text: str, tokens: int) -> None:
        self.times.append(self.clock())

    def end(self, result: GenerationResult | None, error: Exception | None) -> None:
        self.result, self.error, self.over = result, error, True


class ByHand:
    """A scheduler whose turns are taken one at a time."""

    def __init__(self, vlm: FastVLM, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine = vlm.engine
        self.scheduler = vlm.engine.scheduler
        self.turns = 0
        self.encoded: list[tuple[int, int]] = []  # turn, images
        self.chunks: list[tuple[int, int]] = []  # turn, positions
        monkeypatch.setattr(device_thread, "wake", lambda _: None)
        encode = vlm.engine.encoder.encode
        hidden = vlm.engine.model.hidden_states

        def spy_encode(images: Any, *rest: Any) -> Any:
            self.encoded.append((self.turns, len(images)))
            return encode(images, *rest)

        def spy_hidden(embeds: mx.array, cache: Any) -> mx.array:
            if embeds.shape[1] > 1:
                size = embeds.shape[0] * embeds.shape[1]
                self.chunks.append((self.turns, size))
            return hidden(embeds, cache)

        monkeypatch.setattr(vlm.engine.encoder, "encode", spy_encode)
        monkeypatch.setattr(vlm.engine.model, "hidden_states", spy_hidden)

    def add(
        self, images: Any, question: str, slots: Slots | None = None, **options: Any
    ) -> tuple[Log, Callable[[], None]]:
        log = Log(lambda: self.turns)
        opened = self.engine.open(Request(question, images, **options))
        return log, self.engine.answer(opened, log, {}, slots)

    def turn(self) -> bool:
        self.turns += 1
        return device_thread.run(self.scheduler.turn)

    def until(self, done: Callable[[], bool]) -> None:
        while not done():
            assert self.turn() or done()


@pytest.fixture
def by_hand(fresh: FastVLM, monkeypatch: pytest.MonkeyPatch) -> ByHand:
    monkeypatch.setattr(fresh.engine, "_end_tokens", {})
    return ByHand(fresh, monkeypatch)


def test_a_running_answer_waits_for_one_unit_at_a_time(by_hand: ByHand) -> None:
    """Each turn has a token for it, and at most one image or one chunk of a prompt."""
    log, _ = by_hand.add(None, "Say it.", max_tokens=60)
    by_hand.until(lambda: bool(log.times))
    others = [by_hand.add([IMAGES[n]], QUESTIONS[0], max_tokens=3) for n in range(4)]
    others.append(by_hand.add([IMAGES[4], IMAGES[0]], "long " * 60, max_tokens=2))
    first = by_hand.turns
    by_hand.until(lambda: all(other.over for other, _ in others))
    assert log.times[-1] == by_hand.turns
    assert [b - a for a, b in itertools.pairwise(log.times)] == [1] * (
        len(log.times) - 1
    )
    assert by_hand.encoded and all(count == 1 for _, count in by_hand.encoded)
    work = [turn for turn, _ in by_hand.encoded + by_hand.chunks if turn > first]
    assert len(set(work)) == len(work)


def test_a_long_prompt_is_read_in_short_chunks_next_to_a_stream(
    by_hand: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_module, "SHORT_CHUNK", 16)
    log, _ = by_hand.add(None, "Say it.", max_tokens=60)
    by_hand.until(lambda: bool(log.times))
    by_hand.chunks.clear()
    other, _ = by_hand.add(None, "word " * 40, max_tokens=1)
    by_hand.until(lambda: other.over)
    sizes = [size for _, size in by_hand.chunks]
    assert len(sizes) > 3 and max(sizes) == 16
    assert [b - a for a, b in itertools.pairwise(log.times)] == [1] * (
        len(log.times) - 1
    )


@pytest.mark.parametrize("turns", range(6))
def test_a_cancelled_request_is_gone_after_one_turn(
    by_hand: ByHand, turns: int
) -> None:
    """Waiting, encoding, reading or running, and what it held is free again."""
    keeps, _ = by_hand.add(None, "Say it.", max_tokens=40)
    by_hand.until(lambda: bool(keeps.times))
    log, cancel = by_hand.add([IMAGES[0], IMAGES[1]], QUESTIONS[0], max_tokens=40)
    for _ in range(turns):
        by_hand.turn()
    cancel()
    free = by_hand.engine._slots.free
    by_hand.turn()
    assert log.over and log.result is not None
    assert log.result.finish_reason == "cancelled"
    assert len(by_hand.scheduler.running) == 1
    assert not by_hand.scheduler.waiting and not by_hand.scheduler.preparing
    assert by_hand.engine._slots.free == free + (1 if turns else 0)
    count = len(keeps.times)
    by_hand.turn()
    assert len(keeps.times) == count + 1


def test_a_second_question_passes_images_that_wait(by_hand: ByHand) -> None:
    """Nothing of it is to be encoded, so it is next; the image comes right after."""
    first, _ = by_hand.add([IMAGES[0]], QUESTIONS[0], max_tokens=1)
    by_hand.until(lambda: first.over)
    runs, _ = by_hand.add(None, "Say it.", max_tokens=60)
    by_hand.until(lambda: bool(runs.times))
    slow = [by_hand.add([IMAGES[n]], QUESTIONS[0], max_tokens=1) for n in (1, 2, 3)]
    by_hand.turn()
    known, _ = by_hand.add([IMAGES[0]], QUESTIONS[1], max_tokens=1)
    by_hand.until(lambda: known.over)
    assert not any(log.over for log, _ in slow[1:])
    by_hand.until(lambda: all(log.over for log, _ in slow))


def test_a_request_may_read_the_caches_without_filling_them(by_hand: ByHand) -> None:
    """So the frames of a camera do not push out what others come back to."""
    kept, _ = by_hand.add([IMAGES[0]], QUESTIONS[0], max_tokens=2)
    by_hand.until(lambda: kept.over)
    caches = by_hand.engine.caches
    before = len(caches.features), caches.features.nbytes, caches.prefixes.nbytes
    for n in range(5):
        frame, _ = by_hand.add(
            [IMAGES[n]], QUESTIONS[0], max_tokens=2, use_cache="read"
        )
        by_hand.until(lambda log=frame: log.over)  # type: ignore[misc]
        assert frame.result is not None
        whole = frame.result.reused_tokens == frame.result.prompt_tokens - 1
        assert whole is (n == 0)
    after = len(caches.features), caches.features.nbytes, caches.prefixes.nbytes
    assert after == before


def test_a_batch_reads_and_encodes_before_it_steps(by_hand: ByHand) -> None:
    """Nobody waits for single tokens, so more answers share each step."""
    slots = Slots(4)
    logs = [
        by_hand.add([IMAGES[n]], QUESTIONS[0], slots, max_tokens=2)[0] for n in range(4)
    ]
    by_hand.until(lambda: all(log.over for log in logs))
    assert by_hand.encoded == [(1, 4)]
    assert by_hand.scheduler.steps == 2


def test_a_stream_does_not_wait_for_all_images_of_a_batch(by_hand: ByHand) -> None:
    """Though it comes while they are being encoded one after another."""
    slots, sizes = Slots(8), (64, 128, 192, 256, 320, 384)
    logs = [
        by_hand.add([IMAGES[0]], QUESTIONS[0], slots, max_tokens=2, resolution=size)[0]
        for size in sizes
    ]
    encode, streams = by_hand.engine.encoder.encode, list[Log]()

    def encode_and_ask(*given: Any) -> Any:
        if len(by_hand.encoded) == 1:
            streams.append(by_hand.add(None, "Say it.", max_tokens=30)[0])
        return encode(*given)

    by_hand.engine.encoder.encode = encode_and_ask  # type: ignore[assignment]
    by_hand.turn()
    assert len(by_hand.encoded) == 2  # one before the stream came, one under way
    by_hand.until(lambda: all(log.over for log in logs))
    (stream,) = streams
    between = [each for each in by_hand.encoded if each[0] > stream.times[0]]
    assert len(between) >= len(sizes) - 3
    assert {b - a for a, b in itertools.pairwise(stream.times)} == {1}


# --- failures stay with their requests --------------------------------------------


def test_an_image_that_cannot_be_encoded_fails_its_request_alone(
    by_hand: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = by_hand.engine.model.encode_image
    broken = by_hand.engine.model.pixel_values(mx.array(_pixels(by_hand, IMAGES[1])))
    mx.eval(broken)  # an array that is under way belongs to its thread

    def failing(pixel_values: mx.array) -> mx.array:
        if any(mx.array_equal(each, broken).item() for each in pixel_values):
            raise RuntimeError("no such kernel")
        return encode(pixel_values)

    monkeypatch.setattr(by_hand.engine.model, "encode_image", failing)
    slots = Slots(3)
    logs = [
        by_hand.add([IMAGES[n]], QUESTIONS[0], slots, max_tokens=2)[0] for n in range(3)
    ]
    by_hand.until(lambda: all(log.over for log in logs))
    assert [str(log.error) for log in logs] == ["None", "no such kernel", "None"]
    assert slots.free == 3


def _pixels(by_hand: ByHand, image: Image.Image) -> Any:
    opened = by_hand.engine.open_image(image, fastvlm_mlx.GenerationOptions())
    return opened.pixels(lambda _: None)


def test_a_sampler_that_fails_ends_its_answer_alone(
    by_hand: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, _ = by_hand.add(None, "Say it.", max_tokens=8)
    by_hand.until(lambda: bool(good.times))
    monkeypatch.setattr(
        "fastvlm_mlx.engine.make_sampler", lambda *_: lambda logits: 1 / 0
    )
    bad, _ = by_hand.add(None, "Say it.", max_tokens=8)
    monkeypatch.undo()
    while not (good.over and bad.over):
        device_thread.run(by_hand.scheduler.turn)
    assert isinstance(bad.error, ZeroDivisionError)
    assert good.error is None and good.result is not None
    assert len(good.result.token_ids) == 8


def test_a_decoder_that_fails_ends_its_answer_alone(by_hand: ByHand) -> None:
    logs = [by_hand.add(None, "Say it.", max_tokens=8)[0] for _ in range(3)]
    by_hand.until(lambda: all(len(log.times) > 1 for log in logs))
    request = by_hand.scheduler.running[1]

    def failing(token: int) -> str:
        raise UnicodeError("no such character")

    request.answer.feed = failing  # type: ignore[method-assign]
    by_hand.until(lambda: all(log.over for log in logs))
    assert sum(log.error is not None for log in logs) == 1
    assert [
        len(log.result.token_ids) for log in logs if log.result and not log.error
    ] == [
        8,
        8,
    ]


def test_memory_is_counted_of_all_that_runs_together(
    converted_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that fits alone waits until others have given memory back."""
    vlm = fastvlm_mlx.load(converted_golden("fast_vlm-train"), dtype="float32")
    hand = ByHand(vlm, monkeypatch)
    monkeypatch.setattr(vlm.engine, "_end_tokens", {})
    opened = vlm.engine.open(Request("Say it.", max_tokens=20))
    plan = opened.memory
    vlm.engine.scheduler._limit = plan.total + 2 * plan.kv_cache
    logs = [hand.add(None, "Say it.", max_tokens=20)[0] for _ in range(6)]
    most = 0
    while not all(log.over for log in logs):
        hand.turn()
        most = max(most, len(hand.scheduler.running) + len(hand.scheduler.preparing))
    assert most == 3
    assert all(log.error is None for log in logs)


def test_a_small_request_does_not_pass_one_that_waits_for_memory(
    by_hand: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a stream of small ones could keep a large one waiting for ever."""
    monkeypatch.setattr(by_hand.engine, "_end_tokens", {})
    large, small = (
        by_hand.engine.open(Request("Say it.", max_tokens=count)).memory
        for count in (400, 2)
    )
    assert small.kv_cache < large.kv_cache
    scheduler = by_hand.scheduler
    scheduler._limit = large.total + small.kv_cache  # a large and a small one
    cancels = [
        by_hand.add(None, "Say it.", max_tokens=count)[1] for count in (400, 400, 2)
    ]
    for _ in range(5):
        by_hand.turn()
        assert len(scheduler.running) + len(scheduler.preparing) == 1
        assert [each.opened.memory for each in scheduler.waiting] == [large, small]
    for cancel in cancels:
        cancel()
    by_hand.turn()


# --- threads, and the end of the process ------------------------------------------


def test_a_slow_image_blocks_nobody(fresh: FastVLM) -> None:
    """It is opened by a thread that nobody else waits for."""
    gate = threading.Event()

    class Slow:
        def __fspath__(self) -> str:
            gate.wait()
            return "nowhere.png"

    def requests() -> Iterator[Request]:
        yield Request("What?", Slow(), id="slow")
        for n in range(6):
            yield Request("Say it.", id=n, max_tokens=3)

    outcomes = fresh.batch_as_finished(requests(), batch_size=2)
    first = [next(outcomes) for _ in range(6)]
    assert {each.id for each in first} == set(range(6))
    gate.set()
    (last,) = outcomes
    assert isinstance(last.error, ImageError)


def test_requests_come_and_go_while_others_run(fresh: FastVLM) -> None:
    """Many threads, some of which leave; the others are not disturbed."""
    expected = fresh.generate(IMAGES[0], QUESTIONS[0], max_tokens=10).token_ids
    draw, failures = random.Random(1), list[object]()

    def work(leaves: int | None) -> None:
        stream = fresh.stream(IMAGES[0], QUESTIONS[0], max_tokens=10)
        if leaves is not None:
            for _ in itertools.islice(stream, leaves):
                pass
            stream.close()
        elif stream.result.token_ids != expected:
            failures.append(stream.result)

    jobs = [draw.choice([None, None, 0, 1, 3]) for _ in range(24)]
    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_cancelled_task_cancels_its_answer(fresh: FastVLM) -> None:
    async def leave() -> None:
        task = asyncio.create_task(
            fresh.agenerate(IMAGES[0], QUESTIONS[3], max_tokens=400)
        )
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    deadline = time.monotonic() + 60
    while fresh.engine.scheduler.running or fresh.engine.scheduler.preparing:
        assert time.monotonic() < deadline
        time.sleep(0.001)
