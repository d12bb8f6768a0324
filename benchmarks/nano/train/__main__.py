"""Train a nano FastVLM: `python -m benchmarks.nano.train --out FOLDER`.

It runs until it is stopped, or for `--minutes`; `--resume` continues from the state.
`--finish N` lets the learning rate fall over N more steps, then writes `checkpoint/`
(float32) and `checkpoint-fp16/`; `--write` writes them right away. The folder also gets
the tokenizer, the options, `train.log`, `history.jsonl` and the state.

`--start FOLDER --tokenizer FILE` begins with a checkpoint, or with what `--pieces`
wrote, and a new optimizer. README.md has the options for each.
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

from ..data.mixture import RESOLUTIONS, SHARES, draw_scene
from ..data.tokenizer import train_tokenizer
from .checkpoint import (
    WEIGHTS,
    load_pieces,
    save_checkpoint,
    save_half_copy,
    save_pieces,
)
from .options import PRESETS, Options
from .trainer import Trainer, log

TOKENIZER, OPTIONS = "tokenizer.json", "options.json"
TEXT_SCENES = 400  # scenes per task whose questions the tokenizer learns from
COMMON_ANSWERS = ("easy-vqa", "shapes", "captions")  # others are read and spelled


def tokenizer_texts() -> Iterator[str]:
    """What the tokenizer learns from: questions, and answers of few words."""
    for task in SHARES:
        for index in range(TEXT_SCENES):
            for question in draw_scene(task, "train", 0, index).questions:
                yield question.text
                if question.kind.startswith(COMMON_ANSWERS):
                    yield question.answer


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a nano FastVLM.")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--resume", action="store_true", help="continue from --out")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--finish", type=int, help="steps of the rate's fall")
    parser.add_argument("--write", action="store_true", help="write checkpoints now")
    parser.add_argument("--pieces", type=Path, help="folder for the weights in pieces")
    parser.add_argument("--start", type=Path, help="checkpoint or pieces to begin with")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json to use")
    for field in fields(Options):
        if field.name != "out":
            flag = "--" + field.name.replace("_", "-")
            parser.add_argument(flag, **_parsing(field.default))
    return parser.parse_args()


def _parsing(default: Any) -> dict[str, Any]:
    """How argparse reads an option; one that is not given is None."""
    if isinstance(default, bool):
        form = {"action": argparse.BooleanOptionalAction, "default": None}
    else:
        form = {"type": type(default)}
    return {**form, "help": f"[{default}]"}


def read_options(arguments: argparse.Namespace) -> Options:
    """The defaults or, of a resumed run, its options; changed as the user asks."""
    options = Options(arguments.out)
    if arguments.resume:
        options = replace(options, **_stored(arguments.out / OPTIONS))
    names = (field.name for field in fields(Options))
    given = {name: getattr(arguments, name) for name in names}
    return replace(options, **{k: v for k, v in given.items() if v is not None})


def _stored(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise SystemExit(
            f"{path} is not there; expected --out to be the folder of a run. Begin one "
            "without --resume."
        )
    stored: dict[str, Any] = json.loads(path.read_text("utf-8"))
    unknown = stored.keys() - {field.name for field in fields(Options)}
    if unknown:
        raise SystemExit(
            f"{path} has {', '.join(sorted(unknown))}, which this program does not "
            "know; resume with the version that began the run."
        )
    return stored


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
    """Read the tokenizer or, without a file, train it; keep it with the run."""
    path = options.out / TOKENIZER
    if stored is not None:
        Tokenizer.from_file(str(stored)).save(str(path))
    else:
        vocabulary = PRESETS[options.preset].vocabulary
        train_tokenizer(tokenizer_texts(), vocabulary).save(str(path))
    return Tokenizer.from_file(str(path))


def write_options(options: Options) -> None:
    """Store the options next to the state."""
    stored = {k: v for k, v in asdict(options).items() if k != "out"}
    (options.out / OPTIONS).write_text(json.dumps(stored, indent=2) + "\n")


def write_checkpoints(trainer: Trainer) -> None:
    """Write the checkpoint, its BatchNorm statistics settled, and its half copy."""
    trainer.settle_statistics()
    options, folder = trainer.options, trainer.options.out / "checkpoint"
    sides = tuple(RESOLUTIONS)
    save_checkpoint(trainer.model, trainer.tokenizer, options.resolution, folder, sides)
    save_half_copy(folder, options.out / "checkpoint-fp16")
    log.info("wrote %s", folder)


def make_trainer(arguments: argparse.Namespace, options: Options) -> Trainer:
    """The trainer of a new or a resumed run, or of one that begins with weights."""
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


def prepare(arguments: argparse.Namespace) -> Trainer:
    """Start the log, store the options and make the trainer."""
    options = read_options(arguments)
    start_log(options.out)
    log.info("%s", options)
    write_options(options)
    return make_trainer(arguments, options)


def main() -> None:
    """Train from the start or from the last state; write the results."""
    arguments = parse_arguments()
    try:
        trainer = prepare(arguments)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{error}.") from None
    if trainer.is_finished:
        log.info("finished at step %d; --finish N continues from there", trainer.step)
    trainer.train(arguments.minutes)
    if arguments.pieces:
        save_pieces(trainer.weights(), arguments.pieces)
    if trainer.is_finished or arguments.write:
        write_checkpoints(trainer)


if __name__ == "__main__":
    main()
