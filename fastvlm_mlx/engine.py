"""FastVLM, what a person holds: a picture and a question in, an answer out."""

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from . import backend, blas
from .backend import mx
from .config import FastVLMConfig, load_config
from .errors import ConfigError, OptionError, PromptError
from .generate import GenerationResult, TextStream, generate_step, make_sampler
from .image import ImageSource, open_image, prepare
from .model import FastVLMModel
from .options import GenerationOptions
from .prompt import ChatTokenizer, Message, Prompt
from .resolve import EMBEDDED, resolve
from .stopwatch import Stopwatch
from .weights import load_model

_log = logging.getLogger(__name__)

Images = ImageSource | Sequence[ImageSource] | None


class FastVLM:
    """A loaded model. `fastvlm_mlx.load` makes one.

    >>> vlm = fastvlm_mlx.load("nano")
    >>> vlm.generate("shape.png", "what color is the circle?").text
    'red'
    """

    def __init__(
        self, model: FastVLMModel, tokenizer: ChatTokenizer, config: FastVLMConfig
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.config = config
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
        size = chosen.resolution or self.config.vision_config.image_size
        sources = _listed(image)
        watch = Stopwatch()
        tokens_each = self._num_tokens(size) if sources or chosen.resolution else 0
        lengths = [tokens_each] * len(sources)
        built = self._prompt(prompt, system, lengths)  # refuses before any work
        watch.lap("tokenize")
        features = [self._encode(source, size, chosen, watch) for source in sources]
        tokens = self._tokens(built, features, chosen, watch)
        return TextStream(
            tokens, built, self.tokenizer, self.config, chosen, watch.timings
        )

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

    def _encode(
        self,
        source: ImageSource,
        size: tuple[int, int],
        options: GenerationOptions,
        watch: Stopwatch,
    ) -> mx.array:
        """A picture to image_features (1, N, C), left running on the device."""
        image = open_image(source)
        watch.lap("load_image")
        pixels = prepare(image, size, options.image_mode or self.config.image_mode)
        watch.lap("preprocess")
        pixel_values = mx.array(pixels)[None].astype(self.model.embed_dtype) / 255
        features = self.model.encode_image(pixel_values)
        backend.start(features)
        watch.lap("encode")
        return features

    def _prompt(self, text: str, system: str | None, lengths: Sequence[int]) -> Prompt:
        if isinstance(text, str) and not text.strip():
            raise PromptError("The prompt is empty; expected a question.")
        messages = [Message("user", text, images=len(lengths))]
        if system is not None:
            messages.insert(0, Message("system", system))
        return self.tokenizer.build(messages, lengths)

    def _tokens(
        self,
        prompt: Prompt,
        features: Sequence[mx.array],
        options: GenerationOptions,
        watch: Stopwatch,
    ) -> Iterator[int]:
        projected = [self.model.project(each)[0] for each in features]
        backend.start(*projected)
        watch.lap("project")
        inputs_embeds = self.model.splice(
            prompt.token_ids, prompt.image_spans, projected
        )

        def wait_for_parts() -> None:
            # everything is scheduled, so waiting in between delays nothing
            watch.lap("prefill")
            mx.eval(features)
            watch.lap("encode")
            mx.eval(projected)
            watch.lap("project")

        room = self.config.max_length - len(prompt)
        tokens = generate_step(
            self.model,
            inputs_embeds,
            self.model.make_cache(),
            make_sampler(options, self.config.text_config.vocab_size),
            min(options.max_tokens, room),
            wait_for_parts,
        )
        return _timed(tokens, watch)


def _timed(tokens: Iterator[int], watch: Stopwatch) -> Iterator[int]:
    """Pass tokens on and note how long each was waited for."""
    part = "prefill"
    while True:
        watch.resume()  # the caller's own time is not the model's
        try:
            token = next(tokens)
        except StopIteration:
            return
        watch.lap(part)
        yield token
        part = "decode"


def _listed(image: Images) -> Sequence[ImageSource]:
    if image is None:
        return []
    return image if isinstance(image, list | tuple) else [image]  # type: ignore[list-item]


def load(
    model: str | os.PathLike[str] = EMBEDDED,
    *,
    revision: str | None = None,
    dtype: str | None = None,
) -> FastVLM:
    """Load a model.

    Args:
        model: "nano", the small model inside this package; a folder; or a hub id such
            as "apple/FastVLM-0.5B". A PyTorch checkpoint is converted on first use.
        revision: branch, tag or commit of a hub id.
        dtype: "float32", "bfloat16" or "float16"; None picks the backend's own.

    Raises:
        FastVLMError: see `fastvlm_mlx.errors`.
    """
    slow = blas.hint()
    if slow:
        _log.warning(slow)
    folder = resolve(model, revision)
    config = load_config(folder)
    tokenizer = ChatTokenizer(folder, config)
    return FastVLM(load_model(folder, dtype), tokenizer, config)
