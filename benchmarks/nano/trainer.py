"""The training of the nano FastVLM: steps, measures, and a state to resume from.

Three stages. First the vision tower learns to name shape and color through two linear
heads. Then the whole model answers questions, several per encoded picture, with the
heads' loss kept. At last the tower is frozen, every picture is encoded once, and only
the projector and the decoder go on. It knows nothing of the command line or of
checkpoint folders.
"""

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.nano.architecture import (
    AttributeHeads,
    answer_logits,
    build_model,
    encode_pictures,
    image_tokens,
    use_channels_last,
)
from benchmarks.nano.data import UNKNOWN, Question, Split
from benchmarks.nano.examples import Examples, load_examples, to_pixel_values
from benchmarks.nano.prompt import IGNORED, PromptEncoder
from benchmarks.nano.variation import find_boxes, vary

VALIDATION_PICTURES = 200  # Taken from the end of the training split.
VARIANTS = 3  # Of every picture in the third stage: as it is, and varied.
CAPTION_SHARE = 0.1  # Share of the conversations that ask for a sentence.
# Share of the yes/no questions that name the picture's own color, where it has any.
# With eight colors they are so rare that the decoder learns to answer without looking.
MATCHING_SHARE = 0.5
LOG_EVERY, SAVE_EVERY, VALIDATE_EVERY = 50, 250, 500  # Steps.
STATE = "state.pt"

log = logging.getLogger("nano")


@dataclass(frozen=True)
class Options:
    """What a training run is made of; the defaults made the published checkpoint.

    Attributes:
        out: folder for the log, the state to resume from and the checkpoints.
        resolution: side of the pictures in pixels, a multiple of 64.
        attribute_steps: optimizer steps of the first stage.
        question_steps: optimizer steps of the second stage.
        frozen_steps: optimizer steps of the third stage.
        pictures: pictures per step.
        questions: conversations per picture and step, after the first stage.
        attribute_rate: highest learning rate of the first stage.
        question_rate: highest learning rate of the second stage.
        frozen_rate: highest learning rate of the third stage.
        warmup: steps in which a stage's learning rate rises.
        weight_decay: AdamW's, for matrices and kernels.
        seed: of the weights, the order and the variations.
    """

    out: Path
    resolution: int = 128
    attribute_steps: int = 1600
    question_steps: int = 1400
    frozen_steps: int = 3400
    pictures: int = 32
    questions: int = 4
    attribute_rate: float = 1.5e-3
    question_rate: float = 1e-3
    frozen_rate: float = 1.5e-3
    warmup: int = 100
    weight_decay: float = 0.05
    seed: int = 0

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages."""
        return self.attribute_steps + self.question_steps + self.frozen_steps

    def stage(self, step: int) -> int:
        """Return the stage that a step belongs to: 1, 2 or 3."""
        if step < self.attribute_steps:
            return 1
        return 2 if step < self.attribute_steps + self.question_steps else 3

    def rate(self, step: int) -> float:
        """Return the learning rate: per stage a rise, then half a cosine to zero."""
        stage = self.stage(step)
        lengths = (self.attribute_steps, self.question_steps, self.frozen_steps)
        rates = (self.attribute_rate, self.question_rate, self.frozen_rate)
        taken, length = step - sum(lengths[: stage - 1]), lengths[stage - 1]
        rise = min(1.0, (taken + 1) / self.warmup)
        return rates[stage - 1] * rise * 0.5 * (1 + math.cos(math.pi * taken / length))


@dataclass(frozen=True)
class Measures:
    """Mean loss and shares of right answers; NaN for what a stage does not measure."""

    loss: float
    shape: float = math.nan
    color: float = math.nan
    answer: float = math.nan

    def __str__(self) -> str:
        measured = {k: v for k, v in asdict(self).items() if not math.isnan(v)}
        return "  ".join(f"{name} {value:.4f}" for name, value in measured.items())


class Trainer:
    """Model, heads, optimizer and data of one run.

    Args:
        options: what to do.
        tokenizer: the nano tokenizer.
        split: the pictures and questions to learn from and to validate with.
    """

    def __init__(self, options: Options, tokenizer: Tokenizer, split: Split) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.prompts = PromptEncoder(tokenizer, image_tokens(options.resolution))
        learned, held_out = split[:-VALIDATION_PICTURES], split[-VALIDATION_PICTURES:]
        self.learned = load_examples(learned, options.resolution)
        self.held_out = load_examples(held_out, options.resolution)
        self.boxes = find_boxes(self.learned.pixels)
        self.model = build_model(tokenizer, options.resolution)
        use_channels_last(self.model)
        self.heads = AttributeHeads()
        self.optimizer = build_optimizer(self.model, self.heads, options.weight_decay)
        self.features: Tensor | None = None  # (V, N, C, h, w), in the third stage
        self.step = 0

    def train(self) -> None:
        """Run all steps that are left, saving the state on the way."""
        started, first = time.monotonic(), self.step
        while self.step < self.options.steps:
            measures = self.train_step()
            self.step += 1
            if self.step % LOG_EVERY == 0:
                pace = (time.monotonic() - started) / (self.step - first)
                log.info("step %d  %s  %.3f s/step", self.step, measures, pace)
            if self.step % VALIDATE_EVERY == 0:
                log.info("step %d  held out: %s", self.step, self.validate())
            if self.step % SAVE_EVERY == 0:
                self.save_state()

    def train_step(self) -> Measures:
        """Draw pictures, and questions after the first stage; take a step."""
        # Seeded by the step, so that a resumed run goes on as an unbroken one.
        random = torch.Generator().manual_seed(self.options.seed << 32 | self.step)
        count, stage = self.options.pictures, self.options.stage(self.step)
        chosen = torch.randint(len(self.learned), (count,), generator=random)
        if stage == 3:
            loss, measures = self._frozen_loss(chosen, random)
        else:
            pixels = vary(self.learned.pixels, self.boxes, chosen, random)
            questions = self._draw_questions(chosen, random) if stage == 2 else []
            self.model.train()
            loss, measures = self._loss(self.learned, chosen, pixels, questions)
        self._update(loss)
        return measures

    def _frozen_loss(
        self, chosen: Tensor, random: torch.Generator
    ) -> tuple[Tensor, Measures]:
        """Return the loss of answers about pictures that are encoded already."""
        if self.features is None:
            self.features = self.freeze_tower()
        variant = torch.randint(VARIANTS, chosen.shape, generator=random)
        questions = self._draw_questions(chosen, random)
        features = self.features[variant, chosen]
        loss, answer = self._answer_loss(features, questions)
        return loss, Measures(loss.item(), answer=answer)

    @torch.no_grad()
    def freeze_tower(self) -> Tensor:
        """Settle the tower and encode every picture, as it is and varied.

        Returns:
            float32 (V, N, C, h, w), what the decoder will be given in use.
        """
        log.info("freezing the tower")
        self.settle_statistics()
        every = torch.arange(len(self.learned))
        random = torch.Generator().manual_seed(self.options.seed)
        variants = [self.learned.pixels] + [
            vary(self.learned.pixels, self.boxes, every, random)
            for _ in range(VARIANTS - 1)
        ]
        return torch.stack([self._encode_all(pixels) for pixels in variants])

    def _encode_all(self, pixels: Tensor) -> Tensor:
        batches = pixels.split(100)
        encoded = [encode_pictures(self.model, to_pixel_values(b)) for b in batches]
        return torch.cat(encoded).contiguous()

    def _draw_questions(
        self, chosen: Tensor, random: torch.Generator
    ) -> list[list[Question]]:
        """Draw each picture's conversations from its own questions and its caption."""
        drawn: list[list[Question]] = []
        for picture in (self.learned.split[i] for i in chosen.tolist()):
            drawn.append([])
            for share in torch.rand(self.options.questions, generator=random).tolist():
                kinds: tuple[Question, ...] = picture.questions
                if share < CAPTION_SHARE and picture.caption:
                    kinds = (picture.caption,)
                elif share < CAPTION_SHARE + MATCHING_SHARE and picture.matching:
                    kinds = picture.matching
                place = torch.randint(len(kinds), (), generator=random)
                drawn[-1].append(kinds[int(place)])
        return drawn

    def _loss(
        self,
        examples: Examples,
        chosen: Tensor,
        pixels: Tensor,
        questions: list[list[Question]],
    ) -> tuple[Tensor, Measures]:
        """Return the loss of the heads and, if there are questions, of the answers."""
        with torch.autocast("cpu", torch.bfloat16):
            features = encode_pictures(self.model, to_pixel_values(pixels))
        loss, shape, color = self._attribute_loss(
            features.float(), examples.shapes[chosen], examples.colors[chosen]
        )
        answer = math.nan
        if questions:
            answer_loss, answer = self._answer_loss(features, questions)
            loss = loss + answer_loss
        return loss, Measures(loss.item(), shape, color, answer)

    def _attribute_loss(
        self, features: Tensor, shapes: Tensor, colors: Tensor
    ) -> tuple[Tensor, float, float]:
        """Return the heads' loss and their shares of right shapes and colors."""
        shape_logits, color_logits = self.heads(features)
        loss = cross_entropy(shape_logits, shapes, ignore_index=UNKNOWN)
        loss = loss + cross_entropy(color_logits, colors, ignore_index=UNKNOWN)
        return (
            loss,
            share_right(shape_logits, shapes),
            share_right(color_logits, colors),
        )

    def _answer_loss(
        self, features: Tensor, questions: list[list[Question]]
    ) -> tuple[Tensor, float]:
        """Return the answers' loss and the share of conversations wholly right.

        Every token right after the true ones before it is the same as the greedy answer
        being right.
        """
        batch = self.prompts.batch(questions)
        with torch.autocast("cpu", torch.bfloat16):
            logits = answer_logits(self.model, features, batch)
        wanted = batch.labels != IGNORED
        labels = batch.labels[wanted]
        wrong = torch.zeros_like(wanted)
        wrong[wanted] = logits.argmax(-1) != labels
        # A conversation, a picture's segment, fails with its first wrong token.
        failed = {
            (row, int(batch.segments[row, at])) for row, at in wrong.nonzero().tolist()
        }
        answered = 1 - len(failed) / sum(len(asked) for asked in questions)
        return cross_entropy(logits.float(), labels), answered

    def _update(self, loss: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    @torch.no_grad()
    def validate(self) -> Measures:
        """Measure the held-out pictures, after the first stage with all questions."""
        self.model.eval()
        parts, asks = [], self.step > self.options.attribute_steps
        for index, picture in enumerate(self.held_out.split):
            chosen = torch.tensor([index])
            questions = [list(picture.questions)] if asks else []
            pixels = self.held_out.pixels[chosen]
            parts.append(self._loss(self.held_out, chosen, pixels, questions)[1])
        return mean_measures(parts)

    @torch.no_grad()
    def settle_statistics(self) -> None:
        """Measure the BatchNorm statistics anew on the unvaried pictures, in float32.

        While training they trail behind the weights, in bfloat16 and on moved shapes.
        """
        for norm in self.model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.reset_running_stats()
                norm.momentum = None  # The plain mean over all batches.
        self.model.train()
        order = torch.Generator().manual_seed(self.options.seed)
        for chosen in torch.randperm(len(self.learned), generator=order).split(100):
            encode_pictures(self.model, to_pixel_values(self.learned.pixels[chosen]))
        self.model.eval()

    def save_state(self) -> None:
        """Write everything that a resumed run needs."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        path = self.options.out / STATE
        torch.save({**state, "step": self.step}, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)  # Never a half-written state.

    def load_state(self) -> None:
        """Go back to the last saved state."""
        state = torch.load(self.options.out / STATE)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step = state["step"]

    def _parts(self) -> dict[str, Any]:
        """Name what has a state."""
        return {"model": self.model, "heads": self.heads, "optimizer": self.optimizer}


def build_optimizer(
    model: nn.Module, heads: nn.Module, weight_decay: float
) -> torch.optim.AdamW:
    """Return AdamW that decays matrices and kernels, not scales and biases."""
    parameters = [*model.parameters(), *heads.parameters()]
    matrices = [p for p in parameters if p.squeeze().dim() > 1]
    vectors = [p for p in parameters if p.squeeze().dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98))


def share_right(logits: Tensor, labels: Tensor) -> float:
    """Return the share of the known labels that the logits name; NaN without any."""
    known = labels != UNKNOWN
    return (logits.argmax(-1) == labels)[known].float().mean().item()


def mean_measures(parts: list[Measures]) -> Measures:
    """Return the means, leaving out what a part could not measure."""
    table = torch.tensor([list(asdict(part).values()) for part in parts])
    return Measures(*table.nanmean(dim=0).tolist())
