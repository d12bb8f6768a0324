"""`fastvlm-mlx inspect`, in words and as JSON."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fastvlm_mlx import cli

Captured = pytest.CaptureFixture[str]


def test_inspect_in_words(
    golden_source: Callable[[str], Path], capsys: Captured
) -> None:
    assert cli.main(["inspect", str(golden_source("apple-train"))]) == 0
    out = capsys.readouterr().out
    for line in (
        "layout      llava_qwen2",
        "language    qwen2, 2 layers of 64, 384 tokens, tied head",
        "to fold     44 BatchNorms",
        "tower stage 4",
    ):
        assert line in out


def test_inspect_as_json(capsys: Captured) -> None:
    assert cli.main(["inspect", "nano", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["layout"] == "fused"
    assert found["tokens"]["256"] == 16
    assert found["parts"][0]["name"] == "tower stem"
    assert found["missing"] is None


def test_inspect_what_is_no_model(tmp_path: Path, capsys: Captured) -> None:
    assert cli.main(["inspect", str(tmp_path)]) == 2
    assert "has no model.safetensors" in capsys.readouterr().err
