"""easy-vqa, small enough to come as a Python package: drawn shapes of 64 x 64 pixels.

https://github.com/vzhou842/easy-VQA-keras; `pip install easy-vqa` brings its images.
"""

import importlib
from pathlib import Path

from ..errors import JobError
from .table import ListedRows

SPLITS = ("train", "test")


def easy_vqa_rows(split: str) -> ListedRows:
    """A split in the package's own order: 9 673 questions in "test".

    Raises:
        JobError: the package is not installed, or it has no such split.
    """
    if split not in SPLITS:
        raise JobError(f"easy-vqa has no split {split}; expected train or test.")
    try:
        package = importlib.import_module("easy_vqa")
    except ImportError:
        raise JobError(
            "easy-vqa is not installed; pip install easy-vqa, or give --data."
        ) from None
    paths = getattr(package, f"get_{split}_image_paths")()
    asked = zip(*getattr(package, f"get_{split}_questions")(), strict=True)
    rows = [
        {"question": question, "answer": answer, "image": str(paths[image])}
        for question, answer, image in asked
    ]
    folder = Path(str(package.__file__)).parent
    return ListedRows(f"easy-vqa's {split} split", rows, folder, split)
