"""FastVLM, what a person holds: a picture and a question in, an answer out."""

import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from .batch import Batch, Given
from .caches.caches import Caches, CacheStats
from .caches.kv import check_bits
from .caches.model_digest import model_identity
from .caches.prefix_file import read_prefix, write_prefix
from .caches.prefixes import EMPTY, Prefix
from .chat import Chat, listed
from .config import FastVLMConfig
from .device import backend, blas
from .device.backend import device_lock, mx
from .device.memory import prefill_step
from .errors import CacheError, PromptError
from .generation.generate import (
    GenerationResult,
    TextStream,
    generate_step,
    make_sampler,
)
from .generation.prefill import Reading
from .generation.prepared import Opened, Prepared
from .images import resolution as dial
from .images.decode import ImageSource, PictureFile, read_file, upright_size
from .images.encoder import ImageEncoder
from .images.image import Lap, Look, Picture, Pictures
from .model.fastvlm import FastVLMModel
from .model_folder import load_config
from .options import GenerationOptions
from .planning import budget
from .planning import memory_plan as plan
from .request import Outcome
from .resolve import EMBEDDED, resolve
from .text.tokenizer import ChatTokenizer, Message, Prompt, question
from .timings import Stopwatch
from .weights import load_model

_log = logging.getLogger(__name__)

Images: TypeAlias = ImageSource | Sequence[ImageSource] | None
Looked: TypeAlias = tuple[ImageSource | PictureFile | Picture, Look]


class FastVLM:
    """A loaded model. `fastvlm_mlx.load` makes one.

    It may be used from several threads; they take turns on the device.

    >>> vlm = fastvlm_mlx.load("nano")
    >>> vlm.generate("shape.png", "what color is the circle?").text
    'red'
    """

    def __init__(
        self,
        model: FastVLMModel,
        tokenizer: ChatTokenizer,
        config: FastVLMConfig,
        *,
        cache_bytes: int | None = None,
        cache_folder: Path | None = None,
        memory_limit: int | str | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.config = config
        limit = budget.memory_limit(memory_limit)
        self._machine = budget.this_machine(model.embed_dtype, limit)
        self._weights_bytes = model.weights_bytes
        self.caches = Caches(cache_bytes, cache_folder, lambda: self._encoder_identity)
        self._pictures = Pictures()
        self.encoder = ImageEncoder(model, self.caches.features, self._views_together)
        backend.configure()

    def generate(
        self,
        image: Images,
        prompt: str,
        *,
        system: str | None = None,
        **options: Any,
    ) -> GenerationResult:
        """Answer a question, whole.

        Args:
            image: a path, bytes, a PIL image or a NumPy array; a list of them; or
                None for text alone. Pictures stand where the prompt says `<image>`,
                or before it.
            prompt: the question.
            system: replaces the checkpoint's system prompt.
            **options: the fields of GenerationOptions. `resolution` may also be one
                number or a text such as "512x768", "auto" or "auto:1536", `stop` one
                string.

        Raises:
            FastVLMError: see `fastvlm_mlx.errors`.
        """
        return self.stream(image, prompt, system=system, **options).result

    def stream(
        self,
        image: Images,
        prompt: str,
        *,
        system: str | None = None,
        **options: Any,
    ) -> TextStream:
        """Answer a question as it is written; arguments as in `generate`.

        Pictures are read, and their encoding is on its way, when this returns; the
        prefill begins with the first piece of text that is asked for.
        """
        mx.reset_peak_memory()
        chosen = GenerationOptions.of(**options)
        sources = listed(image)
        watch = Stopwatch()
        messages = [] if system is None else [Message("system", system)]
        messages.append(question(prompt, len(sources)))
        return self.answer(self.prepare(messages, sources, chosen, watch.lap), watch)

    def prepare(
        self,
        messages: Sequence[Message],
        images: Sequence[ImageSource | Picture],
        options: GenerationOptions,
        lap: Lap = lambda _: None,
    ) -> Prepared:
        """Check a request and encode those of its pictures that are not known yet.

        Whatever can be wrong with it is found here; pictures are opened last.

        Args:
            messages: the turns so far; the model answers next.
            images: the pictures of all turns, in order.
            lap: called with the name of each part of Timings that ends.
        """
        opened = self.open_request(messages, images, options, lap)
        prefix = self.known_prefix(opened)
        missing = opened.pictures_after(prefix)
        encoded = self.encoder.encode(missing, options.use_cache, lap)
        return opened.prepared(prefix, encoded)

    def open_request(
        self,
        messages: Sequence[Message],
        images: Sequence[ImageSource | Picture],
        options: GenerationOptions,
        lap: Lap = lambda _: None,
    ) -> Opened:
        """The part of `prepare` that needs no model; several threads may be at it."""
        dial.check(self.config, options)
        looked = [self._looked(image, options) for image in images]
        looks = [look for _, look in looked]
        prompt = self._build(messages, looks, options)
        lap("tokenize")
        pictures = [self._open(source, look, lap) for source, look in looked]
        inputs = [dial.image_input(self.config.vision_config, look) for look in looks]
        return Opened(prompt, options, tuple(pictures), tuple(inputs))

    def known_prefix(self, opened: Opened) -> Prefix:
        """The beginning that was read before; the last position is always read."""
        if not opened.options.use_cache:
            return EMPTY
        return self.caches.prefixes.find(opened.keys[:-1])

    def answer(
        self,
        request: Prepared,
        watch: Stopwatch | None = None,
        on_result: Callable[[GenerationResult], None] = lambda _: None,
    ) -> TextStream:
        """Answer a request that is ready, as it is written."""
        watch = watch or Stopwatch()
        reading = Reading(self.model, self.caches.prefixes, request)
        return TextStream(
            _timed(self._tokens(request, reading, watch), watch),
            request.prompt,
            self.tokenizer,
            self.config,
            request.options,
            watch.timings,
            reused=len(request.prefix),
            images=request.images,
            on_finish=reading.finish,
            on_result=on_result,
        )

    def open_picture(
        self,
        image: ImageSource | Picture,
        options: GenerationOptions,
        lap: Lap = lambda _: None,
    ) -> Picture:
        """A picture, known by its digest, that several requests may use."""
        return self._open(*self._looked(image, options), lap)

    def chat(self, system: str | None = None, **options: Any) -> Chat:
        """Begin a conversation.

        Args:
            system: replaces the checkpoint's system prompt.
            **options: the fields of GenerationOptions, for every answer.
        """
        GenerationOptions.of(**options)
        return Chat(self, system, options)

    def batch(self, requests: Iterable[Given], *, batch_size: int = 8) -> list[Outcome]:
        """Answer many requests together; each answer is what it would be alone.

        >>> asked = [Request("What is this?", name) for name in names]
        >>> [outcome.text for outcome in vlm.batch(asked)]

        Args:
            requests: `Request`s, or mappings of their arguments.
            batch_size: answers that grow at a time.

        Returns:
            One outcome per request, in the order asked. A request that is refused or
            fails has its error there, and the others go on.

        Raises:
            OptionError: `batch_size` is not a whole number at least 1.
        """
        outcomes = self.batch_as_finished(requests, batch_size=batch_size)
        return sorted(outcomes, key=lambda outcome: outcome.index)

    def batch_as_finished(
        self, requests: Iterable[Given], *, batch_size: int = 8
    ) -> Iterator[Outcome]:
        """As `batch`, but each outcome when it is there; `index` says whose it is.

        Requests are taken as there is room, so they may be without end. In the
        timings of a result the times of work done for several requests at once
        count in full for each, and waiting for a place does not count.
        """
        return Batch(self, batch_size).run(requests)

    @property
    def cache_stats(self) -> CacheStats:
        """What earlier requests left behind, and how often it served."""
        return self.caches.stats(self.encoder.encoded)

    def save_prompt_cache(self, path: str | os.PathLike[str]) -> None:
        """Write the prompt used last, read by the model, to a file.

        Raises:
            WriteError: the file cannot be written.
        """
        write_prefix(Path(path), self.caches.prefixes.last(), self.identity)

    def load_prompt_cache(self, path: str | os.PathLike[str]) -> None:
        """Take up what `save_prompt_cache` wrote; prompts may then begin with it.

        Raises:
            CacheError: the file is missing, damaged or of another model.
        """
        prefix, room = read_prefix(Path(path), self.identity), self.caches.prefixes
        if prefix.nbytes > room.max_bytes:
            raise CacheError(
                f"{path} holds a prompt of {len(prefix)} positions, too large for the "
                f"{room.max_bytes} bytes that prompts may take. Load the model with "
                "larger cache_bytes."
            )
        room.add(prefix)

    @functools.cached_property
    def identity(self) -> str:
        """A digest over the whole model; a second per gigabyte."""
        return model_identity(self.config, [self.model])

    @functools.cached_property
    def _encoder_identity(self) -> str:
        parts = [self.model.vision_tower, self.model.mm_projector]
        return model_identity(self.config, parts)

    def _check_cache(self, prompt: Prompt, options: GenerationOptions) -> None:
        text = self.config.text_config
        check_bits(options, text.head_width)
        if options.max_kv_size is not None and len(prompt) > options.max_kv_size:
            raise PromptError(
                f"The prompt takes {len(prompt)} positions; max_kv_size keeps "
                f"{options.max_kv_size}. Raise it or shorten the prompt."
            )

    def _check_memory(
        self,
        prompt: Prompt,
        looks: Sequence[Look],
        options: GenerationOptions,
    ) -> None:
        """Refuse what takes too much; pictures are encoded one after another."""
        positions = min(len(prompt) + options.max_tokens, self.config.max_length)
        step = self._prefill_step(len(prompt), options)
        talk = plan.Work(None, positions, prefill_step=step)
        works = {replace(talk, resolution=e.size, views=e.views) for e in looks}
        for work in works or {talk}:
            plan.check(self.config, self._weights_bytes, work, self._machine)

    def _views_together(self, look: Look) -> int:
        """Views of a picture that may be encoded at a time."""
        work = plan.Work(look.size, 0, views=look.views)
        return plan.views_together(
            self.config, self._weights_bytes, work, self._machine
        )

    def _prefill_step(self, positions: int, options: GenerationOptions) -> int:
        text, item_bytes = self.config.text_config, self.model.embed_dtype.size
        return options.prefill_step or prefill_step(text, positions, item_bytes)

    def _build(
        self,
        messages: Sequence[Message],
        looks: Sequence[Look],
        options: GenerationOptions,
    ) -> Prompt:
        """The prompt, its pictures counted but not yet opened."""
        lengths = [dial.positions(self.config, look) for look in looks]
        prompt = self.tokenizer.build(messages, lengths)
        self._check_cache(prompt, options)
        self._check_memory(prompt, looks, options)
        return prompt

    def _looked(
        self, image: ImageSource | Picture, options: GenerationOptions
    ) -> Looked:
        """A picture and how it is looked at; its file is read if its size decides."""
        if isinstance(image, Picture):
            return image, image.look
        source: ImageSource | PictureFile = image
        size = None
        if dial.depends_on_picture(options):
            source = read_file(image) or image  # what is measured is what is decoded
            size = upright_size(source)
        look = dial.choose_look(self.config, options, size)
        dial.positions(self.config, look)  # no picture is opened to be refused
        return source, look

    def _open(
        self, source: ImageSource | PictureFile | Picture, look: Look, lap: Lap
    ) -> Picture:
        if isinstance(source, Picture):
            return source
        return self._pictures.open(source, look, lap)

    def _tokens(
        self, request: Prepared, reading: Reading, watch: Stopwatch
    ) -> Iterator[int]:
        options, positions = request.options, len(request.prompt)
        text = self.config.text_config
        max_tokens = min(options.max_tokens, self.config.max_length - positions)
        cache, inputs_embeds = reading.begin(max_tokens)

        def when_scheduled() -> None:
            watch.lap("prefill")
            self.encoder.wait(request.encoded.values(), watch.lap)
            reading.keep_prompt()

        yield from generate_step(
            self.model,
            inputs_embeds,
            cache,
            make_sampler(options, text.vocab_size),
            max_tokens,
            prefill_step=self._prefill_step(positions, options),
            on_scheduled=when_scheduled,
            between_steps=reading.shrink,
        )


def _timed(tokens: Iterator[int], watch: Stopwatch) -> Iterator[int]:
    """Pass tokens on and note how long each was waited for."""
    part = "prefill"
    while True:
        watch.resume()  # the caller's own time is not the model's
        try:
            with device_lock:
                token = next(tokens)
        except StopIteration:
            return
        watch.lap(part)
        yield token
        part = "decode"


def load(
    model: str | os.PathLike[str] = EMBEDDED,
    *,
    revision: str | None = None,
    dtype: str | None = None,
    cache_bytes: int | None = None,
    cache_folder: str | os.PathLike[str] | None = None,
    memory_limit: int | str | None = None,
) -> FastVLM:
    """Load a model.

    Args:
        model: "nano", the small model inside this package; a folder; or a hub id such
            as "apple/FastVLM-0.5B". A PyTorch checkpoint is converted on first use.
        revision: branch, tag or commit of a hub id.
        dtype: "float32", "bfloat16" or "float16"; None picks the backend's own.
        cache_bytes: memory for what requests may share, pictures and prompts; None
            is 5/64 of the memory, 0 keeps nothing.
        cache_folder: where encoded pictures outlive the process.
        memory_limit: what the model and its work may take, in bytes or as a text such
            as "6GB"; None is FASTVLM_MLX_MEMORY_LIMIT, or all that arrays may take.
            A model that does not fit is refused before its weights are read, and a
            request before its pictures are opened.

    Raises:
        FastVLMError: see `fastvlm_mlx.errors`.
    """
    slow = blas.hint()
    if slow:
        _log.warning(slow)
    folder = resolve(model, revision)
    config = load_config(folder)
    tokenizer = ChatTokenizer(folder, config)
    limit = budget.memory_limit(memory_limit)

    def check(model: FastVLMModel) -> None:
        machine = budget.this_machine(model.embed_dtype, limit)
        plan.check(config, model.weights_bytes, plan.LEAST_WORK, machine)

    return FastVLM(
        load_model(folder, dtype, limit, check),
        tokenizer,
        config,
        cache_bytes=cache_bytes,
        cache_folder=None if cache_folder is None else Path(cache_folder),
        memory_limit=limit,
    )
