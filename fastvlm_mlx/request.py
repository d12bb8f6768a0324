"""One of many questions, and what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from .chat import listed
from .errors import FastVLMError, OptionError, PromptError
from .generation.generate import GenerationResult
from .images.decode import ImageSource
from .options import GenerationOptions, option_names

RequestId = str | int | None


@dataclass(
    frozen=True, init=False, eq=False
)  # pictures in arrays have no plain equality
class Request:
    """A question to be asked among others.

    Args:
        prompt: the question.
        images: one picture or several, as in `FastVLM.generate`; none for text alone.
        system: replaces the checkpoint's system prompt.
        id: anything to know the answer by; it is handed back.
        **options: the fields of GenerationOptions, for this request alone.

    Raises:
        PromptError: `prompt` or `system` is not a text.
        OptionError: an option that is unknown or outside its range.
    """

    prompt: str
    images: tuple[ImageSource, ...]
    system: str | None
    id: RequestId
    options: GenerationOptions

    def __init__(
        self,
        prompt: str,
        images: ImageSource | Sequence[ImageSource] | None = (),
        *,
        system: str | None = None,
        id: RequestId = None,
        **options: Any,
    ) -> None:
        _require_text("prompt", prompt)
        if system is not None:
            _require_text("system", system)
        values = {
            "prompt": prompt,
            "images": tuple(listed(images)),
            "system": system,
            "id": id,
            "options": GenerationOptions.of(**options),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, given: "Request | Mapping[str, Any]") -> Self:
        """From what a caller writes: a Request, or a mapping of its arguments.

        Raises:
            OptionError: a key that is no argument, or no mapping at all.
            PromptError: there is no prompt.
        """
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping) or not all(isinstance(k, str) for k in given):
            raise OptionError(
                f"A request is {type(given).__name__}; expected a Request, or a "
                'mapping such as {"prompt": "What is this?", "images": ["a.jpg"]}.'
            )
        known = {"prompt", "images", "system", "id", *option_names()}
        unknown = sorted(given.keys() - known)
        if unknown:
            raise OptionError(
                f"A request has no {', '.join(unknown)}; "
                f"expected {', '.join(sorted(known))}."
            )
        if "prompt" not in given:
            raise PromptError('A request has no "prompt"; expected a question.')
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a request: its result, or the error that it alone failed with."""

    index: int  # the request's place among those asked, from 0
    id: RequestId
    result: GenerationResult | None
    error: FastVLMError | None

    @property
    def text(self) -> str:
        """The answer's text.

        Raises:
            FastVLMError: the error, if the request failed.
        """
        if self.result is None:
            raise self.error or FastVLMError("The request has no result.")
        return self.result.text


def _require_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise PromptError(f"{name} is {type(value).__name__}; expected a text.")
