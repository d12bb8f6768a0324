"""What a loaded model remembers from request to request, and what that saved."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..device.memory import FEATURE_SHARE, PREFIX_SHARE, memory_size
from .feature_folder import FeatureFolder
from .features import FeatureCache
from .prefixes import PrefixCache


@dataclass(frozen=True, kw_only=True)
class CacheStats:
    """Counts since the model was loaded; bytes are those held now."""

    images_encoded: int  # went through the encoder
    feature_hits: int  # images that did not have to
    feature_misses: int
    feature_bytes: int
    prefix_hits: int  # requests that began as an earlier one
    prefix_misses: int
    prefix_bytes: int
    reused_positions: int  # of prompts, read by an earlier request


class Caches:
    """The caches of one model. Another model has its own, so nothing can be mixed.

    Args:
        max_bytes: for images and prompts together; None is a share of the memory,
            0 keeps nothing.
        folder: where encoded images outlive the process; None is nowhere.
        identity: the model's, asked for only if there is a folder.
    """

    def __init__(
        self,
        max_bytes: int | None,
        folder: Path | None,
        identity: Callable[[], str],
    ) -> None:
        memory = memory_size()
        features, prefixes = memory // FEATURE_SHARE, memory // PREFIX_SHARE
        if max_bytes is not None:
            features = max_bytes * features // (features + prefixes)
            prefixes = max_bytes - features
        behind = None if folder is None else FeatureFolder(folder, identity)
        self.features = FeatureCache(features, behind)
        self.prefixes = PrefixCache(prefixes)

    def clear(self) -> None:
        """Forget everything in memory."""
        self.features.clear()
        self.prefixes.clear()

    def stats(self, images_encoded: int) -> CacheStats:
        """What there is and what it saved."""
        return CacheStats(
            images_encoded=images_encoded,
            feature_hits=self.features.hits,
            feature_misses=self.features.misses,
            feature_bytes=self.features.nbytes,
            prefix_hits=self.prefixes.hits,
            prefix_misses=self.prefixes.misses,
            prefix_bytes=self.prefixes.nbytes,
            reused_positions=self.prefixes.reused,
        )
