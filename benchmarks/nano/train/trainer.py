"""The training of a nano FastVLM: steps, measures, and a state to resume from.

Two losses. The tower names what is in every cell of the picture and where each visual
token lies; in the first steps it learns that alone. Then the whole model answers
questions too, several per encoded picture. It knows nothing of the command line or of
checkpoint folders.
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

from benchmarks.nano.architecture import (
    build_model,
    encode_pictures,
    use_channels_last,
)
from benchmarks.nano.arithmetic import attention_of
from benchmarks.nano.checkpoint import load_model
from benchmarks.nano.clock import Clock
from benchmarks.nano.feed import Batch, Steps, feed, make_batch
from benchmarks.nano.heads import Heads
from benchmarks.nano.labels import EMPTY
from benchmarks.nano.mixture import Mixture, draw_scene, task_shares
from benchmarks.nano.options import Options
from benchmarks.nano.presets import PRESETS, STRIDE
from benchmarks.nano.schedule import Schedule
from benchmarks.nano.seeing import see, seeing_loss
from benchmarks.nano.square import to_pixel_values
from benchmarks.nano.telling import right_answers, tell, telling_loss

LOG_EVERY = 20  # Steps.
SETTLING = 100  # Batches over which the BatchNorm statistics are measured.
STATE, HISTORY = "state.pt", "history.jsonl"

log = logging.getLogger("nano")


class Trainer:
    """Model, head, optimizer and scenes of one run.

    Args:
        options: what to do.
        tokenizer: the nano tokenizer.
    """

    def __init__(self, options: Options, tokenizer: Tokenizer) -> None:
        torch.manual_seed(options.seed)
        torch.set_num_threads(options.threads)
        self.options, self.tokenizer = options, tokenizer
        self.device = torch.device(options.device)
        self.steps = Steps(
            Mixture(
                options.seed,
                options.naming_steps,
                options.small_step,
                options.later_step,
                options.pictures,
            ),
            tokenizer,
            options.questions,
        )
        preset = PRESETS[options.preset]
        self.model = build_model(preset, tokenizer, options.resolution).to(self.device)
        use_channels_last(self.model)
        if options.compiled:
            for layer in self.model.model.language_model.layers:
                layer.compile(dynamic=True)
        self.heads = Heads(preset).to(self.device)
        self.optimizer = build_optimizer(self.model, self.heads, options.weight_decay)
        self.schedule = Schedule(options.rate, options.warmup)
        self.step = 0
        self.is_settled = False  # Whether BatchNorm's statistics were measured.

    def finish(self, steps: int) -> None:
        """Let the learning rate fall over the next steps, unless it already does.

        That of a finished run rises again first, at once.
        """
        if self.schedule.fall_from is None or self.is_finished:
            self.schedule = replace(self.schedule, fall_from=self.step, fall=steps)

    def train(self, minutes: float = math.inf, steps: int | None = None) -> None:
        """Go on until the schedule's end, or for some minutes or steps, and save.

        Args:
            minutes: at most so long.
            steps: at most up to this step.
        """
        end = min(e for e in (self.schedule.end, steps, 1 << 40) if e is not None)
        clock = Clock(minutes, self.options.save_minutes)
        recent: list[dict[str, float]] = []
        for batch in feed(self.steps, self.step, end, self.options.workers):
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
        """Take one step; return its measures."""
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
        seeing, answering = (
            self.optimizer.param_groups[:2],
            self.optimizer.param_groups[2:],
        )
        for group in seeing:
            group["lr"] = self.schedule.at(self.step)
        asked = max(0, self.step - self.options.naming_steps)
        risen = min(1.0, (asked + 1) / self.options.warmup)
        share = self.options.answer_rate / self.options.rate
        for group in answering:
            group["lr"] = risen * share * self.schedule.at(self.step)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of what is learned at this step, and its measures."""
        seen = see(self.model, self.heads, batch)
        loss, measures = seeing_loss(seen, batch)
        if not self.asks:
            return loss, measures
        told = tell(self.model, self.heads, seen.features, batch)
        told_loss, told_measures = telling_loss(told, batch)
        return self.options.cell_share * loss + told_loss, measures | told_measures

    @property
    def asks(self) -> bool:
        """Whether questions are answered already."""
        return self.step >= self.options.naming_steps

    @property
    def tower_learns(self) -> bool:
        """Whether the tower learns: until questions begin, and again from answers."""
        return not self.asks or self.step >= self.options.joint_step

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the share of right answers about held-out scenes, by kind."""
        self.model.eval()
        shares = task_shares(self.step >= self.options.later_step)
        got: dict[str, list[bool]] = defaultdict(list)
        for task in shares:
            for batch in self._held_out(task):
                self._judge(task, batch.to(self.device), got)
        return {
            kind: sum(each) / len(each) for kind, each in sorted(got.items()) if each
        }

    def _held_out(self, task: str) -> Iterator[Batch]:
        """Yield the held-out scenes of a task at the checkpoint's resolution."""
        pictures = self.options.pictures
        for first in range(0, self.options.validated, pictures):
            places = range(first, min(first + pictures, self.options.validated))
            scenes = [draw_scene(task, "test", 0, place) for place in places]
            asked = [scene.questions[:8] for scene in scenes]
            yield make_batch(scenes, asked, self.options.resolution, self.tokenizer)

    def _judge(self, task: str, batch: Batch, got: dict[str, list[bool]]) -> None:
        seen = see(self.model, self.heads, batch)
        right_cells = seen.names[str(STRIDE)].argmax(-1) == seen.labels
        got[f"cells/{task}"] += right_cells[seen.labels > EMPTY].tolist()
        if not self.asks:
            return
        told = tell(self.model, self.heads, seen.features, batch)
        right = right_answers(told, batch.conversations)
        for asked, answered in zip(batch.asked, right, strict=True):
            for question, is_right in zip(asked, answered, strict=True):
                got[question.kind].append(is_right)

    @torch.no_grad()
    def settle_statistics(self) -> None:
        """Measure BatchNorm's statistics in float32, on the run's next steps, once.

        Until then they trail behind the weights and are taken in bfloat16.
        """
        if self.is_settled:
            return
        for norm in self._norms():
            norm.reset_running_stats()
            norm.momentum = None  # The plain mean over all batches.
        self.model.train()
        last = self.step + SETTLING
        for batch in feed(self.steps, self.step, last, self.options.workers):
            pixels = batch.pixels.to(self.device)
            encode_pictures(self.model, to_pixel_values(pixels))
        self.model.eval()
        self.is_settled = True

    def _note(self, measures: dict[str, Any]) -> None:
        """Write measures to the log and, for the plot, to `history.jsonl`."""
        with open(self.options.out / HISTORY, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": self.step, **measures}) + "\n")
        flat = measures.get("held_out", measures)
        log.info("step %d  %s", self.step, "  ".join(_shown(flat)))

    def save_state(self) -> None:
        """Write everything that a resumed run needs."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        fall = (self.schedule.fall_from, self.schedule.fall)
        path = self.options.out / STATE
        torch.save(
            {**state, "step": self.step, "fall": fall, "settled": self.is_settled},
            path.with_suffix(".part"),
        )
        path.with_suffix(".part").replace(path)  # Never a half-written state.

    def load_state(self) -> None:
        """Go back to the last saved state."""
        state = torch.load(self.options.out / STATE, map_location=self.device)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step, self.is_settled = state["step"], state["settled"]
        fall_from, fall = state["fall"]
        self.schedule = replace(self.schedule, fall_from=fall_from, fall=fall)

    def weights(self) -> dict[str, Tensor]:
        """Return the model's and the head's tensors, and the step, by name."""
        step = {"step": torch.tensor(self.step)}
        model, head = self.model.state_dict(), self.heads.state_dict()
        # The output embedding is the input embedding under a second name.
        model = {k: v for k, v in model.items() if k != "lm_head.weight"}
        return step | model | {f"heads.{name}": each for name, each in head.items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Begin with weights from another run, at the step that they came to."""
        self.step = int(weights.pop("step"))
        head = {k: v for k, v in weights.items() if k.startswith("heads.")}
        self.heads.load_state_dict({k[6:]: v for k, v in head.items()})
        model = {k: v for k, v in weights.items() if k not in head}
        model["lm_head.weight"] = model["model.language_model.embed_tokens.weight"]
        self.model.load_state_dict(model)

    def load_checkpoint(self, folder: Path) -> None:
        """Begin with a checkpoint's model, its statistics held; the heads know nothing.

        The steps are counted from 0.
        """
        self.model.load_state_dict(load_model(folder).state_dict())
        self.is_settled = True

    def _parts(self) -> dict[str, Any]:
        """Name what has a state."""
        return {"model": self.model, "heads": self.heads, "optimizer": self.optimizer}


def build_optimizer(
    model: nn.Module, heads: nn.Module, weight_decay: float
) -> torch.optim.AdamW:
    """Return AdamW that decays matrices and kernels, not scales and biases.

    Its first two groups are the tower and the heads, the others what answers.
    """
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
    """Return the mean of each measure over the parts that have it; NaN is left out."""
    kept: dict[str, list[float]] = defaultdict(list)
    for part in parts:
        for name, value in part.items():
            if name != "resolution" and not math.isnan(value):
                kept[name].append(value)
    return {name: sum(each) / len(each) for name, each in kept.items()}


def _shown(measures: dict[str, float]) -> Iterator[str]:
    return (f"{name} {value:.3f}" for name, value in measures.items())
