"""Prefills: chunks, and what is calculated from the measured ones."""

import mlx.nn as nn
import pytest

from benchmarks.measuring.harness import Job
from benchmarks.paper import prefill
from benchmarks.paper.effort import QUICK, Effort
from benchmarks.paper.prefill import Decoder, Prefill, add_up, choose, split
from fastvlm_mlx.config import TextConfig
from fastvlm_mlx.model.language import KVCache, make_cache

WHOLE = Effort(runs=1, patience=1.0)

TINY = TextConfig(
    model_type="qwen2",
    hidden_size=32,
    num_hidden_layers=4,
    intermediate_size=64,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=50,
)


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
    done: list[Effort] = []

    def seconds(effort: Effort, job: Job) -> float:
        job()
        done.append(effort)
        return 2.0

    monkeypatch.setattr(Effort, "seconds", seconds)
    found = Decoder(TINY, layers=1).prefill(600, QUICK)
    assert found == Prefill(seconds=16.0, layers=1, depth=4, measured=2, chunks=2)
    assert found.scaled and str(found) == "1 of 4 layers, 2 of 2 chunks measured"
    whole = Decoder(TINY, layers=9).prefill(600, WHOLE)
    assert whole.seconds == 4.0 and not whole.scaled
    assert done == [QUICK] * 2 + [WHOLE] * 2


def test_a_chunk_attends_to_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caches end as long as the prompt is up to there."""
    lengths: list[int] = []

    def remember(model: nn.Module) -> KVCache:
        caches.append(make_cache(model))
        return caches[-1]

    def seconds(effort: Effort, job: Job) -> float:
        job()
        lengths.append(caches[-1][-1].offset)
        return 1.0

    caches: list[KVCache] = []
    monkeypatch.setattr(prefill, "make_cache", remember)
    monkeypatch.setattr(Effort, "seconds", seconds)
    Decoder(TINY, layers=2).prefill(5 * 512 + 8, QUICK)
    assert lengths == [512, 3 * 512, 5 * 512, 5 * 512 + 8]
