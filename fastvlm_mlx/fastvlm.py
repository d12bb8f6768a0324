"""FastVLM, what a caller holds: an image and a question in, an answer out."""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Unpack

from .batch import Batch
from .caches.caches import CacheStats
from .chat import Chat
from .device import blas
from .device.setup import configure
from .device.thread import device_thread
from .engine import Engine
from .generation.result import GenerationResult
from .generation.text_stream import AsyncTextStream, TextStream
from .model.fastvlm import FastVLMModel
from .options import GenerationOptions, Options
from .planning import budget, memory_plan
from .request import Given, Images, Outcome, Request
from .resolve import EMBEDDED, find_model
from .text.tokenizer import ChatTokenizer
from .weights import load_model

_log = logging.getLogger(__name__)


class FastVLM:
    """A loaded model. `fastvlm_mlx.load` makes one.

    Any thread and any event loop may use it, several at the same time.

    >>> vlm = fastvlm_mlx.load("nano")
    >>> vlm.generate("shape.png", "what color is the circle?").text
    'red'

    Attributes:
        engine: model, tokenizer, configuration, caches and scheduler; its members may
            change from version to version.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __repr__(self) -> str:
        config = self.engine.config
        source = config.source or "a folder"
        return f"<FastVLM from {source}, {self.engine.model.weights_bytes:,} bytes>"

    def generate(
        self,
        image: Images,
        prompt: str,
        *,
        system: str | None = None,
        **options: Unpack[Options],
    ) -> GenerationResult:
        """Answer a question, whole.

        Args:
            image: a path, bytes, a PIL image or a NumPy array; a list of them; or
                None for text alone. Images stand where the prompt says `<image>`, or
                before it.
            prompt: the question.
            system: replaces the checkpoint's system prompt.
            **options: the fields of GenerationOptions. `resolution` may also be one
                number or a text such as "512x768", "auto" or "auto:1536", `stop` one
                string.

        Raises:
            FastVLMError: see `fastvlm_mlx.errors`.
        """
        with self.stream(image, prompt, system=system, **options) as stream:
            return stream.result

    def stream(
        self,
        image: Images,
        prompt: str,
        *,
        system: str | None = None,
        **options: Unpack[Options],
    ) -> TextStream:
        """Answer a question as it is written; arguments as in `generate`.

        When this returns, the request is known to be right, its images are read, and
        the answer is being written.
        """
        return self.engine.stream(Request(prompt, image, system=system, **options))

    async def agenerate(
        self,
        image: Images,
        prompt: str,
        *,
        system: str | None = None,
        **options: Unpack[Options],
    ) -> GenerationResult:
        """As `generate`, without blocking the event loop.

        If the task is cancelled, so is the answer.
        """
        stream = await self.astream(image, prompt, system=system, **options)
        try:
            return await stream.result()
        finally:
            stream.cancel()

    async def astream(
        self,
        image: Images,
        prompt: str,
        *,
        system: str | None = None,
        **options: Unpack[Options],
    ) -> AsyncTextStream:
        """As `stream`, to be read with `async for`.

        >>> stream = await vlm.astream("photo.jpg", "What is this?")
        >>> async for text in stream:
        ...     print(text, end="", flush=True)
        """
        request = Request(prompt, image, system=system, **options)
        return await self.engine.astream(request)

    def chat(self, system: str | None = None, **options: Unpack[Options]) -> Chat:
        """Begin a conversation.

        Args:
            system: replaces the checkpoint's system prompt.
            **options: the fields of GenerationOptions, for every answer.
        """
        GenerationOptions.of(**options)
        return Chat(self.engine, system, options)

    def batch(self, requests: Iterable[Given], *, batch_size: int = 8) -> list[Outcome]:
        """Answer many requests together; each answer is what it would be alone.

        >>> requests = [Request("What is this?", name) for name in names]
        >>> [outcome.text for outcome in vlm.batch(requests)]

        Args:
            requests: `Request`s, or mappings of their arguments.
            batch_size: answers that run at a time.

        Returns:
            One outcome per request, in the order asked. A request that is refused or
            fails has its error there, and the others are answered.

        Raises:
            OptionError: `batch_size` is not a whole number at least 1.
        """
        outcomes = self.batch_as_finished(requests, batch_size=batch_size)
        return sorted(outcomes, key=lambda outcome: outcome.index)

    def batch_as_finished(
        self, requests: Iterable[Given], *, batch_size: int = 8
    ) -> Iterator[Outcome]:
        """As `batch`, but each outcome as soon as it is there, with its `index`.

        Requests are taken as there is room, so there may be no end of them. Closing the
        iterator cancels those under way.
        """
        return Batch(self.engine, batch_size).run(requests)

    @property
    def cache_stats(self) -> CacheStats:
        """What earlier requests left, and how often it was used."""
        return self.engine.cache_stats

    def save_prompt_cache(self, path: str | os.PathLike[str]) -> None:
        """Write the prompt used last, read by the model, to a file.

        Raises:
            WriteError: the file cannot be written.
        """
        self.engine.save_prompt_cache(Path(path))

    def load_prompt_cache(self, path: str | os.PathLike[str]) -> None:
        """Take up what `save_prompt_cache` wrote; prompts may then begin with it.

        Raises:
            CacheError: the file is missing, damaged or of another model.
        """
        self.engine.load_prompt_cache(Path(path))


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
        cache_bytes: memory for what requests may share, images and prompts; None is
            5/64 of the memory, 0 keeps nothing.
        cache_folder: where encoded images outlive the process.
        memory_limit: what the model and its work may take, in bytes or as a text such
            as "6GB"; None is FASTVLM_MLX_MEMORY_LIMIT, or all that arrays may take.
            A model that does not fit is refused before its weights are read, and a
            request before its images are opened.

    On a Linux CPU this sets up two things for speed in the whole process: MLX calls
    OpenBLAS in place of its reference BLAS (no other library does; FASTVLM_MLX_BLAS=0
    in the environment prevents it), and glibc's malloc keeps freed memory, so the
    process stays as large as it once was (FASTVLM_MLX_KEEP_MEMORY=0 prevents it). Both
    work whether MLX was imported before or not; importing this package does neither.
    Kernels for the CPU are compiled with g++ only once that pays; FASTVLM_MLX_COMPILE
    says 1 (at once) or 0 (never), and TMPDIR where MLX keeps them.

    Raises:
        FastVLMError: see `fastvlm_mlx.errors`.
    """
    configure()  # before the thread that computes has a heap of its own
    found = find_model(model, revision)
    folder, config = found.path, found.config
    tokenizer = ChatTokenizer(folder, config)
    limit = budget.memory_limit(memory_limit)

    def check(model: FastVLMModel) -> None:
        machine = budget.this_machine(model.embed_dtype, limit)
        memory_plan.check(config, model.weights_bytes, memory_plan.LEAST_WORK, machine)

    network = device_thread.run(lambda: load_model(folder, config, dtype, limit, check))
    slow = blas.hint()
    if slow:
        _log.warning(slow)
    engine = Engine(
        network,
        tokenizer,
        config,
        cache_bytes=cache_bytes,
        cache_folder=None if cache_folder is None else Path(cache_folder),
        memory_limit=limit,
    )
    return FastVLM(engine)
