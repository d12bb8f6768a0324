"""The network without files or text: embedding, splice, head, cache."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from mlx.utils import tree_flatten

from fastvlm_mlx import FastVLM
from fastvlm_mlx.config import FastVLMConfig
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.fastvlm import FastVLMModel
from fastvlm_mlx.model.ops import gelu

PLACEHOLDER = 10**6  # never embedded, so it may be no token at all


@pytest.fixture
def model(vlm: FastVLM) -> FastVLMModel:
    """A converted golden; its embeddings are 64 wide."""
    return vlm.engine.model


def ones(length: int, value: float = 1.0) -> mx.array:
    return mx.full((length, 64), value)


# --- splice -----------------------------------------------------------------------


def test_embed_looks_rows_up(model: FastVLMModel) -> None:
    table = model.language_model.model.embed_tokens.weight
    found = model.embed([3, 1, 3])
    assert mx.array_equal(found, table[mx.array([3, 1, 3])][None])
    assert mx.array_equal(found, model.embed(mx.array([3, 1, 3])))


@pytest.mark.parametrize(
    "spans",
    [
        [],
        [(0, 2)],
        [(2, 3)],
        [(4, 2)],
        [(0, 6)],
        [(0, 1), (1, 2), (5, 1)],
        [(1, 2), (4, 1)],
    ],
)
def test_splice_puts_pictures_in_their_places(
    model: FastVLMModel, spans: list[tuple[int, int]]
) -> None:
    """mlx-vlm slides the second picture by a token."""
    token_ids = [5, 6, 7, 8, 9, 10]
    expected = np.array(model.embed(token_ids))
    pictures = []
    for number, (start, length) in enumerate(spans):
        pictures.append(ones(length, number + 1))
        expected[0, start : start + length] = number + 1
        token_ids[start : start + length] = [PLACEHOLDER] * length
    found = model.splice(token_ids, spans, pictures)
    assert np.array_equal(np.array(found), expected)


def test_splice_takes_the_dtype_of_the_language_model(model: FastVLMModel) -> None:
    picture = ones(1).astype(mx.float16)
    assert model.splice([1, 2], [(1, 1)], [picture]).dtype == mx.float32


@pytest.mark.parametrize("length", [1, 3])
def test_splice_refuses_a_picture_of_another_length(
    model: FastVLMModel, length: int
) -> None:
    with pytest.raises(ValueError, match=f"a span of 2 positions got {length} embed"):
        model.splice([1, 2, 3], [(0, 2)], [ones(length)])


@pytest.mark.parametrize("pictures", [0, 1, 3])
def test_splice_refuses_another_number_of_pictures(
    model: FastVLMModel, pictures: int
) -> None:
    with pytest.raises(ValueError, match="argument 2 is (shorter|longer)"):
        model.splice([1, 2, 3], [(0, 1), (2, 1)], [ones(1)] * pictures)


# --- the whole --------------------------------------------------------------------


def test_project_is_two_layers_with_a_gelu(model: FastVLMModel) -> None:
    features = mx.random.normal((1, 5, 64), key=mx.random.key(0))
    first, second = model.mm_projector.linear_1, model.mm_projector.linear_2
    hidden = gelu(features @ first.weight.T + first.bias)
    expected = hidden @ second.weight.T + second.bias
    np.testing.assert_allclose(model.project(features), expected, atol=1e-4)


def test_prefill_is_the_last_row_of_the_whole(model: FastVLMModel) -> None:
    embeds = model.embed(range(20))
    found = model.prefill(embeds, model.make_cache())
    assert found.shape == (1, 320)
    np.testing.assert_allclose(found, model(embeds)[:, -1], atol=1e-4)


def test_a_filled_cache_stands_for_what_filled_it(model: FastVLMModel) -> None:
    whole, cache = model(model.embed(range(20))), model.make_cache()
    model.prefill(model.embed(range(15)), cache)
    for position in range(15, 20):
        found = model.decode(mx.array([position]), cache)
        np.testing.assert_allclose(found, whole[:, position], atol=1e-4)


def test_no_position_sees_a_later_one(model: FastVLMModel) -> None:
    first, second = model.embed([1, 2, 3]), model.embed([1, 2, 4])
    np.testing.assert_allclose(model(first)[:, :2], model(second)[:, :2], atol=1e-5)


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_head_is_tied_or_its_own(vlm: FastVLM, kind: str, tied: bool) -> None:
    """mlx-vlm ran the 7B with the wrong head for months."""
    text = replace(
        vlm.engine.config.text_config, model_type=kind, tie_word_embeddings=tied
    )
    model = FastVLMModel(replace(vlm.engine.config, text_config=text))
    names = dict(tree_flatten(model.language_model.parameters()))
    assert ("lm_head.weight" in names) != tied
    assert model(model.embed([1, 2])).shape == (1, 2, text.vocab_size)


@pytest.mark.parametrize("name", ["apple-train", "apple-fused"])
def test_a_fresh_model_has_the_shapes_of_a_converted_one(
    load_golden: Callable[[str], FastVLM], name: str
) -> None:
    def shapes(model: FastVLMModel) -> dict[str, tuple[int, ...]]:
        parameters: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
        return {name: array.shape for name, array in parameters.items()}

    converted = load_golden(name)
    config: FastVLMConfig = converted.engine.config
    assert shapes(FastVLMModel(config)) == shapes(converted.engine.model)
