"""Pictures to embeddings, each picture once, those of one size together."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .backend import device_lock, mx, start
from .feature_cache import FeatureCache
from .model import FastVLMModel
from .picture import Lap, Picture

ENCODED_AT_ONCE = 1 << 20
"""Pixels for one run of the tower: a picture of 1024x1024 keeps any device busy."""


@dataclass(frozen=True)
class EncodedPicture:
    """A picture as the language model sees it, perhaps still on its way there."""

    digest: str
    image_embeds: mx.array  # (N, D)
    image_features: mx.array | None  # (1, N, C); None if it was encoded before


class ImageEncoder:
    """Encoder and projector, behind the cache of what they made before."""

    def __init__(self, model: FastVLMModel, features: FeatureCache) -> None:
        self._model = model
        self._features = features
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
        pixels = [mx.array(picture.pixels(lap)) for picture in group]
        features, embeds = self._run(mx.stack(pixels), lap)
        made = {}
        for row, picture in enumerate(group):
            digest, own = picture.digest, (embeds[row], features[row : row + 1])
            start(*own)
            made[digest] = EncodedPicture(digest, *own)
            if use_cache:
                self._features.put(digest, own[0])
        return made

    def _run(self, pixels: mx.array, lap: Lap) -> tuple[mx.array, mx.array]:
        """(B, H, W, 3) uint8 through the tower, (B, N, C), and the projector."""
        pixel_values = pixels.astype(self._model.embed_dtype) / 255
        features = self._model.encode_image(pixel_values)
        start(features)
        lap("encode")
        embeds = self._model.project(features)
        start(embeds)
        lap("project")
        self.encoded += len(pixels)
        return features, embeds


def encoding_groups(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    """Pictures that go through the tower together: of one size, and not too many."""
    by_size: dict[tuple[int, int], list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_size[picture.look.size].append(picture)
    for size, group in by_size.items():
        most = at_once(size)
        for first in range(0, len(group), most):
            yield group[first : first + most]


def at_once(size: tuple[int, int]) -> int:
    """How many pictures of (H, W) go through the tower together."""
    return max(1, ENCODED_AT_ONCE // (size[0] * size[1]))
