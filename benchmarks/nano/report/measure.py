"""Scenes answered greedily by our own runtime, and what share is right, how fast."""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from fastvlm_mlx import FastVLM, Request

from ..data.tasks.scene import Question, Scene
from .accuracy import Accuracy

BATCH = 16  # questions answered together
LONGEST_ANSWER = 64  # tokens
TIMED = 5  # answers of which the median time is taken, after one that warms up

Scores = dict[str, Accuracy]
"""By kind of question, "task/what"."""


def answer_scenes(
    vlm: FastVLM, scenes: Sequence[Scene], resolution: int
) -> Iterator[tuple[Question, str]]:
    """Answer every question of every scene; yield the answers as they come."""
    asked = [(scene.image, each) for scene in scenes for each in scene.questions]
    requests = (
        Request(each.text, image, resolution=resolution, max_tokens=LONGEST_ANSWER)
        for image, each in asked
    )
    for outcome in vlm.batch_as_finished(requests, batch_size=BATCH):
        yield asked[outcome.index][1], outcome.text


def evaluate(vlm: FastVLM, scenes: Sequence[Scene], resolution: int) -> Scores:
    """Answer all questions about some scenes; only exact answers are right."""
    counts: dict[str, list[bool]] = defaultdict(list)
    for question, answer in answer_scenes(vlm, scenes, resolution):
        counts[question.kind].append(answer == question.answer)
    return {kind: Accuracy(sum(got), len(got)) for kind, got in sorted(counts.items())}


def task_accuracy(scores: Scores) -> Accuracy:
    """The accuracy over all kinds."""
    return sum(scores.values(), Accuracy(0, 0))


def first_token_time(vlm: FastVLM, scene: Scene, resolution: int) -> float:
    """The median seconds from an image and a question to the first token."""
    question = scene.questions[0].text
    times = [
        vlm.generate(
            scene.image, question, resolution=resolution, max_tokens=1, use_cache=False
        ).timings.time_to_first_token
        for _ in range(1 + TIMED)
    ]
    return statistics.median(times[1:])


def measure(
    vlm: FastVLM, scenes: dict[str, list[Scene]], resolutions: Sequence[int]
) -> dict[str, Any]:
    """Latency and the accuracy of every task at every resolution; prints a table."""
    report: dict[str, Any] = {}
    for resolution in resolutions:
        first = next(iter(scenes.values()))[0]
        seconds = first_token_time(vlm, first, resolution)
        scores = {
            task: evaluate(vlm, each, resolution) for task, each in scenes.items()
        }
        print(f"  {resolution} px, first token after {1000 * seconds:.0f} ms")
        for task, kinds in scores.items():
            print(f"    {task:10} {task_accuracy(kinds)}", flush=True)
        report[str(resolution)] = {
            "first_token_seconds": round(seconds, 4),
            "tasks": {task: _plain(kinds) for task, kinds in scores.items()},
        }
    return report


def _plain(scores: Scores) -> dict[str, Any]:
    every = {"all": task_accuracy(scores), **scores}
    return {
        kind: {
            "right": score.right,
            "asked": score.asked,
            "percent": round(score.percent, 2),
            "interval": [round(bound, 2) for bound in score.interval],
        }
        for kind, score in every.items()
    }
