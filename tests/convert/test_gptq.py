"""Packing with a view to inputs: MLX reads it, and outputs are nearer than plainly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from convert.gptq import _pack_bits, _spread, pack_for_inputs
from convert.layout import Weights
from convert.packing import pack
from fastvlm_mlx.config import PACKINGS, Packing
from fastvlm_mlx.device.backend import mx

AFFINE = st.builds(
    Packing,
    bits=st.sampled_from(PACKINGS["affine"][0]),
    group_size=st.sampled_from(PACKINGS["affine"][1]),
)


def numbers(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def inputs_that_go_together(seed: int, width: int) -> NDArray[np.float32]:
    """Inputs (512, width) of unlike size, each a mixture of the same few causes."""
    loud = np.exp(numbers(seed + 1, width))
    mixed = numbers(seed + 2, 512, width // 4) @ numbers(seed + 3, width // 4, width)
    return (mixed + 0.3 * numbers(seed + 4, 512, width)) * loud


def unpack(parts: Weights, packing: Packing) -> NDArray[np.float32]:
    return np.array(
        mx.dequantize(
            parts["weight"],
            parts["scales"],
            parts["biases"],
            packing.group_size,
            packing.bits,
        ).astype(mx.float32)
    )


@settings(max_examples=12)
@given(packing=AFFINE, seed=st.integers(0, 99))
def test_outputs_are_nearer_than_by_plain_rounding(packing: Packing, seed: int) -> None:
    weight, seen = numbers(seed, 16, 128), inputs_that_go_together(seed, 128)
    ours = pack_for_inputs(mx.array(weight), mx.array(seen.T @ seen), packing)
    plain = pack("language_model.x.weight", mx.array(weight), packing)
    assert {name: part.shape for name, part in ours.items()} == {
        name: part.shape for name, part in plain.items()
    }
    errors = [
        np.linalg.norm(seen @ (unpack(parts, packing) - weight).T)
        for parts in (ours, plain)
    ]
    assert errors[0] < 0.8 * errors[1]


@given(packing=AFFINE, seed=st.integers(0, 99))
def test_codes_are_packed_as_mlx_packs_them(packing: Packing, seed: int) -> None:
    """MLX's own packing of whole numbers, which it can express exactly."""
    most = (1 << packing.bits) - 1
    shape = (3, 2 * packing.group_size)
    codes = np.random.default_rng(seed).integers(0, most, shape, np.uint8, True)
    codes[:, :: packing.group_size] = 0  # each group has its whole range
    codes[:, 1 :: packing.group_size] = most
    packed = _pack_bits(codes, packing.bits)
    ones, zeros = mx.ones((3, 2)), mx.zeros((3, 2))
    found = mx.dequantize(
        mx.array(packed), ones, zeros, packing.group_size, packing.bits
    )
    assert np.array_equal(np.array(found), codes)


def test_scales_are_stored_in_the_dtype_of_the_weight() -> None:
    weight, seen = mx.array(numbers(0, 8, 64)), inputs_that_go_together(0, 64)
    half = weight.astype(mx.bfloat16)
    parts = pack_for_inputs(half, mx.array(seen.T @ seen), Packing(4))
    assert {parts["scales"].dtype, parts["biases"].dtype} == {mx.bfloat16}
    error = seen @ (unpack(parts, Packing(4)) - np.array(half.astype(mx.float32))).T
    assert np.linalg.norm(error) < 0.1 * np.linalg.norm(seen @ np.array(weight).T)


@pytest.mark.parametrize("moments", [np.zeros((64, 64)), np.ones((64, 64)) * 1e6])
def test_inputs_that_say_little(moments: NDArray[np.float64]) -> None:
    """Never seen, or all alike: then it is near plain rounding."""
    weight = numbers(1, 8, 64)
    parts = pack_for_inputs(mx.array(weight), mx.array(moments, mx.float32), Packing(8))
    found = unpack(parts, Packing(8))
    assert np.all(np.isfinite(found))
    assert np.linalg.norm(found - weight) < 0.2 * np.linalg.norm(weight)


def test_constant_rows() -> None:
    seen = inputs_that_go_together(2, 64)
    parts = pack_for_inputs(mx.full((4, 64), 0.5), mx.array(seen.T @ seen), Packing(4))
    assert unpack(parts, Packing(4)) == pytest.approx(0.5)


def test_the_factor_of_the_inverse() -> None:
    seen = inputs_that_go_together(3, 64)
    moments = seen.T @ seen
    damped = moments + 0.01 * moments.diagonal().mean() * np.eye(64)
    factor = _spread(moments)
    assert np.allclose(np.tril(factor, -1), 0)
    inverse = np.linalg.inv(damped)
    assert np.abs(factor.T @ factor - inverse).max() < 1e-3 * np.abs(inverse).max()
