"""What answers come to, by hand."""

from fastvlm_mlx.evaluate.summary import Judged, summarize
from fastvlm_mlx.evaluate.tasks import TASKS


def judged(
    score: float, truth: str = "", answer: str = "", group: str | None = None
) -> Judged:
    return Judged(0, "?", truth, answer, score, group)


def test_right_or_wrong() -> None:
    answers = [judged(1, group="a"), judged(0, group="a"), judged(1, group="b")]
    found = summarize(TASKS["gqa"], answers)
    assert found["score"] == 66.67
    assert found["interval_method"] == "Wilson"
    assert found["right"] == 2 and found["questions"] == 3
    assert found["groups"]["a"]["score"] == 50.0
    assert found["groups"]["b"]["questions"] == 1


def test_graded() -> None:
    found = summarize(TASKS["docvqa"], [judged(0.5), judged(1.0)])
    assert found["score"] == 75.0
    assert found["interval"] == [50.0, 100.0]
    assert found["interval_method"] == "bootstrap"


def test_what_failed_is_counted_and_wrong() -> None:
    failed = Judged(1, "?", "", None, 0.0, None, "The prompt does not fit.")
    found = summarize(TASKS["gqa"], [judged(1), failed])
    assert found["failed"] == 1 and found["score"] == 50.0


def test_yes_or_no() -> None:
    said = [("yes", " Yes"), ("yes", "yes"), ("yes", "no"), ("no", "yes"), ("no", "no")]
    answers = [judged(float(t == a.strip().lower()), t, a) for t, a in said]
    answers.append(judged(0, "no", "maybe"))
    found = summarize(TASKS["pope"], answers)
    assert found["precision"] == found["recall"] == found["score"] == 66.67
    assert found["accuracy"] == 50.0
    assert found["yes_ratio"] == 50.0  # of what was said, not of what was true
    low, high = found["interval"]
    assert low < 66.67 < high


def test_nobody_says_yes() -> None:
    found = summarize(TASKS["pope"], [judged(0, "yes", "no")])
    assert found["score"] == found["precision"] == found["recall"] == 0.0
    assert found["interval"] == [0.0, 0.0]
