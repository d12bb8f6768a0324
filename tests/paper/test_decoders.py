"""Decoders of the methods: their parameters."""

import pytest

from benchmarks.paper.decoders import DECODERS, count_decoder

MILLIONS = {  # of the published checkpoints
    "Qwen2-0.5B": 494,
    "Qwen2-1.5B": 1544,
    "Qwen2-7B": 7616,
    "Qwen1.5-0.5B": 464,
    "Vicuna-7B": 6738,
    "Llama-3-8B": 8030,
    "MobileLLaMA-1.4B": 1364,
}


@pytest.mark.parametrize("name", DECODERS)
def test_parameters_of_decoders(name: str) -> None:
    assert round(count_decoder(DECODERS[name]) / 1e6) == MILLIONS[name]
