"""The losses of a step: the tower's, and the decoder's of answers and heads."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..data.conversations import Conversations
from ..data.square import IGNORED
from .heads import AUXILIARY
from .heads.auxiliary import Measures, ReadAt, mean_or_zero
from .heads.dense_label import STAGES
from .loader import Batch
from .model import (
    HiddenStates,
    NanoFastVLM,
    encode_images,
    precision_of,
    read,
    to_pixel_values,
)

AUXILIARY_SHARE = 0.3  # weight of all that the decoder learns next to the answers


def encode(model: NanoFastVLM, batch: Batch) -> list[Tensor]:
    """What the tower's heads read: features (P, C, h, w) of the stages, tokens last."""
    with precision_of(batch.pixels.device):
        return encode_images(model, to_pixel_values(batch.pixels), STAGES.values())


def tower_loss(
    heads: nn.ModuleDict, stages: Sequence[Tensor], batch: Batch
) -> tuple[Tensor, Measures]:
    """The loss of the heads that read the tower's `stages`, of `encode`."""
    # A view per head: their gradients are then added up one by one.
    reads = {ReadAt.STAGES: lambda: stages, ReadAt.TOWER: lambda: _tokens(stages[-1])}
    with precision_of(batch.pixels.device):
        losses, measures = _head_losses(heads, batch, reads)
    return torch.stack(losses).sum(), measures


def _tokens(features: Tensor) -> Tensor:
    return features.flatten(2).mT  # (P, N, C)


def decoder_loss(
    model: NanoFastVLM, heads: nn.ModuleDict, features: Tensor, batch: Batch
) -> tuple[Tensor, Measures]:
    """The loss of answers and of heads that read the decoder; features (P, C, h, w)."""
    asked = batch.conversations
    with precision_of(features.device):
        states = read(model, features, asked)
        logits = answer_logits(model, states, asked)
        losses, measures = _head_losses(heads, batch, _reads(model, states, batch))
    each = _token_losses(logits, asked)
    in_question = asked.segments[asked.labels != IGNORED] > 0
    answers, first_objects = each[in_question].mean(), mean_or_zero(each[~in_question])
    right = [one for row in right_answers(logits, asked) for one in row]
    loss = answers + AUXILIARY_SHARE * torch.stack([first_objects, *losses]).sum()
    return loss, {
        "answer_loss": answers.item(),
        "answers": sum(right) / max(1, len(right)),
        "first_object_loss": first_objects.item(),
        **measures,
    }


def _reads(model: NanoFastVLM, states: HiddenStates, batch: Batch) -> dict[ReadAt, Any]:
    half, late, _ = states
    visual = half[batch.conversations.input_ids == model.config.image_token_index]
    visual = visual.unflatten(0, (len(half), -1))  # (P, N, D)
    return {
        ReadAt.HALF: lambda: visual,
        ReadAt.HALF_MENTIONS: lambda: half[*batch.mentions],
        ReadAt.LATE_MENTIONS: lambda: late[*batch.mentions],
        ReadAt.LATE_PAIRS: lambda: late[*batch.mentions[:, batch.seconds]],
    }


def _head_losses(
    heads: nn.ModuleDict, batch: Batch, reads: Mapping[ReadAt, Any]
) -> tuple[list[Tensor], Measures]:
    """The losses and measures of those tasks whose input is among `reads`."""
    losses: list[Tensor] = []
    measures: Measures = {}
    for task in AUXILIARY:
        if task.read_at in reads:
            hidden, labels = reads[task.read_at](), batch.labels[task.name]
            loss, shares = task.loss(heads[task.name], hidden, labels)
            losses.append(loss)
            measures[f"{task.name}_loss"] = loss.item()
            measures |= {f"{task.name}_{what}": each for what, each in shares.items()}
    return losses, measures


def answer_logits(
    model: NanoFastVLM, states: HiddenStates, conversations: Conversations
) -> Tensor:
    """Logits (K, vocabulary) at the labelled positions."""
    logits: Tensor = model.lm_head(states.last[conversations.labels != IGNORED])
    return logits


def _token_losses(logits: Tensor, conversations: Conversations) -> Tensor:
    wanted = conversations.labels[conversations.labels != IGNORED]
    return cross_entropy(logits.float(), wanted, reduction="none")


def right_answers(logits: Tensor, conversations: Conversations) -> list[list[bool]]:
    """By image, whether all labelled tokens (K) of each conversation are right.

    Then the greedy answer is right; in training the hint in a question counts too.
    """
    wanted = conversations.labels != IGNORED
    wrong = torch.zeros_like(wanted)
    wrong[wanted] = logits.argmax(-1) != conversations.labels[wanted]
    counts = conversations.segments.amax(dim=1).tolist()
    answers = [[True] * count for count in counts]
    wrong &= conversations.segments > 0
    for row, place in wrong.nonzero().tolist():
        answers[row][int(conversations.segments[row, place]) - 1] = False
    return answers
