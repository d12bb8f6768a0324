"""The arithmetic behind a bound, against figures that others counted."""

import pytest

from fastvlm_mlx.config import FASTVITHD
from fastvlm_mlx.planning.cost import (
    PEAKS,
    encode_cost,
    language_cost,
    least_time,
)
from fastvlm_mlx.planning.geometry import published_config


def test_an_encode_of_fastvithd_at_1024() -> None:
    """243 G multiply-adds, by counting hooks on timm's fused network."""
    assert encode_cost(FASTVITHD, (1024, 1024)).flops == pytest.approx(487e9, rel=0.01)


def test_four_times_the_pixels_are_four_times_the_work_and_more() -> None:
    small, large = (encode_cost(FASTVITHD, (side, side)).flops for side in (512, 1024))
    assert 4 < large / small < 4.2  # attention grows faster


def test_a_prefill_of_the_smallest_model() -> None:
    """Twice the 358 M weights of its layers for each position, and attention."""
    config = published_config("0.5b").text_config
    flops = language_cost(config, 276, 276, causal=True).flops
    assert flops == pytest.approx(2 * 357.8e6 * 276, rel=0.03)


@pytest.mark.parametrize(
    ("positions", "causal", "written"),
    [(280, 102.0e9, 103.7e9), (1024, 389e9, 412e9), (7290, 3752e9, 4894e9)],
)
def test_masked_scores_count_where_a_kernel_computes_them(
    positions: int, causal: float, written: float
) -> None:
    config = published_config("0.5b").text_config
    for masked, expected in ((True, causal), (False, written)):
        cost = language_cost(config, positions, positions, causal=masked)
        assert cost.multiply_adds == pytest.approx(expected, rel=0.01)


def test_the_slower_of_arithmetic_and_memory_decides() -> None:
    peak = PEAKS["Apple M1 Max"]
    assert least_time(10.4e12, 1, peak) == pytest.approx(1.0)
    assert least_time(1, 800e9, peak) == pytest.approx(2.0)


@pytest.mark.parametrize("name", PEAKS)
def test_every_peak_is_of_a_plausible_size_and_has_a_source(name: str) -> None:
    peak = PEAKS[name]
    assert 1e12 < peak.flops < 1e14 and 5e10 < peak.bandwidth < 1e12
    assert peak.source
