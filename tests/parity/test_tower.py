"""FastViTHD against timm's, on fresh random weights."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

from benchmarks.nano import torchvision_stub  # noqa: E402, F401

pytest.importorskip("timm")

import torch  # noqa: E402
from timm.models.fastvit import FastVit  # noqa: E402

from fastvlm_mlx.model.fastvlm import FastVLMModel  # noqa: E402
from fastvlm_mlx.model.vision import DepthwiseConv  # noqa: E402
from tests.goldens.layouts import (  # noqa: E402
    Recipe,
    Writer,
    write_apple,
    write_fast_vlm,
)
from tests.parity import reference, runtime  # noqa: E402
from tests.parity.reference import TextShape, TowerShape  # noqa: E402

pytestmark = pytest.mark.parity

LAYOUTS = {"apple": write_apple, "fast_vlm": write_fast_vlm}

# layers, embed_dims, picture height and width
TOWERS = (
    ((1, 1, 2, 1, 1), (8, 16, 16, 32, 64), (128, 128)),
    ((2, 1, 1, 2, 1), (16, 16, 16, 32, 32), (64, 64)),
    ((1, 3, 1, 1, 2), (4, 8, 16, 32, 64), (64, 192)),
    ((1, 1, 1, 1, 1), (8, 24, 48, 96, 96), (320, 128)),  # one channel to three
    ((1, 2, 3, 1, 1), (12, 24, 48, 96, 192), (128, 64)),
)
"""Doubling as in the real one, keeping and tripling; heads of 32 in the last two."""


def build_pair(
    recipe: Recipe, folder: Path, size: tuple[int, int]
) -> tuple[FastVit, FastVLMModel, torch.Tensor]:
    """timm's tower, ours from the same files, and a random picture (1, 3, H, W)."""
    model = recipe.build()
    source = recipe.write_source(model, folder)
    converted = runtime.convert_and_load(source, folder / "converted")
    generator = torch.Generator().manual_seed(recipe.seed + 1000)
    pixel_values = torch.rand(1, 3, *size, generator=generator)
    return reference.timm_tower(model), converted, pixel_values


@torch.no_grad()
def part_errors(
    tower: FastVit, model: FastVLMModel, pixel_values: torch.Tensor
) -> list[float]:
    """Relative error of the stem, the stages and the last conv, each end to end."""
    expected = reference.tower_stages(tower, pixel_values)
    found = model.vision_tower.stage_outputs(
        runtime.channels_last(pixel_values.numpy())
    )
    return [
        runtime.relative_error(runtime.channels_first(ours), theirs.numpy())
        for ours, theirs in zip(found, expected, strict=True)
    ]


@pytest.mark.parametrize("fused", (False, True), ids=("train", "fused"))
@pytest.mark.parametrize("write", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("seed", range(len(TOWERS)))
def test_random_tower(write: Writer, fused: bool, seed: int, tmp_path: Path) -> None:
    layers, embed_dims, size = TOWERS[seed]
    shape = TowerShape(layers, embed_dims, fused)
    recipe = Recipe("random", write, shape, TextShape(), seed)
    errors = part_errors(*build_pair(recipe, tmp_path, size))
    assert max(errors) <= runtime.TOWER_TOLERANCE, errors


# What has branches in training: its name in timm's tower and in ours, the channels
# that it takes.
BLOCKS = (
    ("stem", "stem", 3),
    ("stages.2.blocks.1.token_mixer", "stages.2.blocks.1.token_mixer", 16),  # RepMixer
    ("stages.3.downsample", "stages.3.downsample", 16),
    ("stages.4.pos_emb", "stages.4.pos_emb", 64),
    ("stages.4.blocks.0", "stages.4.blocks.0", 64),  # BatchNorm and layer scales only
    ("final_conv", "conv_exp", 64),
)


@pytest.mark.parametrize("theirs, ours, channels", BLOCKS)
@torch.no_grad()
def test_branches_add_up_to_the_fused_conv(
    theirs: str, ours: str, channels: int, tmp_path: Path
) -> None:
    """One kind of block alone, on noise of both signs, so nothing else can help."""
    recipe = Recipe("block", write_apple, TowerShape(), TextShape(), seed=21)
    tower, model, _ = build_pair(recipe, tmp_path, (64, 64))
    x = torch.randn(2, channels, 12, 20, generator=torch.Generator().manual_seed(22))
    expected = tower.get_submodule(theirs)(x).numpy()
    block = dict(model.vision_tower.named_modules())[ours]
    found = block(runtime.channels_last(x.numpy()))
    if isinstance(block, DepthwiseConv):  # which leaves its bias to whoever follows
        found = found + block.bias
    error = runtime.relative_error(runtime.channels_first(found), expected)
    assert error <= runtime.TOWER_TOLERANCE


def test_train_and_fused_forms_meet(tmp_path: Path) -> None:
    """timm's own reparameterization gives the same features as ours."""
    recipe = Recipe("forms", write_apple, TowerShape(), TextShape(), seed=31)
    tower, model, pixel_values = build_pair(recipe, tmp_path, (128, 128))
    for module in list(tower.modules()):
        reparameterize = getattr(module, "reparameterize", None)
        if reparameterize is not None:
            reparameterize()
    assert max(part_errors(tower, model, pixel_values)) <= runtime.TOWER_TOLERANCE


def test_full_size_tower(tmp_path: Path) -> None:
    """All 125 M weights once, with the branches of training, at 256 x 256."""
    recipe = Recipe(
        "full",
        write_apple,
        reference.FULL_SHAPE,
        TextShape(),
        seed=41,
        layer_scales=reference.FULL_SCALES,
    )
    tower, model, pixel_values = build_pair(recipe, tmp_path, (256, 256))
    errors = part_errors(tower, model, pixel_values)
    assert max(errors) <= runtime.TOWER_TOLERANCE, errors
