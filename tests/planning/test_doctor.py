"""What is judged slow, and the way out that is named."""

from dataclasses import replace

import pytest

from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.planning import doctor
from fastvlm_mlx.planning.doctor import Facts, advise, bandwidth, look, matmul_rate

MAC = Facts(
    system="Darwin arm64",
    python="3.12.1",
    mlx="0.32.4",
    mlx_lm="0.32.2",
    backend="metal",
    device="Apple M4 Max",
    architecture="applegpu_g16s",
    emulates_bfloat16=False,
    memory=64 << 30,
    usable=48 << 30,
    openblas=None,
    compiler=None,
    kernels=False,
    rosetta=False,
)
LINUX = replace(
    MAC,
    system="Linux x86_64",
    backend="cpu",
    device="",
    architecture="",
    openblas="libopenblas.so.0",
    compiler="/usr/bin/g++",
)


def test_a_mac_in_order_gets_no_advice() -> None:
    assert list(advise(MAC, 1e13)) == []


def test_a_linux_machine_in_order_is_told_that_it_has_no_gpu() -> None:
    (only,) = advise(LINUX, 1e11)
    assert "no GPU" in only and "--resolution" in only


def test_a_blas_that_is_fast_needs_no_name() -> None:
    """MLX built with a BLAS inside shows none, and lacks nothing."""
    (only,) = advise(replace(LINUX, openblas=None), 1e11)
    assert "no GPU" in only


@pytest.mark.parametrize(
    ("facts", "matmul", "trouble", "cure"),
    [
        (replace(LINUX, openblas=None), 5e9, "20 times slower", "cmeel-openblas"),
        (LINUX, 5e9, "reaches 5 GFLOP/s", "OPENBLAS_NUM_THREADS"),
        (replace(LINUX, compiler=None), None, "no g++", "apt install g++"),
        (replace(MAC, rosetta=True), None, "translated", "Apple silicon"),
        (replace(MAC, mlx="0.28.0"), None, "older than 0.32", "pip install --upgrade"),
        (replace(MAC, mlx="0.9.dev1"), None, "older than", "pip install --upgrade"),
        (replace(MAC, emulates_bfloat16=True), None, "emulate bfloat16", "float16"),
        (replace(MAC, usable=5 << 30), None, "5.4 GB", "fastvlm-mlx plan"),
    ],
)
def test_each_trouble_comes_with_its_cure(
    facts: Facts, matmul: float | None, trouble: str, cure: str
) -> None:
    said = [line for line in advise(facts, matmul) if trouble in line]
    assert len(said) == 1 and cure in said[0]


def test_the_facts_of_this_machine() -> None:
    facts = look()
    assert facts.mlx.startswith("0.") and facts.memory >= facts.usable > 0
    assert not facts.rosetta


def test_a_translated_python_is_known_by_the_name_of_its_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor.sys, "platform", "darwin")  # type: ignore[attr-defined]
    monkeypatch.setattr(doctor.platform, "machine", lambda: "x86_64")  # type: ignore[attr-defined]
    for brand, translated in (("Apple M2", True), ("Intel(R) Core(TM) i7", False)):
        monkeypatch.setattr(doctor, "_brand", lambda brand=brand: brand)
        assert look().rosetta == translated


def test_rates_are_positive() -> None:
    """One run each: what they come to is this machine's affair."""
    assert matmul_rate(mx.float32, seconds=0) > 0
    assert matmul_rate(mx.bfloat16, seconds=0) > 0
    assert bandwidth(seconds=0) > 0
