"""Questions and answers to token ids, through FastVLM's conversation form.

In: `Question`s. Out: the ids of one prompt, or a `Batch` to learn from. The image
marker stands in the ids once per visual token, as transformers' FastVLM wants it.

FastVLM's prompt has the picture before the question, so conversations about one picture
begin alike. A batch writes that beginning once per picture and hangs every conversation
on it, each unseen by the others.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.nano.data import Question
from benchmarks.nano.tokenizer import (
    END,
    END_OF_TEXT,
    IMAGE,
    SYSTEM_PROMPT,
    token_id,
)

IGNORED = -100  # The label of a place that is not trained, PyTorch's own default.
PROMPT = (
    f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n"
    "<|im_start|>user\n{markers}\n{text}<|im_end|>\n<|im_start|>assistant\n"
)


@dataclass(frozen=True)
class Batch:
    """Conversations about P pictures, one row of L places per picture.

    Attributes:
        input_ids: int64 (P, L), padded on the right.
        position_ids: int64 (P, L); every conversation goes on from the beginning's end.
        segments: int64 (P, L), 0 in the beginning, 1, 2 ... in the conversations.
        labels: int64 (P, L), the next token where it belongs to the answer or ends it,
            else `IGNORED`.
    """

    input_ids: Tensor
    position_ids: Tensor
    segments: Tensor
    labels: Tensor

    def attention_mask(self) -> Tensor:
        """Let a place see what precedes it in the beginning and its own conversation.

        Returns:
            bool (P, 1, L, L), true where the row's place sees the column's.
        """
        rows, columns = self.segments[:, :, None], self.segments[:, None, :]
        seen = (columns == 0) | (columns == rows)  # (P, L, L)
        return seen.tril()[:, None]


class PromptEncoder:
    """Turns questions into ids, remembering each distinct one.

    Args:
        tokenizer: the nano tokenizer.
        image_tokens: visual tokens of one picture.
    """

    def __init__(self, tokenizer: Tokenizer, image_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._markers = IMAGE * image_tokens
        self._padding = token_id(tokenizer, END_OF_TEXT)
        self.prompt = lru_cache(maxsize=None)(self._encode_prompt)
        self._answer = lru_cache(maxsize=None)(self._encode_answer)
        # Up to the last visual token, where "\n" and the question follow.
        beginning = PROMPT.partition("\n{text}")[0].format(markers=self._markers)
        self._shared = len(tokenizer.encode(beginning).ids)

    def _encode_prompt(self, text: str) -> list[int]:
        filled = PROMPT.format(markers=self._markers, text=text)
        ids: list[int] = self._tokenizer.encode(filled).ids
        return ids

    def _encode_answer(self, answer: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(answer + END).ids
        return ids

    def batch(self, conversations: list[list[Question]]) -> Batch:
        """Encode each picture's questions with their answers."""
        rows = [self._row(questions) for questions in conversations]
        fillings = (self._padding, 0, -1, IGNORED)
        columns = zip(zip(*rows, strict=True), fillings, strict=True)
        return Batch(*[pad_sequence(list(c), True, filling) for c, filling in columns])

    def _row(self, questions: list[Question]) -> list[Tensor]:
        """Return ids, positions, segments and labels of one picture."""
        ids = self.prompt(questions[0].text)[: self._shared]
        positions, segments = list(range(self._shared)), [0] * self._shared
        labels = [IGNORED] * self._shared
        for number, question in enumerate(questions, start=1):
            asked = self.prompt(question.text)[self._shared :]
            answer = self._answer(question.answer)
            read = asked + answer[:-1]  # The last token is only predicted.
            ids = ids + read
            positions += range(self._shared, self._shared + len(read))
            segments += [number] * len(read)
            labels += [IGNORED] * (len(asked) - 1) + answer
        return [torch.tensor(each) for each in (ids, positions, segments, labels)]
