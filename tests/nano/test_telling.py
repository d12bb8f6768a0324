"""What the decoder is to tell of a picture: numbers, ninths and spelling."""

import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from benchmarks.nano.labels import CHARACTERS, EMPTY, THINGS  # noqa: E402
from benchmarks.nano.portraits import NOTHING, SIZES, portrait_labels  # noqa: E402
from benchmarks.nano.prompt import IGNORED  # noqa: E402
from benchmarks.nano.spelling import (  # noqa: E402
    LETTERS,
    LONGEST,
    SPELLED,
    characters_loss,
    spelling_labels,
)
from benchmarks.nano.square import square  # noqa: E402
from benchmarks.nano.tallies import COUNTED, MOST, running_tallies  # noqa: E402
from benchmarks.nano.tasks.ninth import NINTHS  # noqa: E402
from benchmarks.nano.tasks.scene import Mark  # noqa: E402
from benchmarks.nano.tasks.shape_questions import BIGGER  # noqa: E402


def mark(label: str, x: float, y: float) -> Mark:
    return Mark(label, (x - 4, y - 4, x + 4, y + 4))


def test_figures_are_counted_up_to_each_visual_token() -> None:
    made = square(Image.new("RGB", (128, 128)), 128)  # Two rows of two visual tokens.
    marks = [mark("red star", 9, 99), mark("blue star", 99, 9), mark("red star", 99, 9)]
    found = [
        {kind: number for kind, number in zip(COUNTED, row, strict=True) if number}
        for row in running_tallies(marks, made).tolist()
    ]
    above = {"figure": 2, "red": 1, "blue": 1, "star": 2}
    all_of_them = {"figure": 3, "red": 2, "blue": 1, "star": 3}
    assert found == [{}, above, all_of_them, all_of_them]


@pytest.mark.parametrize(
    "labels", [[], ["a"], ["red star", "bar"], ["red star"] * (MOST + 1)]
)
def test_what_is_not_counted(labels: list[str]) -> None:
    made = square(Image.new("RGB", (128, 128)), 128)
    found = running_tallies([mark(each, 9, 9) for each in labels], made)
    assert found.shape == (4, len(COUNTED))
    assert set(found.flatten().tolist()) == {IGNORED}


def test_a_ninth_is_one_of_the_picture_without_its_bars() -> None:
    """256 x 64 becomes 128 x 32 between bars of 48: two rows of two visual tokens."""
    image = Image.new("RGB", (256, 64))
    made = square(image, 128)
    top_left, right = mark("red star", 20, 10), mark("blue ring", 240, 32)
    found = portrait_labels([top_left, right, mark("a", 128, 32)], image.size, made)
    names = [(THINGS[each], NINTHS[at]) for each, at, _ in found[[0, 3]].tolist()]
    assert names == [("red star", "top left"), ("blue ring", "right")]
    assert found[1:3].tolist() == [[NOTHING, IGNORED, IGNORED]] * 2


def test_nothing_is_told_of_figures_where_a_picture_shows_none() -> None:
    image = Image.new("RGB", (128, 128))
    found = portrait_labels([mark("a", 20, 20)], image.size, square(image, 128))
    assert set(found.flatten().tolist()) == {IGNORED}


def test_what_two_figures_of_one_visual_token_share_is_told() -> None:
    image = Image.new("RGB", (64, 64))
    marks = [mark("red star", 9, 9), mark("red star", 55, 55)]
    small = portrait_labels(marks[:1], image.size, square(image, 64))
    both = portrait_labels(marks, image.size, square(image, 64))
    name = THINGS.index("red star")
    assert small[0, :2].tolist() == [name, 0]
    assert both.tolist() == [[name, IGNORED, small[0, 2].item()]]


def test_a_bigger_figure_has_a_larger_size() -> None:
    """An octave has four sizes, which is finer than what is called bigger."""
    image, made = Image.new("RGB", (64, 64)), square(Image.new("RGB", (64, 64)), 64)
    sides = (2, 8, 8 * BIGGER, 64)
    marks = [Mark("red star", (0, 0, side, side)) for side in sides]
    sizes = [portrait_labels([one], image.size, made)[0, 2].item() for one in marks]
    assert sizes == sorted(set(sizes))
    assert (sizes[0], sizes[-1]) == (0, SIZES - 1)


def test_a_word_is_spelled_over_its_visual_tokens() -> None:
    """Three characters in the first of two tokens, one in the second."""
    image = Image.new("RGB", (128, 128))
    marks = [mark(each, 10 + 18 * place, 20) for place, each in enumerate("word")]
    found = spelling_labels(marks, square(image, 128))
    letters = [
        [("", *CHARACTERS)[each] for each in row[1:]] for row in found.tolist()[:2]
    ]
    assert found[:2, 0].tolist() == [0, 3]
    assert letters == [["w", "o", "r", ""], ["d", "", "", ""]]
    assert found[2:].tolist() == [[IGNORED, *[EMPTY] * SPELLED]] * 2


@pytest.mark.parametrize("labels", [["a", "red star"], ["a"] * (LONGEST + 1)])
def test_what_is_not_spelled(labels: list[str]) -> None:
    made = square(Image.new("RGB", (64, 64)), 64)
    found = spelling_labels([mark(each, 9, 9) for each in labels], made)
    assert set(found.flatten().tolist()) == {IGNORED}


def test_every_point_is_in_a_visual_token() -> None:
    made = square(Image.new("RGB", (128, 64)), 128)
    assert made.tokens == 4
    points = [(0, 0), (127, 63), (-9, 70), (500, -500)]
    assert [made.token(point) for point in points] == [0, 3, 2, 1]


def test_characters_and_places_without_weigh_the_same() -> None:
    """One character in all: the other places are without, and learned already."""
    made = square(Image.new("RGB", (128, 128)), 128)
    labels = spelling_labels([mark("w", 10, 20)], made)[None]
    logits = torch.zeros(*labels.shape[:2], SPELLED, LETTERS)
    uniform = torch.tensor(float(LETTERS)).log()
    torch.testing.assert_close(characters_loss(logits, labels), 2 * uniform)
    logits[labels[..., 1:] == EMPTY] = torch.eye(LETTERS)[EMPTY] * 1000
    torch.testing.assert_close(characters_loss(logits, labels), uniform)
