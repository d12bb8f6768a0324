"""The training of a nano FastVLM: steps, measures, and a state to resume from.

First the tower learns alone, from the heads that read it; then the whole model answers
questions as well, several per encoded image.
"""

import json
import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..data.mixture import SHARES, Mixture, draw_scene
from .checkpoint import load_model
from .heads import build_heads
from .heads.dense_label import DENSE_LABEL, right_marks
from .loader import Batch, Steps, load, make_batch
from .losses import answer_logits, decoder_loss, encode, right_answers, tower_loss
from .model import (
    attention_of,
    build_model,
    encode_images,
    precision_of,
    read,
    to_pixel_values,
)
from .options import PRESETS, Options
from .schedule import Clock, Schedule

LOG_EVERY = 20  # steps
SETTLING = 100  # batches over which the BatchNorm statistics are measured
STATE, HISTORY = "state.pt", "history.jsonl"

log = logging.getLogger("nano")


class Trainer:
    """Model, heads, optimizer and scenes of one run."""

    def __init__(self, options: Options, tokenizer: Tokenizer) -> None:
        torch.manual_seed(options.seed)
        torch.set_num_threads(options.threads)
        self.options, self.tokenizer = options, tokenizer
        self.device = torch.device(options.device)
        mixture = Mixture(
            options.seed, options.naming_steps, options.small_step, options.images
        )
        self.steps = Steps(mixture, tokenizer, options.questions)
        preset = PRESETS[options.preset]
        self.model = build_model(preset, tokenizer, options.resolution).to(self.device)
        if options.compiled:
            for layer in self.model.model.language_model.layers:
                layer.compile(dynamic=True)
        self.heads = build_heads(preset).to(self.device)
        self.optimizer = build_optimizer(self.model, self.heads, options.weight_decay)
        self.schedule = Schedule(options.rate, options.warmup)
        self.step = 0
        self.is_settled = False  # whether BatchNorm's statistics were measured

    def finish(self, steps: int) -> None:
        """Let the rate fall over the next steps; in a finished run from the top."""
        if self.schedule.fall_from is None or self.is_finished:
            self.schedule = replace(self.schedule, fall_from=self.step, fall=steps)

    def train(self, minutes: float = math.inf, steps: int | None = None) -> None:
        """Continue to the schedule's end, for some minutes or up to a step; save."""
        end = min(e for e in (self.schedule.end, steps, 1 << 40) if e is not None)
        clock = Clock(minutes, self.options.save_minutes)
        recent: list[dict[str, float]] = []
        for batch in load(self.steps, self.step, end, self.options.workers):
            recent.append(self.train_step(batch))
            self.step += 1
            if self.step % LOG_EVERY == 0:
                self._note({"seconds": clock.elapsed, **mean_measures(recent)})
                recent = []
            if self.step % self.options.validate_every == 0:
                self._note({"held_out": self.validate()})
            if clock.is_time_to_save():
                self.save_state()
            if clock.is_over():
                break
        self.save_state()

    @property
    def is_finished(self) -> bool:
        """Whether the learning rate has fallen to zero."""
        return self.step == self.schedule.end

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Take one step; its measures."""
        if self.step >= self.options.hold_step:
            self.settle_statistics()
        self._train_mode()
        self._set_rates()
        with attention_of(self.device):
            loss, measures = self.loss(batch.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return {"resolution": batch.resolution, "loss": loss.item(), **measures}

    def _train_mode(self) -> None:
        self.model.train()
        self.model.model.vision_tower.requires_grad_(self.tower_learns)
        for norm in self._norms() if self.is_settled else ():
            norm.eval()

    def _norms(self) -> list[nn.BatchNorm2d]:
        modules = self.model.modules()
        return [each for each in modules if isinstance(each, nn.BatchNorm2d)]

    def _set_rates(self) -> None:
        groups = self.optimizer.param_groups
        for group in groups[:2]:
            group["lr"] = self.schedule.at(self.step)
        asked = max(0, self.step - self.options.naming_steps)
        risen = min(1.0, (asked + 1) / self.options.warmup)
        share = self.options.answer_rate / self.options.rate
        for group in groups[2:]:
            group["lr"] = risen * share * self.schedule.at(self.step)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss of this step, and its measures."""
        stages = encode(self.model, batch)
        loss, measures = tower_loss(self.heads, stages, batch)
        if not self.asks:
            return loss, measures
        answers, more = decoder_loss(self.model, self.heads, stages[-1], batch)
        return self.options.tower_share * loss + answers, measures | more

    @property
    def asks(self) -> bool:
        """Whether questions have begun."""
        return self.step >= self.options.naming_steps

    @property
    def tower_learns(self) -> bool:
        """Whether the tower learns: until questions begin, and later from answers."""
        return not self.asks or self.step >= self.options.joint_step

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The share of right answers about held-out scenes, by kind."""
        self.model.eval()
        got: dict[str, list[bool]] = defaultdict(list)
        for task in SHARES:
            for batch in self._held_out(task):
                self._judge(task, batch.to(self.device), got)
        return {
            kind: sum(each) / len(each) for kind, each in sorted(got.items()) if each
        }

    def _held_out(self, task: str) -> Iterator[Batch]:
        """The held-out scenes of a task at the checkpoint's resolution."""
        images, count = self.options.images, self.options.validated
        for first in range(0, count, images):
            places = range(first, min(first + images, count))
            scenes = [draw_scene(task, "test", 0, place) for place in places]
            questions = [scene.questions[:8] for scene in scenes]
            resolution = self.options.resolution
            yield make_batch(scenes, questions, resolution, self.tokenizer)

    def _judge(self, task: str, batch: Batch, got: dict[str, list[bool]]) -> None:
        stages, asked = encode(self.model, batch), batch.conversations
        with precision_of(self.device):
            cells = batch.labels[DENSE_LABEL.name]
            named = right_marks(self.heads[DENSE_LABEL.name], stages, cells)
            got[f"cells/{task}"] += named.tolist()
            if not self.asks:
                return
            states = read(self.model, stages[-1], asked)
            right = right_answers(answer_logits(self.model, states, asked), asked)
        for questions, answered in zip(batch.questions, right, strict=True):
            for question, is_right in zip(questions, answered, strict=True):
                got[question.kind].append(is_right)

    @torch.no_grad()
    def settle_statistics(self) -> None:
        """Measure BatchNorm's statistics in float32 on the run's next steps, once."""
        if self.is_settled:
            return
        for norm in self._norms():
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
        self.model.train()
        last = self.step + SETTLING
        for batch in load(self.steps, self.step, last, self.options.workers):
            encode_images(self.model, to_pixel_values(batch.pixels.to(self.device)))
        self.model.eval()
        self.is_settled = True

    def _note(self, measures: dict[str, Any]) -> None:
        with open(self.options.out / HISTORY, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": self.step, **measures}) + "\n")
        flat = measures.get("held_out", measures)
        shown = (f"{name} {value:.3f}" for name, value in flat.items())
        log.info("step %d  %s", self.step, "  ".join(shown))

    def save_state(self) -> None:
        """Write everything that a resumed run needs."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        fall = (self.schedule.fall_from, self.schedule.fall)
        path = self.options.out / STATE
        torch.save(
            {**state, "step": self.step, "fall": fall, "settled": self.is_settled},
            path.with_suffix(".part"),
        )
        path.with_suffix(".part").replace(path)  # never a half-written state

    def load_state(self) -> None:
        """Return to the last saved state."""
        state = torch.load(self.options.out / STATE, map_location=self.device)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step, self.is_settled = state["step"], state["settled"]
        fall_from, fall = state["fall"]
        self.schedule = replace(self.schedule, fall_from=fall_from, fall=fall)

    def weights(self) -> dict[str, Tensor]:
        """The tensors of the model and the heads, and the step, by name."""
        step = {"step": torch.tensor(self.step)}
        model, heads = self.model.state_dict(), self.heads.state_dict()
        # The output embedding is the input embedding under a second name.
        model = {k: v for k, v in model.items() if k != "lm_head.weight"}
        return step | model | {f"heads.{name}": each for name, each in heads.items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Begin with the `weights` of another run, at its step."""
        self.step = int(weights.pop("step"))
        heads = {k: v for k, v in weights.items() if k.startswith("heads.")}
        self.heads.load_state_dict({k[6:]: v for k, v in heads.items()})
        model = {k: v for k, v in weights.items() if k not in heads}
        model["lm_head.weight"] = model["model.language_model.embed_tokens.weight"]
        self.model.load_state_dict(model)

    def load_checkpoint(self, folder: Path) -> None:
        """Begin at step 0 with a checkpoint's model, its statistics held; new heads."""
        self.model.load_state_dict(load_model(folder).state_dict())
        self.is_settled = True

    def _parts(self) -> dict[str, Any]:
        return {"model": self.model, "heads": self.heads, "optimizer": self.optimizer}


def build_optimizer(
    model: nn.Module, heads: nn.Module, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW; the first two groups are tower and heads, the others what answers."""
    named = dict(model.named_parameters())
    tower = [each for name, each in named.items() if ".vision_tower." in name]
    rest = [each for name, each in named.items() if ".vision_tower." not in name]
    groups = []
    for parameters in ([*tower, *heads.parameters()], rest):
        matrices = [each for each in parameters if each.squeeze().dim() > 1]
        vectors = [each for each in parameters if each.squeeze().dim() <= 1]
        groups += [
            {"params": matrices, "weight_decay": weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=True)


def mean_measures(parts: Iterable[dict[str, float]]) -> dict[str, float]:
    """The mean of each measure over the parts that have it, NaN left out."""
    kept: dict[str, list[float]] = defaultdict(list)
    for part in parts:
        for name, value in part.items():
            if name != "resolution" and not math.isnan(value):
                kept[name].append(value)
    return {name: sum(each) / len(each) for name, each in kept.items()}
