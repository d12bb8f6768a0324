"""`--prompt-cache FILE`: a prompt that outlives the command."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..paths import expanded

if TYPE_CHECKING:
    from ..fastvlm import FastVLM


@contextlib.contextmanager
def prompt_cache(vlm: "FastVLM", name: str | None) -> Iterator[None]:
    """Take up what a file holds, if it is there; afterwards leave the last prompt."""
    if name is None:
        yield
        return
    path = expanded(name)
    if path.exists():
        vlm.load_prompt_cache(path)
    yield
    vlm.save_prompt_cache(path)
