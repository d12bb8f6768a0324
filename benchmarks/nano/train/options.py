"""What a training run is made of."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What a training run is made of.

    Attributes:
        out: folder for the logs, the state to resume from and the checkpoint.
        preset: name of the model's sizes.
        device: where torch computes.
        resolution: side of the pictures that the checkpoint is made for, in pixels.
        pictures: pictures per step at 256 pixels.
        questions: conversations per picture and step.
        naming_steps: first steps, in which the tower learns alone.
        small_step: the step until which, once questions begin, all pictures are small.
        later_step: the step from which all tasks are drawn, not only the first ones.
        joint_step: the step from which the tower learns from answers too. From the end
            of the first steps until then it stays as it is, which makes a step
            faster.
        hold_step: the step from which BatchNorm uses statistics that were measured
            once, over many batches: those of a step's four pictures are mostly noise.
        rate: highest learning rate of the tower.
        answer_rate: highest learning rate of projector and decoder. At twice this the
            projector's outputs grow until the decoder no longer sees their differences.
        warmup: steps in which each of them rises.
        weight_decay: AdamW's, for matrices and kernels.
        cell_share: weight of the cells' loss once questions are answered.
        workers: processes that render.
        threads: of torch on a CPU; one wastes less where others compute too.
        compiled: whether torch.compile makes kernels of the decoder's layers. It takes
            a minute at the start and a C++ compiler; on two cores a step at 256 pixels
            then takes 0.55 seconds instead of 0.66, one at 128 0.49 instead of 0.75.
        validate_every: steps between two measurements of held-out scenes.
        validated: held-out scenes per task.
        save_minutes: time between two saved states.
        seed: of the weights and of everything drawn.
    """

    out: Path
    preset: str = "cpu"
    device: str = "cpu"
    resolution: int = 384
    pictures: int = 16
    questions: int = 6
    naming_steps: int = 2000
    small_step: int = 4000
    later_step: int = 5000
    joint_step: int = 10_000
    hold_step: int = 2000
    rate: float = 1.5e-3
    answer_rate: float = 7e-4
    warmup: int = 100
    weight_decay: float = 0.05
    cell_share: float = 0.5
    workers: int = 1
    threads: int = 2
    compiled: bool = False
    validate_every: int = 250
    validated: int = 24
    save_minutes: float = 5.0
    seed: int = 0
