"""Packed layers on the CPU: dense where that fits, packed where it does not."""

import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.dequantize import PackedEmbedding, PackedLinear, prepare


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(128, 64)
        self.linear = nn.Linear(64, 96)
        self.plain = nn.Linear(96, 64, bias=False)

    def __call__(self, ids: mx.array) -> mx.array:
        hidden = self.plain(self.linear(self.embed(ids)))
        logits: mx.array = self.embed.as_linear(hidden)
        return logits


def quantized() -> nn.Module:
    mx.random.seed(0)
    model = Tiny()
    nn.quantize(model, bits=4, class_predicate=lambda path, _: path != "plain")
    return model


@pytest.mark.parametrize("memory", [0, 10**12])
@pytest.mark.parametrize("length", [1, 9])
def test_the_numbers_are_the_same(memory: int, length: int) -> None:
    model = quantized()
    ids = mx.arange(length)
    expected = model(ids)
    prepare(model, mx.float32, memory)
    np.testing.assert_allclose(model(ids), expected, atol=1e-4)


def bytes_of(model: nn.Module) -> int:
    return sum(
        array.nbytes for array in dict(tree_flatten(model.parameters())).values()
    )


def test_a_dense_copy_takes_at_most_half_of_the_memory() -> None:
    dense = bytes_of(Tiny())
    linears = dense - 4 * (96 * 64 + 96)  # no copy is made of `plain` and of the bias
    for memory, fits in ((2 * linears, True), (2 * linears - 2, False)):
        model = quantized()
        packed = bytes_of(model)
        prepare(model, mx.float32, memory)
        assert bytes_of(model) == (dense if fits else packed)
        assert isinstance(model.linear, PackedLinear) is not fits
        assert isinstance(model.embed, PackedEmbedding) is not fits
