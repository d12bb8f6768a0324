"""FastVLM, what a person holds: a picture and a question in, an answer out."""

import functools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from . import backend, blas, budget, plan
from .backend import device_lock, mx
from .caches import Caches, CacheStats
from .chat import Chat, listed
from .config import FastVLMConfig, load_config
from .errors import CacheError, ConfigError, OptionError, PromptError
from .generate import GenerationResult, TextStream, generate_step, make_sampler
from .identity import model_identity
from .image import ImageSource
from .image_encoder import ImageEncoder
from .kv_cache import check_bits
from .memory import prefill_step
from .model import FastVLMModel
from .options import GenerationOptions
from .picture import Lap, Look, Picture
from .prefix_cache import EMPTY, Key, Prefix
from .prompt import ChatTokenizer, Message, Prompt, question
from .prompt_file import read_prefix, write_prefix
from .reader import Reading
from .request import Prepared, pictures_after, prompt_keys
from .resolve import EMBEDDED, resolve
from .stopwatch import Stopwatch
from .weights import load_model

_log = logging.getLogger(__name__)

Images: TypeAlias = ImageSource | Sequence[ImageSource] | None


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
        self._encoder = ImageEncoder(model, self.caches.features)
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
                number or a text such as "512x768", `stop` one string.

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
        prompt = self._build(messages, images, options)
        lap("tokenize")
        pictures = [self.open_picture(image, options, lap) for image in images]
        keys = prompt_keys(prompt, [picture.digest for picture in pictures])
        prefix = self._known(keys) if options.use_cache else EMPTY
        missing = [index for index, *_ in pictures_after(prompt, len(prefix))]
        wanted = [pictures[index] for index in missing]
        encoded = self._encoder.encode(wanted, options.use_cache, lap)
        made = dict(zip(missing, encoded, strict=True))
        return Prepared(prompt, options, keys, prefix, made)

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
        if isinstance(image, Picture):
            return image
        return self.caches.pictures.open(image, self._look(options), lap)

    def chat(self, system: str | None = None, **options: Any) -> Chat:
        """Begin a conversation.

        Args:
            system: replaces the checkpoint's system prompt.
            **options: the fields of GenerationOptions, for every answer.
        """
        GenerationOptions.of(**options)
        return Chat(self, system, options)

    @property
    def cache_stats(self) -> CacheStats:
        """What earlier requests left behind, and how often it served."""
        return self.caches.stats(self._encoder.encoded)

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

    def _known(self, keys: Sequence[Key]) -> Prefix:
        """The beginning that was read before; the last position is always read."""
        return self.caches.prefixes.find(keys[:-1])

    def _check_cache(self, prompt: Prompt, options: GenerationOptions) -> None:
        text = self.config.text_config
        width = text.head_dim or text.hidden_size // text.num_attention_heads
        check_bits(options, width)
        if options.max_kv_size is not None and len(prompt) > options.max_kv_size:
            raise PromptError(
                f"The prompt takes {len(prompt)} positions; max_kv_size keeps "
                f"{options.max_kv_size}. Raise it or shorten the prompt."
            )

    def _check_memory(
        self,
        prompt: Prompt,
        sizes: Sequence[tuple[int, int]],
        options: GenerationOptions,
    ) -> None:
        """Refuse what takes too much; pictures are encoded one after another."""
        positions = min(len(prompt) + options.max_tokens, self.config.max_length)
        largest = max(sizes, key=lambda size: size[0] * size[1], default=None)
        step = self._prefill_step(len(prompt), options)
        work = plan.Work(largest, positions, prefill_step=step)
        plan.check(self.config, self._weights_bytes, work, self._machine)

    def _prefill_step(self, positions: int, options: GenerationOptions) -> int:
        text, item_bytes = self.config.text_config, self.model.embed_dtype.size
        return options.prefill_step or prefill_step(text, positions, item_bytes)

    def _build(
        self,
        messages: Sequence[Message],
        images: Sequence[ImageSource | Picture],
        options: GenerationOptions,
    ) -> Prompt:
        """The prompt, its pictures counted but not yet opened."""
        given = self._look(options)
        if options.resolution:
            self._num_tokens(given.size)  # wrong even where no picture is
        looks = [each.look if isinstance(each, Picture) else given for each in images]
        lengths = [self._num_tokens(look.size) for look in looks]
        prompt = self.tokenizer.build(messages, lengths)
        self._check_cache(prompt, options)
        self._check_memory(prompt, [look.size for look in looks], options)
        return prompt

    def _look(self, options: GenerationOptions) -> Look:
        size = options.resolution or self.config.vision_config.image_size
        mode = options.image_mode or self.config.image_mode
        return Look(size, mode, options.exact_pixels)

    def _num_tokens(self, size: tuple[int, int]) -> int:
        try:
            tokens = self.config.vision_config.num_tokens(size)
        except ConfigError as error:
            raise OptionError(str(error)) from None
        if tokens >= self.config.max_length:
            raise PromptError(
                f"A picture of {size[0]}x{size[1]} takes {tokens} positions; the model "
                f"has {self.config.max_length}. Lower the resolution."
            )
        return tokens

    def _tokens(
        self, request: Prepared, reading: Reading, watch: Stopwatch
    ) -> Iterator[int]:
        options, positions = request.options, len(request.prompt)
        text = self.config.text_config
        max_tokens = min(options.max_tokens, self.config.max_length - positions)
        cache, inputs_embeds = reading.begin(max_tokens)

        def when_scheduled() -> None:
            watch.lap("prefill")
            self._encoder.wait(request.encoded.values(), watch.lap)
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
