"""A request on its way: checked and opened, then ready for the language model.

`Opened` has a prompt and images; its keys find the longest beginning that an earlier
request has read; only the images after it have to be encoded; then it is `Prepared`.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ..caches.prefixes import Key, Prefix
from ..device.backend import mx
from ..images.preprocessing import EncodedImage, ImageInfo
from ..model.fastvlm import FastVLMModel
from ..options import GenerationOptions
from ..planning.memory_plan import MemoryPlan
from ..text.prompt import Prompt


class Digested(Protocol):
    """An image, as far as a prompt is concerned."""

    @property
    def digest(self) -> str:
        """What tells it from every other one."""


_Image = TypeVar("_Image", bound=Digested)


@dataclass(frozen=True, eq=False)
class Opened(Generic[_Image]):
    """A validated request with its images opened; the model has not run yet."""

    prompt: Prompt
    options: GenerationOptions
    images: tuple[_Image, ...]
    image_infos: tuple[ImageInfo, ...]  # how each of them is preprocessed
    memory: MemoryPlan  # what it takes at most
    prefill_step: int  # positions at a time, at most

    @functools.cached_property
    def keys(self) -> tuple[Key, ...]:
        """What stands at each position of the prompt."""
        return prompt_keys(self.prompt, [image.digest for image in self.images])

    def images_after(self, prefix: Prefix) -> list[_Image]:
        """Those that have to be encoded if the prefix need not be read."""
        missing = images_after(self.prompt, len(prefix))
        return [self.images[index] for index, *_ in missing]

    def prepared(
        self, prefix: Prefix, encoded: Mapping[str, EncodedImage]
    ) -> "Prepared":
        """The request made ready; `encoded` has those images by digest."""
        made = {
            index: encoded[self.images[index].digest]
            for index, *_ in images_after(self.prompt, len(prefix))
        }
        return Prepared(
            self.prompt, self.options, self.keys, prefix, made, self.image_infos
        )


@dataclass(frozen=True)
class Prepared:
    """A request that can no longer be refused."""

    prompt: Prompt
    options: GenerationOptions
    keys: tuple[Key, ...]  # what stands at each position of the prompt
    prefix: Prefix  # its beginning, read before; shorter than the prompt
    encoded: Mapping[int, EncodedImage]  # by index, those that the prefix lacks
    image_infos: tuple[ImageInfo, ...] = ()

    def inputs_embeds(self, model: FastVLMModel) -> mx.array:
        """The prompt after its prefix: (1, L, D)."""
        done = len(self.prefix)
        embeds = [
            self.encoded[index].image_embeds[max(done - start, 0) :]
            for index, start, _ in images_after(self.prompt, done)
        ]
        spans = [
            (max(start - done, 0), min(length, start + length - done))
            for _, start, length in images_after(self.prompt, done)
        ]
        return model.splice(self.prompt.token_ids[done:], spans, embeds)


def prompt_keys(prompt: Prompt, digests: Sequence[str]) -> tuple[Key, ...]:
    """What stands at each position: token ids, and an image's digest in its place."""
    keys: list[Key] = list(prompt.token_ids)
    for (start, length), digest in zip(prompt.image_spans, digests, strict=True):
        keys[start : start + length] = [digest] * length
    return tuple(keys)


def images_after(prompt: Prompt, done: int) -> list[tuple[int, int, int]]:
    """Index, start and length of the images that do not end before a position."""
    return [
        (index, start, length)
        for index, (start, length) in enumerate(prompt.image_spans)
        if start + length > done
    ]
