"""What others measured of FastVLM on Apple's chips, named as theirs.

Every figure is for one image of `PUBLISHED_SIDE` squared. None was repeated here.
"""

from dataclasses import dataclass

PUBLISHED_SIDE = 1024


@dataclass(frozen=True)
class Published:
    """One measurement; times in milliseconds, None where none was published."""

    engine: str
    size: str  # of the language model: "0.5b", "1.5b" or "7b"
    chip: str  # by MLX's `device_name`
    how: str  # what was computed, and in what
    source: str
    date: str
    first_token: float
    encode: float | None = None
    prefill: float | None = None
    tokens_per_second: float | None = None


def _paper(size: str, encode: float, prefill: float) -> Published:
    """The paper prints the sums without decimals: 166, 233 and 641 ms."""
    return Published(
        engine="Apple's paper",
        size=size,
        chip="Apple M1 Max",
        how="encoder on the Neural Engine, prefill in float16, no text",
        source="arXiv 2412.13303v2, table 10",
        date="2025",
        first_token=encode + prefill,
        encode=encode,
        prefill=prefill,
    )


def _mlxcel(
    chip: str, file: str, date: str, first_token: float, rate: float
) -> Published:
    """The prompt has 282 positions; filling it includes the image."""
    return Published(
        engine="mlxcel",
        size="0.5b",
        chip=chip,
        how="0.7.0-beta.1 (Rust on MLX), bfloat16, 282 positions",
        source=f"github.com/lablup/mlxcel, benchmarks/{file}",
        date=date,
        first_token=first_token,
        tokens_per_second=rate,
    )


PAPER = {
    "0.5b": _paper("0.5b", 116.3, 50.5),
    "1.5b": _paper("1.5b", 116.3, 116.1),
    "7b": _paper("7b", 116.3, 524.5),
}
"""The paper's own engine, by size of the language model."""

PUBLISHED = (
    *PAPER.values(),
    _mlxcel(
        "Apple M1 Ultra",
        "metal_m1ultra_vlm_2026-09-08.csv",
        "8 September 2026",
        171.79,
        284.56,
    ),
    _mlxcel(
        "Apple M5 Max",
        "metal_m5max_vlm_2026-09-09.csv",
        "9 September 2026",
        107.10,
        394.12,
    ),
)


def of_size(size: str) -> list[Published]:
    """All that is known of one size, in the order of `PUBLISHED`."""
    return [each for each in PUBLISHED if each.size == size]
