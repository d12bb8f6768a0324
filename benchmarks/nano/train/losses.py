"""What the decoder makes of pictures and of what is asked, and the loss of that.

What is told of the picture is read where half of the decoder's layers are done, so that
the other half can look it up for an answer. Read at the end nine figures of ten had the
right name and ninth, and one where-question of two had the right answer. What names in
a question are of is read there too, and a quarter later again, when how two of them
stand to each other is read.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.nano.architecture import NanoFastVLM, read
from benchmarks.nano.arithmetic import precision_of
from benchmarks.nano.feed import Batch
from benchmarks.nano.heads import Heads
from benchmarks.nano.inks import ink_loss
from benchmarks.nano.means import mean_or_zero
from benchmarks.nano.portraits import portrait_loss
from benchmarks.nano.prompt import IGNORED, Conversations
from benchmarks.nano.references import reference_loss
from benchmarks.nano.relations import relation_labels, relation_loss
from benchmarks.nano.spelling import spelling_loss
from benchmarks.nano.spots import spot_loss
from benchmarks.nano.tallies import tally_loss

BESIDE = 0.3  # Weight of all that is told of the picture itself, beside the answers.


@dataclass(frozen=True)
class Told:
    """What the decoder makes of a batch of P pictures and their conversations.

    Attributes:
        tokens: logits (K, vocabulary) at the labelled places.
        tallies: logits (P, N, kinds, numbers), at all visual tokens.
        portraits: of `portraits.Portraits` (P, N, ...), at all of them.
        spelling: of `spelling.Spelling` (P, N, ...), at all of them.
        inks: logits (P, N, colours) of characters, at all of them.
        early_references: of `references.ReferenceHead` (K, ...), at the ends of names.
        references: the same, a quarter of the layers later.
        relations: of `relations.RelationHead` (M, ...), at the ends of second names.
        spots: of `spots.Spots` (K, SPOTS), at the ends of names.
    """

    tokens: Tensor
    tallies: Tensor
    portraits: Tensor
    spelling: Tensor
    inks: Tensor
    early_references: Tensor
    references: Tensor
    relations: Tensor
    spots: Tensor


def tell(model: NanoFastVLM, heads: Heads, features: Tensor, batch: Batch) -> Told:
    """Read conversations about encoded pictures (P, C, h, w); answer and describe."""
    asked = batch.conversations
    with precision_of(features.device):
        half, late, hidden = read(model, features, asked)  # (P, L, D)
        tokens = model.lm_head(hidden[asked.labels != IGNORED])
        visual = half[asked.input_ids == model.config.image_token_index]
        visual = visual.unflatten(0, (len(half), -1))  # (P, N, D)
        places = batch.references.places  # (2, K)
        seconds = places[:, batch.references.pairs[1]]
        return Told(
            tokens,
            heads.tallies(visual),
            heads.portraits(visual),
            heads.spelling(visual),
            heads.told_inks(visual),
            heads.early_references(half[*places]),
            heads.references(late[*places]),
            heads.relations(late[*seconds]),
            heads.spots(half[*places]),
        )


def telling_loss(told: Told, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of answers and of what is told beside them; what was right."""
    wanted = batch.conversations.labels != IGNORED
    losses = cross_entropy(
        told.tokens.float(), batch.conversations.labels[wanted], reduction="none"
    )
    said = batch.conversations.segments[wanted] > 0  # The others are at visual tokens.
    answered = losses[said].mean()
    glimpsed = mean_or_zero(losses[~said])
    counted, tallies = tally_loss(told.tallies, batch.tallies)
    shown, portraits = portrait_loss(told.portraits, batch.portraits)
    spelled, spelling = spelling_loss(told.spelling, batch.spelling)
    inked, inks = ink_loss(told.inks, batch.inks)
    named = batch.references.labels
    early, early_names = reference_loss(told.early_references, named, "early")
    late, names = reference_loss(told.references, named, "named")
    related, relations = relation_loss(
        told.relations, relation_labels(batch.references)
    )
    placed, spots = spot_loss(told.spots, batch.references.spots)
    right = [each for row in right_answers(told, batch.conversations) for each in row]
    of_picture = (glimpsed, counted, shown, spelled, inked)
    beside = torch.stack([*of_picture, early, late, related, placed]).sum()
    return answered + BESIDE * beside, {
        "answer_loss": answered.item(),
        "answers": sum(right) / max(1, len(right)),
        "tallies": tallies,
        "spelling": spelling,
        "told_inks": inks,
        **portraits,
        **early_names,
        **names,
        **relations,
        "spots": spots,
    }


def right_answers(told: Told, conversations: Conversations) -> list[list[bool]]:
    """Say of each picture's conversations whether every labelled token is right.

    Every token right after the true ones before it is the same as the greedy answer
    being right; in training the hint within the question has to be right, too.
    """
    wanted = conversations.labels != IGNORED
    wrong = torch.zeros_like(wanted)
    wrong[wanted] = told.tokens.argmax(-1) != conversations.labels[wanted]
    counts = conversations.segments.amax(dim=1).tolist()
    answers = [[True] * count for count in counts]
    wrong &= conversations.segments > 0
    for row, place in wrong.nonzero().tolist():
        answers[row][int(conversations.segments[row, place]) - 1] = False
    return answers
