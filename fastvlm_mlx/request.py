"""One question, and what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias, Unpack

from .errors import FastVLMError, OptionError, PromptError
from .generation.result import GenerationResult
from .images.decode import ImageSource
from .images.image import OpenedImage
from .images.sources import taken
from .options import GenerationOptions, Options, option_names
from .text.prompt import Message, messages_of

RequestId: TypeAlias = str | int | None
Image: TypeAlias = ImageSource | OpenedImage
Images: TypeAlias = Image | Sequence[Image] | None


@dataclass(frozen=True, init=False, eq=False)  # arrays have no plain equality
class Request:
    """A question about images.

    Args:
        prompt: the question.
        images: one image or several, as in `FastVLM.generate`; none for text alone.
        system: replaces the checkpoint's system prompt.
        history: earlier turns of the conversation; their images come first.
        id: anything to recognize the answer by; it is returned with it.
        **options: the fields of GenerationOptions, for this request.

    Raises:
        PromptError: `prompt` or `system` is not a text.
        OptionError: an option that is unknown or outside its range.
    """

    prompt: str
    images: tuple[Image, ...]
    system: str | None
    history: tuple[Message, ...]
    id: RequestId
    options: GenerationOptions

    def __init__(
        self,
        prompt: str,
        images: Images = (),
        *,
        system: str | None = None,
        history: Sequence[Message] = (),
        id: RequestId = None,
        **options: Unpack[Options],
    ) -> None:
        _require_text("prompt", prompt)
        if system is not None:
            _require_text("system", system)
        values = {
            "prompt": prompt,
            "images": _listed(images),
            "system": system,
            "history": tuple(history),
            "id": id,
            "options": GenerationOptions.of(**options),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def messages(self) -> tuple[Message, ...]:
        """All turns; the model answers next.

        Raises:
            PromptError: the question is empty.
        """
        earlier = sum(message.images for message in self.history)
        new = len(self.images) - earlier
        return messages_of(self.prompt, new, self.system, self.history)

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


Given: TypeAlias = Request | Mapping[str, Any]
"""A request as a caller may write it."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a request: its result, or the error that it failed with."""

    index: int  # the request's place among those asked, from 0
    id: RequestId
    result: GenerationResult | None
    error: Exception | None  # a FastVLMError, unless nobody foresaw it

    @property
    def text(self) -> str:
        """The answer's text.

        Raises:
            FastVLMError: or whatever the request failed with.
        """
        if self.result is None:
            raise self.error or FastVLMError("The request has no result.")
        return self.result.text


def id_of(given: Given) -> RequestId:
    """The id of a request, even where the rest of it cannot be read."""
    if isinstance(given, Request):
        return given.id
    return given.get("id") if isinstance(given, Mapping) else None


def _listed(images: Images) -> tuple[Image, ...]:
    """Images as a caller may give them: none, one or several."""
    if images is None:
        return ()
    several = images if isinstance(images, list | tuple) else [images]
    return tuple(taken(image) for image in several)


def _require_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise PromptError(f"{name} is {type(value).__name__}; expected a text.")
