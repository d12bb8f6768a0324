"""The engine: a loaded model, and the way of a request through it.

open (any thread: options, prompt and images checked) → answer (the scheduler: images
encoded, prompt read, tokens generated). Whatever asks questions is a client of it.
"""

import asyncio
import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from .caches.caches import Caches, CacheStats
from .caches.model_digest import model_identity
from .caches.prefix_file import read_prefix, write_prefix
from .config import GROUP_SIZES, FastVLMConfig
from .device.memory import prefill_step
from .device.thread import device_thread
from .errors import CacheError, OptionError, PromptError
from .generation.prepared import Opened
from .generation.result import Answer, GenerationResult
from .generation.sampling import make_sampler
from .generation.text_stream import AsyncTextStream, Outlet, TextStream
from .images import resolution
from .images.decode import ImageFile as ImageFile
from .images.encoder import ImageEncoder
from .images.image import ImageOpener, OpenedImage, with_preprocessing
from .images.preprocessing import Preprocessing
from .model.fastvlm import FastVLMModel
from .options import GenerationOptions
from .planning import budget, memory_plan
from .planning.memory_plan import MemoryPlan, Work
from .request import Image, Request
from .scheduling.scheduled import ScheduledRequest, Slots
from .scheduling.scheduler import Scheduler
from .text.prompt import Prompt
from .text.tokenizer import ChatTokenizer
from .timings import Lap, Stopwatch

MOST_RUNNING = 16
"""Answers that run at the same time, those of batches not counted."""

OnResult = Callable[[GenerationResult], None]


class Engine:
    """A loaded model, what it remembers, and the scheduler that answers.

    Args:
        model: its weights are in memory.
        cache_bytes: memory for what requests may share; None is a share of it all.
        cache_folder: where encoded images outlive the process.
        memory_limit: bytes that the model and all its work may take.
    """

    def __init__(
        self,
        model: FastVLMModel,
        tokenizer: ChatTokenizer,
        config: FastVLMConfig,
        *,
        cache_bytes: int | None = None,
        cache_folder: Path | None = None,
        memory_limit: int,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.config = config
        self.caches = Caches(cache_bytes, cache_folder, lambda: self._encoder_identity)
        self.encoder = ImageEncoder(model, self.caches.features, self._views_together)
        self.scheduler = Scheduler(model, self.encoder, self.caches, memory_limit)
        self._images = ImageOpener()
        self._machine = budget.this_machine(model.embed_dtype, memory_limit)
        self._weights_bytes = model.weights_bytes
        self._slots = Slots(MOST_RUNNING)
        self._end_tokens = {
            token: tokenizer.token_text(token) for token in config.eos_token_ids
        }

    # --- a request opened: any thread, no arrays ----------------------------------

    def open(self, request: Request, lap: Lap = lambda _: None) -> Opened[OpenedImage]:
        """Check a request and open its images.

        Whatever can be wrong with it is found here; images are decoded last.

        Args:
            lap: called with the name of each part of Timings that ends.

        Raises:
            FastVLMError: see `fastvlm_mlx.errors`.
        """
        options = request.options
        resolution.check(self.config, options)
        chosen = [self._chosen(image, options) for image in request.images]
        preps = [prep for _, prep in chosen]
        lengths = [resolution.positions(self.config, prep) for prep in preps]
        prompt = self.tokenizer.build(request.messages, lengths)
        self._check_cache(prompt, options)
        step = self._prefill_step(len(prompt), options)
        memory = self._check_memory(len(prompt), preps, options, step)
        lap("tokenize")
        images = tuple(
            self._opened(image, prep, options, lap) for image, prep in chosen
        )
        vision = self.config.vision_config
        infos = tuple(resolution.image_info(vision, prep) for prep in preps)
        return Opened(prompt, options, images, infos, memory, step)

    def open_image(
        self, image: Image, options: GenerationOptions, lap: Lap = lambda _: None
    ) -> OpenedImage:
        """An image, known by its digest, that several requests may use."""
        return self._opened(*self._chosen(image, options), options, lap)

    def _chosen(
        self, image: Image, options: GenerationOptions
    ) -> "tuple[Image | ImageFile, Preprocessing]":
        """An image and its preprocessing; its file is read if its size decides."""
        if isinstance(image, OpenedImage):
            return image, image.preprocessing
        return with_preprocessing(image, self.config, options)

    def _opened(
        self,
        source: Image | ImageFile,
        prep: Preprocessing,
        options: GenerationOptions,
        lap: Lap,
    ) -> OpenedImage:
        """An image with its pixels in memory, unless it was encoded before."""
        image = source
        if not isinstance(image, OpenedImage):
            image = self._images.open(image, prep, lap)
        known = options.reads_cache and image.digest in self.caches.features
        if not known:
            image.pixels(lap)
        return image

    def _check_cache(self, prompt: Prompt, options: GenerationOptions) -> None:
        check_group_size(options, self.config.text_config.head_width)
        if options.max_kv_size is not None and len(prompt) > options.max_kv_size:
            raise PromptError(
                f"The prompt takes {len(prompt)} positions; max_kv_size keeps "
                f"{options.max_kv_size}. Raise it or shorten the prompt."
            )

    def _prefill_step(self, positions: int, options: GenerationOptions) -> int:
        text, item_bytes = self.config.text_config, self.model.embed_dtype.size
        return options.prefill_step or prefill_step(text, positions, item_bytes)

    def _check_memory(
        self,
        positions: int,
        preps: Sequence[Preprocessing],
        options: GenerationOptions,
        step: int,
    ) -> MemoryPlan:
        """Refuse what takes too much; images are encoded one after another."""
        most = min(positions + options.max_tokens, self.config.max_length)
        text = Work(None, most, prefill_step=step)
        works = {replace(text, resolution=e.size, views=e.views) for e in preps}
        plans = [
            memory_plan.check(self.config, self._weights_bytes, work, self._machine)
            for work in works or {text}
        ]
        return replace(plans[0], encode=max(plan.encode for plan in plans))

    def _views_together(self, prep: Preprocessing) -> int:
        """Views of an image that may be encoded at a time."""
        work = Work(prep.size, 0, views=prep.views)
        return memory_plan.views_together(
            self.config, self._weights_bytes, work, self._machine
        )

    # --- answers ------------------------------------------------------------------

    def answer(
        self,
        opened: Opened[OpenedImage],
        outlet: Outlet,
        seconds: dict[str, float],
        slots: Slots | None = None,
    ) -> Callable[[], None]:
        """Have a request answered; any thread may call this, and it never waits.

        Args:
            outlet: where the answer is put, by the thread that computes.
            seconds: what its parts have taken, by their names in Timings.
            slots: places that it shares with others, where nobody waits for single
                tokens; None is one of this engine's, for an answer that streams.

        Returns:
            How to cancel it: a call that never waits either.
        """
        room = self.config.max_length - len(opened.prompt)
        most = min(opened.options.max_tokens, room)
        decoder = self.tokenizer.stream_decoder()
        return self.scheduler.add(
            ScheduledRequest(
                opened,
                Answer(opened, most, decoder, self._end_tokens),
                make_sampler(opened.options, self.config.text_config.vocab_size),
                outlet,
                slots or self._slots,
                slots is None,
                seconds,
            )
        )

    def stream(
        self,
        request: Request,
        on_result: OnResult = lambda _: None,
        watch: Stopwatch | None = None,
    ) -> TextStream:
        """Open a request and have it answered, to be read by any thread."""
        watch = watch or Stopwatch()
        opened = self.open(request, watch.lap)
        return TextStream.begin(
            lambda outlet: self.answer(opened, outlet, watch.seconds), on_result
        )

    async def astream(self, request: Request) -> AsyncTextStream:
        """As `stream`, to be read by the event loop; another thread opens images."""
        watch = Stopwatch()
        opened = await asyncio.to_thread(self.open, request, watch.lap)
        return AsyncTextStream.begin(
            lambda outlet: self.answer(opened, outlet, watch.seconds)
        )

    # --- what is remembered -------------------------------------------------------

    @property
    def cache_stats(self) -> CacheStats:
        """What earlier requests left, and how often it was used."""
        return self.caches.stats(self.encoder.encoded)

    def save_prompt_cache(self, path: Path) -> None:
        """Write the prompt used last, read by the model, to a file.

        Raises:
            WriteError: the file cannot be written.
        """
        identity = self.identity
        device_thread.run(
            lambda: write_prefix(path, self.caches.prefixes.last(), identity)
        )

    def load_prompt_cache(self, path: Path) -> None:
        """Take up what `save_prompt_cache` wrote; prompts may then begin with it.

        Raises:
            CacheError: the file is missing, damaged or of another model.
        """
        identity, room = self.identity, self.caches.prefixes
        prefix = device_thread.run(lambda: read_prefix(path, identity))
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
        return device_thread.run(lambda: model_identity(self.config, [self.model]))

    @functools.cached_property
    def _encoder_identity(self) -> str:
        parts = [self.model.vision_tower, self.model.mm_projector]
        return device_thread.run(lambda: model_identity(self.config, parts))


def check_group_size(options: GenerationOptions, head_width: int) -> None:
    """Refuse groups of quantized keys and values that heads do not divide into.

    Raises:
        OptionError: says which size would do.
    """
    size = options.kv_group_size
    if options.kv_bits is not None and head_width % size:
        fitting = [str(each) for each in GROUP_SIZES if head_width % each == 0]
        choice = f"choose {' or '.join(fitting)}, or " if fitting else ""
        raise OptionError(
            f"kv_group_size is {size}; the model's heads are {head_width} wide, which "
            f"is no multiple of it: {choice}leave kv_bits out."
        )
