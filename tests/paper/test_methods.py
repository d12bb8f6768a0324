"""Methods of the paper: their tokens and parameters."""

import pytest

from benchmarks.paper.methods import METHODS

TOKENS = {  # of the paper's tables 5, 6 and 10; the last four of their own papers
    "FastVLM Qwen2-0.5B 1024": 256,
    "FastVLM Qwen2-0.5B 2048 AnyRes 2x2": 1280,
    "FastVLM Vicuna-7B 256": 16,
    "FastVLM Vicuna-7B 512": 64,
    "FastVLM Qwen2-7B 768": 144,
    "nanoLLaVA": 729,
    "LLaVA-OneVision 0.5B": 7290,
    "MobileVLMv2 1.7B": 144,
    "MM1": 720,
    "ConvLLaVA 768": 144,
    "ConvLLaVA 1024": 256,
    "ConvLLaVA 1536": 576,
    "LLaVA-1.5": 576,
    "LLaVA-1.5 with FastViT 256": 64,
    "LLaVA-1.5 with FastViT 768": 576,
    "LLaVA-NeXT 8B": 2880,
    "Cambrian-1 8B": 576,
    "PruMerge, 40 tokens": 40,
    "VisionZip, 192 tokens": 192,
    "MiniGPT-4 7B": 32,
    "mPLUG-Owl 7B": 64,
    "InternVL2-1B 448": 256,
    "InternVL2-1B 3x3 tiles": 2560,
}


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_are_those_of_the_paper(name: str) -> None:
    assert METHODS[name].tokens == TOKENS[name]


def test_every_row_is_set_beside_a_fastvlm() -> None:
    for method in METHODS.values():
        assert method.against.startswith("FastVLM") and method.against in METHODS


def test_cambrian_counts_four_encoders() -> None:
    millions = METHODS["Cambrian-1 8B"].encoder_parameters / 1e6
    assert millions == pytest.approx(1884, rel=0.005)


def test_projectors_of_fastvlm() -> None:
    rows = [f"FastVLM Qwen2-{size} 1024" for size in ("0.5B", "1.5B", "7B")]
    counts = [METHODS[row].projector_parameters for row in rows]
    assert counts == [3_557_120, 7_080_960, 23_862_272]
    assert METHODS["Cambrian-1 8B"].projector_parameters is None


def test_time_to_first_token_is_a_sum_but_where_the_paper_says_otherwise() -> None:
    onevision = METHODS["LLaVA-OneVision 0.5B"].latency
    mobile = METHODS["MobileVLMv2 1.7B"].latency
    assert onevision is not None and round(onevision.ttft) == 14124
    assert mobile is not None and mobile.ttft == 458
