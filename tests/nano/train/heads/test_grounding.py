"""What a mention in a question refers to: how many figures, which, and where."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from benchmarks.nano.data.conversations import Mention, find_mentions  # noqa: E402
from benchmarks.nano.data.square import IGNORED  # noqa: E402
from benchmarks.nano.data.tasks.canvas import NINTHS  # noqa: E402
from benchmarks.nano.data.tasks.figures import OBJECTS  # noqa: E402
from benchmarks.nano.data.tasks.scene import Mark, Question, Scene  # noqa: E402
from benchmarks.nano.data.tokenizer import train_tokenizer  # noqa: E402
from benchmarks.nano.train.heads.auxiliary import Sample  # noqa: E402
from benchmarks.nano.train.heads.grounding import (  # noqa: E402
    COLUMNS,
    GRID,
    GROUNDING,
    figure_labels,
    mention_labels,
)
from benchmarks.nano.train.heads.heatmap import PLACES  # noqa: E402
from benchmarks.nano.train.loader import make_batch  # noqa: E402
from tests.nano.train.heads.samples import judge, sample  # noqa: E402

WIDE = (256, 128)  # in a square of 128 pixels: 64 rows between bars of 32
TOP_LEFT = Mark("red circle", (10, 10, 30, 30))
RIGHT = Mark("red star", (226, 54, 246, 74))


def of(*meant: Mark) -> tuple[Sample, Mention]:
    """A wide image, and a mention of these figures of it."""
    mention = Mention(1, 0, meant)
    return sample(meant, WIDE, mentions=[mention]), mention


def known(*meant: Mark) -> dict[str, int]:
    labels = dict(zip(COLUMNS, mention_labels(*of(*meant)), strict=True))
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
def test_the_mentions_in_a_question(
    text: str, names: list[tuple[str | None, str]]
) -> None:
    found = list(find_mentions(text))
    assert [each[1:] for each in found] == names
    assert all(text[: last + 1].endswith((shape, "s")) for last, _, shape in found)


def test_one_figure_is_labelled_with_its_place() -> None:
    found = known(TOP_LEFT)
    assert (found["number"], found["name"]) == (1, OBJECTS.index("red circle"))
    assert found["ninth"] == NINTHS.index("top left")
    # Its middle (20, 20) is at (10, 42) of the square's 128 pixels.
    assert (found["column"], found["row"]) == (10 * GRID // 128, 42 * GRID // 128)


def test_of_several_only_what_is_the_same_for_all_is_labelled() -> None:
    found = known(TOP_LEFT, RIGHT)
    assert (found["number"], found["size"]) == (
        2,
        figure_labels(RIGHT, of(RIGHT)[0])[2],
    )
    assert set(found) == {"number", "size"}
    alike = known(TOP_LEFT, TOP_LEFT)
    assert alike["name"] == OBJECTS.index("red circle")


def test_of_none_only_the_number_is_labelled() -> None:
    assert known() == {"number": 0}


def test_a_mention_is_read_at_its_last_token() -> None:
    tokenizer = train_tokenizer(["is the red circle left of the red star?"] * 9, 320)
    questions = (
        Question("count the circles.", "1", "a/b"),
        Question("is the red star above the red circle?", "no", "a/b"),
    )
    image = sample([], WIDE).scene.image
    letters = Scene(image, (), (Mark("a", (0, 0, 9, 9)),))
    figures = Scene(image, (), (TOP_LEFT, RIGHT))
    bare = Scene(image, (), ())
    made = make_batch([letters, figures, bare], [questions] * 3, 128, tokenizer)
    rows, places = made.mentions.tolist()
    assert rows == [1, 1, 1]
    ids = made.conversations.input_ids
    read = [tokenizer.decode(ids[1, : at + 1].tolist()) for at in places]
    ends = ["count the circles", "is the red star", "above the red circle"]
    assert [text.endswith(end) for text, end in zip(read, ends, strict=True)] == [
        True
    ] * 3
    assert made.labels["grounding"][:, 0].tolist() == [1, 1, 1]
    assert made.labels["early_grounding"] is made.labels["grounding"]
    names = [OBJECTS[each] for each in made.labels["grounding"][:, 1].tolist()]
    assert names == ["red circle", "red star", "red circle"]
    places_of = made.labels["heatmap"]
    assert places_of.shape == (3, PLACES)
    assert torch.equal(places_of[0], places_of[2])  # the circle's, both times
    assert not torch.equal(places_of[0], places_of[1])
    assert made.seconds.tolist() == [2]  # after 1, in the second question
    assert made.labels["pairwise"].shape == (1, 3)


def test_pairs_are_counted_over_all_images() -> None:
    tokenizer = train_tokenizer(["is the red circle left of the red star?"] * 9, 320)
    question = Question("is the red star above the red circle?", "no", "a/b")
    scene = Scene(sample([], WIDE).scene.image, (), (TOP_LEFT, RIGHT))
    asked = [[question], [question, question]]
    made = make_batch([scene, scene], asked, 128, tokenizer)
    assert made.mentions.shape == (2, 6)
    assert made.seconds.tolist() == [1, 3, 5]


def test_no_mentions_are_no_loss() -> None:
    tokenizer = train_tokenizer(["what?"] * 9, 320)
    questions = [Question("what?", "yes", "a/b")]
    scene = Scene(sample([], WIDE).scene.image, (), (RIGHT,))
    made = make_batch([scene], [questions], 64, tokenizer)
    assert (made.mentions.shape, made.seconds.shape) == ((2, 0), (0,))
    labels = made.labels["grounding"]
    assert (labels.shape, made.labels["heatmap"].shape) == (
        (0, len(COLUMNS)),
        (0, PLACES),
    )
    assert made.labels["pairwise"].shape == (0, 3)
    loss, _ = judge(GROUNDING, torch.zeros(0, sum(COLUMNS.values())), labels)
    assert loss.item() == 0.0


def test_every_column_is_learned() -> None:
    labels = torch.tensor([mention_labels(*of()), [0] * len(COLUMNS)])
    loss, right = judge(GROUNDING, torch.zeros(2, sum(COLUMNS.values())), labels)
    expected = sum(torch.tensor(float(each)).log() for each in COLUMNS.values())
    assert loss.item() == pytest.approx(float(expected))
    assert right == dict.fromkeys(COLUMNS, 1.0)  # argmax of zeros is 0
