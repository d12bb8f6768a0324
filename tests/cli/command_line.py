"""The command in a process of its own, and a question that works."""

import subprocess
import sys
from typing import Any

QUESTION = "What is in this picture?"


def run(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fastvlm_mlx", *arguments],
        text=True,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        **options,
    )
