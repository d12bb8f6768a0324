"""Training steps rendered ahead by worker processes.

A worker draws, resizes, labels and tokenizes; the trainer's process only computes.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..data.conversations import Conversations, PromptEncoder, mentions
from ..data.mixture import Mixture
from ..data.square import image_tokens, square
from ..data.tasks.scene import Question, Scene
from .heads import AUXILIARY
from .heads.auxiliary import Labels, Sample
from .heads.dense_label import DENSE_LABEL, first_objects, token_of_labels

AHEAD = 3  # steps that a worker renders in advance
# How often these kinds are asked compared with others: they take longest to learn.
SLOW = {"shapes/count": 8, "shapes/position-yes-no": 4, "shapes/compare": 2}


@dataclass(frozen=True)
class Batch:
    """P images of one resolution S, what is in them and what is asked about them."""

    pixels: Tensor  # uint8 (P, 3, S, S)
    labels: dict[str, Tensor]  # by auxiliary task, as its `labels` returns them
    conversations: Conversations  # one row per image
    mentions: Tensor  # int64 (2, K): row and position of each mention's last token
    seconds: Tensor  # int64 (M,): the later mention of each pair in one question
    questions: list[list[Question]]  # by image

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return self.pixels.shape[-1]

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on a device."""
        moved: Batch = _moved(self, device)
        return moved


def _moved(part: Any, device: torch.device) -> Any:
    """A tensor, a dictionary or a dataclass with its tensors on a device."""
    if isinstance(part, Tensor):
        return part.to(device, non_blocking=True)
    if isinstance(part, dict):
        return {name: _moved(each, device) for name, each in part.items()}
    if is_dataclass(part) and not isinstance(part, type):
        values = {each.name: getattr(part, each.name) for each in fields(part)}
        return replace(part, **_moved(values, device))
    return part


def make_batch(
    scenes: Sequence[Scene],
    questions: Sequence[Sequence[Question]],
    resolution: int,
    tokenizer: Tokenizer,
    follow_up: bool = False,
) -> Batch:
    """Convert scenes and the questions chosen of each to tensors.

    Args:
        resolution: side of all images, in pixels.
        follow_up: let each image's second question follow the first.
    """
    chosen = [list(each) for each in questions]
    prompts = PromptEncoder(tokenizer, image_tokens(resolution))
    samples = [Sample(scene, square(scene.image, resolution)) for scene in scenes]
    cells = DENSE_LABEL.labels(samples)
    firsts = first_objects(cells, token_of_labels(tokenizer))
    conversations = prompts.batch(chosen, firsts, follow_up)
    rows = zip(samples, chosen, conversations.segments, strict=True)
    samples = [
        replace(each, mentions=mentions(each.scene, asked, segments, prompts))
        for each, asked, segments in rows
    ]
    return Batch(
        pixels=torch.from_numpy(np.stack([each.image.pixels for each in samples])),
        labels=_labels(samples, {DENSE_LABEL.labels: cells}),
        conversations=conversations,
        mentions=_positions(samples),
        seconds=_seconds(samples),
        questions=chosen,
    )


def _labels(
    samples: Sequence[Sample], known: dict[Labels, Tensor]
) -> dict[str, Tensor]:
    """Each task's labels; tasks with the same `labels` share them."""
    for task in AUXILIARY:
        if task.labels not in known:
            known[task.labels] = task.labels(samples)
    return {task.name: known[task.labels] for task in AUXILIARY}


def _positions(samples: Sequence[Sample]) -> Tensor:
    found = [
        (row, each.position)
        for row, sample in enumerate(samples)
        for each in sample.mentions
    ]
    return torch.tensor(found).view(-1, 2).T.long()


def _seconds(samples: Sequence[Sample]) -> Tensor:
    counts = [len(sample.mentions) for sample in samples]
    found = [
        before + later
        for before, sample in zip(accumulate(counts, initial=0), samples, strict=False)
        for _, later in sample.pairs
    ]
    return torch.tensor(found).long()


class Steps(Dataset[Batch]):
    """The batches of a run, by step; `questions` is their number per image."""

    def __init__(self, mixture: Mixture, tokenizer: Tokenizer, questions: int) -> None:
        self.mixture, self.tokenizer, self.questions = mixture, tokenizer, questions

    def __getitem__(self, step: int) -> Batch:
        scenes = self.mixture.scenes(step)
        source = random.Random(f"questions {self.mixture.seed} {step}")
        chosen = [choose(source, scene.questions, self.questions) for scene in scenes]
        resolution = self.mixture.resolution(step)
        return make_batch(scenes, chosen, resolution, self.tokenizer, follow_up=True)


def choose(
    source: random.Random, questions: Sequence[Question], most: int
) -> list[Question]:
    """Draw up to `most` different questions, those of `SLOW` kinds more often.

    Weighted sampling without replacement (Efraimidis and Spirakis, 2006).
    """
    keys = [source.random() ** (1 / SLOW.get(each.kind, 1)) for each in questions]
    order = sorted(range(len(questions)), key=keys.__getitem__, reverse=True)
    return [questions[place] for place in order[:most]]


def load(steps: Steps, first: int, last: int, workers: int) -> Iterator[Batch]:
    """Render steps `first` to `last` - 1 in order, in this process without workers."""
    loader = DataLoader(
        steps,
        batch_size=None,
        sampler=range(first, last),
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        collate_fn=_unchanged,
    )
    yield from loader


def _unchanged(batch: Any) -> Any:
    return batch
