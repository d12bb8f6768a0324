"""A conversation: questions and answers in turn, each image encoded once.

Every question is a whole prompt of all turns so far; that it costs only what is new
comes from the engine's caches, so a conversation may be branched, taken back or saved
without a thought about them.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, Unpack

from .chat_file import Script, Turn, read_script, write_script
from .device.thread import device_thread
from .engine import Engine
from .generation.result import GenerationResult
from .generation.text_stream import TextStream
from .options import Options
from .request import Images, Request
from .text.prompt import Message
from .timings import Stopwatch


class Chat:
    """A conversation with one model. `vlm.chat()` begins one.

    >>> chat = vlm.chat()
    >>> chat.ask("what color is the circle?", image="shape.png").text
    'red'
    >>> chat.ask("what shape is in the image?").text
    'circle'

    It is one person's: not to be used by several threads at the same time.
    """

    def __init__(
        self,
        engine: Engine,
        system: str | None,
        options: Mapping[str, Any],
        turns: Sequence[Turn] = (),
    ) -> None:
        self._engine = engine
        self._options = dict(options)
        self._turns = list(turns)
        self.system = system

    def __repr__(self) -> str:
        images = sum(len(turn.images) for turn in self._turns)
        return f"<Chat of {len(self._turns)} turns and {images} images>"

    def ask(
        self, text: str, image: Images = None, **options: Unpack[Options]
    ) -> GenerationResult:
        """Ask the next question, and wait for the whole answer.

        Args:
            text: the question; `<image>` in it places this turn's images.
            image: new images, as for `FastVLM.generate`; earlier ones stay.
            **options: the fields of GenerationOptions, for this answer only.

        Raises:
            FastVLMError: as `FastVLM.generate`; the conversation stays as it was.
                A PromptError also when the conversation no longer fits the model.
        """
        return self.stream(text, image, **options).result

    def stream(
        self, text: str, image: Images = None, **options: Unpack[Options]
    ) -> TextStream:
        """Ask the next question, and read the answer as it is written.

        The turn joins the conversation when the answer ends, by itself or by
        `close`, with as much of it as was read.
        """
        watch = Stopwatch()
        chosen: dict[str, Any] = {**self._options, **options}
        asked = Request(text, image, **chosen)
        _ = asked.messages  # an empty question opens no image
        new = tuple(
            self._engine.open_image(each, asked.options, watch.lap)
            for each in asked.images
        )
        shown = [image for turn in self._turns for image in turn.images]
        request = Request(
            text,
            [*shown, *new],
            system=self.system,
            history=self._history(),
            **chosen,
        )

        def join(result: GenerationResult) -> None:
            if result.text or result.finish_reason != "cancelled":
                ids = self._faithful_ids(result)
                self._turns.append(Turn(text, new, result.text, ids))

        return self._engine.stream(request, join, watch)

    @property
    def history(self) -> tuple[Turn, ...]:
        """The turns so far."""
        return tuple(self._turns)

    def undo(self) -> None:
        """Take the last question and its answer back, if there is one."""
        del self._turns[-1:]

    def branch(self) -> Self:
        """Another conversation that begins with all that was said in this one."""
        return type(self)(self._engine, self.system, self._options, self._turns)

    def reset(self) -> None:
        """Begin anew, under the same system prompt."""
        self._turns.clear()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the conversation to a file, with its images as the model saw them.

        Raises:
            WriteError: the file cannot be written.
        """
        script = Script(self.system, self.history)
        device_thread.run(lambda: write_script(Path(path), script))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Replace this conversation by one that `save` wrote.

        Raises:
            CacheError: the file is missing or damaged; this one stays as it was.
        """
        script = device_thread.run(lambda: read_script(Path(path)))
        self.system, self._turns = script.system, list(script.turns)

    def _history(self) -> list[Message]:
        messages = []
        for turn in self._turns:
            messages.append(Message("user", turn.text, images=len(turn.images)))
            answer = Message("assistant", turn.answer, token_ids=turn.token_ids)
            messages.append(answer)
        return messages

    def _faithful_ids(self, result: GenerationResult) -> tuple[int, ...] | None:
        """The answer's tokens, unless its text is only a part of theirs."""
        whole = self._engine.tokenizer.decode(result.token_ids) == result.text
        return result.token_ids if whole else None
