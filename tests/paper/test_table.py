"""Tables beside the paper's."""

import pytest

from benchmarks.paper import table
from benchmarks.paper.prefill import Prefill
from benchmarks.paper.table import Row


def test_a_method_without_a_decoder_has_its_encoder_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = {"MM1": Row(2.5, None)}
    assert table.measured_ttft(rows) == {}
    table.print_table(rows)
    table.print_headlines(rows)
    table.print_scaled(rows)
    printed = capsys.readouterr().out
    assert "| MM1 | 720 |" in printed and "| 2500 | – | – | – | – |" in printed


def test_encoders_are_divided_by_fastvithd(capsys: pytest.CaptureFixture[str]) -> None:
    table.print_encoders({("FastViTHD", 1024): 2.0, ("ViT-g/14", 224): 3.0})
    printed = capsys.readouterr().out
    assert "| ViT-g/14 | 224 | 256 | 1012.6 | 3000 | 1.50 |" in printed
    table.print_encoders({("ViT-g/14", 224): 3.0})
    assert "| 3000 | – |" in capsys.readouterr().out


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
