"""The characters at a visual token, in order, and their index in the text."""

import pytest

torch = pytest.importorskip("torch")

from benchmarks.nano.data.square import CHARACTERS, EMPTY, IGNORED  # noqa: E402
from benchmarks.nano.train.heads.auxiliary import Measures  # noqa: E402
from benchmarks.nano.train.heads.character import (  # noqa: E402
    CHARACTER,
    LETTERS,
    LONGEST,
    SPELLED,
    TOWER_CHARACTER,
    character_labels,
)
from tests.nano.train.heads.samples import judge, mark, sample  # noqa: E402


def test_a_word_is_spelled_over_its_visual_tokens() -> None:
    """Three characters in the first of two tokens, one in the second."""
    marks = [mark(each, 10 + 18 * place, 20) for place, each in enumerate("word")]
    found = character_labels(sample(marks))
    letters = [
        [("", *CHARACTERS)[each] for each in row[1:]] for row in found.tolist()[:2]
    ]
    assert found[:2, 0].tolist() == [0, 3]
    assert letters == [["w", "o", "r", ""], ["d", "", "", ""]]
    assert found[2:].tolist() == [[IGNORED, *[EMPTY] * SPELLED]] * 2


@pytest.mark.parametrize("labels", [["a", "red star"], ["a"] * (LONGEST + 1)])
def test_what_is_not_spelled(labels: list[str]) -> None:
    marks = [mark(each, 9, 9) for each in labels]
    found = character_labels(sample(marks, (64, 64), 64))
    assert set(found.flatten().tolist()) == {IGNORED}


def test_characters_and_places_without_weigh_the_same() -> None:
    """One character in all: the other places are empty, and learned already."""
    labels = character_labels(sample([mark("w", 10, 20)]))[None]
    logits = torch.zeros(*labels.shape[:2], SPELLED, LETTERS)
    uniform = torch.tensor(float(LETTERS)).log()
    loss, _ = judge(TOWER_CHARACTER, logits.flatten(2), labels)
    torch.testing.assert_close(loss, 2 * uniform)
    logits[labels[..., 1:] == EMPTY] = torch.eye(LETTERS)[EMPTY] * 1000
    loss, _ = judge(TOWER_CHARACTER, logits.flatten(2), labels)
    torch.testing.assert_close(loss, uniform)


def test_spelling_is_right_as_a_whole() -> None:
    labels = torch.full((1, 3, 1 + SPELLED), IGNORED)
    labels[0, 0], labels[0, 2] = 0, 2
    numbers = torch.nn.functional.one_hot(labels[..., 0].clamp(0), LONGEST) * 50.0
    letters = torch.nn.functional.one_hot(labels[..., 1:].clamp(0), LETTERS) * 50.0

    def judged() -> tuple[float, Measures]:
        scores = torch.cat([numbers, letters.flatten(2)], -1)
        loss, measures = judge(CHARACTER, scores, labels)
        return loss.item(), measures

    loss, measures = judged()
    assert loss == pytest.approx(0, abs=1e-6)
    assert measures["right"] == 1.0
    letters[0, 2, 3] = 0
    assert judged()[1]["right"] == 0.5
    labels.fill_(IGNORED)
    assert judged()[0] == 0.0
