"""Every fold against the branches it replaces, each computed by definition."""

import numpy as np
import pytest

from convert.reparameterize import (
    BatchNorm,
    Conv,
    add_skip,
    fuse_batch_norm,
    identity_kernel,
    pad_kernel,
    rep_mixer,
    scale_outputs,
    sum_branches,
)
from fastvlm_mlx.device.backend import mx
from tests.convert.convolution import Array, convolve, per_channel

CHANNELS = 6
TOLERANCE = 1e-5


def random_conv(
    rng: np.random.Generator, size: int, per_group: int = 1, bias: bool = True
) -> Conv:
    kernel = rng.normal(size=(CHANNELS, per_group, size, size))
    values = rng.normal(size=CHANNELS) if bias else np.zeros(CHANNELS)
    return Conv(mx.array(kernel, mx.float32), mx.array(values, mx.float32))


def random_norm(rng: np.random.Generator) -> BatchNorm:
    weight, bias, mean = (rng.normal(size=CHANNELS) for _ in range(3))
    variance = rng.uniform(1e-5, 2, size=CHANNELS)  # the eps of 1e-5 must show
    return BatchNorm(*(mx.array(each) for each in (weight, bias, mean, variance)))


def normalize(x: Array, norm: BatchNorm) -> Array:
    """BatchNorm as its paper writes it, eps 1e-5."""
    mean, variance = per_channel(norm.running_mean), per_channel(norm.running_var)
    unit = (x - mean) / np.sqrt(variance + 1e-5)
    return unit * per_channel(norm.weight) + per_channel(norm.bias)


@pytest.fixture
def image(rng: np.random.Generator) -> Array:
    return rng.normal(size=(CHANNELS, 8, 9))


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_batch_norm_goes_into_the_conv(
    rng: np.random.Generator, image: Array, groups: int
) -> None:
    plain = random_conv(rng, 3, CHANNELS // groups, bias=False)
    norm = random_norm(rng)
    expected = normalize(convolve(image, plain, groups), norm)
    fused = convolve(image, fuse_batch_norm(plain.kernel, norm), groups)
    assert fused == pytest.approx(expected, abs=1e-3, rel=1e-4)


@pytest.mark.parametrize("per_group", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_identity_kernel_copies(image: Array, per_group: int, size: int) -> None:
    kernel = identity_kernel(CHANNELS, per_group, size)
    conv = Conv(kernel, mx.zeros(CHANNELS))
    copied = convolve(image, conv, CHANNELS // per_group)
    assert np.array_equal(copied, image)


@pytest.mark.parametrize("size", [3, 5, 7])
def test_a_padded_kernel_does_the_same(
    rng: np.random.Generator, image: Array, size: int
) -> None:
    conv = random_conv(rng, 3, per_group=2)
    padded = Conv(pad_kernel(conv.kernel, size), conv.bias)
    expected = convolve(image, conv, groups=3)
    assert padded.kernel.shape[-2:] == (size, size)
    assert convolve(image, padded, groups=3) == pytest.approx(expected)


@pytest.mark.parametrize("groups", [1, 3, 6])
def test_branches_summed_are_one_conv(
    rng: np.random.Generator, image: Array, groups: int
) -> None:
    """MobileOne: a k x k conv, a 1x1 conv and a skip, each with its BatchNorm."""
    large, small = (
        random_conv(rng, size, CHANNELS // groups, bias=False) for size in (3, 1)
    )
    norms = [random_norm(rng) for _ in range(3)]
    skip = identity_kernel(CHANNELS, CHANNELS // groups, 3)
    branches = (
        normalize(convolve(image, large, groups), norms[0]),
        normalize(convolve(image, small, groups), norms[1]),
        normalize(image, norms[2]),
    )
    kernels = (large.kernel, small.kernel, skip)
    folded = [fuse_batch_norm(*each) for each in zip(kernels, norms, strict=True)]
    fused = convolve(image, sum_branches(*folded), groups)
    assert fused == pytest.approx(sum(branches), abs=1e-3, rel=1e-4)


def test_large_and_small_kernels_sum_in_any_order(
    rng: np.random.Generator, image: Array
) -> None:
    """RepLKNet: the 3x3 branch sits in the middle of the 7x7 one."""
    large, small = random_conv(rng, 7), random_conv(rng, 3)
    expected = convolve(image, large, CHANNELS) + convolve(image, small, CHANNELS)
    for branches in ((large, small), (small, large)):
        fused = convolve(image, sum_branches(*branches), CHANNELS)
        assert fused == pytest.approx(expected, abs=TOLERANCE, rel=TOLERANCE)


def test_one_branch_is_itself(rng: np.random.Generator) -> None:
    conv = random_conv(rng, 3)
    fused = sum_branches(conv)
    assert mx.array_equal(fused.kernel, conv.kernel)
    assert mx.array_equal(fused.bias, conv.bias)


def test_skip_goes_into_the_conv(rng: np.random.Generator, image: Array) -> None:
    """RepCPE: x + conv(x)."""
    conv = random_conv(rng, 7)
    expected = image + convolve(image, conv, CHANNELS)
    fused = convolve(image, add_skip(conv), CHANNELS)
    assert fused == pytest.approx(expected, abs=TOLERANCE, rel=TOLERANCE)


def test_rep_mixer_by_its_formula(rng: np.random.Generator, image: Array) -> None:
    """x + layer_scale * (mixer(x) - norm(x))."""
    mixer, norm = random_conv(rng, 3), random_conv(rng, 3)
    scale = rng.normal(size=CHANNELS)
    difference = convolve(image, mixer, CHANNELS) - convolve(image, norm, CHANNELS)
    expected = image + per_channel(scale) * difference
    conv = rep_mixer(mixer, norm, mx.array(scale, mx.float32))
    fused = convolve(image, conv, CHANNELS)
    assert fused == pytest.approx(expected, abs=TOLERANCE, rel=TOLERANCE)


def test_scale_goes_into_the_conv(rng: np.random.Generator, image: Array) -> None:
    conv, scale = random_conv(rng, 3), rng.normal(size=CHANNELS)
    expected = per_channel(scale) * convolve(image, conv, CHANNELS)
    scaled = scale_outputs(conv, mx.array(scale, mx.float32))
    fused = convolve(image, scaled, CHANNELS)
    assert fused == pytest.approx(expected, abs=TOLERANCE, rel=TOLERANCE)


def test_folds_keep_float32(rng: np.random.Generator) -> None:
    conv, norm = random_conv(rng, 3), random_norm(rng)
    scale = mx.ones(CHANNELS)
    folded = (
        fuse_batch_norm(conv.kernel, norm),
        sum_branches(conv, conv),
        add_skip(conv),
        rep_mixer(conv, conv, scale),
    )
    dtypes = {array.dtype for each in folded for array in each}
    assert dtypes == {mx.float32}
