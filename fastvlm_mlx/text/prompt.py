"""What is said to the model: turns, and the prompt that they become. No tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import PromptError

IMAGE_MARKER = "<image>"


@dataclass(frozen=True)
class Message:
    """One turn. `images` images go with it, at its markers or before its text.

    An answer that this model gave may bring its tokens, since its text need not
    become the same ones again.
    """

    role: str  # "system", "user" or "assistant"
    text: str
    images: int = 0
    token_ids: tuple[int, ...] | None = None  # "assistant" only


def messages_of(
    prompt: str, images: int, system: str | None, history: Sequence[Message] = ()
) -> tuple[Message, ...]:
    """All turns of a request: the system prompt, earlier turns, and the question.

    Args:
        images: how many images go with the question.

    Raises:
        PromptError: the question is empty.
    """
    if isinstance(prompt, str) and not prompt.strip():
        raise PromptError("The prompt is empty; expected a question.")
    first = () if system is None else (Message("system", system),)
    return (*first, *history, Message("user", prompt, images=images))


@dataclass(frozen=True)
class Prompt:
    """A tokenized prompt with its images expanded to placeholders."""

    token_ids: tuple[int, ...]
    image_spans: tuple[tuple[int, int], ...]  # (start, length), in order
    system_end: int = field(default=0, compare=False)  # where the first question begins

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def kept(self) -> int:
        """Positions that an answer should never forget: system prompt and images."""
        return max([self.system_end] + [start + n for start, n in self.image_spans])
