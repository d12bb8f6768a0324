"""An answer being written, and the result that it becomes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from ..images.preprocessing import ImageInfo
from ..text.stop_strings import StopFilter
from ..timings import Timings
from .prepared import Opened

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class GenerationResult:
    """An answer and what it cost. `str(result)` is its text."""

    text: str
    token_ids: tuple[int, ...]  # as generated, the end token left out
    finish_reason: FinishReason
    stop: str | None  # the end token or stop string that ended the answer
    prompt_tokens: int  # positions, an image counted in full
    image_tokens: int  # of them, visual tokens
    images: tuple[ImageInfo, ...] = ()  # how each image was preprocessed, in order
    reused_tokens: int = 0  # of them, read by an earlier request
    timings: Timings
    peak_memory: int  # bytes, of all that was computed together

    def __str__(self) -> str:
        return self.text

    @property
    def outside_training(self) -> bool:
        """Whether an image was preprocessed as none in training was."""
        return any(image.outside_training for image in self.images)

    @property
    def prompt_tps(self) -> float:
        """Prompt positions per second of prefill."""
        return self.prompt_tokens / max(self.timings.prefill, 1e-9)

    @property
    def generation_tps(self) -> float:
        """Tokens per second after the first one."""
        return max(len(self.token_ids) - 1, 0) / max(self.timings.decode, 1e-9)

    def cut(self, text: str, tokens: int) -> "GenerationResult":
        """The answer as far as it was read, if that is not to its end."""
        if text == self.text:
            return self
        return replace(
            self,
            text=text,
            token_ids=self.token_ids[:tokens],
            finish_reason="cancelled",
            stop=None,
        )


class TokenDecoder(Protocol):
    """Token ids one by one to text."""

    def feed(self, token_id: int) -> str:
        """The characters that this token completes, possibly none."""

    def flush(self) -> str:
        """What an answer that ended inside a character still owes."""


class Answer:
    """An answer being written: tokens in, text out, until it ends.

    `finish_reason` is None while it is being written.

    Args:
        max_tokens: after this many it ends with the reason "length".
        end_tokens: the ids that end an answer, and what they are called.
    """

    def __init__(
        self,
        request: Opened[Any],
        max_tokens: int,
        decoder: TokenDecoder,
        end_tokens: Mapping[int, str],
    ) -> None:
        self._request = request
        self.max_tokens = max_tokens
        self._decoder = decoder
        self._end_tokens = end_tokens
        self._filter = StopFilter(request.options.stop)
        self._ids: list[int] = []
        self._text: list[str] = []
        self._stop: str | None = None
        self.finish_reason: FinishReason | None = None
        self.generated: list[int] = []
        """As they came, the end token included."""
        self.reused_tokens = 0
        """Positions of the prompt that an earlier request has read."""

    @property
    def tokens(self) -> int:
        """How many there are, the end token left out."""
        return len(self._ids)

    def feed(self, token: int) -> str:
        """Take a token, give the text that it adds; may set `finish_reason`."""
        self.generated.append(token)
        if token in self._end_tokens:
            return self._end("stop", self._end_tokens[token])
        self._ids.append(token)
        text = self._filter.feed(self._decoder.feed(token))
        if self._filter.matched is not None:
            self._finish("stop", None)
        elif len(self.generated) == self.max_tokens:
            text += self._flush()
            self._finish("length", None)
        return self._written(text)

    def result(self, timings: Timings, peak_memory: int) -> GenerationResult:
        """The whole answer; one that has not ended counts as cancelled."""
        prompt = self._request.prompt
        return GenerationResult(
            text="".join(self._text),
            token_ids=tuple(self._ids),
            finish_reason=self.finish_reason or "cancelled",
            stop=self._stop,
            prompt_tokens=len(prompt),
            image_tokens=sum(length for _, length in prompt.image_spans),
            images=self._request.image_infos,
            reused_tokens=self.reused_tokens,
            timings=timings,
            peak_memory=peak_memory,
        )

    def _end(self, reason: FinishReason, stop: str | None) -> str:
        text = self._flush()
        self._finish(reason, stop)
        return self._written(text)

    def _flush(self) -> str:
        """The text that was still held back."""
        text = self._filter.feed(self._decoder.flush())
        return text if self._filter.matched is not None else text + self._filter.flush()

    def _written(self, text: str) -> str:
        self._text.append(text)
        return text

    def _finish(self, reason: FinishReason, stop: str | None) -> None:
        matched = self._filter.matched
        self.finish_reason = reason if matched is None else "stop"
        self._stop = stop if matched is None else matched
