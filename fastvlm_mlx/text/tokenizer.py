"""Text in, token ids and the places of images out; and token ids back to text.

The tokenizer and the chat template are the checkpoint's own. FastVLM's tokenizer is
not stock Qwen2's, and `<image>` is a token in some exports and not in others, so
the marker never reaches the tokenizer: the rendered prompt is cut at its images
and the pieces are tokenized one by one, as LLaVA does. What a user writes is text:
`<|im_end|>` inside it stays eleven characters. Only this file imports a tokenizer.
"""

import functools
import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from ..config import FastVLMConfig
from ..errors import CheckpointError, PromptError
from .chat_template import load_template
from .prompt import IMAGE_MARKER, Message, Prompt


class ChatTokenizer:
    """The tokenizer and chat template of one checkpoint."""

    def __init__(self, folder: Path, config: FastVLMConfig) -> None:
        self._tokenizer = read_tokenizer_file(folder / "tokenizer.json")
        self._template = load_template(folder)
        self._config = config
        added = self._tokenizer.get_added_tokens_decoder().values()
        self._specials = [str(token.content) for token in added]

    def build(
        self, messages: Sequence[Message], image_lengths: Sequence[int]
    ) -> Prompt:
        """Render a conversation and tokenize it.

        Args:
            messages: the turns so far; the model answers next.
            image_lengths: visual tokens of each image, in order.

        Raises:
            PromptError: markers and images differ in number, or the prompt leaves
                no room for an answer within the model's limit.
        """
        fence = secrets.token_hex(8)  # nothing a user wrote can contain it
        for message in messages:
            _check_message(message)
        rendered = self._render(messages, fence, len(image_lengths))
        system = re.split(f"{fence}[ui]", rendered, maxsplit=1)[0]
        answers = [self._answer_ids(each) for each in messages if _is_answer(each)]
        prompt = self._tokenize(
            rendered.replace(f"{fence}u", ""), fence, image_lengths, answers
        )
        self._check_length(prompt, bool(answers))
        end = len(self._tokenize(system, fence, [], []))
        return replace(prompt, system_end=end)

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

    def _render(self, messages: Sequence[Message], fence: str, images: int) -> str:
        """Fill the template, with marks that only this prompt knows.

        Apple's templates take a message's content as text, transformers' as a list
        of parts, and either drops the other's without a word. So each text ends
        with a mark, and a form that loses one is not the template's.
        """
        forms = (
            [self._as_text(message, fence) for message in messages],
            [self._as_parts(message, fence) for message in messages],
        )
        failure = "it drops what the messages say"
        for contents in forms:
            try:
                rendered = self._fill(messages, contents)
            except Exception as error:  # a template can fail like any program
                failure = str(error)
                continue
            rendered = rendered.replace(IMAGE_MARKER, f"{fence}i")
            found = rendered.count(f"{fence}t"), rendered.count(f"{fence}i")
            if found == (len(messages), images):
                return rendered.replace(f"{fence}t", "")
        raise PromptError(
            f"The chat template failed: {failure}. Expected one that takes a message's "
            "content as text or as a list of parts."
        )

    def _fill(self, messages: Sequence[Message], contents: Sequence[object]) -> str:
        turns = [
            {"role": message.role, "content": content}
            for message, content in zip(messages, contents, strict=True)
        ]
        return self._template.render(messages=turns, add_generation_prompt=True)

    def _as_text(self, message: Message, fence: str) -> str:
        """Images at their markers, or first, as in training."""
        if _is_answer(message):
            return f"{fence}a{fence}t"
        pieces = message.text.split(IMAGE_MARKER)
        if message.images and len(pieces) == 1:
            pieces = [""] * message.images + ["\n" + message.text]
        fenced = f"{fence}i".join(
            self._without_specials(each, fence) for each in pieces
        )
        return f"{_opening(message, fence)}{fenced}{fence}t"

    def _as_parts(self, message: Message, fence: str) -> list[dict[str, str]]:
        """Images first as parts; where a text has markers, it keeps their places."""
        if _is_answer(message) or IMAGE_MARKER in message.text:
            return [{"type": "text", "text": self._as_text(message, fence)}]
        text = self._without_specials(message.text, fence)
        text = f"{_opening(message, fence)}{text}{fence}t"
        images = [{"type": "image"}] * message.images
        return [*images, {"type": "text", "text": text}]

    def _without_specials(self, piece: str, fence: str) -> str:
        """Fence off text in which the tokenizer would find special tokens."""
        if any(special in piece for special in self._specials):
            return f"{fence}[{piece}{fence}]"
        return piece

    def _answer_ids(self, message: Message) -> Sequence[int]:
        """An answer as the model gave it, or as its text alone reads."""
        if message.token_ids is not None:
            return message.token_ids
        ids: list[int] = self._plain_tokenizer.encode(
            message.text, add_special_tokens=False
        ).ids
        return ids

    def _tokenize(
        self,
        rendered: str,
        fence: str,
        image_lengths: Sequence[int],
        answers: Sequence[Sequence[int]],
    ) -> Prompt:
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        lengths, spoken = iter(image_lengths), iter(answers)
        plain = False
        for piece in re.split(f"({fence}.)", rendered):
            if piece == f"{fence}i":
                spans.append((len(ids), next(lengths)))
                ids += [self._config.image_token_index] * spans[-1][1]
            elif piece == f"{fence}a":
                ids += next(spoken)
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

    def _check_length(self, prompt: Prompt, is_conversation: bool) -> None:
        if len(prompt) < self._config.max_length:
            return
        images = sum(length for _, length in prompt.image_spans)
        way_out = ", take turns back or begin anew" if is_conversation else ""
        raise PromptError(
            f"The prompt takes {len(prompt)} positions, {images} of them images; "
            f"the model has {self._config.max_length}, answer included. Shorten the "
            f"text or lower the resolution{way_out}."
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


def _is_answer(message: Message) -> bool:
    return message.role == "assistant"


def _opening(message: Message, fence: str) -> str:
    """A mark where a question begins."""
    return f"{fence}u" if message.role == "user" else ""


def _check_message(message: Message) -> None:
    if not isinstance(message.text, str):
        raise PromptError(
            f"The text of a prompt is {type(message.text).__name__}; expected str."
        )
    try:
        message.text.encode()
    except UnicodeEncodeError as error:  # bytes that a shell could not decode
        raise PromptError(
            f"The text is not valid Unicode at position {error.start}; expected UTF-8."
        ) from None
    if _is_answer(message):  # a model may write anything
        return
    markers = message.text.count(IMAGE_MARKER)
    if markers not in (0, message.images):
        raise PromptError(
            f"The text has {markers} {IMAGE_MARKER} markers for {message.images} "
            "images; expected one marker per image, or none at all."
        )


def read_tokenizer_file(path: Path) -> Tokenizer:
    """Read a tokenizer.json, without the cutting and padding that one may ask for."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; convert the checkpoint again.")
    try:
        tokenizer = Tokenizer.from_str(path.read_text("utf-8-sig"))
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
