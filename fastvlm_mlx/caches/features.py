"""Images that were encoded before, by a digest of what the model would see.

The key is made of the prepared pixels, so whatever decides them (file, rotation,
transparency, resolution, pad or crop) decides it too, and no list of settings has to
be kept complete. Bounded in bytes, least recently used first out; a folder behind it
outlives the process.
"""

import threading
from collections import OrderedDict

from ..device.backend import mx
from .feature_folder import FeatureFolder


class FeatureCache:
    """Image embeddings (N, D) by digest. Any thread may call any method."""

    def __init__(self, max_bytes: int, folder: FeatureFolder | None = None) -> None:
        self.max_bytes = max_bytes
        self.folder = folder
        self.hits = self.misses = 0
        self._arrays: OrderedDict[str, mx.array] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str) -> mx.array | None:
        """What an image was encoded to, if it is known."""
        with self._lock:
            found = self._arrays.get(digest)
            if found is not None:
                self._arrays.move_to_end(digest)
        if found is None and self.folder is not None:
            found = self.folder.read(digest)
            if found is not None:
                self._keep(digest, found)
        self.hits += found is not None
        self.misses += found is None
        return found

    def put(self, digest: str, image_embeds: mx.array) -> None:
        """Keep what an image was encoded to."""
        self._keep(digest, image_embeds)
        if self.folder is not None:
            self.folder.write(digest, image_embeds)

    def drop(self, digest: str) -> None:
        """Forget one image, as far as memory goes."""
        with self._lock:
            self._arrays.pop(digest, None)

    def __contains__(self, digest: str) -> bool:
        """Whether an image is here, in memory."""
        return digest in self._arrays

    def clear(self) -> None:
        """Forget every image in memory; a folder keeps its own."""
        with self._lock:
            self._arrays.clear()

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return sum(array.nbytes for array in list(self._arrays.values()))

    def _keep(self, digest: str, image_embeds: mx.array) -> None:
        with self._lock:
            self._arrays[digest] = image_embeds
            self._arrays.move_to_end(digest)
            held = self.nbytes
            while held > self.max_bytes:
                _, dropped = self._arrays.popitem(last=False)
                held -= dropped.nbytes
