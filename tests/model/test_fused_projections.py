"""q, k and v as one matmul, gate and up as one: the same model in fewer kernels."""

import copy
import io
from typing import Any

import mlx.nn as nn
import numpy as np
import pytest

from fastvlm_mlx.config import TextConfig
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.fused_projections import (
    JoinedAttention,
    JoinedMLP,
    join_projections,
)
from fastvlm_mlx.model.language import build_language_model, make_cache
from fastvlm_mlx.model.lazy_mlx_lm import mlx_lm


def build(model_type: str = "qwen2", bits: int | None = None) -> nn.Module:
    mx.random.seed(0)
    model = build_language_model(
        TextConfig(
            model_type=model_type,
            hidden_size=64,
            num_hidden_layers=2,
            intermediate_size=96,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=50,
            tie_word_embeddings=True,
        )
    )
    if bits is not None:
        nn.quantize(model, group_size=32, bits=bits)
    return model


def joined(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    join_projections(model)
    return model


def greedy(model: nn.Module, prompt: list[int], steps: int = 8) -> list[int]:
    cache, ids = make_cache(model), mx.array([prompt])
    answer = []
    for _ in range(steps):
        token = int(model(ids, cache=cache)[0, -1].argmax().item())
        answer.append(token)
        ids = mx.array([[token]])
    return answer


@pytest.mark.parametrize("model_type", ["qwen2", "llama"])
@pytest.mark.parametrize("bits", [None, 4, 8])
def test_token_for_token(model_type: str, bits: int | None) -> None:
    model = build(model_type, bits)
    other = joined(model)
    assert isinstance(other.layers[1].self_attn, JoinedAttention)
    assert isinstance(other.layers[1].mlp, JoinedMLP)
    ids = mx.array([[1, 2, 3, 4]])
    np.testing.assert_allclose(other(ids), model(ids), atol=1e-5)
    assert greedy(other, [1, 2, 3]) == greedy(model, [1, 2, 3])


def test_rows_of_several_lengths() -> None:
    """mlx-lm's batched cache, where shorter prompts are padded on the left."""
    model = build()
    cache_of = mlx_lm("models.cache").BatchKVCache
    ids = mx.array([[1, 2, 3, 4], [0, 0, 5, 6]])

    def logits(model: nn.Module) -> mx.array:
        cache: list[Any] = [cache_of([0, 2]) for _ in model.layers]
        model(ids, cache=cache)
        following: mx.array = model(mx.array([[7], [8]]), cache=cache)
        return following

    found = logits(joined(model))
    np.testing.assert_allclose(found, logits(model), atol=1e-5)
    alone = model(mx.array([[5, 6, 8]]))[:, -1]
    np.testing.assert_allclose(found[1], alone, atol=1e-4)


def test_layers_that_differ_stay_apart() -> None:
    """A recipe may give q, k and v different bits; they cannot be one matrix."""
    model = build()
    attention = model.layers[0].self_attn
    attention.v_proj = attention.v_proj.to_quantized(group_size=32, bits=8)
    other = joined(model)
    assert not isinstance(other.layers[0].self_attn, JoinedAttention)
    assert isinstance(other.layers[0].mlp, JoinedMLP)
    assert greedy(other, [1, 2, 3]) == greedy(model, [1, 2, 3])


def test_three_matmuls_fewer_in_a_layer() -> None:
    model = build()

    def matmuls(model: nn.Module) -> int:
        graph = io.StringIO()
        mx.export_to_dot(graph, model(mx.array([[1]])))
        return graph.getvalue().count('label ="AddMM"') + graph.getvalue().count(
            'label ="Matmul"'
        )

    assert matmuls(model) - matmuls(joined(model)) == 3 * len(model.layers)
