"""What one encode, one prefill and one token cost, counted from the geometry.

The same on every machine: multiply-adds, and bytes that must pass through memory if
every operation of ours is one kernel that reads its inputs and writes its output once.
"""

from dataclasses import dataclass

from fastvlm_mlx.config import TextConfig, VisionConfig


@dataclass(frozen=True)
class Work:
    """A cost; costs add up."""

    multiply_adds: int = 0
    numbers: int = 0  # activations read and written
    weights: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.multiply_adds + other.multiply_adds,
            self.numbers + other.numbers,
            self.weights + other.weights,
        )

    def bytes(self, activation: float, weight: float) -> float:
        """With so many bytes for each activation and each weight."""
        return self.numbers * activation + self.weights * weight


def _linear(rows: int, inputs: int, outputs: int) -> Work:
    return Work(
        rows * inputs * outputs, rows * (inputs + outputs), inputs * outputs + outputs
    )


def _depthwise(pixels: int, channels: int, kernel: int, stride: int = 1) -> Work:
    """`pixels` of the output."""
    taps = kernel**2 * channels
    return Work(pixels * taps, pixels * channels * (1 + stride**2), taps)


def _pass(rows: int, channels: int) -> Work:
    """An elementwise pass over an array."""
    return Work(0, 2 * rows * channels, channels)


def encode(config: VisionConfig, side: int) -> Work:
    """One picture of side x side through the tower."""
    first, last = config.embed_dims[0], config.embed_dims[-1]
    half, quarter = (side // 2) ** 2, (side // 4) ** 2
    work = Work(half * 9 * 3 * first, half * (first + 12), 27 * first)
    work += _pass(half, first) + _depthwise(quarter, first, 3, 2)
    work += _pass(quarter, first) + _linear(quarter, first, first)
    work += _pass(quarter, first)
    for index in range(len(config.layers)):
        work += _stage(config, index, quarter // 4**index)
    pixels = quarter // 4 ** (len(config.layers) - 1)
    multiplier = config.hidden_size // last
    for _ in range(multiplier):
        work += _depthwise(pixels, last, config.final_kernel)
    return work + _pass(pixels, config.hidden_size)


def _stage(config: VisionConfig, index: int, pixels: int) -> Work:
    channels, hidden = config.embed_dims[index], config.mlp_dims[index]
    work = Work()
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
        work += _linear(pixels, hidden, channels) + Work(0, pixels * channels)
    return work


def _mixer(config: VisionConfig, index: int, pixels: int) -> Work:
    channels = config.embed_dims[index]
    if config.token_mixers[index] == "repmixer":
        work = _depthwise(pixels, channels, config.repmixer_kernel)
        return work + _pass(pixels, channels) + Work(0, pixels * channels)
    heads = channels // config.head_dim
    scores = Work(2 * pixels**2 * channels, 4 * heads * pixels**2)
    work = _linear(pixels, channels, 3 * channels) + scores
    work += _linear(pixels, channels, channels) + Work(0, pixels * channels)
    for _ in range(3):  # norm and two biases
        work += _pass(pixels, channels)
    return work


def language_model(config: TextConfig, rows: int, context: int) -> Work:
    """`rows` positions that see `context` positions, the head on the last of them."""
    width, inner = config.hidden_size, config.intermediate_size
    kv = config.num_key_value_heads * config.head_width
    layer = _linear(rows, width, width + 2 * kv) + _linear(rows, width, width)
    layer += _linear(rows, width, 2 * inner) + _linear(rows, inner, width)
    layer += Work(2 * rows * context * width, 2 * context * kv)
    for _ in range(2):  # norms
        layer += _pass(rows, width)
    work = _linear(1, width, config.vocab_size)
    for _ in range(config.num_hidden_layers):
        work += layer
    return work
