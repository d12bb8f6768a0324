"""Which scenes a training step sees, at which resolution: seed and step decide alone.

First the tower learns names, mostly from sheets; a few of those stay for good, since
nothing teaches more names per picture. Then questions begin, about small pictures: with
four visual tokens the decoder finds in a few hundred steps that looking pays, with up
to 64 not in a thousand. Shapes and texts, at all resolutions, follow; charts, receipts
and screens come with `Mixture.later`. All pictures of a step share one resolution;
fewer fit at a higher one, so that every step costs about the same. So most shapes are
small, since many are seen then, and most texts large.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.nano import tasks
from benchmarks.nano.easy import draw_easy
from benchmarks.nano.sheets import draw_sheet
from benchmarks.nano.tasks.scene import Scene

Split = Literal["train", "test"]

EASY, SHEETS = "easy-vqa", "sheets"
EASY_SHARE = 0.1
NAMING_SHEETS, LATER_SHEETS = 0.6, 0.1  # Shares of the pictures of a step.
FIRST_SHARES = {"shapes": 0.37, "text": 0.5, EASY: 0.07, "captions": 0.06}
COARSE = 256  # Pixels of a side up to which figures are seen well, texts are hardly.
COARSE_SHARES = {"shapes": 0.7, "text": 0.15, EASY: 0.08, "captions": 0.07}
SMALL = 128  # Pixels of a side, while small pictures are all that is asked about.
SMALL_SHARES = {"shapes": 0.5, EASY: 0.35, "text": 0.15}
MOST = 2  # At a low resolution a step has at most so many times `pictures`.
RESOLUTIONS = {128: 0.05, 256: 0.4, 384: 0.35, 512: 0.2}  # Share of the steps.


@dataclass(frozen=True)
class Mixture:
    """What the steps of a run are drawn from.

    Attributes:
        seed: of the run.
        naming: the steps in which nothing is asked.
        small: the step until which, from then on, all pictures are small.
        later: the step from which the later tasks join the first ones.
        pictures: pictures of a step at 256 pixels.
    """

    seed: int
    naming: int
    small: int
    later: int
    pictures: int

    def resolution(self, step: int) -> int:
        """Return the side of a step's pictures, in pixels."""
        if self.is_small(step):
            return SMALL
        source = random.Random(f"resolution {self.seed} {step}")
        return source.choices(list(RESOLUTIONS), list(RESOLUTIONS.values()))[0]

    def is_small(self, step: int) -> bool:
        """Say whether questions have just begun."""
        return self.naming <= step < self.small

    def count(self, resolution: int) -> int:
        """Return how many pictures a step has: about the same number of pixels each."""
        same_pixels = self.pictures * 256**2 // resolution**2
        return max(1, min(same_pixels, MOST * self.pictures))

    def shares(self, step: int) -> Mapping[str, float]:
        """Return each task's share of a step's pictures."""
        if self.is_small(step):
            return SMALL_SHARES
        sheets = LATER_SHEETS if step >= self.naming else NAMING_SHEETS
        is_coarse = self.resolution(step) <= COARSE
        shares = task_shares(step >= self.later, is_coarse)
        rest = {task: (1 - sheets) * share for task, share in shares.items()}
        return {SHEETS: sheets, **rest}

    def scenes(self, step: int) -> list[Scene]:
        """Draw the pictures of a step with all their questions."""
        count = self.count(self.resolution(step))
        source = random.Random(f"tasks {self.seed} {step}")
        shares = self.shares(step)
        chosen = source.choices(list(shares), list(shares.values()), k=count)
        if step >= self.naming and set(chosen) == {SHEETS}:
            chosen[0] = "shapes"  # Something has to be asked.
        first = step * MOST * self.pictures  # No two steps share a scene.
        return [
            draw_scene(task, "train", self.seed, first + place)
            for place, task in enumerate(chosen)
        ]


def task_shares(all_tasks: bool, is_coarse: bool = False) -> Mapping[str, float]:
    """Return each task's share of the pictures, easy-vqa among them.

    Args:
        all_tasks: whether the later tasks are drawn.
        is_coarse: whether the pictures have few pixels, which matters until then.
    """
    if not all_tasks:
        return COARSE_SHARES if is_coarse else FIRST_SHARES
    mix: Mapping[str, float] = tasks.MIX
    shares = {task: (1 - EASY_SHARE) * share for task, share in mix.items()}
    return {EASY: EASY_SHARE, **shares}


def draw_scene(task: str, split: Split, seed: int, index: int) -> Scene:
    """Draw a scene of easy-vqa or of one of the generated tasks."""
    if task == SHEETS:
        return draw_sheet(seed, index)
    if task == EASY:
        return draw_easy(split, seed, index)
    draw: Callable[[str, Split, int, int], Scene] = tasks.draw
    return draw(task, split, seed, index)
