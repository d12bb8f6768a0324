"""Which weights are packed into bits, and how far they are from what they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.layout import Weights
from convert.packing import Packed, pack, pack_chosen, plan
from convert.recipe import Recipe
from fastvlm_mlx.config import Packing, QuantizationConfig
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import OptionError

EMBEDDING = "language_model.model.embed_tokens.weight"
HEAD = "language_model.lm_head.weight"
TOWER = "vision_tower.stages.3.blocks.0.token_mixer.qkv.weight"
PROJECTOR = "mm_projector.linear_1.weight"
INNER = "language_model.model.layers.0.mlp.up_proj.weight"


def weights(rng: np.random.Generator) -> Weights:
    shapes = {
        EMBEDDING: (16, 128),
        HEAD: (16, 128),
        INNER: (32, 128),
        "language_model.model.layers.0.self_attn.q_proj.bias": (128,),
        "language_model.model.norm.weight": (128,),
        PROJECTOR: (128, 128),
        TOWER: (384, 128),
        "vision_tower.stem.conv.weight": (64, 3, 3, 64),
    }
    return {
        name: mx.array(rng.normal(size=shape), mx.float32)
        for name, shape in shapes.items()
    }


def quantized_by(recipe: Recipe, before: Weights) -> Packed:
    """The weights as a recipe has them."""
    return pack_chosen(before, plan(before, recipe).chosen)


def packed(quantized: Weights) -> set[str]:
    """The matrices that are stored in bits."""
    suffix = ".scales"
    found = {name.removesuffix(suffix) for name in quantized if name.endswith(suffix)}
    return {f"{name}.weight" for name in found}


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (Recipe(4), {EMBEDDING, HEAD, INNER}),
        (Recipe(4, embed_bits=16, head_bits=16), {INNER}),
        (Recipe(mode="nvfp4", tower_bits=8), {EMBEDDING, HEAD, INNER, TOWER}),
        (Recipe(projector_bits=3, tower_bits=5), {PROJECTOR, TOWER}),
    ],
)
def test_what_the_recipe_covers(
    rng: np.random.Generator, recipe: Recipe, expected: set[str]
) -> None:
    before = weights(rng)
    after = quantized_by(recipe, before).weights
    assert packed(after) == expected
    assert {name for name in before if after[name] is before[name]} == (
        before.keys() - expected
    )


@pytest.mark.parametrize("group_size", [32, 64, 128])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("name", [INNER, TOWER])
def test_no_weight_is_off_by_more_than_half_a_step(
    rng: np.random.Generator, name: str, bits: int, group_size: int
) -> None:
    """A step is the range of its group in 2**bits - 1 parts (one more for rounding
    the end points, which MLX moves so that zero stays representable)."""
    before = weights(rng)[name]
    parts = pack(name, before, Packing(bits, group_size))
    found = unpack(parts, Packing(bits, group_size))
    groups = np.array(before).reshape(-1, group_size)
    step = np.ptp(groups, axis=1, keepdims=True) / (2**bits - 1)
    error = np.abs(np.array(found).reshape(groups.shape) - groups)
    assert np.all(error <= step)
    assert np.mean(error <= step / 2 * 1.001) > 0.85
    assert error.max() > 0  # packed indeed


def unpack(parts: Weights, packing: Packing) -> mx.array:
    """What the packed weight stands for."""
    return mx.dequantize(
        parts["weight"],
        parts["scales"],
        parts.get("biases"),
        packing.group_size,
        packing.bits,
        packing.mode,
    )


@pytest.mark.parametrize(
    ("packing", "expected"),
    [
        (Packing(2, 64), 3.0),
        (Packing(3, 128), 3.5),
        (Packing(4, 64), 5.0),
        (Packing(6, 32), 8.0),
        (Packing(4, 32, "mxfp4"), 4.25),
        (Packing(4, 16, "nvfp4"), 4.5),
        (Packing(8, 32, "mxfp8"), 8.25),
    ],
)
def test_bits_per_weight(
    rng: np.random.Generator, packing: Packing, expected: float
) -> None:
    """Codes, and per group two numbers of the weight's dtype or one of eight bits."""
    parts = pack(INNER, weights(rng)[INNER], packing)
    assert 8 * sum(part.nbytes for part in parts.values()) / (32 * 128) == expected


def test_scales_keep_the_dtype(rng: np.random.Generator) -> None:
    half = weights(rng)[INNER].astype(mx.bfloat16)
    parts = pack(INNER, half, Packing(4))
    assert {parts["scales"].dtype, parts["biases"].dtype} == {mx.bfloat16}


@given(
    shift=st.integers(0, 24), bits=st.sampled_from([2, 4, 8]), seed=st.integers(0, 99)
)
def test_the_scale_of_a_stream_changes_nothing(
    shift: int, bits: int, seed: int
) -> None:
    """Packing 2^-k of a weight gives 2^-k of what it packs to, to the bit."""
    weight = np.random.default_rng(seed).normal(size=(4, 64)).astype(np.float32)
    plain = pack(TOWER, mx.array(weight), Packing(bits))
    scaled = pack(TOWER, mx.array(weight * 2.0**-shift), Packing(bits))
    assert mx.array_equal(plain["weight"], scaled["weight"])
    assert mx.array_equal(plain["scales"] * 2.0**-shift, scaled["scales"])
    assert mx.array_equal(plain["biases"] * 2.0**-shift, scaled["biases"])


def test_zeros_stay_zeros() -> None:
    parts = pack(TOWER, mx.zeros((2, 64)), Packing(4))
    assert not unpack(parts, Packing(4)).any().item()


def test_scales_that_float16_would_lose(rng: np.random.Generator) -> None:
    """Eight bits of a weight of 2^-12 have steps of 2^-19, below float16's normals."""
    small = weights(rng)
    assert quantized_by(Recipe(4, tower_bits=8), small).fits_float16
    small[TOWER] = small[TOWER] * 2.0**-14
    assert not quantized_by(Recipe(4, tower_bits=8), small).fits_float16
    assert quantized_by(Recipe(4), small).fits_float16


def test_rows_that_the_groups_do_not_divide_are_left_and_named() -> None:
    narrow = {INNER: mx.ones((4, 96)), HEAD: mx.ones((4, 128))}
    assert packed(quantized_by(Recipe(4, 32), narrow).weights) == {INNER, HEAD}
    assert packed(quantized_by(Recipe(4, 64), narrow).weights) == {HEAD}
    assert plan(narrow, Recipe(4, 64)).left == {INNER: "rows of 96, groups of 64"}


def test_no_rows_that_the_groups_divide() -> None:
    with pytest.raises(OptionError, match="smaller --group-size"):
        plan({INNER: mx.ones((4, 96))}, Recipe(4, 64))


def test_what_config_json_says(rng: np.random.Generator) -> None:
    """The most frequent packing is the rule, the others are exceptions by name."""
    recipe = Recipe(8, 32, llm_bits=4, tower_bits=4)
    found = quantized_by(recipe, weights(rng)).config
    outer = {name.removesuffix(".weight"): Packing(8, 32) for name in (EMBEDDING, HEAD)}
    assert found in (
        QuantizationConfig(4, 32, layers=outer),
        QuantizationConfig(
            8,
            32,
            layers={
                name.removesuffix(".weight"): Packing(4, 32) for name in (INNER, TOWER)
            },
        ),
    )
