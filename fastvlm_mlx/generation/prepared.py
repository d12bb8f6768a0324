"""A request made ready: what the language model still has to read, and what it had.

The way of a request: `Opened`, with prompt and pictures → keys → the longest beginning
read before → only the pictures after it are encoded → `Prepared`. From there one
answer, or a batch of them, goes on.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..caches.prefixes import Key, Prefix
from ..device.backend import mx
from ..images.encoder import EncodedPicture
from ..images.image import Picture
from ..images.resolution import ImageInput
from ..model.fastvlm import FastVLMModel
from ..options import GenerationOptions
from ..text.tokenizer import Prompt


@dataclass(frozen=True, eq=False)
class Opened:
    """A request that was checked, its pictures opened; no model had to do with it."""

    prompt: Prompt
    options: GenerationOptions
    pictures: tuple[Picture, ...]
    images: tuple[ImageInput, ...] = ()  # how each of them is looked at

    @functools.cached_property
    def keys(self) -> tuple[Key, ...]:
        """What stands at each position of the prompt."""
        return prompt_keys(self.prompt, [picture.digest for picture in self.pictures])

    def pictures_after(self, prefix: Prefix) -> list[Picture]:
        """Those that have to be encoded, if the prefix need not be read."""
        missing = pictures_after(self.prompt, len(prefix))
        return [self.pictures[index] for index, *_ in missing]

    def prepared(
        self, prefix: Prefix, encoded: Mapping[str, EncodedPicture]
    ) -> "Prepared":
        """The request made ready; `encoded` has those pictures by digest."""
        made = {
            index: encoded[self.pictures[index].digest]
            for index, *_ in pictures_after(self.prompt, len(prefix))
        }
        return Prepared(self.prompt, self.options, self.keys, prefix, made, self.images)


@dataclass(frozen=True)
class Prepared:
    """A request that can no longer be refused."""

    prompt: Prompt
    options: GenerationOptions
    keys: tuple[Key, ...]  # what stands at each position of the prompt
    prefix: Prefix  # its beginning, read before; shorter than the prompt
    encoded: Mapping[int, EncodedPicture]  # by index, those that the prefix lacks
    images: tuple[ImageInput, ...] = ()  # how each picture was looked at

    def inputs_embeds(self, model: FastVLMModel) -> mx.array:
        """The prompt after its prefix: (1, L, D)."""
        done = len(self.prefix)
        embeds = [
            self.encoded[index].image_embeds[max(done - start, 0) :]
            for index, start, _ in pictures_after(self.prompt, done)
        ]
        spans = [
            (max(start - done, 0), min(length, start + length - done))
            for _, start, length in pictures_after(self.prompt, done)
        ]
        return model.splice(self.prompt.token_ids[done:], spans, embeds)


def prompt_keys(prompt: Prompt, digests: Sequence[str]) -> tuple[Key, ...]:
    """What stands at each position: token ids, and a picture's digest in its place."""
    keys: list[Key] = list(prompt.token_ids)
    for (start, length), digest in zip(prompt.image_spans, digests, strict=True):
        keys[start : start + length] = [digest] * length
    return tuple(keys)


def pictures_after(prompt: Prompt, done: int) -> list[tuple[int, int, int]]:
    """Index, start and length of the pictures that do not end before a position."""
    return [
        (index, start, length)
        for index, (start, length) in enumerate(prompt.image_spans)
        if start + length > done
    ]
