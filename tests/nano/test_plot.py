"""The course of a training run, read back and drawn."""

import json
from pathlib import Path

import pytest

from benchmarks.nano.plot import HISTORY, PLOT, plot_history, read_curves, task_means

NOTES = [
    {"step": 20, "seconds": 3.0, "dense_label_loss": 4.0},
    {"step": 40, "dense_label_loss": 3.0, "answer_loss": 2.0},
    {"step": 40, "held_out": {"text/word": 0.5, "text/number": 0.7, "easy-vqa": 1.0}},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = "".join(json.dumps(note) + "\n" for note in NOTES)
    (tmp_path / HISTORY).write_text(lines, encoding="utf-8")
    return tmp_path


def test_a_task_has_the_mean_of_its_kinds() -> None:
    means = task_means({"text/word": 0.5, "text/number": 0.7, "easy-vqa": 1.0})
    assert means == {"text": pytest.approx(0.6), "easy-vqa": 1.0}


def test_curves(folder: Path) -> None:
    losses, accuracies = read_curves(folder / HISTORY)
    assert losses == {
        "dense_label_loss": ([20, 40], [4.0, 3.0]),
        "answer_loss": ([40], [2.0]),
    }
    assert accuracies["easy-vqa"] == ([40], [100.0])


def test_the_plot(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    assert plot_history(folder) == folder / PLOT
    assert (folder / PLOT).read_bytes()[1:4] == b"PNG"
