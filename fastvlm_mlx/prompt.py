"""Text in, token ids and the places of pictures out; and token ids back to text.

The tokenizer and the chat template are the checkpoint's own. FastVLM's tokenizer is
not stock Qwen2's, and `<image>` is a token in some exports and not in others, so
the marker never reaches the tokenizer: the rendered prompt is cut at its pictures
and the pieces are tokenized one by one, as LLaVA does. What a user writes is text:
`<|im_end|>` inside it stays eleven characters. Only this file imports a tokenizer.
"""

import functools
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from .config import FastVLMConfig, read_json
from .errors import CheckpointError, PromptError

IMAGE_MARKER = "<image>"

TEMPLATE_FILE = "chat_template.jinja"


@dataclass(frozen=True)
class Message:
    """One turn. `images` pictures go with it, at its markers or before its text."""

    role: str  # "system", "user" or "assistant"
    text: str
    images: int = 0


@dataclass(frozen=True)
class Prompt:
    """A tokenized prompt with its pictures expanded to placeholders."""

    token_ids: tuple[int, ...]
    image_spans: tuple[tuple[int, int], ...]  # (start, length), in order

    def __len__(self) -> int:
        return len(self.token_ids)


class ChatTokenizer:
    """The tokenizer and chat template of one checkpoint."""

    def __init__(self, folder: Path, config: FastVLMConfig) -> None:
        self._tokenizer = _load_tokenizer(folder / "tokenizer.json")
        self._template = _load_template(folder)
        self._config = config
        added = self._tokenizer.get_added_tokens_decoder().values()
        self._specials = [str(token.content) for token in added]

    def build(
        self, messages: Sequence[Message], image_lengths: Sequence[int]
    ) -> Prompt:
        """Render a conversation and tokenize it.

        Args:
            messages: the turns so far; the model answers next.
            image_lengths: visual tokens of each picture, in order.

        Raises:
            PromptError: markers and pictures differ in number, or the prompt leaves
                no room for an answer within the model's limit.
        """
        fence = secrets.token_hex(8)  # nothing a user wrote can contain it
        contents = [self._fenced(message, fence) for message in messages]
        rendered = self._render(messages, contents, fence, len(image_lengths))
        prompt = self._tokenize(rendered, fence, image_lengths)
        self._check_length(prompt)
        return prompt

    def decode(self, token_ids: Sequence[int]) -> str:
        """Ids to text, special tokens left out."""
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def token_text(self, token_id: int) -> str:
        """What a token is called, for example "<|im_end|>"."""
        return str(self._tokenizer.id_to_token(token_id) or token_id)

    def stream_decoder(self) -> "StreamDecoder":
        """A decoder for one answer, fed token by token."""
        return StreamDecoder(self._tokenizer)

    def _fenced(self, message: Message, fence: str) -> str:
        """Put marks that only this prompt knows around pictures and unsafe text."""
        _check_unicode(message.text)
        pieces = message.text.split(IMAGE_MARKER)
        markers = len(pieces) - 1
        if markers not in (message.images, 0) or (markers and not message.images):
            raise PromptError(
                f"The text has {markers} {IMAGE_MARKER} markers for {message.images} "
                "images; expected one marker per image, or none at all."
            )
        if not markers and message.images:  # pictures first, as in training
            pieces = [""] * message.images + ["\n" + message.text]
        return f"{fence}i".join(self._as_text(piece, fence) for piece in pieces)

    def _as_text(self, piece: str, fence: str) -> str:
        if any(special in piece for special in self._specials):
            return f"{fence}[{piece}{fence}]"
        return piece

    def _render(
        self,
        messages: Sequence[Message],
        contents: Sequence[str],
        fence: str,
        images: int,
    ) -> str:
        turns = [
            {"role": message.role, "content": content}
            for message, content in zip(messages, contents, strict=True)
        ]
        try:
            rendered = self._template.render(messages=turns, add_generation_prompt=True)
        except Exception as error:  # a template can fail like any program
            raise PromptError(f"The chat template failed: {error}") from None
        found = rendered.count(f"{fence}i")
        if found != images:
            raise PromptError(
                f"The chat template kept {found} of {images} images. It is not one "
                "that takes messages as text; convert the original checkpoint again."
            )
        return rendered

    def _tokenize(
        self, rendered: str, fence: str, image_lengths: Sequence[int]
    ) -> Prompt:
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        lengths = iter(image_lengths)
        plain = False
        for piece in re.split(f"({fence}.)", rendered):
            if piece == f"{fence}i":
                spans.append((len(ids), next(lengths)))
                ids += [self._config.image_token_index] * spans[-1][1]
            elif piece.startswith(fence):
                plain = piece.endswith("[")
            else:
                tokenizer = self._plain_tokenizer if plain else self._tokenizer
                ids += tokenizer.encode(piece, add_special_tokens=False).ids
        return Prompt(tuple(ids), tuple(spans))

    @functools.cached_property
    def _plain_tokenizer(self) -> Tokenizer:
        """The same tokenizer, blind to special tokens; rarely needed, so made late."""
        blind = Tokenizer.from_str(self._tokenizer.to_str())
        blind.encode_special_tokens = True
        return blind

    def _check_length(self, prompt: Prompt) -> None:
        if len(prompt) < self._config.max_length:
            return
        pictures = sum(length for _, length in prompt.image_spans)
        raise PromptError(
            f"The prompt takes {len(prompt)} positions, {pictures} of them pictures; "
            f"the model has {self._config.max_length}, answer included. Shorten the "
            "text or lower the resolution."
        )


class StreamDecoder:
    """Ids one by one to text, never cutting a character in two."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._ids: list[int] = []
        self._emitted = 0

    def feed(self, token_id: int) -> str:
        """The characters that this token completes, possibly none."""
        self._ids.append(token_id)
        piece = self._stream.step(self._tokenizer, token_id) or ""
        self._emitted += len(piece)
        return piece

    def flush(self) -> str:
        """What an answer that ended inside a character still owes, as U+FFFD."""
        text: str = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        return text[self._emitted :]


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # bytes that a shell could not decode
        raise PromptError(
            f"The text is not valid Unicode at position {error.start}; expected UTF-8."
        ) from None


def _load_tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; convert the checkpoint again.")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def _load_template(folder: Path) -> jinja2.Template:
    config = read_json(folder / "tokenizer_config.json")
    file = folder / TEMPLATE_FILE
    source = file.read_text("utf-8") if file.is_file() else config.get("chat_template")
    if not isinstance(source, str):
        raise CheckpointError(
            f"{folder} has no chat template, neither {TEMPLATE_FILE} nor in "
            "tokenizer_config.json."
        )
    try:
        template = _environment().from_string(source)
    except jinja2.TemplateError as error:
        raise CheckpointError(f"The chat template cannot be read: {error}") from None
    template.globals.update(_special_token_names(config))
    return template


def _environment() -> jinja2.Environment:
    """Templates come with the checkpoint, so they run in a sandbox.

    The settings and functions are those that Hugging Face templates expect.
    """
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _raise_exception
    return environment


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _special_token_names(config: dict[str, Any]) -> dict[str, str]:
    names = {}
    for key in ("bos_token", "eos_token", "pad_token", "unk_token"):
        value = config.get(key)
        value = value.get("content") if isinstance(value, dict) else value
        names[key] = value if isinstance(value, str) else ""
    return names
