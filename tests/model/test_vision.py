"""The tower's shapes and what each part does, at sizes a laptop does not notice."""

import io
from dataclasses import replace

import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from fastvlm_mlx.config import FASTVITHD, VisionConfig
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.ops import gelu
from fastvlm_mlx.model.vision import (
    Attention,
    ConvExpand,
    DepthwiseConv,
    Downsample,
    FastViTHD,
    GroupedConv,
)

# Multipliers of 1 and of 2, both token mixers, with and without position.
SMALL = VisionConfig(
    image_size=(64, 64),
    layers=(1, 2, 1),
    embed_dims=(8, 16, 16),
    mlp_dims=(16, 24, 32),
    token_mixers=("repmixer", "repmixer", "attention"),
    pos_embs=(False, True, True),
    hidden_size=32,
    se_dim=4,
    head_dim=8,
)
CONFIGS = {
    "small": SMALL,
    "same width": replace(SMALL, embed_dims=(16, 16, 16), hidden_size=16),
    "double width": replace(SMALL, embed_dims=(8, 16, 32), hidden_size=64),
    "triple width": replace(SMALL, embed_dims=(8, 24, 24), hidden_size=72),
    "one stage": replace(
        SMALL,
        layers=(1,),
        embed_dims=(8,),
        mlp_dims=(8,),
        token_mixers=("repmixer",),
        pos_embs=(False,),
        hidden_size=16,
    ),
    "five stages": replace(
        SMALL,
        layers=(1,) * 5,
        embed_dims=(8,) * 5,
        mlp_dims=(8,) * 5,
        token_mixers=("repmixer",) * 3 + ("attention",) * 2,
        pos_embs=(False,) * 4 + (True,),
    ),
}


def count_nodes(output: mx.array) -> int:
    """Operations of a graph not computed yet."""
    dot = io.StringIO()
    mx.export_to_dot(dot, output)
    return dot.getvalue().count("shape=rectangle")


def random_tower(config: VisionConfig) -> FastViTHD:
    """A tower whose every weight is drawn, biases included."""
    mx.random.seed(0)
    tower = FastViTHD(config)
    tower.update(
        tree_map(lambda a: 0.2 * mx.random.normal(a.shape), tower.parameters())
    )
    return tower


def some_pixels(height: int, width: int, batch: int = 1) -> mx.array:
    return mx.random.uniform(shape=(batch, height, width, 3), key=mx.random.key(1))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("size", [(64, 64), (64, 128), (128, 64)])
def test_tokens_are_the_grid_of_the_config(
    config: VisionConfig, size: tuple[int, int]
) -> None:
    features = random_tower(config)(some_pixels(*size, batch=2))
    assert features.shape == (2, config.num_tokens(size), config.hidden_size)
    assert mx.isfinite(features).all()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_each_stage_halves_the_one_before(config: VisionConfig) -> None:
    outputs = random_tower(config).stage_outputs(some_pixels(64, 128))
    widths = (config.embed_dims[0], *config.embed_dims, config.hidden_size)
    levels = (0, *range(len(config.layers)), len(config.layers) - 1)
    assert [output.shape for output in outputs] == [
        (1, 16 >> level, 32 >> level, width)
        for level, width in zip(levels, widths, strict=True)
    ]


def test_tokens_run_along_the_rows_from_the_top() -> None:
    tower, pixels = random_tower(SMALL), some_pixels(64, 128)
    last = tower.stage_outputs(pixels)[-1]
    assert mx.array_equal(tower(pixels)[:, 8 + 3], last[:, 1, 3])


def test_pictures_of_a_batch_do_not_touch() -> None:
    tower, pixels = random_tower(SMALL), some_pixels(64, 64, batch=2)
    alone = mx.concatenate([tower(pixels[:1]), tower(pixels[1:])])
    np.testing.assert_allclose(tower(pixels), alone, atol=1e-5)


def test_the_whole_picture_counts_in_every_token() -> None:
    """Attention and squeeze-and-excite reach beyond any kernel."""
    tower, pixels = random_tower(SMALL), some_pixels(128, 128)
    changed = pixels + 0
    changed[:, :8, :8] = 0
    assert (mx.abs(tower(changed) - tower(pixels)).max(axis=-1) > 0).all()


FRAMES = [(64, 64), (64, 1024), (192, 128), (320, 64)]


@pytest.mark.parametrize("size", FRAMES)
def test_every_form_takes_every_frame(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU's own forms and MLX's, on squares and strips."""
    tower, pixels = random_tower(CONFIGS["five stages"]), some_pixels(*size)
    expected = tower(pixels)
    monkeypatch.setattr("fastvlm_mlx.model.ops.current", lambda: "metal")
    np.testing.assert_allclose(tower(pixels), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", FRAMES)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_stays_half_and_near(
    dtype: mx.Dtype, size: tuple[int, int]
) -> None:
    tower, pixels = random_tower(SMALL), some_pixels(*size)
    expected = tower(pixels)
    tower.set_dtype(dtype)
    found = tower(pixels.astype(dtype))
    assert found.dtype == dtype
    error = mx.abs(found.astype(mx.float32) - expected).max() / mx.abs(expected).max()
    assert error < 0.1


def test_configured_kernels_are_used() -> None:
    config = replace(SMALL, mlp_kernel=5, repmixer_kernel=1, down_kernel=3)
    parameters: dict[str, mx.array] = dict(tree_flatten(FastViTHD(config).parameters()))
    shapes = {name: array.shape for name, array in parameters.items()}
    block = "stages.0.blocks.0."
    assert shapes[f"{block}convffn.conv.weight"] == (8, 5, 5, 1)
    assert shapes[f"{block}token_mixer.weight"] == (8, 1, 1, 1)
    assert shapes["stages.1.downsample.conv.weight.1"] == (8, 3, 3, 1)


# --- parts ------------------------------------------------------------------------


def drawn(conv: GroupedConv, seed: int) -> mx.array:
    """Give a conv random kernels; the same as one conv of C groups, PyTorch's order."""
    shape = conv.weight[0].shape
    keys = mx.random.split(mx.random.key(seed), len(conv.weight))
    conv.weight = [mx.random.normal(shape, key=key) for key in keys]
    return mx.stack(conv.weight, axis=1).flatten(0, 1)  # (C·m, k, k, 1)


@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_grouped_conv_is_a_conv_of_c_groups(multiplier: int) -> None:
    """Output m of group c is channel c·multiplier + m of the conv it replaces."""
    conv = GroupedConv(4, multiplier, kernel=3, stride=2)
    whole = drawn(conv, 2)
    x = mx.random.normal((1, 8, 6, 4), key=mx.random.key(4))
    expected = mx.conv2d(x, whole, 2, 1, groups=4)
    found = mx.stack(conv(x), axis=-1).flatten(-2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_downsample_joins_its_outputs_one_after_another() -> None:
    layer = Downsample(4, 8, kernel=3)
    drawn(layer.conv, 5)
    layer.pointwise.weight, layer.pointwise.bias = mx.eye(8), mx.zeros(8)
    layer.conv.bias = mx.random.normal((8,), key=mx.random.key(3))
    x = mx.random.normal((1, 4, 4, 4), key=mx.random.key(6))
    first, second = layer.conv(x)
    joined = mx.concatenate([first, second], axis=-1) + layer.conv.bias
    np.testing.assert_allclose(layer(x), gelu(gelu(joined)), atol=1e-5)


def test_the_last_conv_keeps_the_order_of_its_channels() -> None:
    """Outputs of one group stay neighbours: the projector was trained on that."""
    layer = ConvExpand(16, SMALL)  # two outputs per group
    whole = drawn(layer.conv, 8)
    layer.conv.bias = mx.random.normal((32,), key=mx.random.key(3))
    layer.se.expand.weight, layer.se.expand.bias = mx.zeros((32, 4)), mx.zeros(32)
    x = mx.random.normal((1, 3, 5, 16), key=mx.random.key(9))
    conv = mx.conv2d(x, whole, 1, 1, groups=16) + layer.conv.bias
    expected = gelu(0.5 * conv)  # the gate of 0 is a half
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_attention_is_softmax_over_all_pixels() -> None:
    """Heads lie side by side in the channels, and q has been scaled already."""
    attention = Attention(16, head_dim=8)
    x = mx.random.normal((6, 16), key=mx.random.key(7))
    qkv = np.array(attention.qkv(x)).reshape(6, 3, 2, 8)
    heads = []
    for head in range(2):
        q, k, v = qkv[:, :, head].swapaxes(0, 1)
        shares = np.exp(q @ k.T)
        heads.append(shares / shares.sum(axis=1, keepdims=True) @ v)
    joined = mx.array(np.concatenate(heads, axis=1))
    found = attention(x, x + attention.proj.bias, batch=1)
    np.testing.assert_allclose(found, x + attention.proj(joined), atol=1e-5)


def test_pictures_of_a_batch_do_not_attend_to_each_other() -> None:
    attention = Attention(16, head_dim=8)
    x = mx.random.normal((12, 16), key=mx.random.key(7))
    alone = [attention(half, half, batch=1) for half in (x[:6], x[6:])]
    together = attention(x, x, batch=2)
    np.testing.assert_allclose(together, mx.concatenate(alone), atol=1e-5)


def test_the_last_conv_pools_in_float32() -> None:
    """A mean of 100,000 equal values in half precision would be far off."""
    config = replace(SMALL, embed_dims=(1, 1, 1), hidden_size=1, head_dim=1, se_dim=1)
    layer = ConvExpand(1, config)
    layer.conv.weight = [mx.zeros((1, 3, 3, 1)).at[0, 1, 1, 0].add(1.0)]
    layer.se.reduce.weight, layer.se.reduce.bias = mx.ones((1, 1)), mx.zeros(1)
    layer.se.expand.weight, layer.se.expand.bias = mx.ones((1, 1)), mx.zeros(1)
    layer.set_dtype(mx.float16)
    found = layer(mx.full((1, 400, 300, 1), 1.0, mx.float16))
    expected = gelu(mx.sigmoid(mx.array([1.0])))
    assert abs(found[0, 9, 9, 0].item() - expected.item()) < 1e-3


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build graphs as a GPU gets them; none of them is computed."""
    monkeypatch.setattr("fastvlm_mlx.model.ops.current", lambda: "metal")


@pytest.mark.usefixtures("on_a_gpu")
def test_one_encode_is_at_most_600_operations() -> None:
    """layer_norm counts as one: a GPU has a kernel for it, the CPU composes it."""
    tower = FastViTHD(FASTVITHD)
    pixel_values = some_pixels(64, 64)
    mx.eval(pixel_values, tower(pixel_values))  # transposed views are made once
    found = count_nodes(tower(pixel_values))
    norms = FASTVITHD.layers[3] + FASTVITHD.layers[4]
    assert found - norms * (nodes_of_layer_norm() - 1) <= 600


def nodes_of_layer_norm() -> int:
    x = mx.ones((4, 8))
    mx.eval(x)
    return count_nodes(mx.fast.layer_norm(x, None, None, 1e-5))


def test_every_conv_but_the_first_takes_the_fast_metal_kernel() -> None:
    """MLX's conditions: one output per group, k <= 7, stride <= 2, C % 16 == 0."""
    tower = FastViTHD(FASTVITHD)
    convs = [
        module
        for _, module in tower.named_modules()
        if isinstance(module, DepthwiseConv | GroupedConv)
    ]
    dense = [m for _, m in tower.named_modules() if isinstance(m, nn.Conv2d)]
    assert dense == [tower.stem.conv]
    for conv in convs:
        weights = conv.weight if isinstance(conv, GroupedConv) else [conv.weight]
        for channels, kernel, _, per_group in (weight.shape for weight in weights):
            assert per_group == 1 and channels % 16 == 0
            assert kernel <= 7 and conv._stride <= 2
