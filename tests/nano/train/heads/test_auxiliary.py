"""All tasks together: names, heads and losses fit, and nothing labelled is no loss."""

import pytest

torch = pytest.importorskip("torch")

from benchmarks.nano.train.heads import AUXILIARY, build_heads  # noqa: E402
from benchmarks.nano.train.heads.auxiliary import ReadAt  # noqa: E402
from benchmarks.nano.train.options import PRESETS, Preset  # noqa: E402
from tests.nano.train.heads.samples import mark, sample  # noqa: E402

PRESET = PRESETS["cpu"]


def width(read_at: ReadAt, preset: Preset) -> int:
    return preset.vision_width if read_at is ReadAt.TOWER else preset.hidden


def test_every_task_has_a_name_and_a_head_of_its_own() -> None:
    heads = build_heads(PRESET)
    assert list(heads) == [task.name for task in AUXILIARY]
    assert len(set(heads.values())) == len(AUXILIARY)


def test_heads_of_one_matrix_begin_by_saying_nothing() -> None:
    linear = [h for h in build_heads(PRESET).values() if isinstance(h, torch.nn.Linear)]
    assert len(linear) == len(AUXILIARY) - 1  # all but the dense labels'
    assert not any(head.weight.any() for head in linear)


@pytest.mark.parametrize("task", AUXILIARY, ids=lambda task: task.name)
def test_losses_fit_labels_and_heads(task: object) -> None:
    (task,) = (each for each in AUXILIARY if each is task)
    labels = task.labels([sample([mark("red star", 9, 9)]), sample([])])
    head = task.head(PRESET)
    if task.read_at is ReadAt.STAGES:
        widths, sides = (*PRESET.widths[2:4], PRESET.vision_width), (8, 4, 2)
        read = [torch.randn(2, w, s, s) for w, s in zip(widths, sides, strict=True)]
    else:
        tokens = labels.shape[:2] if labels.shape[0] == 2 else labels.shape[:1]
        read = torch.randn(*tokens, width(task.read_at, PRESET))
    loss, _ = task.loss(head, read, labels)
    assert loss.shape == () and loss.isfinite()
    mentioned = ReadAt.HALF_MENTIONS, ReadAt.LATE_MENTIONS, ReadAt.LATE_PAIRS
    assert (task.read_at in mentioned) == (labels.shape[0] == 0)
