"""Training branches and BatchNorm become one conv: pure functions on arrays.

All in float32, in PyTorch's layout: kernels (O, I/groups, k, k), biases (O,).
The sums are those of MobileOne (arXiv 2206.04040), RepLKNet (2203.06717) and
FastViT (2303.14189); docs/format.md lists every fold.
"""

from typing import NamedTuple

from fastvlm_mlx.device.backend import mx

BATCH_NORM_EPS = 1e-5
"""torch's default, which every BatchNorm of the tower keeps."""


class Conv(NamedTuple):
    """A conv with bias."""

    kernel: mx.array  # (O, I/groups, k, k)
    bias: mx.array  # (O,)


class BatchNorm(NamedTuple):
    """Inference statistics, each (C,)."""

    weight: mx.array
    bias: mx.array
    running_mean: mx.array
    running_var: mx.array

    @property
    def factor(self) -> mx.array:
        """What each channel is multiplied by."""
        return self.weight / mx.sqrt(self.running_var + BATCH_NORM_EPS)

    @property
    def shift(self) -> mx.array:
        """What is added to each channel afterwards."""
        return self.bias - self.running_mean * self.factor


def fuse_batch_norm(kernel: mx.array, norm: BatchNorm) -> Conv:
    """A conv without bias and the BatchNorm after it, as one conv."""
    return Conv(kernel * norm.factor[:, None, None, None], norm.shift)


def identity_kernel(channels: int, per_group: int, size: int) -> mx.array:
    """The kernel that copies its input: (channels, per_group, size, size)."""
    inputs = mx.arange(channels) % per_group
    copies = (inputs[:, None] == mx.arange(per_group)).astype(mx.float32)
    return pad_kernel(copies[:, :, None, None], size)


def pad_kernel(kernel: mx.array, size: int) -> mx.array:
    """Surround a kernel with zeros up to size x size, centre kept."""
    border = (size - kernel.shape[-1]) // 2
    return mx.pad(kernel, [(0, 0), (0, 0), (border, border), (border, border)])


def sum_branches(*branches: Conv) -> Conv:
    """Parallel convs of one input, as one conv of the largest kernel."""
    size = max(branch.kernel.shape[-1] for branch in branches)
    kernel = sum(
        (pad_kernel(branch.kernel, size) for branch in branches), mx.array(0.0)
    )
    bias = sum((branch.bias for branch in branches), mx.array(0.0))
    return Conv(kernel, bias)


def add_skip(conv: Conv) -> Conv:
    """x + conv(x), depthwise, as one conv."""
    channels, per_group, size, _ = conv.kernel.shape
    return Conv(conv.kernel + identity_kernel(channels, per_group, size), conv.bias)


def rep_mixer(mixer: Conv, norm: Conv, layer_scale: mx.array) -> Conv:
    """x + layer_scale * (mixer(x) - norm(x)), as one conv; layer_scale is (C,)."""
    difference = Conv(mixer.kernel - norm.kernel, mixer.bias - norm.bias)
    return add_skip(scale_outputs(difference, layer_scale))


def scale_outputs(conv: Conv, scale: mx.array) -> Conv:
    """scale * conv(x), as one conv; scale is (O,)."""
    return Conv(conv.kernel * scale[:, None, None, None], conv.bias * scale)
