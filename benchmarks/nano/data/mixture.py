"""Which scenes a training step sees, at which resolution: seed and step alone decide.

First the tower learns names, mostly from sheets. Then questions begin, about small
images: the decoder learns to look at four visual tokens in a few hundred steps, at up
to 64 it did not in a thousand. Then all resolutions follow, one per step, with about
the same number of pixels; so most shapes are small and most texts large.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from . import tasks
from .easy_vqa import EASY, draw_easy, official_test_scenes
from .sheets import draw_sheet
from .tasks.holdout import Split
from .tasks.scene import Scene

SHEETS = "sheets"
NAMING_SHEETS, LATER_SHEETS = 0.6, 0.1  # shares of the images of a step
SHARES = {"shapes": 0.37, "text": 0.5, EASY: 0.07, "captions": 0.06}
COARSE = 256  # pixels of a side up to which figures are clear and texts are hardly
COARSE_SHARES = {"shapes": 0.7, "text": 0.15, EASY: 0.08, "captions": 0.07}
SMALL = 128  # pixels of a side when questions begin
SMALL_SHARES = {"shapes": 0.5, EASY: 0.35, "text": 0.15}
MOST = 2  # a step has at most this many times `images`
RESOLUTIONS = {128: 0.05, 256: 0.4, 384: 0.35, 512: 0.2}  # shares of the steps
EVALUATION_SEED = 1  # of scenes that training's own validation does not use


@dataclass(frozen=True)
class Mixture:
    """What the steps of a run are drawn from."""

    seed: int
    naming: int  # steps without questions
    small: int  # the step until which, from then on, all images are small
    images: int  # images of a step at 256 pixels

    def resolution(self, step: int) -> int:
        """The side of a step's images, in pixels."""
        if self.is_small(step):
            return SMALL
        source = random.Random(f"resolution {self.seed} {step}")
        return source.choices(list(RESOLUTIONS), list(RESOLUTIONS.values()))[0]

    def is_small(self, step: int) -> bool:
        """Whether questions have just begun."""
        return self.naming <= step < self.small

    def count(self, resolution: int) -> int:
        """The number of images of a step."""
        same_pixels = self.images * 256**2 // resolution**2
        return max(1, min(same_pixels, MOST * self.images))

    def shares(self, step: int) -> Mapping[str, float]:
        """Each task's share of a step's images."""
        if self.is_small(step):
            return SMALL_SHARES
        sheets = LATER_SHEETS if step >= self.naming else NAMING_SHEETS
        shares = COARSE_SHARES if self.resolution(step) <= COARSE else SHARES
        rest = {task: (1 - sheets) * share for task, share in shares.items()}
        return {SHEETS: sheets, **rest}

    def scenes(self, step: int) -> list[Scene]:
        """Draw the images of a step with all their questions."""
        count = self.count(self.resolution(step))
        source = random.Random(f"tasks {self.seed} {step}")
        shares = self.shares(step)
        chosen = source.choices(list(shares), list(shares.values()), k=count)
        if step >= self.naming and set(chosen) == {SHEETS}:
            chosen[0] = "shapes"  # at least one question is needed
        first = step * MOST * self.images  # no two steps share a scene
        return [
            draw_scene(task, "train", self.seed, first + place)
            for place, task in enumerate(chosen)
        ]


def draw_scene(task: str, split: Split, seed: int, index: int) -> Scene:
    """Draw a sheet, or a scene of easy-vqa or of one of the drawn tasks."""
    if task == SHEETS:
        return draw_sheet(seed, index)
    if task == EASY:
        return draw_easy(split, seed, index)
    return tasks.draw(task, split, seed, index)


def held_out_scenes(task: str, count: int) -> list[Scene]:
    """Scenes to evaluate with: of the test split, or easy-vqa's official one."""
    if task == EASY:
        return official_test_scenes(count)
    return [tasks.draw(task, "test", EVALUATION_SEED, index) for index in range(count)]
