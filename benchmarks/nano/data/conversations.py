"""Questions and answers as token ids, in FastVLM's conversation form.

The image marker occurs once per visual token. Conversations about one image begin
alike, so a row holds that prefix once and all conversations after it; the attention
mask separates them. A question may follow another one's answer.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .easy_vqa import YES_NO, statement
from .square import IGNORED
from .tasks.figures import EASY as EASY_SHAPES
from .tasks.figures import OBJECTS, SHAPES
from .tasks.palette import EASY as EASY_COLOURS
from .tasks.palette import NAMED
from .tasks.scene import Mark, Question, Scene
from .tokenizer import END, END_OF_TEXT, IMAGE, SYSTEM_PROMPT, token_id

WORDS = re.compile(r"(?s) ?\w+|.")  # a blank belongs to the word after it
PROMPT = (
    f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n"
    "<|im_start|>user\n{markers}\n{text}<|im_end|>\n<|im_start|>assistant\n"
)

ANY = ("shape", "object")
MENTIONS = re.compile(
    rf"\b(?P<most>biggest |smallest )?(?:(?P<colour>{'|'.join(NAMED)}) )?"
    rf"(?P<shape>{'|'.join((*SHAPES, *ANY))})(?:es|s)?\b"
)


@dataclass(frozen=True)
class Conversations:
    """Conversations about P images, one row of L positions per image; int64 (P, L).

    Labels are the next token in an answer, hints in easy-vqa's yes/no questions, first
    objects at visual tokens (see `dense_label`), else IGNORED.
    """

    input_ids: Tensor  # padded on the right
    position_ids: Tensor  # every conversation continues from the prefix
    segments: Tensor  # 0 in the prefix, 1, 2 ... in the questions
    threads: Tensor  # 0 in the prefix, else the first segment of the conversation
    labels: Tensor

    def attention_mask(self) -> Tensor:
        """bool (P, 1, L, L): each position sees its prefix and own conversation."""
        rows, columns = self.threads[:, :, None], self.threads[:, None, :]
        seen = (columns == 0) | (columns == rows)  # (P, L, L)
        return seen.tril()[:, None]


class PromptEncoder:
    """Turns questions about images of N tokens into ids; remembers distinct ones."""

    def __init__(self, tokenizer: Tokenizer, image_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._markers = IMAGE * image_tokens
        self._image = token_id(tokenizer, IMAGE)
        self._padding = token_id(tokenizer, END_OF_TEXT)
        self._prompt = lru_cache(maxsize=None)(self._encode_prompt)
        self._answer = lru_cache(maxsize=None)(self._encode_answer)
        # up to the last visual token, where "\n" and the question follow
        prefix = PROMPT.partition("\n{text}")[0].format(markers=self._markers)
        self._before = len(prefix) + len("\n")  # characters before the question
        self._prefix: list[int] = tokenizer.encode(prefix).ids
        # between an answer and the "\n" of a question that follows it
        self._between: list[int] = tokenizer.encode(f"{END}\n<|im_start|>user").ids

    def _encode_prompt(self, text: str) -> Encoding:
        filled = PROMPT.format(markers=self._markers, text=text)
        return self._tokenizer.encode(filled)

    def position(self, text: str, character: int) -> int:
        """The token, counted after the prefix, that holds a question's character."""
        token = self._prompt(text).char_to_token(self._before + character)
        assert token is not None, f"{text!r} has no character {character}"
        return token - len(self._prefix)

    def _encode_answer(self, answer: str) -> list[int]:
        """Encode an answer; a word of several tokens is spelled by its characters.

        The tokenizer's pieces would lie across visual tokens and vary with the word.
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
        conversations: list[list[Question]],
        first_objects: Tensor | None = None,
        follow_up: bool = False,
    ) -> Conversations:
        """Encode each image's questions with their answers.

        Args:
            conversations: questions by image.
            first_objects: int64 (P, N), labels of the visual tokens.
            follow_up: let each image's second question follow the first.
        """
        rows = [self._row(questions, follow_up) for questions in conversations]
        fillings = (self._padding, 0, -1, -1, IGNORED)
        columns = zip(zip(*rows, strict=True), fillings, strict=True)
        made = Conversations(
            *[pad_sequence(list(c), True, filling) for c, filling in columns]
        )
        if first_objects is not None:
            made.labels[made.input_ids == self._image] = first_objects.flatten()
        return made

    def _hints(self, question: Question, ids: list[int]) -> list[int]:
        """Label the attribute in easy-vqa's yes/no questions: is it shown?

        Half of them are negated; until that is understood, the answers alone give the
        comparison of word and image almost no gradient.
        """
        labels = [IGNORED] * len(ids)
        if question.kind != YES_NO:
            return labels
        shown, word = statement(question, EASY_SHAPES + EASY_COLOURS)
        if word is not None:
            place = ids.index(self._tokenizer.encode(f" {word}").ids[-1])
            labels[place] = self._answer("yes" if shown else "no")[0]
        return labels

    def _row(self, questions: list[Question], follow_up: bool) -> list[Tensor]:
        """Ids, positions, segments, threads and labels of one image."""
        shared = len(self._prefix)
        row = [(token, at, 0, 0, IGNORED) for at, token in enumerate(self._prefix)]
        for number, question in enumerate(questions, start=1):
            follows = follow_up and number == 2
            first = row[-1][1] + 1 if follows else shared
            before = self._between if follows else []
            turn = [(token, number - 1, IGNORED) for token in before]
            turn += [(token, number, label) for token, label in self._turn(question)]
            thread = number - follows
            row += [
                (token, first + place, segment, thread, label)
                for place, (token, segment, label) in enumerate(turn)
            ]
        return [torch.tensor(column) for column in zip(*row, strict=True)]

    def _turn(self, question: Question) -> Iterator[tuple[int, int]]:
        ids = self._prompt(question.text).ids[len(self._prefix) :]
        answer = self._answer(question.answer)
        labels = self._hints(question, ids)[:-1] + answer
        return zip(ids + answer[:-1], labels, strict=True)


@dataclass(frozen=True)
class Mention:
    """Figures that a question names: "the red circle", "blue shapes"."""

    question: int  # the question's segment
    position: int  # of the mention's last token in the row
    figures: tuple[Mark, ...]  # those of the image that are meant


def mentions(
    scene: Scene,
    questions: Sequence[Question],
    segments: Tensor,
    prompts: PromptEncoder,
) -> list[Mention]:
    """All mentions in a row's questions about an image that shows figures only.

    Args:
        segments: the row's, int64 (L,).
        prompts: what encoded the row.
    """
    if any(mark.label not in OBJECTS for mark in scene.marks):
        return []
    found = []
    for number, question in enumerate(questions if scene.marks else (), start=1):
        first = int((segments == number).int().argmax())
        for last, colour, shape in find_mentions(question.text):
            position = first + prompts.position(question.text, last)
            meant = [mark for mark in scene.marks if _is_meant(mark, colour, shape)]
            found.append(Mention(number, position, tuple(meant)))
    return found


def find_mentions(text: str) -> Iterator[tuple[int, str | None, str]]:
    """The last character, colour and shape of all mentions; "biggest shape" is none."""
    for found in MENTIONS.finditer(text):
        if not found["most"]:
            yield found.end() - 1, found["colour"], found["shape"]


def _is_meant(mark: Mark, colour: str | None, shape: str) -> bool:
    its_colour, its_shape = mark.label.split()
    return colour in (None, its_colour) and shape in (its_shape, *ANY)
