"""`fastvlm-mlx quality`: two folders compared."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fastvlm_mlx import cli

Captured = pytest.CaptureFixture[str]


def test_quality_of_two_folders(
    converted_golden: Callable[[str], Path], capsys: Captured
) -> None:
    folder = str(converted_golden("apple-train"))
    assert cli.main(["quality", folder, folder, "--samples", "2"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("KL divergence 0 nats per token, 0 at most\n")
    assert "same first choice at 100.0% of" in out
    assert err == ""
    assert cli.main(["quality", folder, folder, "--samples", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kl_divergence"] == 0 and found["samples"] == 1


def test_quality_needs_two_forms_of_one_model(
    converted_golden: Callable[[str], Path], capsys: Captured
) -> None:
    assert cli.main(["quality", "nano", str(converted_golden("apple-train"))]) == 2
    assert "have different tokenizers" in capsys.readouterr().err
    assert cli.main(["quality", "nano", "nano", "--samples", "0"]) == 2
    assert "0 samples; expected 1 to 256" in capsys.readouterr().err
