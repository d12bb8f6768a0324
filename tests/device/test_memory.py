"""What share of the machine's memory each thing may take."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from fastvlm_mlx.config import TextConfig
from fastvlm_mlx.device import memory
from fastvlm_mlx.device.memory import (
    PREFILL_STEPS,
    host_memory,
    memory_size,
    prefill_step,
)

Machine = Callable[[float], None]

HALF_B = TextConfig(
    model_type="qwen2",
    hidden_size=896,
    num_hidden_layers=24,
    intermediate_size=4864,
    num_attention_heads=14,
    num_key_value_heads=2,
    vocab_size=151936,
)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Makes this machine one of so many gigabytes."""

    def has(gigabytes: float) -> None:
        size = int(gigabytes * (1 << 30))
        monkeypatch.setattr(memory, "memory_size", lambda: size)

    return has


def test_memory_is_that_of_the_machine() -> None:
    assert 1 << 28 < memory_size() <= host_memory()


def test_a_large_machine_reads_a_question_whole(
    machine: Machine,
) -> None:
    machine(64)
    assert prefill_step(HALF_B, positions=300, item_bytes=2) == PREFILL_STEPS[0]


@pytest.mark.parametrize("gigabytes", [0.01, 1, 4, 8, 64])
def test_activations_stay_within_their_share(
    machine: Machine, gigabytes: float
) -> None:
    machine(gigabytes)
    step = prefill_step(HALF_B, positions=4000, item_bytes=4)
    scores = 14 * step * 4000 * 4
    share = gigabytes * (1 << 30) / memory.ACTIVATION_SHARE
    assert scores <= share or step == PREFILL_STEPS[-1]


def test_the_step_shrinks_with_length_width_and_memory(
    machine: Machine,
) -> None:
    machine(4)
    wide = replace(HALF_B, hidden_size=3584, intermediate_size=18944)
    steps = [
        prefill_step(HALF_B, 300, 2),
        prefill_step(HALF_B, 8000, 2),
        prefill_step(wide, 8000, 4),
    ]
    assert steps == sorted(steps, reverse=True)
    machine(0.5)
    assert prefill_step(HALF_B, 8000, 2) < steps[1]
