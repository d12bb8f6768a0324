"""What the work costs, counted from the geometry, and how fast it could be at best.

The same on every machine: multiply-adds, and bytes that must pass through memory if
every operation of ours is one kernel that reads its inputs and writes its output once.
A time from here is a bound that nothing can beat in the dtype assumed, not a forecast.

Units: seconds, bytes, FLOPs (a multiply-add is two). Shapes: C channels, D hidden size.
"""

from dataclasses import dataclass

from ..config import TextConfig, VisionConfig


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


@dataclass(frozen=True)
class Cost:
    """A cost; costs add up."""

    multiply_adds: int = 0
    numbers: int = 0  # activations read and written
    weights: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.multiply_adds + other.multiply_adds,
            self.numbers + other.numbers,
            self.weights + other.weights,
        )

    @property
    def flops(self) -> int:
        """A multiply-add is two."""
        return 2 * self.multiply_adds

    def bytes(self, activation: float, weight: float) -> float:
        """With this many bytes for each activation and each weight."""
        return self.numbers * activation + self.weights * weight


def _linear(rows: int, inputs: int, outputs: int) -> Cost:
    return Cost(
        rows * inputs * outputs, rows * (inputs + outputs), inputs * outputs + outputs
    )


def _depthwise(pixels: int, channels: int, kernel: int, stride: int = 1) -> Cost:
    """`pixels` of the output."""
    taps = kernel**2 * channels
    return Cost(pixels * taps, pixels * channels * (1 + stride**2), taps)


def _pass(rows: int, channels: int) -> Cost:
    """An elementwise pass over an array."""
    return Cost(0, 2 * rows * channels, channels)


def encode_cost(config: VisionConfig, size: tuple[int, int]) -> Cost:
    """One image of (height, width) through the tower."""
    first, last = config.embed_dims[0], config.embed_dims[-1]
    pixels = size[0] * size[1]
    half, quarter = pixels // 4, pixels // 16
    work = Cost(half * 9 * 3 * first, half * (first + 12), 27 * first)
    work += _pass(half, first) + _depthwise(quarter, first, 3, 2)
    work += _pass(quarter, first) + _linear(quarter, first, first)
    work += _pass(quarter, first)
    for index in range(len(config.layers)):
        work += _stage(config, index, quarter // 4**index)
    tokens = quarter // 4 ** (len(config.layers) - 1)
    multiplier = config.hidden_size // last
    for _ in range(multiplier):
        work += _depthwise(tokens, last, config.final_kernel)
    return work + _pass(tokens, config.hidden_size)


def _stage(config: VisionConfig, index: int, pixels: int) -> Cost:
    channels, hidden = config.embed_dims[index], config.mlp_dims[index]
    work = Cost()
    if index:
        work += _depthwise(pixels, channels, config.down_kernel, 2)
        work += _pass(pixels, channels) + _linear(pixels, channels, channels)
        work += _pass(pixels, channels)
    if config.pos_embs[index]:
        work += _depthwise(pixels, channels, config.pos_emb_kernel)
        work += _pass(pixels, channels)
    for _ in range(config.layers[index]):
        work += _mixer(config, index, pixels)
        work += _depthwise(pixels, channels, config.mlp_kernel)
        work += _linear(pixels, channels, hidden) + _pass(pixels, hidden)
        work += _linear(pixels, hidden, channels) + Cost(0, pixels * channels)
    return work


def _mixer(config: VisionConfig, index: int, pixels: int) -> Cost:
    channels = config.embed_dims[index]
    if config.token_mixers[index] == "repmixer":
        work = _depthwise(pixels, channels, config.repmixer_kernel)
        return work + _pass(pixels, channels) + Cost(0, pixels * channels)
    heads = channels // config.head_dim
    scores = Cost(2 * pixels**2 * channels, 4 * heads * pixels**2)
    work = _linear(pixels, channels, 3 * channels) + scores
    work += _linear(pixels, channels, channels) + Cost(0, pixels * channels)
    for _ in range(3):  # norm and two biases
        work += _pass(pixels, channels)
    return work


def language_cost(config: TextConfig, rows: int, context: int, *, causal: bool) -> Cost:
    """Positions through the language model, with the head on the last of them.

    Args:
        rows: positions computed.
        context: positions that they see, themselves among them.
        causal: half of the scores of a prompt are masked out; True counts what is
            left, a bound, and False what kernels compute that mask afterwards.
    """
    width, inner = config.hidden_size, config.intermediate_size
    queries = config.num_attention_heads * config.head_width
    kv = config.num_key_value_heads * config.head_width
    layer = _linear(rows, width, queries + 2 * kv) + _linear(rows, queries, width)
    layer += _linear(rows, width, 2 * inner) + _linear(rows, inner, width)
    scores = rows * context * queries
    layer += Cost(scores if causal else 2 * scores, 2 * context * kv)
    for _ in range(2):  # norms
        layer += _pass(rows, width)
    work = _linear(1, width, config.vocab_size)
    for _ in range(config.num_hidden_layers):
        work += layer
    return work


def least_time(flops: float, moved: float, peak: Peak) -> float:
    """Seconds, if arithmetic and memory are busy all the time and overlap fully."""
    return max(flops / peak.flops, moved / peak.bandwidth)
