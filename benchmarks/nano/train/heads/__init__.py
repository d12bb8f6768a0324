"""All auxiliary tasks. A new one is a file in this folder and a line in AUXILIARY."""

from torch import nn

from ..options import Preset
from .auxiliary import AuxiliaryTask
from .character import CHARACTER, TOWER_CHARACTER
from .colour import COLOUR, TOWER_COLOUR
from .counting import COUNTING
from .dense_label import DENSE_LABEL
from .grounding import EARLY_GROUNDING, GROUNDING
from .heatmap import HEATMAP
from .object import OBJECT
from .pairwise import PAIRWISE
from .position import POSITION

# In the order in which the heads' initial biases are drawn.
AUXILIARY: tuple[AuxiliaryTask, ...] = (
    DENSE_LABEL,
    POSITION,
    COUNTING,
    OBJECT,
    CHARACTER,
    TOWER_CHARACTER,
    GROUNDING,
    TOWER_COLOUR,
    COLOUR,
    EARLY_GROUNDING,
    PAIRWISE,
    HEATMAP,
)


def build_heads(preset: Preset) -> nn.ModuleDict:
    """A new head for each task, by name.

    Single matrices begin at zero, so that they do not move a trained model at first.
    """
    heads = nn.ModuleDict({task.name: task.head(preset) for task in AUXILIARY})
    for head in heads.values():
        if isinstance(head, nn.Linear):
            nn.init.zeros_(head.weight)
    return heads
