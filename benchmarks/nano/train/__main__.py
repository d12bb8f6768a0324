"""Train a nano FastVLM: `python -m benchmarks.nano.train --out FOLDER`.

It goes on until it is stopped (or for `--minutes`), and later `--resume` continues from
the last saved state. `--finish N` lets the learning rate fall over N more steps, of a
finished run from the top again, and writes `checkpoint/` (float32) and
`checkpoint-fp16/`; `--write` writes them right away.
The folder also gets the tokenizer, the options, `train.log`, `history.jsonl` (see
`plot.py`) and the state.

On a GPU that is lent for minutes: `--preset gpu --device cuda --workers 15 --minutes 9
--pieces FOLDER` leaves the weights in small files, and `--start FOLDER` goes on from
them with a fresh optimizer; `--tokenizer` is then the first run's.

A checkpoint can be gone on from as well, with heads and an optimizer that know nothing:
`--start CHECKPOINT --tokenizer CHECKPOINT/tokenizer.json --naming-steps 0 --small-step
0 --joint-step 400 --warmup 400`. The tower is at rest while the heads learn.
"""

import argparse
import json
import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from benchmarks.nano.checkpoint import WEIGHTS, save_checkpoint, save_half_copy
from benchmarks.nano.mixture import RESOLUTIONS, draw_scene, task_shares
from benchmarks.nano.options import Options
from benchmarks.nano.pieces import load_pieces, save_pieces
from benchmarks.nano.presets import PRESETS
from benchmarks.nano.tokenizer import train_tokenizer
from benchmarks.nano.trainer import Trainer, log

TOKENIZER, OPTIONS = "tokenizer.json", "options.json"
TEXT_SCENES = 400  # Scenes per task whose questions the tokenizer learns from.
COMMON_ANSWERS = ("easy-vqa", "shapes", "captions")  # The others are read, spelled.


def tokenizer_texts() -> Iterator[str]:
    """Yield what the tokenizer learns from: questions, and answers of few words."""
    for task in task_shares(all_tasks=True):
        for index in range(TEXT_SCENES):
            for asked in draw_scene(task, "train", 0, index).questions:
                yield asked.text
                if asked.kind.startswith(COMMON_ANSWERS):
                    yield asked.answer


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a nano FastVLM.")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--resume", action="store_true", help="go on from --out")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--finish", type=int, help="steps of the rate's fall")
    parser.add_argument("--write", action="store_true", help="write checkpoints now")
    parser.add_argument("--pieces", type=Path, help="folder for the weights in pieces")
    parser.add_argument("--start", type=Path, help="pieces or checkpoint to begin with")
    parser.add_argument("--tokenizer", type=Path, help="file to take it from")
    for field in fields(Options):
        if field.name != "out":
            flag = "--" + field.name.replace("_", "-")
            parser.add_argument(flag, **_reading(field.default))
    return parser.parse_args()


def _reading(default: Any) -> dict[str, Any]:
    """Return how argparse reads an option; None is what was not given."""
    if isinstance(default, bool):
        form = {"action": argparse.BooleanOptionalAction, "default": None}
    else:
        form = {"type": type(default)}
    return {**form, "help": f"[{default}]"}


def read_options(arguments: argparse.Namespace) -> Options:
    """Return the defaults or, of a resumed run, its options; changed where asked."""
    options = Options(arguments.out)
    if arguments.resume:
        stored: dict[str, Any] = json.loads((arguments.out / OPTIONS).read_text())
        options = replace(options, **stored)
    names = (field.name for field in fields(Options))
    given = {name: getattr(arguments, name) for name in names}
    return replace(options, **{k: v for k, v in given.items() if v is not None})


def start_log(folder: Path) -> None:
    """Send log lines to the terminal and to `train.log` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [
        logging.StreamHandler(),
        logging.FileHandler(folder / "train.log"),
    ]
    form = "%(asctime)s  %(message)s"
    logging.basicConfig(format=form, handlers=handlers)
    log.setLevel(logging.INFO)


def get_tokenizer(options: Options, stored: Path | None) -> Tokenizer:
    """Read the tokenizer or, without a file, learn it; keep it with the run."""
    path = options.out / TOKENIZER
    if stored is not None:
        Tokenizer.from_file(str(stored)).save(str(path))
    else:
        vocabulary = PRESETS[options.preset].vocabulary
        train_tokenizer(tokenizer_texts(), vocabulary).save(str(path))
    return Tokenizer.from_file(str(path))


def write_options(options: Options) -> None:
    """Store the options beside the state."""
    stored = {k: v for k, v in asdict(options).items() if k != "out"}
    (options.out / OPTIONS).write_text(json.dumps(stored, indent=2) + "\n")


def write_checkpoints(trainer: Trainer) -> None:
    """Write the checkpoint, its BatchNorm statistics settled, and its half copy."""
    trainer.settle_statistics()
    options, folder = trainer.options, trainer.options.out / "checkpoint"
    save_checkpoint(
        trainer.model,
        trainer.tokenizer,
        options.resolution,
        folder,
        tuple(RESOLUTIONS),
    )
    save_half_copy(folder, options.out / "checkpoint-fp16")
    log.info("wrote %s", folder)


def make_trainer(arguments: argparse.Namespace, options: Options) -> Trainer:
    """Return the trainer of a new, a resumed or a carried run."""
    kept = options.out / TOKENIZER if arguments.resume else arguments.tokenizer
    trainer = Trainer(options, get_tokenizer(options, kept))
    if arguments.resume:
        trainer.load_state()
    elif arguments.start and (arguments.start / WEIGHTS).exists():
        trainer.load_checkpoint(arguments.start)
    elif arguments.start:
        trainer.load_weights(load_pieces(arguments.start))
    if arguments.finish:
        trainer.finish(arguments.finish)
    return trainer


def main() -> None:
    """Train from the start or from the last state; write what the run has come to."""
    arguments = parse_arguments()
    options = read_options(arguments)
    start_log(options.out)
    log.info("%s", options)
    write_options(options)
    trainer = make_trainer(arguments, options)
    if trainer.is_finished:
        log.info("finished at step %d; --finish N goes on from there", trainer.step)
    trainer.train(arguments.minutes)
    if arguments.pieces:
        save_pieces(trainer.weights(), arguments.pieces)
    if trainer.is_finished or arguments.write:
        write_checkpoints(trainer)


if __name__ == "__main__":
    main()
