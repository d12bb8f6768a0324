"""What a name in a question refers to, told to the decoder where the name ends.

"Where is the red circle?" was right nine times in ten with one figure and six times in
ten with several, although every visual token's figure and ninth were told rightly: the
decoder did not find the token that the name is of. One answer per question is little to
learn looking up from. So at the end of every name in a question the decoder says how
many figures it is of, and what and where those are. It says so early, where half of its
layers are done, so that two names can be compared (`relations`), and once more when
three quarters are. Used in training only.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmarks.nano.columns import columns_loss
from benchmarks.nano.labels import THINGS
from benchmarks.nano.portraits import TOLD as PORTRAIT
from benchmarks.nano.portraits import portrait
from benchmarks.nano.prompt import IGNORED, Conversations, PromptEncoder
from benchmarks.nano.spots import SPOTS, spot
from benchmarks.nano.square import Square
from benchmarks.nano.tallies import MOST
from benchmarks.nano.tasks.figures import SHAPES
from benchmarks.nano.tasks.ground import Size
from benchmarks.nano.tasks.palette import NAMED
from benchmarks.nano.tasks.scene import Ask, Mark, Scene

STEPS = 16  # Columns and rows of the square in which a figure's middle is told.
TOLD = {"number": MOST + 1, **PORTRAIT, "column": STEPS, "row": STEPS}
ANY = ("shape", "object")
NAMES = re.compile(
    rf"\b(?P<most>biggest |smallest )?(?:(?P<color>{'|'.join(NAMED)}) )?"
    rf"(?P<shape>{'|'.join((*SHAPES, *ANY))})(?:es|s)?\b"
)


@dataclass(frozen=True)
class References:
    """The K names in a batch's questions.

    Attributes:
        places: int64 (2, K), the row and the place in it where each ends.
        labels: int64 (K, TOLD), `IGNORED` where the figures of a name differ.
        spots: bool (K, SPOTS), where the figures of a name are, see `spots`.
        pairs: int64 (2, M), which are the first and the second name of one question.
    """

    places: Tensor
    labels: Tensor
    spots: Tensor
    pairs: Tensor


@dataclass(frozen=True)
class Name:
    """One name in a question that a row asks.

    Attributes:
        question: its number in the row.
        place: where in the row the name ends.
        figures: what `figure_labels` says of each that is meant.
    """

    question: int
    place: int
    figures: Sequence[tuple[int, ...]]


class ReferenceHead(nn.Linear):
    """Scores the number of a name's figures, and what and where they are.

    Args:
        width: of the decoder, D.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, sum(TOLD.values()))


def find_names(text: str) -> Iterator[tuple[int, str | None, str]]:
    """Yield the last character, the colour and the shape of every name in a question.

    "The biggest shape" is none: it names one figure by what the others are.
    """
    for found in NAMES.finditer(text):
        if not found["most"]:
            yield found.end() - 1, found["color"], found["shape"]


def meant_figures(
    color: str | None, shape: str, figures: Mapping[Mark, tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """Return what is said of those figures that a name is of.

    Args:
        color: of the figures, or None for any.
        shape: of the figures; `ANY` are all.
        figures: those of the picture, each with what `figure_labels` says of it.
    """
    return [each for mark, each in figures.items() if _is_meant(mark, color, shape)]


def reference_labels(meant: Sequence[tuple[int, ...]]) -> list[int]:
    """Say what a name refers to: its figures' number, and what is true of all of them.

    Args:
        meant: what `figure_labels` says of each figure.

    Returns:
        As many as `TOLD`.
    """
    same = [set(each) for each in zip(*meant, strict=True)]
    told = [each.pop() if len(each) == 1 else IGNORED for each in same]
    return [min(len(meant), MOST), *(told or [IGNORED] * (len(TOLD) - 1))]


def spot_labels(meant: Sequence[tuple[int, ...]]) -> Tensor:
    """Mark where in the square the figures of a name are: bool (`SPOTS`,)."""
    labels = torch.zeros(SPOTS, dtype=torch.bool)
    for *_, column, row in meant:
        labels[spot(column / STEPS, row / STEPS)] = True
    return labels


def _is_meant(mark: Mark, color: str | None, shape: str) -> bool:
    its_color, its_shape = mark.label.split()
    return color in (None, its_color) and shape in (its_shape, *ANY)


def figure_labels(mark: Mark, size: Size, made: Square) -> tuple[int, ...]:
    """Label one figure: its portrait, and the column and row that its middle is in.

    Args:
        mark: the figure.
        size: the picture's, as it was drawn.
        made: the square that it became.
    """
    side = made.pixels.shape[-1]
    column, row = (
        min(int(STEPS * at / side), STEPS - 1)
        for at in made.placement.point(mark.middle)
    )
    return *portrait(mark, size), column, row


def references(
    scenes: Sequence[Scene],
    made: Sequence[Square],
    asked: Sequence[Sequence[Ask]],
    prompts: PromptEncoder,
    conversations: Conversations,
) -> References:
    """Find and label the names in all questions about pictures of figures alone.

    Args:
        scenes: one per row.
        made: the squares that their pictures became.
        asked: the questions that each row asks, in its order.
        prompts: what encoded the questions.
        conversations: the rows.
    """
    rows = enumerate(zip(scenes, made, asked, strict=True))
    found = [
        (row, name)
        for row, (scene, its, questions) in rows
        for name in _names_in(
            questions, _figures(scene, its), conversations.segments[row], prompts
        )
    ]
    of = [(row, name.question) for row, name in found]
    pairs = [(k, k + 1) for k, both in enumerate(pairwise(of)) if both[0] == both[1]]
    places = [(row, name.place) for row, name in found]
    labels = [reference_labels(name.figures) for _, name in found]
    spots = [spot_labels(name.figures) for _, name in found]
    return References(
        places=torch.tensor(places).view(-1, 2).T.long(),
        labels=torch.tensor(labels).view(-1, len(TOLD)).long(),
        spots=torch.vstack([torch.empty(0, SPOTS, dtype=torch.bool), *spots]),
        pairs=torch.tensor(pairs).view(-1, 2).T.long(),
    )


def _figures(scene: Scene, made: Square) -> dict[Mark, tuple[int, ...]]:
    """Label the figures of a picture, none where it shows anything else."""
    if any(mark.label not in THINGS for mark in scene.marks):
        return {}
    return {mark: figure_labels(mark, scene.image.size, made) for mark in scene.marks}


def _names_in(
    questions: Sequence[Ask],
    figures: Mapping[Mark, tuple[int, ...]],
    segments: Tensor,
    prompts: PromptEncoder,
) -> Iterator[Name]:
    """Yield every name that a row asks of."""
    for number, question in enumerate(questions if figures else (), start=1):
        first = int((segments == number).int().argmax())
        for last, color, shape in find_names(question.text):
            place = first + prompts.place(question.text, last)
            yield Name(number, place, meant_figures(color, shape, figures))


def reference_loss(
    scores: Tensor, labels: Tensor, when: str
) -> tuple[Tensor, dict[str, float]]:
    """Return the mean cross-entropies' sum, and the share that is right of each.

    Args:
        scores: float (K, ...), of `ReferenceHead`.
        labels: int64 (K, TOLD), of `reference_labels`.
        when: what the shares' names begin with.
    """
    loss, shares = columns_loss(scores, labels, TOLD)
    return loss, {f"{when}_{name}": share for name, share in shares.items()}
