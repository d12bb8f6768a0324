"""Measure a checkpoint with transformers: `... -m benchmarks.nano.transformers_check`.

Every question of easy-vqa's test split is answered greedily, with the folder's own
tokenizer, chat template and resolution, and compared with the data set's answer.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from .data.easy_vqa import EasyImage, load_split
from .data.square import read_square
from .data.tasks.scene import Question
from .train.checkpoint import load_model
from .train.model import to_pixel_values

BATCH = 100
LONGEST_ANSWER = 8  # tokens; the longest trained answer, a caption, has five

Asked = tuple[int, Question]
"""The image's index in the split, and the question."""


@dataclass(frozen=True)
class Score:
    """Questions asked and rightly answered, by kind of question."""

    asked: Counter[str]
    right: Counter[str]

    def add(self, question: Question, answer: str) -> None:
        """Count one answer; only the data set's exact words are right."""
        self.asked[question.kind] += 1
        self.right[question.kind] += answer == question.answer

    def lines(self) -> Iterator[str]:
        """A line per kind of question, and one for all."""
        for kind in sorted(self.asked):
            yield _line(kind, self.right[kind], self.asked[kind])
        yield _line("all", self.right.total(), self.asked.total())


def _line(kind: str, right: int, asked: int) -> str:
    return f"{kind:16} {right:5d} of {asked:5d}  {100 * right / asked:6.2f} %"


class Reference:
    """A checkpoint folder, loaded by transformers in float32."""

    def __init__(self, folder: Path) -> None:
        self.model = load_model(folder).eval()
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
        preprocessor = json.loads((folder / "preprocessor_config.json").read_text())
        self.resolution: int = preprocessor["crop_size"]["height"]

    def prompt(self, text: str) -> Tensor:
        """The ids (L,) of a question about one image, a marker per visual token."""
        parts = [{"type": "image"}, {"type": "text", "text": text}]
        filled = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": parts}],
            tokenize=False,
            add_generation_prompt=True,
        )
        marker = self.tokenizer.convert_ids_to_tokens(
            self.model.config.image_token_index
        )
        filled = filled.replace(marker, marker * self.model.config.image_seq_length)
        return torch.tensor(self.tokenizer(filled).input_ids)

    @torch.no_grad()
    def answer(self, pixel_values: Tensor, prompts: Tensor) -> list[str]:
        """Answer prompts (B, L) about images (B, 3, S, S) in [0, 1] greedily."""
        written = self.model.generate(
            input_ids=prompts,
            attention_mask=torch.ones_like(prompts),
            pixel_values=pixel_values,
            max_new_tokens=LONGEST_ANSWER,
            do_sample=False,
        )
        answers: list[str] = self.tokenizer.batch_decode(
            written[:, prompts.shape[1] :], skip_special_tokens=True
        )
        return answers

    def judge(self, split: list[EasyImage], questions: list[Asked]) -> Score:
        """Answer questions about the images of a split; count the right answers."""
        score = Score(Counter(), Counter())
        squares = np.stack([read_square(p.path, self.resolution) for p in split])
        for batch, prompts in self._batches(questions):
            pixels = torch.from_numpy(squares[[image for image, _ in batch]])
            answers = self.answer(to_pixel_values(pixels), prompts)
            for (_, question), answer in zip(batch, answers, strict=True):
                score.add(question, answer)
        return score

    def _batches(self, questions: list[Asked]) -> Iterator[tuple[list[Asked], Tensor]]:
        """Group questions of equal length, so that nothing needs padding."""
        texts = {question.text for _, question in questions}
        prompts = {text: self.prompt(text) for text in texts}
        by_length = defaultdict(list)
        for asked in questions:
            by_length[len(prompts[asked[1].text])].append(asked)
        for group in by_length.values():
            for start in range(0, len(group), BATCH):
                batch = group[start : start + BATCH]
                yield batch, torch.stack([prompts[asked[1].text] for asked in batch])


def asked_questions(split: list[EasyImage], captions: bool) -> list[Asked]:
    """A split's questions, or the requests to describe its images."""
    if captions:
        return [(i, each.caption) for i, each in enumerate(split) if each.caption]
    return [
        (i, question) for i, each in enumerate(split) for question in each.questions
    ]


def main() -> None:
    """Print the accuracy on the test split."""
    parser = argparse.ArgumentParser(description="Measure a nano checkpoint.")
    parser.add_argument("folder", type=Path, help="checkpoint folder")
    parser.add_argument(
        "--captions", action="store_true", help="ask for descriptions instead"
    )
    arguments = parser.parse_args()
    reference = Reference(arguments.folder)
    split = load_split("test")
    questions = asked_questions(split, arguments.captions)
    for line in reference.judge(split, questions).lines():
        print(line)


if __name__ == "__main__":
    main()
