"""Methods of the paper: their tokens, their claims, and how prefills are scaled."""

import mlx.nn as nn
import pytest

from benchmarks.harness import Job
from benchmarks.paper import __main__ as paper
from benchmarks.paper import encode, prefill, table
from benchmarks.paper.decoders import DECODERS, count_decoder
from benchmarks.paper.headlines import HEADLINES, Headline, published_ttft
from benchmarks.paper.methods import METHODS
from benchmarks.paper.prefill import Decoder, Prefill, add_up, choose, split
from benchmarks.paper.table import Row
from fastvlm_mlx.config import TextConfig
from fastvlm_mlx.language import KVCache, make_cache

TOKENS = {  # of the paper's tables 5, 6 and 10
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
}

DECODER_MILLIONS = {  # of the published checkpoints
    "Qwen2-0.5B": 494,
    "Qwen2-1.5B": 1544,
    "Qwen2-7B": 7616,
    "Qwen1.5-0.5B": 464,
    "Vicuna-7B": 6738,
    "Llama-3-8B": 8030,
    "MobileLLaMA-1.4B": 1364,
}

TINY = TextConfig(
    model_type="qwen2",
    hidden_size=32,
    num_hidden_layers=4,
    intermediate_size=64,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=50,
)


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


@pytest.mark.parametrize("name", DECODERS)
def test_parameters_of_decoders(name: str) -> None:
    assert round(count_decoder(DECODERS[name]) / 1e6) == DECODER_MILLIONS[name]


@pytest.mark.parametrize("headline", HEADLINES, ids=lambda headline: headline.claim)
def test_the_papers_own_figures_give_its_claims(headline: Headline) -> None:
    found = headline.value(published_ttft())
    if found is None:  # MM1's time is not published, but its tokens are
        found = headline.value({})
    assert found == pytest.approx(headline.published, rel=0.025)


def test_a_claim_without_both_times_is_open() -> None:
    assert HEADLINES[0].value({"LLaVA-OneVision 0.5B": 1.0}) is None


def test_chunks_cover_the_prompt() -> None:
    assert split(7290) == [(512 * i, 512) for i in range(14)] + [(7168, 122)]
    assert split(512) == [(0, 512)]
    assert split(16) == [(0, 16)]


def test_of_a_long_prompt_the_ends_the_middle_and_the_rest_are_measured() -> None:
    assert choose(split(7290)) == [(0, 512), (3584, 512), (6656, 512), (7168, 122)]
    assert choose(split(1280)) == split(1280)


def test_costs_that_grow_linearly_are_added_up_exactly() -> None:
    chunks = split(7290)
    cost = {chunk: chunk[1] * (3.0 + 0.01 * chunk[0]) for chunk in chunks}
    measured = {chunk: cost[chunk] for chunk in choose(chunks)}
    assert len(measured) == 4
    assert add_up(chunks, measured) == pytest.approx(sum(cost.values()))


def test_a_bend_in_the_cost_is_followed_at_the_middle() -> None:
    chunks = split(5 * 512)
    cost = {chunk: max(1.0, chunk[0] / 1024) for chunk in chunks}
    measured = {chunk: cost[chunk] for chunk in choose(chunks)}
    assert add_up(chunks, measured) == pytest.approx(sum(cost.values()))


def test_layers_not_measured_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []

    def seconds(job: Job, runs: int) -> float:
        job()
        done.append(runs)
        return 2.0

    monkeypatch.setattr(prefill, "seconds", seconds)
    found = Decoder(TINY, layers=1).prefill(600, runs=1)
    assert found == Prefill(seconds=16.0, layers=1, depth=4, measured=2, chunks=2)
    assert found.scaled and str(found) == "1 of 4 layers, 2 of 2 chunks measured"
    whole = Decoder(TINY, layers=9).prefill(600, runs=1, every_chunk=True)
    assert whole.seconds == 4.0 and not whole.scaled
    assert done == [1] * 4


def test_a_chunk_attends_to_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caches end as long as the prompt is up to there."""
    lengths: list[int] = []

    def remember(model: nn.Module) -> KVCache:
        caches.append(make_cache(model))
        return caches[-1]

    def seconds(job: Job, runs: int) -> float:
        job()
        lengths.append(caches[-1][-1].offset)
        return 1.0

    caches: list[KVCache] = []
    monkeypatch.setattr(prefill, "make_cache", remember)
    monkeypatch.setattr(prefill, "seconds", seconds)
    Decoder(TINY, layers=2).prefill(5 * 512 + 8, runs=1)
    assert lengths == [512, 3 * 512, 5 * 512, 5 * 512 + 8]


def test_a_long_job_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[int] = []
    monkeypatch.setattr(encode, "LONG", 0.0)
    encode.seconds(lambda: times.append(1), runs=5)
    assert len(times) == 1
    monkeypatch.setattr(encode, "LONG", 1e9)
    encode.seconds(lambda: times.append(1), runs=5)
    assert len(times) == 1 + 6


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    part = Prefill(9.0, layers=2, depth=24, measured=4, chunks=15)
    whole = Prefill(0.05, layers=24, depth=24, measured=1, chunks=1)
    rows = {
        "LLaVA-OneVision 0.5B": Row(1.0, part),
        "FastVLM Qwen2-0.5B 1024": Row(0.05, whole),
    }
    table.print_table(rows)
    table.print_headlines(rows)
    table.print_scaled(rows)
    printed = capsys.readouterr().out
    assert "| 1000 | 9000 | 10000 | 84.68 | 100.00 |" in printed
    assert "| 85x faster | 84.7 | 100.0 |" in printed
    assert "| 22 % faster | 22% | – |" in printed
    assert "- LLaVA-OneVision 0.5B: 2 of 24 layers, 4 of 15 chunks" in printed
    assert "- FastVLM" not in printed


def test_the_command_measures_each_part_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten tiles of one picture, and the decoder's seconds, in one line."""
    monkeypatch.setattr(paper, "encode_seconds", lambda encoder, side, runs: 0.5)
    monkeypatch.setattr(paper, "DECODERS", dict.fromkeys(DECODERS, TINY))
    monkeypatch.setattr(prefill, "seconds", lambda job, runs: 0.25)
    names = ["LLaVA-OneVision 0.5B", "nanoLLaVA", "MM1"]
    monkeypatch.setattr("sys.argv", ["paper", "--quick", "--methods", *names])
    paper.main()
    printed = capsys.readouterr().out
    assert printed.count("encode SigLIP-SO400M 384: 500 ms") == 1
    row = next(line for line in printed.splitlines() if "| LLaVA-One" in line)
    assert "| 5000 | 7500 | 12500 |" in row  # 15 chunks, twice the two layers
    assert next(line for line in printed.splitlines() if "| MM1" in line).count("–") > 5
