"""Pictures to embeddings, each picture once."""

from collections.abc import Sequence
from dataclasses import dataclass

from .backend import device_lock, mx, start
from .feature_cache import FeatureCache
from .model import FastVLMModel
from .picture import Lap, Picture


@dataclass(frozen=True)
class EncodedPicture:
    """A picture as the language model sees it, perhaps still on its way there."""

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
        known = self._features.get(picture.digest) if use_cache else None
        if known is not None:
            lap("encode")
            return EncodedPicture(known, None)
        pixels = picture.pixels(lap)
        with device_lock:
            made = self._run(mx.array(pixels), lap)
        if use_cache:
            self._features.put(picture.digest, made.image_embeds)
        return made

    def _run(self, pixels: mx.array, lap: Lap) -> EncodedPicture:
        """(H, W, 3) uint8 through tower and projector."""
        pixel_values = pixels[None].astype(self._model.embed_dtype) / 255
        features = self._model.encode_image(pixel_values)
        start(features)
        lap("encode")
        embeds = self._model.project(features)[0]
        start(embeds)
        lap("project")
        self.encoded += 1
        return EncodedPicture(embeds, features)
