"""Which weights are packed into bits, and how far they are from what they were."""

import numpy as np
import pytest

from convert.layout import Weights
from convert.quantize import Recipe, quantize
from fastvlm_mlx.backend import mx
from fastvlm_mlx.config import QuantizationConfig
from fastvlm_mlx.errors import OptionError

EMBEDDING = "language_model.model.embed_tokens.weight"
HEAD = "language_model.lm_head.weight"
INNER = "language_model.model.layers.0.mlp.up_proj.weight"


def weights(rng: np.random.Generator) -> Weights:
    shapes = {
        EMBEDDING: (16, 128),
        HEAD: (16, 128),
        INNER: (32, 128),
        "language_model.model.layers.0.self_attn.q_proj.bias": (128,),
        "language_model.model.norm.weight": (128,),
        "mm_projector.linear_1.weight": (128, 128),
        "vision_tower.stages.3.blocks.0.token_mixer.qkv.weight": (384, 128),
    }
    return {
        name: mx.array(rng.normal(size=shape), mx.float32)
        for name, shape in shapes.items()
    }


def packed(quantized: Weights) -> set[str]:
    """The matrices that are stored in bits."""
    suffix = ".scales"
    found = {name.removesuffix(suffix) for name in quantized if name.endswith(suffix)}
    return {f"{name}.weight" for name in found}


@pytest.mark.parametrize(
    ("embeddings", "expected"),
    [(True, {EMBEDDING, HEAD, INNER}), (False, {INNER})],
)
def test_the_matrices_of_the_language_model(
    rng: np.random.Generator, embeddings: bool, expected: set[str]
) -> None:
    before = weights(rng)
    after = quantize(before, Recipe(4, embeddings=embeddings))
    assert packed(after) == expected
    assert {name for name in before if after[name] is before[name]} == (
        before.keys() - expected
    )


@pytest.mark.parametrize("group_size", [32, 64, 128])
@pytest.mark.parametrize("bits", [4, 8])
def test_no_weight_is_off_by_more_than_half_a_step(
    rng: np.random.Generator, bits: int, group_size: int
) -> None:
    """A step is the range of its group in 2**bits - 1 parts (one more for rounding
    the end points, which MLX moves so that zero stays representable)."""
    before = weights(rng)[INNER]
    after = quantize({INNER: before}, Recipe(bits, group_size))
    module = INNER.removesuffix("weight")
    scales, biases = after[f"{module}scales"], after[f"{module}biases"]
    found = mx.dequantize(after[INNER], scales, biases, group_size, bits)
    groups = np.array(before).reshape(-1, group_size)
    step = np.ptp(groups, axis=1, keepdims=True) / (2**bits - 1)
    error = np.abs(np.array(found).reshape(groups.shape) - groups)
    assert np.all(error <= step)
    assert np.mean(error <= step / 2 * 1.001) > 0.95
    assert error.max() > 0  # packed indeed


@pytest.mark.parametrize("bits", [4, 8])
def test_packed_size(rng: np.random.Generator, bits: int) -> None:
    after = quantize({INNER: weights(rng)[INNER]}, Recipe(bits, 64))
    assert after[INNER].dtype == mx.uint32
    assert 8 * after[INNER].nbytes == bits * 32 * 128


def test_scales_keep_the_dtype(rng: np.random.Generator) -> None:
    half = {INNER: weights(rng)[INNER].astype(mx.bfloat16)}
    scales = quantize(half, Recipe(4))[INNER.replace("weight", "scales")]
    assert scales.dtype == mx.bfloat16


def test_groups_that_do_not_divide_a_row() -> None:
    narrow = {INNER: mx.zeros((4, 96))}
    assert packed(quantize(narrow, Recipe(4, 32))) == {INNER}
    with pytest.raises(OptionError, match=f"{INNER} has rows of 96"):
        quantize(narrow, Recipe(4, 64))


@pytest.mark.parametrize("bits", [-4, 0, 1, 2, 3, 5, 6, 7, 16])
def test_bits_without_a_recipe(bits: int) -> None:
    with pytest.raises(OptionError, match="4 or 8 bits"):
        Recipe(bits)


@pytest.mark.parametrize("group_size", [-64, 0, 1, 16, 48, 256])
def test_groups_without_a_kernel(group_size: int) -> None:
    with pytest.raises(OptionError, match="32, 64 or 128"):
        Recipe(4, group_size)


def test_what_config_json_says() -> None:
    assert Recipe(8, 32).config == QuantizationConfig(bits=8, group_size=32)
