"""Train the nano FastVLM on easy-vqa: `python -m benchmarks.nano.train --out FOLDER`.

Writes `checkpoint/`, its half-size copy `checkpoint-fp16/`, `train.log` and the state
that `--resume` goes on from.
"""

import argparse
import logging
from pathlib import Path

from benchmarks.nano.checkpoint import save_checkpoint, save_half_copy
from benchmarks.nano.data import Split, load_split
from benchmarks.nano.tokenizer import train_tokenizer
from benchmarks.nano.trainer import Options, Trainer, log


def tokenizer_texts(split: Split) -> list[str]:
    """Return what the tokenizer learns from: questions, answers and captions."""
    captions = [picture.caption for picture in split if picture.caption]
    asked = [question for picture in split for question in picture.questions]
    return [text for each in asked + captions for text in (each.text, each.answer)]


def parse_options() -> tuple[Options, bool]:
    """Read the command line: the options, and whether to resume."""
    parser = argparse.ArgumentParser(description="Train the nano FastVLM on easy-vqa.")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--resume", action="store_true", help="go on from --out")
    for name in (
        "resolution",
        "attribute_steps",
        "question_steps",
        "frozen_steps",
        "seed",
    ):
        default = getattr(Options, name)
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=int, default=default, help=f"[{default}]")
    arguments = vars(parser.parse_args())
    resume = arguments.pop("resume")
    return Options(**arguments), resume


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


def main() -> None:
    """Train from the start or from the last state, then write both checkpoints."""
    options, resume = parse_options()
    start_log(options.out)
    log.info("%s", options)
    split = load_split("train")
    tokenizer = train_tokenizer(tokenizer_texts(split))
    trainer = Trainer(options, tokenizer, split)
    if resume:
        trainer.load_state()
    trainer.train()
    folder = options.out / "checkpoint"
    save_checkpoint(trainer.model, tokenizer, options.resolution, folder)
    save_half_copy(folder, options.out / "checkpoint-fp16")


if __name__ == "__main__":
    main()
