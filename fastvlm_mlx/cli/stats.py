"""What an answer cost and what was saved, as lines for people."""

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..caches.caches import CacheStats
    from ..generation.result import GenerationResult
    from ..images.preprocessing import ImageInfo


def answer_stats(result: "GenerationResult") -> str:
    """Where the time of one answer went."""
    timings = result.timings
    *parts, decode = [
        _milliseconds(field.name, getattr(timings, field.name))
        for field in dataclasses.fields(timings)
    ]
    first = _milliseconds("time_to_first_token", timings.time_to_first_token)
    return "\n".join(
        [
            f"{result.prompt_tokens} prompt tokens, {result.image_tokens} visual, "
            f"{result.reused_tokens} read before",
            *map(_looked_at, result.images),
            *parts,
            first,
            decode,
            f"{len(result.token_ids)} tokens, {result.generation_tps:.1f} tokens/s, "
            f"finished by {result.finish_reason}"
            + (f" ({result.stop!r})" if result.stop else ""),
            f"peak memory {result.peak_memory / 1e6:.0f} MB",
        ]
    )


def cache_stats(stats: "CacheStats") -> str:
    """What earlier requests left, and how often it served."""
    return "\n".join(
        [
            f"{stats.images_encoded} images encoded, {stats.feature_hits} found, "
            f"{stats.feature_bytes / 1e6:.1f} MB kept",
            f"{stats.reused_positions} positions reused in {stats.prefix_hits} prompts "
            f"of {stats.prefix_hits + stats.prefix_misses}, "
            f"{stats.prefix_bytes / 1e6:.1f} MB kept",
        ]
    )


def _looked_at(image: "ImageInfo") -> str:
    """The resolution of one image, and what it came to."""
    height, width = image.resolution
    views = f" in {image.views} views" if image.views > 1 else ""
    note = ", outside training" if image.outside_training else ""
    return f"image at {height}x{width}{views}, {image.tokens} visual tokens{note}"


def _milliseconds(name: str, seconds: float) -> str:
    return f"{name.replace('_', ' '):<20}{1000 * seconds:9.1f} ms"
