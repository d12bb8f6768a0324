"""Every layout in which FastVLM is published, against numbers that PyTorch left.

The golden folders and their `expected.safetensors` are made by tests/goldens/make.py,
which says what each array is. Nothing here needs torch.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.model.fastvlm import FastVLMModel
from fastvlm_mlx.model_folder import load_config
from fastvlm_mlx.text.prompt import Message
from fastvlm_mlx.text.tokenizer import ChatTokenizer
from fastvlm_mlx.weights import load_model
from tests.parity import runtime
from tests.parity.runtime import Array, relative_error

GOLDENS = Path(__file__).parent / "goldens"
PICTURES = ("square", "wide")
PARTS = ("stem", "stage0", "stage1", "stage2", "stage3", "stage4", "conv_exp")
QUESTION = "What is in this picture?"  # of make.py's prompt

# What stands for an image in input_ids: LLaVA's sentinel, `<image>` of transformers.
IMAGE_TOKENS = (-200, 312)

# Whether the head is the embedding. apple-fused claims so in its config.json, but
# its head holds other numbers; fast_vlm-train has no head in its file.
TIED = {
    "apple-train": True,
    "apple-fused": False,
    "fast_vlm-train": True,
    "fast_vlm-fused": False,
}


@dataclass(frozen=True)
class Converted:
    """A golden checkpoint in this package's format, and loaded."""

    folder: Path
    model: FastVLMModel


@dataclass(frozen=True)
class Golden:
    """A converted checkpoint and what PyTorch expects of one picture."""

    converted: Converted
    expected: dict[str, Array]

    @property
    def model(self) -> FastVLMModel:
        """The network, in float32."""
        return self.converted.model

    @property
    def pixel_values(self) -> mx.array:
        """(1, H, W, 3) in [0, 1], the division done as PyTorch does it."""
        pixels = self.expected["pixels"].astype(np.float32) / np.float32(255)
        return runtime.channels_last(pixels)

    def inputs_embeds(self) -> mx.array:
        """(1, L, D): the prompt with the picture in its place, all of it ours."""
        token_ids: list[int] = self.expected["input_ids"].tolist()
        projected = self.model.project(self.model.encode_image(self.pixel_values))
        spans = runtime.image_spans(token_ids, IMAGE_TOKENS, projected.shape[1])
        return self.model.splice(token_ids, spans, [projected[0]])


@pytest.fixture(scope="module")
def load(converted_golden: Callable[[str], Path]) -> Callable[[str], Converted]:
    """Loads each converted folder once, when it is first asked for."""

    @functools.cache
    def get(name: str) -> Converted:
        folder = converted_golden(name)
        return Converted(
            folder, load_model(folder, load_config(folder), dtype="float32")
        )

    return get


@pytest.fixture(params=PICTURES)
def picture(request: pytest.FixtureRequest) -> str:
    """One of the two pictures."""
    return str(request.param)


@pytest.fixture(params=TIED)
def golden(
    request: pytest.FixtureRequest, picture: str, load: Callable[[str], Converted]
) -> Golden:
    """One of the folders, with one of its pictures."""
    arrays: Any = mx.load(str(GOLDENS / request.param / "expected.safetensors"))
    expected = {
        key.removeprefix(f"{picture}."): np.array(array)
        for key, array in arrays.items()
        if key.startswith(f"{picture}.")
    }
    return Golden(load(request.param), expected)


def test_every_part_of_the_tower(golden: Golden) -> None:
    outputs = golden.model.vision_tower.stage_outputs(golden.pixel_values)
    errors = {
        part: relative_error(runtime.channels_first(output), golden.expected[part])
        for part, output in zip(PARTS, outputs, strict=True)
    }
    assert max(errors.values()) <= runtime.TOWER_TOLERANCE, errors


def test_projected_image(golden: Golden) -> None:
    projected = golden.model.project(golden.model.encode_image(golden.pixel_values))
    error = relative_error(projected, golden.expected["projected"])
    assert error <= runtime.TOWER_TOLERANCE


def test_logits_at_every_position(golden: Golden) -> None:
    logits = golden.model(golden.inputs_embeds())
    error = relative_error(logits, golden.expected["logits"])
    assert error <= runtime.LOGIT_TOLERANCE


def test_greedy_tokens(golden: Golden) -> None:
    expected = golden.expected["greedy"].tolist()
    found = runtime.greedy_tokens(golden.model, golden.inputs_embeds(), len(expected))
    assert found == expected


def test_prompt_ids(golden: Golden) -> None:
    """Tokenizer and chat template survive the conversion, from either layout."""
    expected = golden.expected["input_ids"].tolist()
    folder, length = golden.converted.folder, golden.expected["projected"].shape[1]
    tokenizer = ChatTokenizer(folder, load_config(folder))
    prompt = tokenizer.build([Message("user", QUESTION, images=1)], [length])
    ((start, span),) = prompt.image_spans
    assert span == length
    found = list(prompt.token_ids)
    assert found[:start] == expected[:start]
    assert found[start + span :] == expected[start + span :]


@pytest.mark.parametrize("name", TIED)
def test_head_is_tied_only_where_the_weights_say_so(
    name: str, load: Callable[[str], Converted]
) -> None:
    assert ("lm_head" in load(name).model.language_model) != TIED[name]
