"""Pictures to embeddings, each picture once, those of one size together.

A picture seen with AnyRes is several views of one size; their tokens follow one
another, the overview's first.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..caches.features import FeatureCache
from ..device.backend import device_lock, mx, start
from ..model.fastvlm import FastVLMModel
from .image import Lap, Look, Picture

ENCODED_AT_ONCE = 1 << 20
"""Pixels for one run of the tower: a picture of 1024x1024 keeps any device busy."""


ViewsTogether = Callable[[Look], int]


@dataclass(frozen=True)
class EncodedPicture:
    """A picture as the language model sees it, perhaps still on its way there."""

    digest: str
    image_embeds: mx.array  # (N, D)
    image_features: mx.array | None  # (1, N, C); None if it was encoded before


class ImageEncoder:
    """Encoder and projector, behind the cache of what they made before."""

    def __init__(
        self,
        model: FastVLMModel,
        features: FeatureCache,
        together: ViewsTogether = lambda look: look.views,
    ) -> None:
        """`together` says how many views of a picture may be encoded at a time."""
        self._model = model
        self._features = features
        self._together = together
        self.encoded = 0  # pictures, over all requests

    def encode(
        self, pictures: Iterable[Picture], use_cache: bool, lap: Lap
    ) -> dict[str, EncodedPicture]:
        """Encode pictures, left running on the device; what they became, by digest."""
        missing = {picture.digest: picture for picture in pictures}
        made = self._known(missing, use_cache)
        for picture in missing.values():
            picture.pixels(lap)  # decoded while others compute
        with device_lock:
            faster = {
                each: missing.pop(each) for each in self._taken(missing, use_cache)
            }
            made |= self._known(faster, use_cache)
            for group in encoding_groups(missing.values()):
                made |= self._encode_group(group, use_cache, lap)
        lap("encode")
        return made

    def wait(self, encoded: Iterable[EncodedPicture], lap: Lap) -> None:
        """Wait for pictures, and note the time of both parts.

        One that cannot be computed is forgotten, or it would fail for everybody.
        """
        pictures = list(encoded)
        try:
            mx.eval([each.image_features for each in pictures])
            lap("encode")
            mx.eval([each.image_embeds for each in pictures])
            lap("project")
        except Exception:
            for each in pictures:
                self._features.drop(each.digest)
            raise

    def _taken(self, missing: Iterable[str], use_cache: bool) -> list[str]:
        """Those that another thread has encoded meanwhile."""
        return [each for each in missing if use_cache and each in self._features]

    def _known(
        self, missing: dict[str, Picture], use_cache: bool
    ) -> dict[str, EncodedPicture]:
        """Those encoded before; they are missing no more."""
        found = {}
        for digest in list(missing) if use_cache else []:
            known = self._features.get(digest)
            if known is not None:
                found[digest] = EncodedPicture(digest, known, None)
                del missing[digest]
        return found

    def _encode_group(
        self, group: Sequence[Picture], use_cache: bool, lap: Lap
    ) -> dict[str, EncodedPicture]:
        look = group[0].look
        pixels = mx.stack([mx.array(picture.pixels(lap)) for picture in group])
        views = pixels.reshape(-1, *look.size, 3)
        features, embeds = self._run_in_parts(views, look, lap)
        features = features.reshape(len(group), -1, features.shape[-1])
        embeds = embeds.reshape(len(group), -1, embeds.shape[-1])
        self.encoded += len(group)
        made = {}
        for row, picture in enumerate(group):
            digest, own = picture.digest, (embeds[row], features[row : row + 1])
            start(*own)
            made[digest] = EncodedPicture(digest, *own)
            if use_cache:
                self._features.put(digest, own[0])
        return made

    def _run_in_parts(
        self, views: mx.array, look: Look, lap: Lap
    ) -> tuple[mx.array, mx.array]:
        """All views at once, or those of one picture as the memory allows."""
        step = len(views) if len(views) > look.views else self._together(look)
        if step >= len(views):
            return self._run(views, lap)
        parts = []
        for first in range(0, len(views), step):
            parts.append(self._run(views[first : first + step], lap))
            mx.eval(*parts[-1])  # or several would be under way, and in memory
        features, embeds = zip(*parts, strict=True)
        return mx.concatenate([*features]), mx.concatenate([*embeds])

    def _run(self, pixels: mx.array, lap: Lap) -> tuple[mx.array, mx.array]:
        """(B, H, W, 3) uint8 through the tower, (B, N, C), and the projector."""
        pixel_values = pixels.astype(self._model.embed_dtype) / 255
        features = self._model.encode_image(pixel_values)
        start(features)
        lap("encode")
        embeds = self._model.project(features)
        start(embeds)
        lap("project")
        return features, embeds


def encoding_groups(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    """Pictures that go through the tower together: of one size, and not too many."""
    by_shape: dict[tuple[int, ...], list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_shape[picture.look.shape].append(picture)
    for group in by_shape.values():
        most = at_once(group[0].look)
        for first in range(0, len(group), most):
            yield group[first : first + most]


def at_once(look: Look) -> int:
    """How many pictures of this shape go through the tower together."""
    return max(1, ENCODED_AT_ONCE // (look.views * look.size[0] * look.size[1]))
