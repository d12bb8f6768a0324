"""The benchmarks' own arithmetic, and the pipe to a peer; nothing is timed."""

import sys
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from benchmarks import roofline
from benchmarks.graph import count, moved, one_kernel_each, prefills
from benchmarks.measuring.geometry import LANGUAGE_MODELS
from benchmarks.peers import Peer, Unavailable
from benchmarks.roofline import predict, published
from fastvlm_mlx.config import FASTVITHD, TextConfig
from fastvlm_mlx.device import blas
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.planning.cost import PEAKS, encode_cost, language_cost
from fastvlm_mlx.planning.published import PUBLISHED, Published


def test_multiply_adds_of_an_encode() -> None:
    """FastViTHD: 243 G at 1024 pixels and 125 M parameters."""
    whole = encode_cost(FASTVITHD, (1024, 1024))
    assert whole.multiply_adds == pytest.approx(243e9, rel=0.01)
    assert 120e6 < whole.weights < 130e6
    quarter = encode_cost(FASTVITHD, (512, 512))
    assert quarter.multiply_adds == pytest.approx(whole.multiply_adds / 4, rel=0.03)
    assert quarter.weights == whole.weights


def test_a_token_reads_every_weight_once() -> None:
    token = language_cost(LANGUAGE_MODELS["0.5B"], rows=1, context=1, causal=True)
    assert token.weights == pytest.approx(494e6, rel=0.01)
    assert token.multiply_adds == pytest.approx(token.weights, rel=0.01)


def test_a_prediction_is_bound_by_what_is_slower() -> None:
    found = predict(PEAKS["Apple M1"], LANGUAGE_MODELS["0.5B"], 1024, bits=4)
    parts = found["encode ms"] + found["prefill ms"]
    assert found["first token ms"] == pytest.approx(parts)
    faster = predict(PEAKS["Apple M1 Max"], LANGUAGE_MODELS["0.5B"], 1024, bits=4)
    # four times the arithmetic, almost six times the bandwidth
    assert found["encode ms"] / faster["encode ms"] == pytest.approx(4, rel=0.01)
    assert faster["tokens/s"] / found["tokens/s"] == pytest.approx(400 / 68.25)


def test_what_others_measured_stands_below_its_chip(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["roofline", "--bits", "16"])
    roofline.main()
    lines = capsys.readouterr().out.splitlines()
    for chip, figures in (
        ("Apple M1 Max", "first token ms 166.8"),
        ("Apple M1 Ultra", "first token ms 171.8, tokens/s 284.6"),
        ("Apple M5 Max", "first token ms 107.1, tokens/s 394.1"),
    ):
        place = next(n for n, line in enumerate(lines) if line.startswith(chip + " "))
        assert figures in lines[place + 1] and "MEASURED by" in lines[place + 1]
    assert sum("MEASURED by" in line for line in lines) == 3
    assert published("Apple M1 Max", "0.5B", 512) == []


@pytest.mark.parametrize("each", PUBLISHED, ids=lambda each: f"{each.chip} {each.size}")
def test_nobody_is_said_to_beat_the_bound(each: Published) -> None:
    """Arithmetic and weights at the chip's peaks take less than what was measured."""
    config = LANGUAGE_MODELS[each.size.upper()]
    encode = encode_cost(FASTVITHD, (1024, 1024))
    cost = encode + language_cost(config, 256, 256, causal=True)
    bound = cost.flops / PEAKS[each.chip].flops
    assert 1000 * bound < each.first_token
    if each.tokens_per_second is not None:
        moved = 2 * language_cost(config, 1, 280, causal=True).weights
        assert each.tokens_per_second < PEAKS[each.chip].bandwidth / moved


def test_views_are_no_kernels() -> None:
    x = mx.ones((4, 8))
    weight = mx.ones((8,))
    mx.eval(x, weight)
    assert count(mx.exp(x.T)) == {"nodes": 2, "kernels": 1}
    with one_kernel_each("rms_norm"):
        assert count(mx.fast.rms_norm(x, weight, 1e-5)) == {"nodes": 1, "kernels": 1}


def test_bytes_that_kernels_move() -> None:
    """Exp reads and writes 32 numbers; the product reads a scalar besides."""
    x = mx.ones((4, 8))
    assert moved(lambda x: mx.exp(x.T), x)["passes"] == 2 * 128
    assert moved(lambda x: mx.exp(x.T) * 2, x)["passes"] == 2 * 128 + 2 * 128 + 4
    row = mx.random.normal((8,))
    mx.eval(row)  # broadcast, but read once
    assert moved(lambda x: x + row, x) == {"passes": 2 * 128 + 32, "arithmetic": 0}
    product = moved(lambda x: x @ x.T, x)  # 4 x 4 numbers come out
    assert product == {"passes": 0, "arithmetic": 2 * 128 + 64}


def test_a_head_on_every_position_is_a_third_more() -> None:
    """896 x 151 936 multiply-adds for each of 279 positions besides the last."""
    last, every = prefills(LANGUAGE_MODELS["0.5B"], 1024, bits=4).values()
    assert every["GFLOP"] - last["GFLOP"] == pytest.approx(
        2e-9 * 279 * 896 * 151936, rel=1e-6
    )
    assert 1.3 < every["GFLOP"] / last["GFLOP"] < 1.4


TINY = TextConfig(
    model_type="qwen2",
    hidden_size=64,
    num_hidden_layers=1,
    intermediate_size=64,
    num_attention_heads=2,
    num_key_value_heads=1,
    vocab_size=64,
    tie_word_embeddings=True,
)


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer(sys.executable, "mlx-lm", blas.__file__)
    yield peer
    peer.close()


def test_a_peer_does_its_job_or_says_why_not(peer: Peer) -> None:
    request = {
        "job": "prefill",
        "positions": 5,
        "dtype": "float32",
        "bits": 4,
        "text": asdict(TINY),
    }
    assert peer.seconds(request) > 0
    with pytest.raises(Unavailable, match="encode"):
        peer.seconds({**request, "job": "encode"})
    assert peer.seconds({**request, "job": "decode", "tokens": 2}) > 0


def test_a_peer_that_cannot_start_is_unavailable() -> None:
    peer = Peer(sys.executable, "no such peer", None)
    with pytest.raises(Unavailable, match="ended"):
        peer.seconds({"job": "prefill"})
    peer.close()
