"""Embeddings in, tokens out; tokens in, text out; and what it cost.

Three layers, as in mlx-lm: `generate_step` yields token ids, `TextStream` turns them
into text as it is written, and its `result` is the whole answer. This file knows no
picture and no file. Sampling is passed in, so the loop has no temperature.
"""

import itertools
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self, TypeVar, cast

from ..config import FastVLMConfig
from ..device.backend import mx, runs_ahead, start
from ..images.resolution import ImageInput
from ..model.fastvlm import FastVLMModel
from ..model.language import KVCache
from ..model.lazy_mlx_lm import mlx_lm
from ..options import GenerationOptions
from ..text.stop_strings import StopFilter
from ..text.tokenizer import ChatTokenizer, Prompt

Sampler = Callable[[mx.array], mx.array]
FinishReason = Literal["stop", "length", "cancelled"]

_T = TypeVar("_T")

COLDEST = 1e-6
"""A lower temperature only overflows: the likeliest token is all it leaves."""


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Where the time of one answer went, in seconds.

    On a GPU the parts overlap: each is the time that the caller waited for it and
    not for another. Together, `decode` left out, they are `time_to_first_token`.
    """

    load_image: float = 0.0  # decode the file
    preprocess: float = 0.0  # pad or crop, resize
    tokenize: float = 0.0
    encode: float = 0.0  # vision tower
    project: float = 0.0
    prefill: float = 0.0  # language model over the prompt, first token sampled
    decode: float = 0.0  # every later token

    @property
    def time_to_first_token(self) -> float:
        """From the call to the first token on the host."""
        parts = (self.load_image, self.preprocess, self.tokenize)
        return sum(parts) + self.encode + self.project + self.prefill


@dataclass(frozen=True, kw_only=True)
class GenerationResult:
    """An answer and what it cost."""

    text: str
    token_ids: tuple[int, ...]  # as generated, the end token left out
    finish_reason: FinishReason
    stop: str | None  # the end token or stop string that ended the answer
    prompt_tokens: int  # positions, a picture counted in full
    image_tokens: int  # of them, visual tokens
    images: tuple[ImageInput, ...] = ()  # how each picture was looked at, in order
    reused_tokens: int = 0  # of them, read by an earlier request
    timings: Timings
    peak_memory: int  # bytes

    @property
    def outside_training(self) -> bool:
        """Whether a picture was looked at as in no picture of training."""
        return any(image.outside_training for image in self.images)

    @property
    def prompt_tps(self) -> float:
        """Prompt positions per second of prefill."""
        return self.prompt_tokens / max(self.timings.prefill, 1e-9)

    @property
    def generation_tps(self) -> float:
        """Tokens per second after the first one."""
        return max(len(self.token_ids) - 1, 0) / max(self.timings.decode, 1e-9)


def likeliest(logits: mx.array) -> mx.array:
    """The greedy sampler: logits (B, V) to tokens (B,)."""
    return mx.argmax(logits, axis=-1)


def make_sampler(options: GenerationOptions, vocab_size: int) -> Sampler:
    """Logits (1, V) to a token (1,), by mlx-lm's samplers."""
    if options.temperature < COLDEST:
        return likeliest
    sample: Sampler = mlx_lm("sample_utils").make_sampler(
        temp=options.temperature,
        top_p=options.top_p,
        min_p=options.min_p,
        top_k=options.top_k if options.top_k < vocab_size else 0,
    )
    seeds = random.Random(options.seed)

    def from_logits(logits: mx.array) -> mx.array:
        if options.seed is not None:  # MLX's state is shared with whoever draws
            mx.random.seed(seeds.getrandbits(64))
        logits = logits.astype(mx.float32)
        return sample(logits - mx.logsumexp(logits, axis=-1, keepdims=True))

    return from_logits


def generate_step(
    model: FastVLMModel,
    inputs_embeds: mx.array,
    cache: KVCache,
    sampler: Sampler,
    max_tokens: int,
    *,
    prefill_step: int = 2048,
    on_scheduled: Callable[[], None] = lambda: None,
    between_steps: Callable[[KVCache], KVCache] = lambda cache: cache,
) -> Iterator[int]:
    """Yield token ids; on a GPU the next one is computed while this one is used.

    Nothing is left uncomputed between two tokens, so each may be asked for by
    another thread.

    Args:
        inputs_embeds: (1, L, D), the prompt, less the positions in the cache.
        cache: KV caches; filled in place.
        prefill_step: positions at a time, which bounds the activations.
        on_scheduled: called once, when all work for the first token is on the
            device and nothing has been waited for yet.
        between_steps: may exchange the caches, after the prompt and each token.
    """

    def on_device() -> Iterator[mx.array]:
        nonlocal cache
        token = sampler(prefill(model, inputs_embeds, cache, prefill_step))
        start(token)
        on_scheduled()
        while True:
            yield token
            cache = between_steps(cache)
            token = sampler(model.decode(token, cache))
            start(token)

    tokens = itertools.islice(on_device(), max_tokens)
    for token in _one_ahead(tokens) if runs_ahead() else tokens:
        yield cast(int, token.item())


def _one_ahead(items: Iterator[_T]) -> Iterator[_T]:
    """Make the next item before passing one on."""
    current = next(items)
    for following in items:
        yield current
        current = following
    yield current


def prefill(
    model: FastVLMModel, inputs_embeds: mx.array, cache: KVCache, step: int
) -> mx.array:
    """Fill caches with a prompt, so many positions at a time.

    Args:
        inputs_embeds: (1, L, D).

    Returns:
        Logits of the last position, (1, V).
    """
    length, done = inputs_embeds.shape[1], 0
    while length - done > step:
        model.prefill(inputs_embeds[:, done : done + step], cache)
        mx.eval([layer.state for layer in cache])
        done += step
    return model.prefill(inputs_embeds[:, done:], cache)


class Answer:
    """An answer being written: tokens in, text out, until it ends.

    `finish_reason` is None while it is being written.
    """

    def __init__(
        self,
        prompt: Prompt,
        tokenizer: ChatTokenizer,
        config: FastVLMConfig,
        options: GenerationOptions,
        reused: int = 0,
        images: tuple[ImageInput, ...] = (),
    ) -> None:
        """`reused` positions of the prompt were read before; `images` are its own."""
        self._prompt = prompt
        self._images = images
        self._reused = reused
        self._tokenizer = tokenizer
        self._end_ids = frozenset(config.eos_token_ids)
        self._decoder = tokenizer.stream_decoder()
        self._filter = StopFilter(options.stop)
        self._ids: list[int] = []
        self._text: list[str] = []
        self._stop: str | None = None
        self.finish_reason: FinishReason | None = None
        self.generated: list[int] = []
        """As they came, the end token included."""

    def feed(self, token: int) -> str:
        """Take a token, give the text that it adds; may set `finish_reason`."""
        self.generated.append(token)
        if token in self._end_ids:
            return self.end("stop", self._tokenizer.token_text(token))
        self._ids.append(token)
        text = self._filter.feed(self._decoder.feed(token))
        if self._filter.matched is not None:
            self._finish("stop", None)
        return self._written(text)

    def end(self, reason: FinishReason, stop: str | None = None) -> str:
        """No more tokens come; gives the text that was still held back."""
        text = self._filter.feed(self._decoder.flush())
        if self._filter.matched is None:
            text += self._filter.flush()
        self._finish(reason, stop)
        return self._written(text)

    def cancel(self) -> None:
        """Nobody wants the rest, nor what was held back."""
        self._finish("cancelled", None)

    def result(self, timings: Timings) -> GenerationResult:
        """The whole answer; one that has not ended counts as cancelled."""
        return GenerationResult(
            text="".join(self._text),
            token_ids=tuple(self._ids),
            finish_reason=self.finish_reason or "cancelled",
            stop=self._stop,
            prompt_tokens=len(self._prompt),
            image_tokens=sum(length for _, length in self._prompt.image_spans),
            images=self._images,
            reused_tokens=self._reused,
            timings=timings,
            peak_memory=mx.get_peak_memory(),
        )

    def _written(self, text: str) -> str:
        self._text.append(text)
        return text

    def _finish(self, reason: FinishReason, stop: str | None) -> None:
        matched = self._filter.matched
        self.finish_reason = reason if matched is None else "stop"
        self._stop = stop if matched is None else matched


class TextStream:
    """An answer as it is written: iterate for text, then read `result`.

    >>> stream = vlm.stream("photo.jpg", "What is this?")
    >>> for text in stream:
    ...     print(text, end="", flush=True)
    >>> stream.result.finish_reason
    'stop'
    """

    def __init__(
        self,
        tokens: Iterator[int],
        prompt: Prompt,
        tokenizer: ChatTokenizer,
        config: FastVLMConfig,
        options: GenerationOptions,
        timings: Callable[[], Timings],
        *,
        reused: int = 0,
        images: tuple[ImageInput, ...] = (),
        on_finish: Callable[[Sequence[int]], None] | None = None,
        on_result: Callable[["GenerationResult"], None] = lambda _: None,
    ) -> None:
        """`reused` positions of the prompt were read before, `images` are how its
        pictures were looked at; `on_finish` gets the
        tokens that were generated, the end token included, when the answer ends,
        unless a step of it failed; `on_result` gets the result in any case.
        """
        self._tokens = tokens
        self._answer = Answer(prompt, tokenizer, config, options, reused, images)
        self._on_finish = on_finish or _keep_nothing
        self._on_result = on_result
        self._timings = timings
        self._result: GenerationResult | None = None
        self._pieces = self._run()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        try:
            return next(self._pieces)
        except StopIteration:
            raise
        except BaseException:  # a step was cut short: nothing of it is to be kept
            self._on_finish = _keep_nothing
            raise

    def close(self) -> None:
        """End the answer here; `result` then says "cancelled"."""
        self._pieces.close()
        if self._result is None:
            self._answer.cancel()
            self._settle()

    @property
    def result(self) -> GenerationResult:
        """The whole answer; reads the stream to its end first."""
        for _ in self:
            pass
        return self._result or self._settle()  # it had failed

    def _run(self) -> Generator[str, None, None]:
        for token in self._tokens:
            text = self._answer.feed(token)
            if text:
                yield text
            if self._answer.finish_reason is not None:
                break
        else:
            text = self._answer.end("length")
            if text:
                yield text
        self._settle()

    def _settle(self) -> GenerationResult:
        self._result = self._answer.result(self._timings())
        self._on_finish(self._answer.generated)
        self._on_result(self._result)
        return self._result


def _keep_nothing(generated: Sequence[int]) -> None:
    """An answer that leaves nothing behind."""
