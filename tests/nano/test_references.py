"""What a name in a question is of: how many figures, which, and where."""

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from PIL import Image  # noqa: E402

from benchmarks.nano.labels import THINGS  # noqa: E402
from benchmarks.nano.prompt import IGNORED, PromptEncoder  # noqa: E402
from benchmarks.nano.references import (  # noqa: E402
    STEPS,
    TOLD,
    figure_labels,
    find_names,
    meant_figures,
    reference_labels,
    reference_loss,
    references,
    spot_labels,
)
from benchmarks.nano.spots import SIDE, SPOTS  # noqa: E402
from benchmarks.nano.square import Square, square  # noqa: E402
from benchmarks.nano.tasks.ninth import NINTHS  # noqa: E402
from benchmarks.nano.tasks.scene import Ask, Mark, Scene  # noqa: E402
from benchmarks.nano.tokenizer import train_tokenizer  # noqa: E402

WIDE = Image.new("RGB", (256, 128))  # In a square of 128: 64 rows between bars of 32.
TOP_LEFT = Mark("red circle", (10, 10, 30, 30))
RIGHT = Mark("red star", (226, 54, 246, 74))
MADE: Square = square(WIDE, 128)


def told(color: str | None, shape: str, *marks: Mark) -> dict[str, int]:
    figures = {mark: figure_labels(mark, WIDE.size, MADE) for mark in marks}
    meant = meant_figures(color, shape, figures)
    labels = dict(zip(TOLD, reference_labels(meant), strict=True))
    return {name: each for name, each in labels.items() if each != IGNORED}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Where is the red circle?", [("red", "circle")]),
        ("is the red star left of the ring?", [("red", "star"), (None, "ring")]),
        ("count the green crosses.", [("green", "cross")]),
        ("how many shapes are there?", [(None, "shape")]),
        ("what is the biggest shape?", []),
        ("what is written?", []),
        ("what surrounds the ringed text?", []),
    ],
)
def test_the_names_in_a_question(text: str, names: list[Any]) -> None:
    found = list(find_names(text))
    assert [each[1:] for each in found] == names
    assert all(text[: last + 1].endswith((shape, "s")) for last, _, shape in found)


def test_one_figure_is_told_with_its_place() -> None:
    found = told("red", "circle", TOP_LEFT, RIGHT)
    assert (found["number"], found["figures"]) == (1, THINGS.index("red circle"))
    assert found["ninths"] == NINTHS.index("top left")
    # Its middle (20, 20) is at (10, 42) of the square's 128 pixels.
    assert (found["column"], found["row"]) == (10 * STEPS // 128, 42 * STEPS // 128)


def test_of_several_only_what_is_true_of_all_is_told() -> None:
    found = told("red", "shape", TOP_LEFT, RIGHT)
    assert (found["number"], found["sizes"]) == (2, figure_size(RIGHT))
    assert set(found) == {"number", "sizes"}
    alike = told(None, "circle", TOP_LEFT, TOP_LEFT)
    assert alike["figures"] == THINGS.index("red circle")


def figure_size(mark: Mark) -> int:
    return figure_labels(mark, WIDE.size, MADE)[2]


def test_of_none_only_the_number_is_told() -> None:
    assert told("blue", "circle", TOP_LEFT, RIGHT) == {"number": 0}


def test_all_places_of_several_are_marked() -> None:
    figures = {mark: figure_labels(mark, WIDE.size, MADE) for mark in (TOP_LEFT, RIGHT)}
    both = spot_labels(meant_figures("red", "shape", figures))
    # Their middles are at (10, 42) and (118, 64) of the square's 128 pixels.
    places = [
        SIDE * (y * SIDE // 128) + x * SIDE // 128 for x, y in ((10, 42), (118, 64))
    ]
    assert both.nonzero().flatten().tolist() == places
    assert spot_labels(meant_figures(None, "star", figures)).sum() == 1
    assert not spot_labels([]).any()


def test_a_name_is_told_at_its_last_token() -> None:
    tokenizer = train_tokenizer(["is the red circle left of the red star?"] * 9, 320)
    questions = (
        Ask("count the circles.", "1", "a/b"),
        Ask("is the red star above the red circle?", "no", "a/b"),
    )
    letters = Scene(WIDE, (), (Mark("a", (0, 0, 9, 9)),))
    figures = Scene(WIDE, (), (TOP_LEFT, RIGHT))
    bare = Scene(WIDE, (), ())
    prompts = PromptEncoder(tokenizer, MADE.tokens)
    asked = prompts.batch([list(questions)] * 3)
    scenes = [letters, figures, bare]
    found = references(scenes, [MADE] * 3, [questions] * 3, prompts, asked)
    rows, places = found.places.tolist()
    assert rows == [1, 1, 1]
    read = [tokenizer.decode(asked.input_ids[1, : at + 1].tolist()) for at in places]
    ends = ["count the circles", "is the red star", "above the red circle"]
    assert [text.endswith(end) for text, end in zip(read, ends, strict=True)] == [
        True
    ] * 3
    assert found.labels[:, 0].tolist() == [1, 1, 1]
    assert found.spots.shape == (3, SPOTS)
    assert torch.equal(found.spots[0], found.spots[2])  # The circle's, both times.
    assert not torch.equal(found.spots[0], found.spots[1])
    assert found.pairs.tolist() == [[1], [2]]  # Those of the second question.


def test_no_names_are_no_loss() -> None:
    prompts = PromptEncoder(train_tokenizer(["what?"] * 9, 320), 1)
    questions = [Ask("what?", "yes", "a/b")]
    asked = prompts.batch([questions])
    scene = Scene(WIDE, (), (RIGHT,))
    found = references([scene], [MADE], [questions], prompts, asked)
    assert (found.places.shape, found.labels.shape) == ((2, 0), (0, len(TOLD)))
    assert (found.spots.shape, found.pairs.shape) == ((0, SPOTS), (2, 0))
    loss, _ = reference_loss(torch.zeros(0, sum(TOLD.values())), found.labels, "named")
    assert loss.item() == 0.0


def test_all_that_is_told_of_a_name_is_learned() -> None:
    labels = torch.tensor([reference_labels([]), [0] * len(TOLD)])
    loss, right = reference_loss(torch.zeros(2, sum(TOLD.values())), labels, "named")
    expected = sum(torch.tensor(float(each)).log() for each in TOLD.values())
    assert loss.item() == pytest.approx(float(expected))
    assert right == {f"named_{name}": 1.0 for name in TOLD}  # argmax of zeros is 0
