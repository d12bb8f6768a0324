"""Random weights: every parameter drawn, none forgotten."""

from benchmarks.paper.encoders.convnext import ConvNeXt, ConvNeXtConfig
from benchmarks.paper.encoders.random_weights import count_parameters, randomize
from fastvlm_mlx.device.backend import mx


def test_random_weights_fill_everything() -> None:
    network = ConvNeXt(ConvNeXtConfig((1, 1), (8, 16), head_hidden=4, clip_dim=3))
    before = count_parameters(network)
    randomize(network, mx.float16)
    assert count_parameters(network) == before
    block = network.stages[1].blocks[0]
    assert block.gamma.dtype == mx.float16
    assert mx.abs(block.conv_dw.weight).min() > 0
