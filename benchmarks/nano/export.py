"""Held-out scenes as files: `python -m benchmarks.nano.export --task text --out DIR`.

The scenes of `benchmarks.nano.evaluate` for any program that reads images and JSON
lines: a PNG per scene and a line per question in `test.jsonl`. `fastvlm-mlx evaluate
--task exact --data FOLDER` scores them in the same way.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from .data.easy_vqa import EASY
from .data.mixture import held_out_scenes
from .data.tasks import TASKS
from .data.tasks.scene import Scene

LINES = "test.jsonl"


def export(scenes: Sequence[Scene], folder: Path) -> int:
    """Write scenes; the number of questions.

    The lines are written last, so a folder that has them is complete.

    Raises:
        FileExistsError: the folder already has them.
    """
    if (folder / LINES).exists():
        raise FileExistsError(f"{folder / LINES} exists; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        line for place, scene in enumerate(scenes) for line in _lines(place, scene)
    ]
    for place, scene in enumerate(scenes):
        scene.image.save(folder / _name(place))
    partial = folder / f"{LINES}.part"
    partial.write_text("".join(lines), encoding="utf-8")
    partial.rename(folder / LINES)
    return len(lines)


def _name(place: int) -> str:
    return f"{place:05}.png"


def _lines(place: int, scene: Scene) -> Iterator[str]:
    for question in scene.questions:
        row = {
            "image": _name(place),
            "question": question.text,
            "answer": question.answer,
            "group": question.kind,
        }
        yield json.dumps(row, ensure_ascii=False) + "\n"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Write held-out scenes as files.")
    parser.add_argument("--task", choices=[*TASKS, EASY], required=True)
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--count", type=int, default=200, help="images [200]")
    return parser.parse_args()


def main() -> None:
    """Write the scenes and print the next command."""
    arguments = parse_arguments()
    scenes = held_out_scenes(arguments.task, arguments.count)
    try:
        count = export(scenes, arguments.out)
    except OSError as error:
        raise SystemExit(f"{error}.") from None
    print(f"{len(scenes)} images, {count} questions. Next:")
    print(f"fastvlm-mlx evaluate --task exact --data {arguments.out}")


if __name__ == "__main__":
    main()
