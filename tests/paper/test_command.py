"""python -m benchmarks.paper, with times made up."""

import pytest

from benchmarks.paper import __main__ as paper
from benchmarks.paper.decoders import DECODERS
from benchmarks.paper.effort import Effort
from fastvlm_mlx.config import TextConfig

TINY = TextConfig(
    model_type="qwen2",
    hidden_size=32,
    num_hidden_layers=4,
    intermediate_size=64,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=50,
)


def test_the_command_measures_each_part_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten tiles of one picture, and the decoder's seconds, in one line."""
    monkeypatch.setattr(paper, "encode_seconds", lambda encoder, side, effort: 0.5)
    monkeypatch.setattr(paper, "DECODERS", dict.fromkeys(DECODERS, TINY))
    monkeypatch.setattr(Effort, "seconds", lambda effort, job: 0.25)
    names = ["LLaVA-OneVision 0.5B", "nanoLLaVA", "MM1"]
    monkeypatch.setattr("sys.argv", ["paper", "--quick", "--methods", *names])
    paper.main()
    printed = capsys.readouterr().out
    assert printed.count("encode SigLIP-SO400M 384: 500 ms") == 1
    row = next(line for line in printed.splitlines() if "| LLaVA-One" in line)
    assert "| 5000 | 7500 | 12500 |" in row  # 15 chunks, twice the two layers
    row = next(line for line in printed.splitlines() if "| MM1" in line)
    assert "| 2500 | – | – |" in row  # five views, and a decoder nobody published


def test_encoders_can_be_measured_by_themselves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paper, "encode_seconds", lambda encoder, side, effort: 0.5)
    monkeypatch.setattr("sys.argv", ["paper", "--quick", "--encoders"])
    paper.main()
    printed = capsys.readouterr().out
    for name, side in (("EVA-02-L/14", 336), ("ViT-H/14", 378), ("ViT-H/14", 672)):
        assert printed.count(f"encode {name} {side}: 500 ms") == 1
    assert "prefill" not in printed
