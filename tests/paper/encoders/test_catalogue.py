"""The encoders beside FastViTHD: what they count, and that they run."""

import dataclasses

import pytest

from benchmarks.paper.encoders.catalogue import ENCODERS
from benchmarks.paper.encoders.convnext import ConvNeXt, ConvNeXtConfig
from benchmarks.paper.encoders.eva import EVA02, EVA02_L_336
from benchmarks.paper.encoders.fastvit import FastViT, mobile_clip
from benchmarks.paper.encoders.random_weights import randomize
from benchmarks.paper.encoders.siglip import SO400M_384
from benchmarks.paper.encoders.vit import VisionTransformer
from fastvlm_mlx.device.backend import mx

MILLIONS = {  # of the paper's tables 1, 3 and 10
    "FastViTHD": 125,
    "FastViT MCi2": 35.7,
    "ViT-L/14": 304,
    "SigLIP-SO400M": 430,
    "ConvNeXt-L": 200,
    "ConvNeXt-XXL": 846,
    "DINOv2-L": 304,
}


@pytest.mark.parametrize("name", MILLIONS)
def test_parameters_are_those_of_the_paper(name: str) -> None:
    """Half a percent: papers count one bias or head more or less."""
    assert ENCODERS[name].parameters / 1e6 == pytest.approx(MILLIONS[name], rel=0.005)


OF_TIMM = {  # millions, with the CLIP head where there is one
    "ViT-g/14": 1012.6,
    "EVA-02-L/14": 304.4,
    "InternViT-300M": 304.0,
    "ViT-H/14": 632.7,
}


@pytest.mark.parametrize("name", OF_TIMM)
def test_parameters_are_those_of_timm(name: str) -> None:
    """tests/parity counts timm's networks themselves."""
    assert ENCODERS[name].parameters / 1e6 == pytest.approx(OF_TIMM[name], rel=0.001)


@pytest.mark.parametrize(
    ("name", "side", "tokens"),
    [
        ("FastViTHD", 1024, 256),
        ("FastViT MCi2", 768, 576),
        ("ViT-L/14", 336, 576),
        ("SigLIP-SO400M", 384, 729),
        ("DINOv2-L", 518, 1369),
        ("ViT-g/14", 224, 256),
        ("EVA-02-L/14", 336, 576),
        ("ViT-H/14", 378, 729),
        ("InternViT-300M", 448, 1024),
        ("ConvNeXt-L", 320, 100),
        ("ConvNeXt-XXL", 256, 64),
    ],
)
def test_tokens(name: str, side: int, tokens: int) -> None:
    assert ENCODERS[name].tokens(side) == tokens


@pytest.mark.parametrize("name", ["FastViT MCi0", "FastViTHD"])
def test_the_catalogue_builds_what_it_says(name: str) -> None:
    encoder = ENCODERS[name]
    network = encoder.build(128)
    randomize(network)
    tokens = network(mx.random.uniform(shape=(1, 128, 128, 3)))
    assert tokens.shape == (1, encoder.tokens(128), encoder.width)
    assert mx.isfinite(tokens).all() and mx.abs(tokens).max() > 0


@pytest.mark.parametrize(
    "name",
    ["ViT-L/14", "SigLIP-SO400M", "DINOv2-L", "ViT-H/14", "EVA-02-L/14"],
)
def test_a_vit_is_built_for_a_side(name: str) -> None:
    encoder = ENCODERS[name]
    positions = encoder.build(224).pos_embed.shape[1]
    assert positions - encoder.tokens(224) in (0, 1)  # a class token or none


def test_narrow_networks_see_their_picture() -> None:
    """Two pictures, two results, both finite."""
    vit = dataclasses.replace(SO400M_384, side=45, width=36, depth=2, heads=3, hidden=8)
    eva = dataclasses.replace(EVA02_L_336, side=45, width=36, depth=2, heads=3)
    intern = dataclasses.replace(vit, class_token=True, final_norm=False)
    convnext = ConvNeXtConfig((1, 1, 1, 1), (8, 8, 8, 8))
    for network, side in (
        (VisionTransformer(vit), 45),
        (VisionTransformer(intern), 45),
        (EVA02(eva), 45),
        (ConvNeXt(convnext), 64),
        (FastViT(mobile_clip((1, 1, 1, 1), 8)), 64),
    ):
        randomize(network)
        tokens = network(mx.random.uniform(shape=(2, side, side, 3)))
        assert mx.isfinite(tokens).all()
        assert mx.abs(tokens[0] - tokens[1]).max() > 0
