"""What the tower makes of pictures before anything is asked, and the loss of that."""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.nano.architecture import NanoFastVLM, encode_and_watch
from benchmarks.nano.arithmetic import precision_of
from benchmarks.nano.cells import STAGES, cell_loss, cells_to_name, shares_named
from benchmarks.nano.feed import Batch
from benchmarks.nano.heads import Heads
from benchmarks.nano.inks import ink_loss
from benchmarks.nano.places import place_loss
from benchmarks.nano.spelling import characters_loss
from benchmarks.nano.square import to_pixel_values


@dataclass(frozen=True)
class Seen:
    """What the tower makes of a batch of P pictures.

    Attributes:
        features: (P, C, h, w), the visual tokens.
        names: logits (K, labels) of cells, by stride.
        labels: int64 (K,), what is in those cells.
        places: logits (P, h, w, 2, parts) of the visual tokens' rows and columns.
        characters: logits (P, N, ...) of the characters at them, in order.
        inks: logits (P, N, colours) of those.
    """

    features: Tensor
    names: dict[str, Tensor]
    labels: Tensor
    places: Tensor
    characters: Tensor
    inks: Tensor


def see(model: NanoFastVLM, heads: Heads, batch: Batch) -> Seen:
    """Encode pictures and name what is in them."""
    chosen = cells_to_name(batch.cells)
    with precision_of(batch.pixels.device):
        features, early = encode_and_watch(
            model, to_pixel_values(batch.pixels), STAGES.values()
        )
        names = heads.cells([*early, features], chosen)
        return Seen(
            features,
            names,
            batch.cells.flatten()[chosen],
            heads.places(features),
            heads.characters(features),
            heads.seen_inks(features.flatten(2).mT),
        )


def seeing_loss(seen: Seen, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of all that the tower is told, and what was right.

    Args:
        seen: what the tower made of the batch.
        batch: what is in its pictures.
    """
    losses = [cell_loss(each, seen.labels) for each in seen.names.values()]
    placed = place_loss(seen.places)
    spelled = characters_loss(seen.characters, batch.spelling)
    inked, inks = ink_loss(seen.inks, batch.inks)
    measures = {
        "cell_loss": sum(each.item() for each in losses),
        "place_loss": placed.item(),
        "characters_loss": spelled.item(),
        "inks": inks,
    }
    for stride, each in seen.names.items():
        letters, things = shares_named(each, seen.labels)
        measures |= {f"letters_{stride}": letters, f"things_{stride}": things}
    return torch.stack([*losses, placed, spelled, inked]).sum(), measures
