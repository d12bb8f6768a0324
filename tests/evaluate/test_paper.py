"""Rows of the paper by names of checkpoints."""

import pytest

from fastvlm_mlx.evaluate.paper import paper_row


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("apple/FastVLM-0.5B", "R5"),
        ("llava-fastvithd_0.5b_stage2", "R4"),
        ("/models/llava-fastvithd_1.5b_stage3", "R13"),
        ("FastVLM-1.5B-stage2", "R12"),
        ("FastVLM-7B-int4", "R42"),
        ("out/fastvlm_0.5b_stage3-4bit-mlx/", "R5"),
        ("llava-fastvithd_7b_stage2", "R41"),
    ],
)
def test_checkpoints(name: str, row: str) -> None:
    found = paper_row(["somewhere", name])
    assert found is not None and found.row == row


@pytest.mark.parametrize(
    "name",
    [
        "nano",
        "FastVLM-3B",
        "llava-v1.5-7b",
        "",
        "FastVLM-0.5B-receipts",
        "my-FastVLM-7B",
    ],
)
def test_other_models(name: str) -> None:
    assert paper_row([name]) is None


def test_figures() -> None:
    found = paper_row(["apple/FastVLM-0.5B"])
    assert found is not None
    assert found.scores["textvqa"] == 65.8
    assert found.scores["infovqa"] == 43.3
    assert found.card["docvqa"] == 82.5
