"""A conversation: questions and answers in turn, each picture encoded once.

Every question is a whole prompt of all turns so far; that it costs only what is new
comes from the model's caches, so a conversation may be branched, taken back or saved
without a thought about them.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from .chat_file import Script, Turn, read_script, write_script
from .generation.generate import GenerationResult, TextStream
from .generation.prepared import Prepared
from .images.decode import ImageSource
from .images.image import Lap, Picture
from .options import GenerationOptions
from .text.tokenizer import ChatTokenizer, Message, question
from .timings import Stopwatch


class Answerer(Protocol):
    """What a conversation needs of a model; FastVLM is one."""

    tokenizer: ChatTokenizer

    def open_picture(
        self, image: ImageSource | Picture, options: GenerationOptions, lap: Lap
    ) -> Picture:
        """A picture that several requests may use."""

    def prepare(
        self,
        messages: Sequence[Message],
        images: Sequence[Picture],
        options: GenerationOptions,
        lap: Lap,
    ) -> Prepared:
        """A request that can no longer be refused."""

    def answer(
        self,
        request: Prepared,
        watch: Stopwatch,
        on_result: Callable[[GenerationResult], None],
    ) -> TextStream:
        """Its answer, as it is written."""


class Chat:
    """A conversation with one model. `vlm.chat()` begins one.

    >>> chat = vlm.chat()
    >>> chat.ask("what color is the circle?", image="shape.png").text
    'red'
    >>> chat.ask("what shape is in the image?").text
    'circle'

    One person's: not to be used from several threads at a time.
    """

    def __init__(
        self,
        model: Answerer,
        system: str | None,
        options: Mapping[str, Any],
        turns: Sequence[Turn] = (),
    ) -> None:
        self._model = model
        self._options = dict(options)
        self._turns = list(turns)
        self.system = system

    def ask(
        self,
        text: str,
        image: ImageSource | Sequence[ImageSource] | None = None,
        **options: Any,
    ) -> GenerationResult:
        """Ask the next question, and wait for the whole answer.

        Args:
            text: the question; `<image>` in it places this turn's pictures.
            image: new pictures, as for `FastVLM.generate`; earlier ones stay.
            **options: the fields of GenerationOptions, for this answer only.

        Raises:
            FastVLMError: as `FastVLM.generate`; the conversation stays as it was.
                A PromptError also when the conversation no longer fits the model.
        """
        return self.stream(text, image, **options).result

    def stream(
        self,
        text: str,
        image: ImageSource | Sequence[ImageSource] | None = None,
        **options: Any,
    ) -> TextStream:
        """Ask the next question, and read the answer as it is written.

        The turn joins the conversation when the answer ends, by itself or by
        `close`, with as much of it as was read.
        """
        watch = Stopwatch()
        chosen = GenerationOptions.of(**{**self._options, **options})
        asked = question(text, len(listed(image)))
        new = tuple(
            self._model.open_picture(each, chosen, watch.lap) for each in listed(image)
        )
        shown = [picture for turn in self._turns for picture in turn.pictures]
        messages = [*self._messages(), asked]
        request = self._model.prepare(messages, [*shown, *new], chosen, watch.lap)

        def join(result: GenerationResult) -> None:
            if result.text or result.finish_reason != "cancelled":
                ids = self._faithful_ids(result)
                self._turns.append(Turn(text, new, result.text, ids))

        return self._model.answer(request, watch, join)

    @property
    def history(self) -> tuple[Turn, ...]:
        """The turns so far."""
        return tuple(self._turns)

    def undo(self) -> None:
        """Take the last question and its answer back, if there is one."""
        del self._turns[-1:]

    def branch(self) -> Self:
        """Another conversation that begins with all that was said in this one."""
        return type(self)(self._model, self.system, self._options, self._turns)

    def reset(self) -> None:
        """Begin anew, under the same system prompt."""
        self._turns.clear()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the conversation to a file, with its pictures as the model saw them.

        Raises:
            WriteError: the file cannot be written.
        """
        write_script(Path(path), Script(self.system, self.history))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on with a conversation that `save` wrote, in place of this one.

        Raises:
            CacheError: the file is missing or damaged; this one stays as it was.
        """
        script = read_script(Path(path))
        self.system, self._turns = script.system, list(script.turns)

    def _messages(self) -> list[Message]:
        messages = [] if self.system is None else [Message("system", self.system)]
        for turn in self._turns:
            messages.append(Message("user", turn.text, images=len(turn.pictures)))
            answer = Message("assistant", turn.answer, token_ids=turn.token_ids)
            messages.append(answer)
        return messages

    def _faithful_ids(self, result: GenerationResult) -> tuple[int, ...] | None:
        """The answer's tokens, unless its text is only a part of theirs."""
        whole = self._model.tokenizer.decode(result.token_ids) == result.text
        return result.token_ids if whole else None


def listed(
    image: ImageSource | Sequence[ImageSource] | None,
) -> Sequence[ImageSource]:
    """Pictures as a caller may give them: none, one or several."""
    if image is None:
        return []
    return image if isinstance(image, list | tuple) else [image]  # type: ignore[list-item]
