"""Questions and answers to token ids, through FastVLM's conversation form.

In: `Ask`s. Out: the ids of one prompt, or `Conversations` to learn from. The image
marker stands in the ids once per visual token, as transformers' FastVLM wants it.

FastVLM's prompt has the picture before the question, so conversations about one picture
begin alike. A row writes that beginning once per picture and hangs every conversation
on it, each unseen by the others. A question may follow another in its conversation.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.nano.data import COLORS, SHAPES, Question, statement
from benchmarks.nano.tasks.scene import Ask
from benchmarks.nano.tokenizer import (
    END,
    END_OF_TEXT,
    IMAGE,
    SYSTEM_PROMPT,
    token_id,
)

IGNORED = -100  # The label of a place that is not trained, PyTorch's own default.
WORDS = re.compile(r"(?s) ?\w+|.")  # A blank belongs to the word behind it.
PROMPT = (
    f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n"
    "<|im_start|>user\n{markers}\n{text}<|im_end|>\n<|im_start|>assistant\n"
)


@dataclass(frozen=True)
class Conversations:
    """Conversations about P pictures, one row of L places per picture.

    Attributes:
        input_ids: int64 (P, L), padded on the right.
        position_ids: int64 (P, L); every conversation goes on from the beginning's end.
        segments: int64 (P, L), 0 in the beginning, 1, 2 ... in the questions.
        threads: int64 (P, L), 0 in the beginning, and in each conversation the segment
            that it starts with.
        labels: int64 (P, L), the next token where it belongs to the answer or ends it,
            "yes" or "no" at a word that a yes/no question names, what is seen at a
            visual token (see `glimpses`), else `IGNORED`.
    """

    input_ids: Tensor
    position_ids: Tensor
    segments: Tensor
    threads: Tensor
    labels: Tensor

    def attention_mask(self) -> Tensor:
        """Let a place see what precedes it in the beginning and its own conversation.

        Returns:
            bool (P, 1, L, L), true where the row's place sees the column's.
        """
        rows, columns = self.threads[:, :, None], self.threads[:, None, :]
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
        self._image = token_id(tokenizer, IMAGE)
        self._padding = token_id(tokenizer, END_OF_TEXT)
        self._prompt = lru_cache(maxsize=None)(self._encode_prompt)
        self._answer = lru_cache(maxsize=None)(self._encode_answer)
        # Up to the last visual token, where "\n" and the question follow.
        beginning = PROMPT.partition("\n{text}")[0].format(markers=self._markers)
        self._before = len(beginning) + len("\n")  # Characters before the question.
        self._beginning: list[int] = tokenizer.encode(beginning).ids
        # Between an answer and the "\n" of a question that follows it.
        self._between: list[int] = tokenizer.encode(f"{END}\n<|im_start|>user").ids

    def _encode_prompt(self, text: str) -> Encoding:
        filled = PROMPT.format(markers=self._markers, text=text)
        return self._tokenizer.encode(filled)

    def place(self, text: str, character: int) -> int:
        """Return which token after the beginning holds a character of a question."""
        token = self._prompt(text).char_to_token(self._before + character)
        assert token is not None, f"{text!r} has no character {character}"
        return token - len(self._beginning)

    def _encode_answer(self, answer: str) -> list[int]:
        """Encode an answer; a word that is not one token is spelled by its characters.

        A piece of a word is a token for some characters together, which stand at
        several visual tokens, and differs with the word. One character is one token.
        """
        ids = [each for word in WORDS.findall(answer) for each in self._spell(word)]
        return [*ids, token_id(self._tokenizer, END)]

    def _spell(self, word: str) -> list[int]:
        whole: list[int] = self._tokenizer.encode(word).ids
        if len(whole) == 1:
            return whole
        return [each for one in word for each in self._tokenizer.encode(one).ids]

    def batch(
        self,
        conversations: list[list[Ask]],
        seen: Tensor | None = None,
        follow_up: bool = False,
    ) -> Conversations:
        """Encode each picture's questions with their answers.

        Args:
            conversations: by picture.
            seen: labels (P, N) of the visual tokens, if anything is to be said there.
            follow_up: let the second question of each picture follow the first one.
        """
        rows = [self._row(questions, follow_up) for questions in conversations]
        fillings = (self._padding, 0, -1, -1, IGNORED)
        columns = zip(zip(*rows, strict=True), fillings, strict=True)
        made = Conversations(
            *[pad_sequence(list(c), True, filling) for c, filling in columns]
        )
        if seen is not None:
            made.labels[made.input_ids == self._image] = seen.flatten()
        return made

    def _hints(self, question: Ask, asked: list[int]) -> list[int]:
        """Label the named word of easy-vqa's yes/no questions: is it shown there?

        Generation never reads what the decoder says there. But half of the questions
        are negated, so without these labels the answers alone give the comparison of
        word and picture next to no gradient until the negations are understood.
        """
        labels = [IGNORED] * len(asked)
        if question.kind != "easy-vqa/yes-no":
            return labels
        said = Question(question.text, question.answer)
        shown, word = statement(said, SHAPES + COLORS)
        if word is not None:
            place = asked.index(self._tokenizer.encode(f" {word}").ids[-1])
            labels[place] = self._answer("yes" if shown else "no")[0]
        return labels

    def _row(self, questions: list[Ask], follow_up: bool) -> list[Tensor]:
        """Return ids, positions, segments, threads and labels of one picture."""
        shared = len(self._beginning)
        row = [(token, at, 0, 0, IGNORED) for at, token in enumerate(self._beginning)]
        for number, question in enumerate(questions, start=1):
            follows = follow_up and number == 2
            first = row[-1][1] + 1 if follows else shared
            before = self._between if follows else []
            read = [(token, number - 1, IGNORED) for token in before]
            read += [(token, number, label) for token, label in self._turn(question)]
            thread = number - follows
            row += [
                (token, first + place, segment, thread, label)
                for place, (token, segment, label) in enumerate(read)
            ]
        return [torch.tensor(column) for column in zip(*row, strict=True)]

    def _turn(self, question: Ask) -> Iterator[tuple[int, int]]:
        """Yield the ids and labels of a question and its answer, without the end."""
        asked = self._prompt(question.text).ids[len(self._beginning) :]
        answer = self._answer(question.answer)
        read = asked + answer[:-1]  # The last token is only predicted.
        return zip(read, self._hints(question, asked)[:-1] + answer, strict=True)
