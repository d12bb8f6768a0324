"""What a plan says is what is taken, and what it advises would fit."""

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.memory import SMALL, Setting, measured, narrow, predicted
from fastvlm_mlx.errors import MemoryBudgetError
from fastvlm_mlx.planning.geometry import published_config
from fastvlm_mlx.planning.memory_plan import (
    LEAST_WORK,
    PRECISIONS,
    Machine,
    Work,
    _most_scores,
    check,
    mac_limit,
    make_plan,
    precision_bytes,
    usual_work,
    views_together,
)

CONFIG = published_config("0.5b")
GPU = Machine(10**12, 2, unpacks=False, fused_attention=True)
CPU = Machine(10**12, 4, unpacks=True, fused_attention=False)


# The kinds of the two that take longest, at about a tenth of the work.
TENTHS = (
    Setting("4 bits, 256x384", narrow(4, 256, 4, 48), Work((256, 384), 300)),
    Setting("two steps of a prefill", narrow(None, 256, 2), Work((64, 64), 2200)),
)
LONGEST = ("wider, 4 bits, 768x768", "deeper, 3000 positions")


def sized(setting: Setting) -> Any:
    """The parameter of a test, a drill where it takes long."""
    marks = [pytest.mark.drills] if setting.name in LONGEST else []
    return pytest.param(setting, marks=marks, id=setting.name)


@pytest.mark.parametrize("setting", [sized(each) for each in (*TENTHS, *SMALL)])
def test_the_predicted_peak_is_within_15_percent_of_the_measured(
    setting: Setting,
) -> None:
    assert predicted(setting) == pytest.approx(measured(setting), rel=0.15)


# --- arithmetic -------------------------------------------------------------------


def test_the_kv_cache_of_the_smallest_model_by_hand() -> None:
    """24 layers, keys and values, 2 heads of 64 numbers of 2 bytes, 1024 positions."""
    plan = make_plan(CONFIG, 0, Work(None, 1000), GPU)
    assert plan.kv_cache == 24 * 2 * 2 * 64 * 2 * 1024


def test_the_peak_is_the_larger_of_looking_and_reading() -> None:
    looking = make_plan(CONFIG, 7, Work((1024, 1024), 300), GPU)
    assert looking.total == 7 + looking.encode
    reading = make_plan(CONFIG, 7, Work((64, 64), 8000), GPU)
    assert reading.total == 7 + reading.kv_cache + reading.prefill


def test_views_count_together_only_where_a_quarter_of_the_memory_holds_them() -> None:
    work = Work((1024, 1024), 300, views=5)
    one = make_plan(CONFIG, 0, replace(work, views=1), CPU).encode
    for limit, weights, views in (
        (20 * one, 0, 5),
        (20 * one - 4, 0, 1),
        (20 * one, 15 * one, 5),
        (20 * one, 15 * one + 1, 1),
    ):
        machine = replace(CPU, limit=limit)
        assert make_plan(CONFIG, weights, work, machine).encode == views * one
        assert views_together(CONFIG, weights, work, machine) == views


def test_the_usual_work_at_another_setting() -> None:
    assert usual_work(CONFIG).positions == 256 + 512
    usual = usual_work(CONFIG, (512, 768), views=5)
    assert (usual.resolution, usual.positions) == ((512, 768), 5 * 96 + 512)
    assert str(usual) == "512x768 in 5 views, 992 positions"


def test_scores_count_where_they_are_written_out() -> None:
    fused = make_plan(CONFIG, 0, Work(None, 3000), replace(CPU, fused_attention=True))
    written = make_plan(CONFIG, 0, Work(None, 3000), CPU)
    # 2048 x 2048 in the first step, more than 952 x 3000 in the second
    assert written.prefill - fused.prefill == 4 * 14 * 2048 * 2048


def _listed_scores(positions: int, step: int) -> int:
    """As `_most_scores`, by going through every step."""
    ends = [*range(step, positions, step), positions]
    sizes: list[int] = [(end - start) * end for start, end in pairwise([0, *ends])]
    return max(sizes)


@given(positions=st.integers(1, 5000), share=st.integers(1, 5000))
def test_the_largest_step_is_found_without_listing_them(
    positions: int, share: int
) -> None:
    step = min(positions, share)
    assert _most_scores(positions, step) == _listed_scores(positions, step)
    work = Work(None, positions, prefill_step=share)
    fused = make_plan(CONFIG, 0, work, replace(CPU, fused_attention=True))
    written = make_plan(CONFIG, 0, work, CPU)
    assert written.prefill - fused.prefill == 4 * 14 * _listed_scores(positions, step)


def test_a_plan_costs_nothing_whatever_it_is_of() -> None:
    """In 5e14 steps nobody would see the end of a list."""
    for machine in (CPU, GPU):
        plan = make_plan(CONFIG, 0, Work((64, 64), 10**18, batch=10**18), machine)
        assert plan.total > 10**30


def test_at_large_resolutions_the_towers_scores_decide() -> None:
    """They grow with the fourth power of the side."""
    sizes = [(2048, 2048), (4096, 4096)]
    small, large = (make_plan(CONFIG, 0, Work(size, 1), GPU).encode for size in sizes)
    assert large > 8 * small


work = st.builds(
    Work,
    st.none() | st.tuples(*[st.integers(1, 32).map(lambda n: 64 * n)] * 2),
    st.integers(1, 20_000),
    st.integers(1, 16),
    views=st.sampled_from([1, 5]),
)


@given(work=work, more=st.integers(1, 4000))
def test_more_work_never_takes_less(work: Work, more: int) -> None:
    for config, machine in ((CONFIG, GPU), (narrow(), CPU)):
        less = make_plan(config, 5, work, machine)
        longer = replace(work, positions=work.positions + more)
        wider = replace(work, batch=work.batch + 1)
        assert make_plan(config, 5, longer, machine).total >= less.total
        assert make_plan(config, 5, wider, machine).total >= less.total


@pytest.mark.parametrize("gib, mib", [(8, 5461), (32, 21845), (64, 49152)])
def test_what_macs_give(gib: int, mib: int) -> None:
    assert mac_limit(gib) >> 20 == mib


# --- refusals ---------------------------------------------------------------------


@given(work=work, limit=st.integers(10**8, 10**10), geometry=st.sampled_from("05 7"))
def test_what_is_advised_would_fit(work: Work, limit: int, geometry: str) -> None:
    config = published_config("7b" if geometry == "7" else "0.5b")
    machine, weights = replace(GPU, limit=limit), 10**9
    plan = make_plan(config, weights, work, machine)
    try:
        check(config, weights, work, machine)
    except MemoryBudgetError as error:
        assert plan.total > limit
        advice = str(error).split("; the limit is ")[1]
    else:
        assert plan.total <= limit
        return
    changes = _changes(advice)
    together = advice.split(". ", 1)[1].startswith("Together")
    for chosen in [changes] if together else [[each] for each in changes]:
        smaller, packed = _carried_out(work, chosen), weights
        for bits in (value for name, value in chosen if name == "bits"):
            packed = precision_bytes(config, weights, bits, machine)
        assert make_plan(config, packed, smaller, machine).total <= limit


def _changes(advice: str) -> list[tuple[str, Any]]:
    patterns = {
        "bits": r"(\d+) bits",
        "batch": r"a batch of (\d+)",
        "positions": r"a context of (\d+)",
    }
    found: list[tuple[str, Any]] = [
        (name, int(value))
        for name, pattern in patterns.items()
        for value in re.findall(pattern, advice)
    ]
    for height, width in re.findall(r"resolution (\d+)x(\d+)", advice):
        found.append(("resolution", (int(height), int(width))))
    return found


def _carried_out(work: Work, changes: list[tuple[str, Any]]) -> Work:
    return replace(work, **{name: value for name, value in changes if name != "bits"})


def test_a_refusal_says_how_much_of_what_for_what() -> None:
    machine = replace(GPU, limit=2 * 10**9)
    with pytest.raises(MemoryBudgetError) as refused:
        check(CONFIG, 1_240_000_000, Work((2048, 2048), 1500, 2), machine)
    message = str(refused.value)
    assert "needed for 2048x2048, 1500 positions, 2 at a time (weights 1.24" in message
    assert "the limit is 2.00 GB. Any of these would fit: resolution" in message


def test_a_model_may_be_loaded_though_its_own_resolution_does_not_fit() -> None:
    """Since every request can choose another one."""
    machine = replace(GPU, limit=15 * 10**8)
    check(CONFIG, 11 * 10**8, LEAST_WORK, machine)
    with pytest.raises(MemoryBudgetError, match="fit: .*resolution 768x768"):
        check(CONFIG, 11 * 10**8, usual_work(CONFIG), machine)


def test_where_no_setting_helps_it_is_said() -> None:
    with pytest.raises(MemoryBudgetError, match="No setting of this model fits"):
        check(CONFIG, 10**9, usual_work(CONFIG), replace(GPU, limit=10**6))


# --- precisions -------------------------------------------------------------------


def test_fewer_bits_take_less_where_weights_stay_packed() -> None:
    whole = 2_000_000_000
    sizes = [precision_bytes(CONFIG, whole, bits, GPU) for bits in PRECISIONS]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == whole


def test_the_cpu_unpacks_what_takes_half_of_its_memory_at_most() -> None:
    whole = 2_500_000_000
    assert precision_bytes(CONFIG, whole, 4, CPU) == whole
    little = replace(CPU, limit=3 * 10**9)
    assert precision_bytes(CONFIG, whole, 4, little) < whole
