"""Where the time of one answer goes."""

import pytest

from fastvlm_mlx import FastVLM
from fastvlm_mlx.planning import measure
from fastvlm_mlx.planning.measure import WORDS, Parts


def test_the_parts_of_an_answer(vlm: FastVLM) -> None:
    parts = measure.measure(vlm.engine.model, vlm.engine.config, (64, 128), runs=1)
    assert parts.resolution == (64, 128)
    assert parts.positions == 2 + WORDS
    assert min(parts.pixels, parts.encode, parts.prefill, parts.decode) > 0
    assert parts.first_token == parts.pixels + parts.encode + parts.prefill


def test_medians_leave_out_the_first_run(
    vlm: FastVLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It compiles and reads what later runs find in place."""
    runs = iter([(9.0,) * 4, (1.0,) * 4, (2.0,) * 4, (5.0,) * 4])
    monkeypatch.setattr(measure, "_once", lambda *_: next(runs))
    monkeypatch.setattr(measure, "_photo", lambda: b"")
    found = measure.measure(vlm.engine.model, vlm.engine.config, (64, 64), runs=3)
    assert found == Parts((64, 64), 1 + WORDS, 2.0, 2.0, 2.0, 2.0)
