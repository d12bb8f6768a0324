"""What a training run is made of, and the sizes of the models.

Channel widths are multiples of 16, for MLX's fast Metal kernel of depthwise
convolutions; decoder widths and vocabularies of 64, for quantization in groups of 64.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Preset:
    """Every size of a model that a person chooses."""

    layers: tuple[int, ...]  # blocks in each of the tower's five stages
    widths: tuple[int, ...]  # channels of each stage
    hidden: int  # width of the decoder
    feed_forward: int  # width inside the decoder's MLPs
    decoder_layers: int
    heads: int  # query heads, of 64 channels each
    key_value_heads: int
    vocabulary: int  # tokens, special ones included

    @property
    def vision_width(self) -> int:
        """Channels of a visual token: the last width times FastViTHD's expansion."""
        return 2 * self.widths[-1]


# The first stages take nearly all of the tower's time, so the late ones may be wide: on
# two cores 5.1 M parameters take a fifth longer than 1.3 M.
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


@dataclass(frozen=True)
class Options:
    """What a run is made of; every field but `out` is an option of the command line."""

    out: Path  # folder of the logs, the state and the checkpoint
    preset: str = "cpu"
    device: str = "cpu"
    resolution: int = 384  # pixels of the images that the checkpoint is made for
    images: int = 16  # per step at 256 pixels
    questions: int = 6  # per image and step
    naming_steps: int = 2000  # first steps, in which only the tower learns
    small_step: int = 4000  # from then until this step all images are small
    joint_step: int = 10_000  # until this step the tower stays frozen, which is faster
    # From this step BatchNorm uses statistics that were measured once, over many
    # batches: those of a step's few images are mostly noise.
    hold_step: int = 2000
    rate: float = 1.5e-3  # highest learning rate of tower and heads
    # Of projector and decoder. At twice this the projector's outputs grow until the
    # decoder cannot distinguish them.
    answer_rate: float = 7e-4
    warmup: int = 100  # steps in which each rate rises
    weight_decay: float = 0.05  # for matrices and kernels
    tower_share: float = 0.5  # weight of the tower's losses once questions are asked
    workers: int = 1  # processes that render
    threads: int = 2  # of torch on a CPU
    # torch.compile for the decoder: a minute at the start, then 0.55 s instead of 0.66
    # per step at 256 pixels, 0.49 instead of 0.75 at 128 (two cores).
    compiled: bool = False
    validate_every: int = 250  # steps
    validated: int = 24  # held-out scenes per task
    save_minutes: float = 5.0
    seed: int = 0  # of the weights and of everything drawn
