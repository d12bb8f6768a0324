"""Many requests at a time: read ahead, encoded together, answered together.

Requests are opened by threads while the model works, their pictures go through the
vision tower in groups, and an answer joins the others as soon as one has ended. How
many there are changes the speed and never an answer. One that cannot be answered
fails alone.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from numbers import Integral
from typing import Any, Protocol

from .caches.caches import Caches
from .caches.prefixes import Prefix
from .config import FastVLMConfig
from .device.backend import device_lock, mx
from .device.memory import prefill_step
from .errors import FastVLMError, OptionError
from .generation.decode_batch import Rows, Start, alike
from .generation.generate import (
    Answer,
    GenerationResult,
    Timings,
    generate_step,
    make_sampler,
)
from .generation.prefill import Reading
from .generation.prepared import Opened, Prepared
from .images.decode import ImageSource
from .images.encoder import EncodedPicture, ImageEncoder, at_once
from .images.image import Lap, Picture
from .model.fastvlm import FastVLMModel
from .options import GenerationOptions
from .request import Outcome, Request, RequestId
from .text.tokenizer import ChatTokenizer, Message, question
from .timings import Stopwatch

AHEAD = 2
"""Batches of requests that are opened before there is room for their answers."""

_READERS = min(4, os.cpu_count() or 1)

Given = Request | Mapping[str, Any]


class Engine(Protocol):
    """What a batch needs of a loaded model."""

    model: FastVLMModel
    tokenizer: ChatTokenizer
    config: FastVLMConfig
    caches: Caches
    encoder: ImageEncoder

    def open_request(
        self,
        messages: Sequence[Message],
        images: Sequence[ImageSource | Picture],
        options: GenerationOptions,
        lap: Lap,
    ) -> Opened:
        """Check a request and open its pictures; any thread may call it."""

    def known_prefix(self, opened: Opened) -> Prefix:
        """The beginning of its prompt that was read before."""


@dataclass(eq=False)
class _Asked:
    """A request on its way to an answer, and what its parts have cost."""

    index: int
    id: RequestId
    future: "Future[Opened]"
    seconds: dict[str, float]  # by part of Timings
    encoded: dict[str, EncodedPicture] = field(default_factory=dict)  # by digest

    @property
    def opened(self) -> Opened:
        """Waits for the thread; raises what was wrong with the request."""
        return self.future.result()

    def add_times(self, timings: Timings) -> None:
        for part, seconds in asdict(timings).items():
            self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    def outcome(
        self, result: GenerationResult | None, error: FastVLMError | None = None
    ) -> Outcome:
        return Outcome(index=self.index, id=self.id, result=result, error=error)


@dataclass(eq=False)
class _Growing:
    """An answer being written."""

    asked: _Asked
    answer: Answer
    max_tokens: int
    alone: Iterator[int] | None  # its tokens, if it cannot stand beside others

    def feed(self, token: int) -> bool:
        """Take a token; whether it was the last one."""
        answer = self.answer
        answer.feed(token)
        if answer.finish_reason is None and len(answer.generated) == self.max_tokens:
            answer.end("length")
        return answer.finish_reason is not None


class Batch:
    """Answers the requests of one run, `size` at a time.

    Raises:
        OptionError: a size below 1.
    """

    def __init__(self, engine: Engine, size: int) -> None:
        check_size(size)
        self._engine = engine
        self._size = size
        self._rows = Rows(engine.model)
        self._growing: dict[int, _Growing] = {}
        self._waiting: deque[_Asked] = deque()

    def run(self, requests: Iterable[Given]) -> Iterator[Outcome]:
        """Outcomes as they are there; requests are taken as they are needed."""
        mx.reset_peak_memory()
        pool = ThreadPoolExecutor(_READERS, thread_name_prefix="fastvlm-open")
        try:
            upcoming = iter(enumerate(requests))
            while self._open_ahead(pool, upcoming) or self._growing:
                yield from self._admit()
                yield from self._step()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _open_ahead(
        self, pool: ThreadPoolExecutor, upcoming: Iterator[tuple[int, Given]]
    ) -> bool:
        """Keep the queue full; whether there is anything in it."""
        for _ in range(AHEAD * self._size - len(self._waiting)):
            following = next(upcoming, None)
            if following is None:
                break
            index, given = following
            seconds: dict[str, float] = {}
            future = pool.submit(self._open, given, seconds)
            self._waiting.append(_Asked(index, _id_of(given), future, seconds))
        return bool(self._waiting)

    def _open(self, given: Given, seconds: dict[str, float]) -> Opened:
        """What can be done without the model; in a thread."""
        request = Request.of(given)
        system, watch = request.system, Stopwatch()
        messages = [] if system is None else [Message("system", system)]
        messages.append(question(request.prompt, len(request.images)))
        opened = self._engine.open_request(
            messages, request.images, request.options, watch.lap
        )
        seconds.update(asdict(watch.timings()))
        return opened

    def _admit(self) -> Iterator[Outcome]:
        """Give the free places to requests that can be answered."""
        joining: list[_Asked] = []
        while self._waiting and len(self._growing) + len(joining) < self._size:
            asked = self._waiting.popleft()
            try:
                asked.opened  # noqa: B018  waits, and raises
            except FastVLMError as error:
                yield asked.outcome(None, error)
            else:
                joining.append(asked)
        for wave in waves(joining):
            with device_lock:
                self._begin(wave)

    def _begin(self, joining: Sequence[_Asked]) -> None:
        prefixes = [self._engine.known_prefix(asked.opened) for asked in joining]
        self._encode(joining, prefixes)
        starts: dict[Start, Reading] = {}
        for asked, prefix in zip(joining, prefixes, strict=True):
            prepared = asked.opened.prepared(prefix, asked.encoded)
            reading = Reading(
                self._engine.model, self._engine.caches.prefixes, prepared
            )
            self._grow(asked, prepared, reading, starts)
        for group in alike(list(starts)):
            self._prefill(group, starts)

    def _grow(
        self,
        asked: _Asked,
        prepared: Prepared,
        reading: Reading,
        starts: dict[Start, Reading],
    ) -> None:
        engine, options = self._engine, prepared.options
        room = engine.config.max_length - len(prepared.prompt)
        growing = _Growing(
            asked,
            Answer(
                prepared.prompt,
                engine.tokenizer,
                engine.config,
                options,
                len(prepared.prefix),
                prepared.images,
            ),
            min(options.max_tokens, room),
            None,
        )
        self._growing[asked.index] = growing
        cache, inputs_embeds = reading.begin(growing.max_tokens)
        sampler = make_sampler(options, engine.config.text_config.vocab_size)
        if not stands_alone(options):
            starts[Start(asked.index, inputs_embeds, cache, sampler)] = reading
            return
        growing.alone = generate_step(
            engine.model,
            inputs_embeds,
            cache,
            sampler,
            growing.max_tokens,
            prefill_step=self._prefill_step(asked.index),
            on_scheduled=reading.keep_prompt,
            between_steps=reading.shrink,
        )

    def _prefill(self, group: Sequence[Start], starts: dict[Start, Reading]) -> None:
        watch = Stopwatch()
        self._rows.add(group, min(self._prefill_step(start.key) for start in group))
        for start in group:
            starts[start].keep_prompt(self._rows.beginning(start.key))
        watch.lap("prefill")
        for start in group:
            self._growing[start.key].asked.add_times(watch.timings())

    def _prefill_step(self, index: int) -> int:
        """Positions at a time, as this request would have it alone."""
        opened = self._growing[index].asked.opened
        model, text = self._engine.model, self._engine.config.text_config
        fits = prefill_step(text, len(opened.prompt), model.embed_dtype.size)
        return opened.options.prefill_step or fits

    def _encode(self, joining: Sequence[_Asked], prefixes: Sequence[Prefix]) -> None:
        """Encode what these need; what room the tower has left is filled from those
        that will be needed next.
        """
        for use_cache in (True, False):
            needed = {
                picture.digest: picture
                for asked, prefix in zip(joining, prefixes, strict=True)
                for picture in asked.opened.pictures_after(prefix)
                if asked.opened.options.use_cache is use_cache
                and picture.digest not in asked.encoded
            }
            if needed:
                self._encode_for_all(needed, use_cache, joining)

    def _encode_for_all(
        self, needed: dict[str, Picture], use_cache: bool, joining: Sequence[_Asked]
    ) -> None:
        watch = Stopwatch()
        ahead = [asked for asked in self._waiting if _is_open(asked)]
        ahead = [a for a in ahead if a.opened.options.use_cache is use_cache]
        pictures = fill_up(needed, [p for a in ahead for p in a.opened.pictures])
        made = self._engine.encoder.encode(pictures, use_cache, watch.lap)
        self._engine.encoder.wait(made.values(), watch.lap)
        for asked in (*joining, *ahead):
            own = {p.digest for p in asked.opened.pictures} & made.keys()
            if own:
                asked.encoded.update({digest: made[digest] for digest in own})
                asked.add_times(watch.timings())

    def _step(self) -> Iterator[Outcome]:
        """A token for everyone; those that ended make room before they are told of."""
        if not self._growing:
            return
        watch = Stopwatch()
        with device_lock:
            tokens = self._rows.step() if self._rows else []
            for index, growing in self._growing.items():
                if growing.alone is not None:
                    tokens.append((index, next(growing.alone)))
        watch.lap("decode")
        ended = []
        for index, token in tokens:
            self._growing[index].asked.add_times(watch.timings())
            if self._growing[index].feed(token):
                ended.append(self._growing.pop(index))
        with device_lock:
            self._rows.drop({each.asked.index for each in ended})
        for each in ended:
            yield each.asked.outcome(each.answer.result(Timings(**each.asked.seconds)))


def check_size(size: object) -> None:
    """Refuse what is no number of answers.

    Raises:
        OptionError: it is below 1, or no whole number.
    """
    if not isinstance(size, Integral) or size < 1:
        raise OptionError(
            f"batch_size is {size!r}; expected a whole number at least 1."
        )


def stands_alone(options: GenerationOptions) -> bool:
    """Whether the KV cache of an answer is of a kind that mlx-lm cannot batch."""
    return options.kv_bits is not None or options.max_kv_size is not None


def waves(joining: Sequence[_Asked]) -> Iterator[list[_Asked]]:
    """Requests that begin with one picture, one after another: it is read once."""
    left = list(joining)
    while left:
        wave: dict[object, _Asked] = {}
        for asked in left:
            pictures = asked.opened.pictures
            shared = pictures and asked.opened.options.use_cache
            wave.setdefault(pictures[0].digest if shared else asked, asked)
        chosen = list(wave.values())
        left = [asked for asked in left if asked not in chosen]
        yield chosen


def fill_up(needed: dict[str, Picture], ahead: Iterable[Picture]) -> list[Picture]:
    """The pictures needed, and so many of others that no run of the tower is longer."""
    chosen = dict(needed)
    for picture in ahead:
        shape = picture.look.shape
        beside = sum(each.look.shape == shape for each in chosen.values())
        if beside % at_once(picture.look):
            chosen.setdefault(picture.digest, picture)
    return list(chosen.values())


def _is_open(asked: _Asked) -> bool:
    return asked.future.done() and asked.future.exception() is None


def _id_of(given: Given) -> RequestId:
    """Whose outcome it is, even where the rest cannot be read."""
    if isinstance(given, Request):
        return given.id
    return given.get("id") if isinstance(given, Mapping) else None
