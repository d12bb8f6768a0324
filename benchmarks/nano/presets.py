"""The sizes of a nano model: one for two CPU cores, one for a GPU.

Channel widths are multiples of 16, which is what MLX's fast Metal kernel of depthwise
convs takes, and double or triple from stage to stage; decoder widths and vocabularies
are multiples of 64, so that every matrix can be stored in groups of 64.
"""

from dataclasses import dataclass

STRIDE = 64  # Pixels of the picture's side that one visual token covers.


@dataclass(frozen=True)
class Preset:
    """Every size of a model that a person chooses.

    Attributes:
        layers: blocks in each of the tower's five stages.
        widths: channels of each stage; a visual token has twice the last.
        hidden: width of the decoder.
        feed_forward: width inside the decoder's MLPs.
        decoder_layers: blocks of the decoder.
        heads: its query heads, of 64 channels each.
        key_value_heads: its key and value heads.
        vocabulary: tokens, special ones included.
    """

    layers: tuple[int, ...]
    widths: tuple[int, ...]
    hidden: int
    feed_forward: int
    decoder_layers: int
    heads: int
    key_value_heads: int
    vocabulary: int

    @property
    def vision_width(self) -> int:
        """Channels of a visual token: the last width times FastViTHD's expansion."""
        return 2 * self.widths[-1]


# On two cores the first stages cost nearly all of the tower's time, so the late ones,
# which hold the parameters, may be wide: 5.1 M take a fifth longer than 1.3 M.
PRESETS = {
    "cpu": Preset(
        layers=(1, 1, 3, 2, 2),
        widths=(16, 32, 96, 192, 384),
        hidden=256,
        feed_forward=640,
        decoder_layers=4,
        heads=4,
        key_value_heads=2,
        vocabulary=768,
    ),
    "gpu": Preset(
        layers=(2, 2, 4, 2, 2),
        widths=(24, 48, 96, 192, 384),
        hidden=384,
        feed_forward=1024,
        decoder_layers=8,
        heads=6,
        key_value_heads=2,
        vocabulary=1024,
    ),
}


def image_tokens(resolution: int) -> int:
    """Return how many visual tokens a square picture of this side becomes."""
    return (resolution // STRIDE) ** 2
