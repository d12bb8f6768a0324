"""What config.json says, as frozen dataclasses.

Every size of the network is a field, so a test can build all of it 16 channels
wide. The fields are the keys of the JSON file; an unknown key is ignored, a
missing or impossible one is a ConfigError that names it.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from .errors import ConfigError, quoted
from .field_checks import build, check_fields, plain

FORMAT_VERSION = 1
"""The stored format that this package writes and reads (docs/format.md)."""

STAMP = "fastvlm_mlx_format"
"""The key that carries FORMAT_VERSION in config.json and in the safetensors."""

LARGEST_SHIFT = 24
"""The largest exponent of a stream: float16 has no more headroom to give."""

LONGEST_FRAME = 16
"""How many times longer than its other side a frame may be."""

ImageMode = Literal["pad", "crop"]
IMAGE_MODES: tuple[ImageMode, ...] = ("pad", "crop")


@dataclass(frozen=True)
class VisionConfig:
    """FastViTHD (arXiv 2412.13303, section 3.2), one entry per stage."""

    image_size: tuple[int, int]  # height, width that the checkpoint was trained at
    layers: tuple[int, ...]  # blocks per stage
    embed_dims: tuple[int, ...]  # channels per stage
    mlp_dims: tuple[int, ...]  # hidden channels of the ConvFFN per stage
    token_mixers: tuple[str, ...]  # "repmixer" or "attention" per stage
    pos_embs: tuple[bool, ...]  # whether a RepCPE opens the stage
    hidden_size: int  # channels of image_features, 3072 in FastVLM
    se_dim: int  # bottleneck of the last squeeze-and-excite
    head_dim: int = 32
    stem_kernel: int = 3
    repmixer_kernel: int = 3
    down_kernel: int = 7
    pos_emb_kernel: int = 7
    mlp_kernel: int = 7
    final_kernel: int = 3
    layer_norm_eps: float = 1e-5
    # k per stage, or none at all: a stage's stream is carried times 2^-k
    stream_shifts: tuple[int, ...] = field(default=(), metadata={"smallest": 0})
    # sides of all squares that training saw; none listed is image_size alone
    trained_resolutions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        _check_stages(self)
        self.token_grid(self.image_size)
        for side in self.trained_resolutions:
            self.token_grid((side, side))

    @property
    def stride(self) -> int:
        """Pixels per visual token along one side: 64 for five stages."""
        return 4 << (len(self.layers) - 1)

    @property
    def trained_sizes(self) -> set[tuple[int, int]]:
        """(H, W) of the images that training saw, in pixels."""
        return {self.image_size, *((side, side) for side in self.trained_resolutions)}

    def stream_eps(self, index: int) -> float:
        """The eps of LayerNorm in a stage, on the scale of the stage's stream."""
        shift = self.stream_shifts[index] if self.stream_shifts else 0
        return self.layer_norm_eps * 4.0**-shift

    def token_grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of visual tokens for a (height, width) in pixels."""
        for side in image_size:
            if side <= 0 or side % self.stride:
                raise ConfigError(
                    f"A resolution of {image_size[0]}x{image_size[1]} does not fit: "
                    f"both sides must be positive multiples of {self.stride}."
                )
        if max(image_size) > LONGEST_FRAME * min(image_size):
            raise ConfigError(
                f"A resolution of {image_size[0]}x{image_size[1]} is too long: one "
                f"side may be at most {LONGEST_FRAME} times the other."
            )
        return image_size[0] // self.stride, image_size[1] // self.stride

    def num_tokens(self, image_size: tuple[int, int]) -> int:
        """Visual tokens for a (height, width) in pixels: 256 at 1024x1024."""
        rows, columns = self.token_grid(image_size)
        return rows * columns


@dataclass(frozen=True)
class TextConfig:
    """The language model, in the terms of mlx-lm's qwen2 and llama models."""

    model_type: str
    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1e6
    rope_traditional: bool = False
    rope_scaling: dict[str, Any] | None = None
    max_position_embeddings: int = 32768
    tie_word_embeddings: bool = False
    head_dim: int | None = None
    attention_bias: bool = False  # llama only: qwen2 always has q, k, v biases
    mlp_bias: bool = False  # llama only

    def __post_init__(self) -> None:
        check_fields(self)
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if heads % kv_heads:
            raise ConfigError(
                f"text_config has {heads} attention heads and {kv_heads} key-value "
                "heads; the first must be a multiple of the second."
            )
        if self.head_dim is None and self.hidden_size % heads:
            raise ConfigError(
                f"text_config.hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {heads}."
            )

    @property
    def head_width(self) -> int:
        """Numbers of one head's query, key or value."""
        return self.head_dim or self.hidden_size // self.num_attention_heads


QuantizationMode = Literal["affine", "mxfp4", "nvfp4", "mxfp8"]

PACKINGS: dict[QuantizationMode, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "affine": ((2, 3, 4, 5, 6, 8), (32, 64, 128)),
    "mxfp4": ((4,), (32,)),
    "nvfp4": ((4,), (16,)),
    "mxfp8": ((8,), (32,)),
}
"""The bits and group sizes of each mode (mlx.core.quantize, MLX 0.32)."""

GROUP_SIZES = PACKINGS["affine"][1]
"""How many weights, keys or values may share an affine scale."""


@dataclass(frozen=True)
class Packing:
    """How one quantized weight is stored (mlx.core.quantize)."""

    bits: int
    group_size: int = 64  # weights of a row that share a scale
    mode: QuantizationMode = "affine"

    def __post_init__(self) -> None:
        known = [found for mode, found in PACKINGS.items() if mode == self.mode]
        bits, group_sizes = known[0] if known else ((), ())
        if self.bits not in bits or self.group_size not in group_sizes:
            raise ConfigError(
                f"quantization mode {quoted(self.mode)} of {quoted(self.bits)} bits in "
                f"groups of {quoted(self.group_size)}; expected {_known_packings()}."
            )
        check_fields(self)


@dataclass(frozen=True)
class QuantizationConfig(Packing):
    """How the quantized weights of a checkpoint are stored, as in mlx-lm's configs.

    In config.json a layer that is stored otherwise has an entry of its own beside
    `bits`, `group_size` and `mode`, under its path in the network.
    """

    layers: dict[str, Packing] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read the object `quantization` of a config.json."""
        layers = {
            path: build(Packing, stated)
            for path, stated in values.items()
            if isinstance(stated, Mapping)
        }
        return build(cls, {**values, "layers": layers})

    def to_dict(self) -> dict[str, Any]:
        """The object `quantization` of a config.json."""
        values = plain(self)
        layers = values.pop("layers")
        return {**values, **layers}

    def of(self, path: str) -> Packing:
        """How the layer at a path in the network is stored."""
        return self.layers.get(path, self)


def _known_packings() -> str:
    return "; ".join(
        f"{mode} with {_either(bits)} bits in groups of {_either(group_sizes)}"
        for mode, (bits, group_sizes) in PACKINGS.items()
    )


def _either(numbers: tuple[int, ...]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last


@dataclass(frozen=True)
class FastVLMConfig:
    """A whole checkpoint: encoder, language model and how to talk to them."""

    vision_config: VisionConfig
    text_config: TextConfig
    image_token_index: int  # the id that stands for an image, never embedded
    eos_token_ids: tuple[int, ...]  # any of them ends an answer
    max_length: int  # positions that prompt and answer may take together
    image_mode: ImageMode = "pad"  # how training made images square
    quantization: QuantizationConfig | None = None
    fits_float16: bool = False  # measured: the tower stays within float16's range
    source: str = ""  # where the weights came from
    license: str = ""  # their licence, as the source names it

    def __post_init__(self) -> None:
        check_fields(self, smallest_size=0)  # of a token id
        if not self.max_length:
            raise ConfigError("max_length is 0; expected a context length.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from the contents of a stamped config.json."""
        found = values.get(STAMP)
        if found != FORMAT_VERSION:
            raise ConfigError(
                f"config.json has {STAMP} {quoted(found)}; this version reads "
                f"{FORMAT_VERSION}. Convert the original checkpoint again."
            )
        parts = dict(values)
        for name, read in _PARTS.items():
            if parts.get(name) is not None:
                parts[name] = read(parts[name])
        return build(cls, parts)

    def to_dict(self) -> dict[str, Any]:
        """The contents of a stamped config.json."""
        values = {STAMP: FORMAT_VERSION, "model_type": "fastvlm", **plain(self)}
        if self.quantization is not None:
            values["quantization"] = self.quantization.to_dict()
        return values


_PARTS: dict[str, Callable[[Any], object]] = {
    "vision_config": lambda values: build(VisionConfig, values),
    "text_config": lambda values: build(TextConfig, values),
    "quantization": lambda values: _quantization(values),
}


def _quantization(values: object) -> QuantizationConfig:
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"QuantizationConfig needs a JSON object, found {quoted(values)}."
        )
    return QuantizationConfig.from_dict(values)


def _check_stages(config: VisionConfig) -> None:
    lengths = {
        name: len(getattr(config, name))
        for name in ("layers", "embed_dims", "mlp_dims", "token_mixers", "pos_embs")
    }
    if len(set(lengths.values())) != 1:
        raise ConfigError(f"vision_config describes unequal stage counts: {lengths}.")
    if not config.layers:
        raise ConfigError("vision_config describes a tower of no stages.")
    widths = (*config.embed_dims, config.hidden_size)
    for width, following in itertools.pairwise(widths):
        if following % width:
            raise ConfigError(
                f"vision_config goes from {width} channels to {following}; expected a "
                f"multiple of {width}."
            )
    shifts = config.stream_shifts
    if shifts and (len(shifts) != len(config.layers) or max(shifts) > LARGEST_SHIFT):
        raise ConfigError(
            f"vision_config.stream_shifts is {shifts}; expected one exponent from 0 to "
            f"{LARGEST_SHIFT} per stage."
        )
    for mixer in config.token_mixers:
        if mixer not in ("repmixer", "attention"):
            raise ConfigError(
                f"vision_config has an unknown token mixer {quoted(mixer)}."
            )
    for mixer, width in zip(config.token_mixers, config.embed_dims, strict=True):
        if mixer == "attention" and width % config.head_dim:
            raise ConfigError(
                f"An attention stage is {width} channels wide, not a multiple of "
                f"head_dim {config.head_dim}."
            )


FASTVITHD = VisionConfig(
    image_size=(1024, 1024),
    layers=(2, 12, 24, 4, 2),
    embed_dims=(96, 192, 384, 768, 1536),
    mlp_dims=(384, 768, 1536, 3072, 6144),
    token_mixers=("repmixer",) * 3 + ("attention",) * 2,
    pos_embs=(False,) * 3 + (True,) * 2,
    hidden_size=3072,
    se_dim=192,
)
"""The encoder of every published FastVLM (ml-fastvlm, `mobileclip_l.json`)."""
