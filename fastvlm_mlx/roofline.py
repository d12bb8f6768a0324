"""How fast the work could be at best: operations and bytes against a machine's peaks.

A time from here is a bound that nothing can beat in the dtype assumed, not a forecast.

Units: seconds, bytes, FLOPs (a multiply-add is two). Shapes: C channels, D hidden size.
"""

from dataclasses import dataclass

from .config import TextConfig, VisionConfig


@dataclass(frozen=True)
class Peak:
    """What a GPU can do at most."""

    flops: float  # per second: float32 and float16 alike, but from M5 on 16 bits only
    bandwidth: float  # bytes per second
    source: str


_M1 = (
    "FLOP/s: Apple Newsroom, 10 November 2020; bandwidth: 6 June 2022, where M2's "
    "100 GB/s are half as much again"
)
_M1_LARGE = "Apple Newsroom, 18 October 2021"
_M2 = "Apple Newsroom, 6 June 2022"
_M2_LARGE = "bandwidth: Apple Newsroom, 17 January 2023"
_M3 = "bandwidth: Apple Newsroom, 30 October 2023"
_M4 = "bandwidth: Apple Newsroom, 7 May 2024"
_M4_LARGE = "bandwidth: Apple Newsroom, 30 October 2024"
_M1_ULTRA = "bandwidth: Apple Newsroom, 8 March 2022; FLOP/s: twice M1 Max's"
_M5_MAX = (
    "bandwidth: Apple Newsroom, 3 March 2026; FLOP/s: four times M4 Max's, as Apple "
    "says there of AI, so 16-bit matmuls on the GPU's Neural Accelerators"
)
_CORES = "; FLOP/s: cores x 128 lanes x 2 x the clock that owners report, not Apple's"

PEAKS = {
    "Apple M1": Peak(2.6e12, 68.25e9, _M1),
    "Apple M1 Pro": Peak(5.2e12, 200e9, _M1_LARGE),
    "Apple M1 Max": Peak(10.4e12, 400e9, _M1_LARGE),
    "Apple M1 Ultra": Peak(20.8e12, 800e9, _M1_ULTRA),
    "Apple M2": Peak(3.6e12, 100e9, _M2),
    "Apple M2 Pro": Peak(6.8e12, 200e9, _M2_LARGE + _CORES),
    "Apple M2 Max": Peak(13.6e12, 400e9, _M2_LARGE + _CORES),
    "Apple M3": Peak(4.1e12, 100e9, _M3 + _CORES),
    "Apple M3 Pro": Peak(7.4e12, 150e9, _M3 + _CORES),
    "Apple M3 Max": Peak(16.4e12, 400e9, _M3 + _CORES),
    "Apple M4": Peak(4.0e12, 120e9, _M4 + _CORES),
    "Apple M4 Pro": Peak(8.1e12, 273e9, _M4_LARGE + _CORES),
    "Apple M4 Max": Peak(16.2e12, 546e9, _M4_LARGE + _CORES),
    "Apple M5 Max": Peak(64.8e12, 614e9, _M5_MAX),
}
"""By MLX's `device_name`; each chip with all of its GPU cores."""


def encode_flops(config: VisionConfig, size: tuple[int, int]) -> int:
    """One picture of (height, width) through the encoder."""
    pixels = size[0] * size[1]
    total = _stem(config, pixels)
    for index, channels in enumerate(config.embed_dims):
        tokens = pixels // 16 >> (2 * index)
        total += config.layers[index] * _block(config, index, tokens)
        if index:
            down = config.down_kernel**2 * channels + channels * channels
            total += tokens * down
        if config.pos_embs[index]:
            total += tokens * config.pos_emb_kernel**2 * channels
    tokens = pixels // 16 >> (2 * (len(config.layers) - 1))
    total += tokens * config.final_kernel**2 * config.hidden_size
    return 2 * total


def _stem(config: VisionConfig, pixels: int) -> int:
    """Multiply-adds of its three convs."""
    channels, kernel = config.embed_dims[0], config.stem_kernel**2
    return pixels // 4 * 3 * kernel * channels + pixels // 16 * channels * (
        kernel + channels
    )


def _block(config: VisionConfig, index: int, tokens: int) -> int:
    """Multiply-adds of one block."""
    channels, hidden = config.embed_dims[index], config.mlp_dims[index]
    ffn = config.mlp_kernel**2 * channels + 2 * channels * hidden
    if config.token_mixers[index] == "repmixer":
        return tokens * (ffn + config.repmixer_kernel**2 * channels)
    return tokens * (ffn + 4 * channels**2 + 2 * tokens * channels)


def prefill_flops(config: TextConfig, positions: int) -> int:
    """A prompt through the language model, with the head on its last position."""
    head_dim = config.head_dim or config.hidden_size // config.num_attention_heads
    queries = config.num_attention_heads * head_dim
    keys = config.num_key_value_heads * head_dim
    layer = config.hidden_size * (2 * queries + 2 * keys + 3 * config.intermediate_size)
    scores = queries * positions  # two products, of which causality leaves half
    total = config.num_hidden_layers * positions * (layer + scores)
    return 2 * (total + config.hidden_size * config.vocab_size)


def least_time(flops: float, moved: float, peak: Peak) -> float:
    """Seconds, if arithmetic and memory are busy all the time and overlap fully."""
    return max(flops / peak.flops, moved / peak.bandwidth)
