"""All heads that are trained beside the answers and thrown away afterwards."""

from torch import nn

from benchmarks.nano.cells import CellHeads
from benchmarks.nano.inks import Inks
from benchmarks.nano.places import Places
from benchmarks.nano.portraits import Portraits
from benchmarks.nano.presets import Preset
from benchmarks.nano.references import ReferenceHead
from benchmarks.nano.relations import RelationHead
from benchmarks.nano.spelling import Characters, Spelling
from benchmarks.nano.spots import Spots
from benchmarks.nano.tallies import Tallies


class Heads(nn.Module):
    """Read from the tower: cells, places, characters; from the decoder: the others.

    Those that are one matrix begin at zero, so that a model that knows something is not
    moved by what they say before they have learned.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.cells = CellHeads(preset)
        self.places = Places(preset.vision_width)
        self.tallies = Tallies(preset.hidden)
        self.portraits = Portraits(preset.hidden)
        self.spelling = Spelling(preset.hidden)
        self.characters = Characters(preset.vision_width)
        self.references = ReferenceHead(preset.hidden)
        self.seen_inks = Inks(preset.vision_width)
        self.told_inks = Inks(preset.hidden)
        self.early_references = ReferenceHead(preset.hidden)
        self.relations = RelationHead(preset.hidden)
        self.spots = Spots(preset.hidden)
        for head in self.children():
            if isinstance(head, nn.Linear):
                nn.init.zeros_(head.weight)
