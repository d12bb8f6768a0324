"""Images to embeddings: vision tower and projector, behind the cache of earlier ones.

An image seen with AnyRes is several views of one size; their tokens follow one
another, the overview's first. Only the thread that computes calls these.
"""

from collections.abc import Callable, Iterable, Sequence

from ..caches.features import FeatureCache
from ..device.backend import mx, start
from ..model.fastvlm import FastVLMModel
from ..timings import Lap
from .image import OpenedImage
from .preprocessing import EncodedImage, Preprocessing

ENCODED_AT_ONCE = 1 << 20
"""Pixels for one run of the tower: an image of 1024x1024 keeps any device busy."""

ViewsTogether = Callable[[Preprocessing], int]


class ImageEncoder:
    """Vision tower and projector of one model.

    Args:
        together: how many views of an image may be encoded at a time.
    """

    def __init__(
        self,
        model: FastVLMModel,
        features: FeatureCache,
        together: ViewsTogether = lambda prep: prep.views,
    ) -> None:
        self._model = model
        self._features = features
        self._together = together
        self.encoded = 0  # images, over all requests

    def known(self, images: Iterable[OpenedImage]) -> dict[str, EncodedImage]:
        """Those of the images that were encoded before, by digest."""
        found = {}
        for digest in dict.fromkeys(image.digest for image in images):
            embeds = self._features.get(digest)
            if embeds is not None:
                found[digest] = EncodedImage(digest, embeds, None)
        return found

    def encode(
        self, images: Sequence[OpenedImage], keep: bool, lap: Lap
    ) -> dict[str, EncodedImage]:
        """Encode different images of one shape; on a GPU they are left under way.

        Args:
            images: at least one, and no more than `at_once` of this shape.
            keep: whether the cache remembers them.

        Returns:
            By digest.
        """
        prep = images[0].preprocessing
        pixels = mx.stack([mx.array(image.pixels(lap)) for image in images])
        views = pixels.reshape(-1, *prep.size, 3)
        features, embeds = self._run_in_parts(views, prep, lap)
        features = features.reshape(len(images), -1, features.shape[-1])
        embeds = embeds.reshape(len(images), -1, embeds.shape[-1])
        self.encoded += len(images)
        made = {}
        for row, image in enumerate(images):
            one = EncodedImage(image.digest, embeds[row], features[row : row + 1])
            start(one.image_embeds, features[row : row + 1])
            made[image.digest] = one
            if keep:
                self._features.put(image.digest, one.image_embeds)
        lap("encode")
        return made

    def wait(self, encoded: Iterable[EncodedImage], lap: Lap) -> None:
        """Wait for images, and note the time of both parts.

        One that cannot be computed is forgotten, or it would fail for everybody.
        """
        images = list(encoded)
        try:
            mx.eval([each.image_features for each in images])
            lap("encode")
            mx.eval([each.image_embeds for each in images])
            lap("project")
        except Exception:
            for each in images:
                self._features.drop(each.digest)
            raise

    def _run_in_parts(
        self, views: mx.array, prep: Preprocessing, lap: Lap
    ) -> tuple[mx.array, mx.array]:
        """All views at once, or those of one image as the memory allows."""
        step = len(views) if len(views) > prep.views else self._together(prep)
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
        features = self._model.encode_image(self._model.pixel_values(pixels))
        start(features)
        lap("encode")
        embeds = self._model.project(features)
        start(embeds)
        lap("project")
        return features, embeds


def at_once(prep: Preprocessing) -> int:
    """How many images of this shape go through the tower together."""
    return max(1, ENCODED_AT_ONCE // (prep.views * prep.size[0] * prep.size[1]))


def fill_up(
    needed: Sequence[OpenedImage], others: Iterable[OpenedImage]
) -> list[OpenedImage]:
    """The images for one run of the tower: of the first one's shape, each once.

    Those needed come first; what room is left is filled with others.
    """
    prep = needed[0].preprocessing
    chosen = {
        image.digest: image
        for image in (*needed, *others)
        if image.preprocessing.shape == prep.shape
    }
    return list(chosen.values())[: at_once(prep)]
