"""Training steps rendered ahead by worker processes.

In: a `Mixture`. Out: one `Batch` per step, in order. A worker draws, pads, resizes,
labels and tokenizes, so that the trainer's process only multiplies.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.nano.glimpses import glimpses, token_of_labels
from benchmarks.nano.inks import ink_labels
from benchmarks.nano.labels import cell_labels
from benchmarks.nano.mixture import Mixture
from benchmarks.nano.portraits import portrait_labels
from benchmarks.nano.presets import image_tokens
from benchmarks.nano.prompt import Conversations, PromptEncoder
from benchmarks.nano.references import References, references
from benchmarks.nano.spelling import spelling_labels
from benchmarks.nano.square import square
from benchmarks.nano.tallies import running_tallies
from benchmarks.nano.tasks.scene import Ask, Scene

Part = TypeVar("Part", bound=Any)
AHEAD = 3  # Steps that a worker renders before they are asked for.
# So many times as often as others these are asked: they take longest to learn.
SLOW = {"shapes/count": 8, "shapes/position-yes-no": 4, "shapes/compare": 2}


@dataclass(frozen=True)
class Batch:
    """P pictures of one resolution S, what is in them and what is asked about them.

    Attributes:
        pixels: uint8 (P, 3, S, S).
        cells: int64 (P, S / 16, S / 8), see `labels.cell_labels`.
        tallies: int64 (P, N, kinds), see `tallies.running_tallies`.
        portraits: int64 (P, N, 3), see `portraits.portrait_labels`.
        spelling: int64 (P, N, 1 + 4), see `spelling.spelling_labels`.
        inks: int64 (P, N), see `inks.ink_labels`.
        conversations: one row per picture.
        references: what the names in their questions are of.
        asked: the conversations' questions and answers, by picture.
    """

    pixels: Tensor
    cells: Tensor
    tallies: Tensor
    portraits: Tensor
    spelling: Tensor
    inks: Tensor
    conversations: Conversations
    references: References
    asked: list[list[Ask]]

    @property
    def resolution(self) -> int:
        """Side of the pictures in pixels."""
        return self.pixels.shape[-1]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on a device."""
        moved = replace(
            self,
            conversations=_moved(self.conversations, device),
            references=_moved(self.references, device),
        )
        return _moved(moved, device)


def _moved(part: Part, device: torch.device) -> Part:
    """Return a dataclass with those of its fields that are tensors on a device."""
    tensors = {
        name: each.to(device, non_blocking=True)
        for name, each in vars(part).items()
        if isinstance(each, Tensor)
    }
    return replace(part, **tensors)


def make_batch(
    scenes: Sequence[Scene],
    asked: Sequence[Sequence[Ask]],
    resolution: int,
    tokenizer: Tokenizer,
    follow_up: bool = False,
) -> Batch:
    """Bring scenes and the questions chosen of each to tensors.

    Args:
        scenes: P pictures.
        asked: the questions chosen of each.
        resolution: the side of all pictures.
        tokenizer: the nano tokenizer.
        follow_up: let the second question of each picture follow the first one.
    """
    made = [square(scene.image, resolution) for scene in scenes]
    both = list(zip(scenes, made, strict=True))
    cells = [cell_labels(s.marks, m.placement, resolution) for s, m in both]
    every = torch.from_numpy(np.stack(cells))
    chosen = [list(questions) for questions in asked]
    prompts = PromptEncoder(tokenizer, image_tokens(resolution))
    seen = glimpses(every, token_of_labels(tokenizer))
    conversations = prompts.batch(chosen, seen, follow_up)
    return Batch(
        pixels=torch.stack([each.pixels for each in made]),
        cells=every,
        tallies=torch.stack([running_tallies(s.marks, m) for s, m in both]),
        portraits=torch.stack(
            [portrait_labels(s.marks, s.image.size, m) for s, m in both]
        ),
        spelling=torch.stack([spelling_labels(s.marks, m) for s, m in both]),
        inks=torch.stack([ink_labels(s.marks, m) for s, m in both]),
        conversations=conversations,
        references=references(scenes, made, chosen, prompts, conversations),
        asked=chosen,
    )


class Steps(Dataset[Batch]):
    """The batches of a run, by step.

    Args:
        mixture: what they are drawn from.
        tokenizer: the nano tokenizer.
        questions: conversations per picture.
    """

    def __init__(self, mixture: Mixture, tokenizer: Tokenizer, questions: int) -> None:
        self.mixture, self.tokenizer, self.questions = mixture, tokenizer, questions

    def __getitem__(self, step: int) -> Batch:
        scenes = self.mixture.scenes(step)
        source = random.Random(f"questions {self.mixture.seed} {step}")
        asked = [choose(source, scene.questions, self.questions) for scene in scenes]
        resolution = self.mixture.resolution(step)
        return make_batch(scenes, asked, resolution, self.tokenizer, follow_up=True)


def choose(source: random.Random, questions: Sequence[Ask], most: int) -> list[Ask]:
    """Draw at most so many different questions, of `SLOW` kinds more of them.

    Whoever has the largest of uniform numbers, each to the power of 1 / weight, is
    drawn as often as its weight says (Efraimidis and Spirakis, 2006).
    """
    keys = [source.random() ** (1 / SLOW.get(each.kind, 1)) for each in questions]
    order = sorted(range(len(questions)), key=keys.__getitem__, reverse=True)
    return [questions[place] for place in order[:most]]


def feed(steps: Steps, first: int, last: int, workers: int) -> Iterator[Batch]:
    """Render steps `first` to `last` - 1 in order, ahead of the trainer.

    Args:
        steps: the run.
        first: the step to begin with.
        last: the step to end before.
        workers: processes that render; 0 renders in this one.
    """
    loader = DataLoader(
        steps,
        batch_size=None,
        sampler=range(first, last),
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        collate_fn=_as_it_is,
    )
    yield from loader


def _as_it_is(batch: Any) -> Any:
    return batch
