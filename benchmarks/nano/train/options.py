"""What a training run is made of, and the sizes of the models.

Channel widths are multiples of 16, as MLX's fast Metal kernel of depthwise convolutions
requires; decoder widths and vocabularies are multiples of 64, so that every matrix can
be quantized in groups of 64.
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


# On two cores the first stages take nearly all of the tower's time, so the late ones,
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


@dataclass(frozen=True)
class Options:
    """What a run is made of; every field but `out` is an option of the command line.

    Attributes:
        out: folder of the logs, the state to resume from and the checkpoint.
        preset: name of the model's sizes.
        device: where torch computes.
        resolution: side of the images that the checkpoint is made for, in pixels.
        images: images per step at 256 pixels.
        questions: conversations per image and step.
        naming_steps: first steps, in which only the tower learns.
        small_step: the step until which, once questions begin, all images are small.
        joint_step: the step from which the tower learns from answers too. It is frozen
            from the end of the naming steps until then, which makes a step faster.
        hold_step: the step from which BatchNorm uses statistics measured once, over
            many batches: those of a step's few images are mostly noise.
        rate: highest learning rate of tower and heads.
        answer_rate: highest learning rate of projector and decoder. At twice this the
            projector's outputs grow until the decoder cannot tell them apart.
        warmup: steps in which each rate rises.
        weight_decay: of AdamW, for matrices and kernels.
        tower_share: weight of the tower's losses once questions are asked.
        workers: processes that render.
        threads: of torch on a CPU.
        compiled: torch.compile the decoder's layers. Takes a minute at the start and a
            C++ compiler; on two cores a step at 256 pixels then takes 0.55 s instead of
            0.66, one at 128 pixels 0.49 instead of 0.75.
        validate_every: steps between two validations.
        validated: held-out scenes per task.
        save_minutes: time between two saved states.
        seed: of the weights and of everything drawn.
    """

    out: Path
    preset: str = "cpu"
    device: str = "cpu"
    resolution: int = 384
    images: int = 16
    questions: int = 6
    naming_steps: int = 2000
    small_step: int = 4000
    joint_step: int = 10_000
    hold_step: int = 2000
    rate: float = 1.5e-3
    answer_rate: float = 7e-4
    warmup: int = 100
    weight_decay: float = 0.05
    tower_share: float = 0.5
    workers: int = 1
    threads: int = 2
    compiled: bool = False
    validate_every: int = 250
    validated: int = 24
    save_minutes: float = 5.0
    seed: int = 0
