"""Every question about some pictures, answered greedily by our own runtime, in batches.

In: scenes and a resolution. Out: one text per question.
"""

from collections.abc import Iterator, Sequence

from benchmarks.nano.tasks.scene import Ask, Scene
from fastvlm_mlx import FastVLM, Request

BATCH = 16  # Questions answered together.
LONGEST_ANSWER = 64  # Tokens.


def answer_scenes(
    vlm: FastVLM, scenes: Sequence[Scene], resolution: int
) -> Iterator[tuple[Ask, str]]:
    """Answer every question of every scene at a resolution; yield them as they come."""
    asked = [(scene.image, each) for scene in scenes for each in scene.questions]
    requests = (
        Request(each.text, image, resolution=resolution, max_tokens=LONGEST_ANSWER)
        for image, each in asked
    )
    for outcome in vlm.batch_as_finished(requests, batch_size=BATCH):
        yield asked[outcome.index][1], outcome.text
