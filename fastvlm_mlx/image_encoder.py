"""Pictures to embeddings, each picture once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .backend import device_lock, mx, start
from .feature_cache import FeatureCache
from .model import FastVLMModel
from .picture import Lap, Picture


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
        self, pictures: Sequence[Picture], use_cache: bool, lap: Lap
    ) -> list[EncodedPicture]:
        """Encode pictures, one after another, left running on the device."""
        return [self._encode_one(picture, use_cache, lap) for picture in pictures]

    def _encode_one(
        self, picture: Picture, use_cache: bool, lap: Lap
    ) -> EncodedPicture:
        digest = picture.digest
        known = self._features.get(digest) if use_cache else None
        if known is None:
            pixels = picture.pixels(lap)  # decoded while others compute
            with device_lock:
                if use_cache and digest in self._features:  # another was faster
                    known = self._features.get(digest)
                if known is None:
                    return self._run(digest, mx.array(pixels), use_cache, lap)
        lap("encode")
        return EncodedPicture(digest, known, None)

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

    def _run(
        self, digest: str, pixels: mx.array, use_cache: bool, lap: Lap
    ) -> EncodedPicture:
        """(H, W, 3) uint8 through tower and projector."""
        pixel_values = pixels[None].astype(self._model.embed_dtype) / 255
        features = self._model.encode_image(pixel_values)
        start(features)
        lap("encode")
        embeds = self._model.project(features)[0]
        start(embeds)
        lap("project")
        self.encoded += 1
        if use_cache:
            self._features.put(digest, embeds)
        return EncodedPicture(digest, embeds, features)
