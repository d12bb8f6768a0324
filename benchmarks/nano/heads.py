"""All heads that are trained beside the answers and thrown away afterwards."""

from torch import nn

from benchmarks.nano.cells import CellHeads
from benchmarks.nano.places import Places
from benchmarks.nano.presets import Preset


class Heads(nn.Module):
    """What a cell holds and where a visual token lies, read from the tower."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.cells = CellHeads(preset)
        self.places = Places(preset.vision_width)
