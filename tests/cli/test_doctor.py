"""`fastvlm-mlx doctor`, in words and as JSON."""

import json

import pytest

from fastvlm_mlx import cli

Captured = pytest.CaptureFixture[str]


@pytest.mark.usefixtures("measured_at_once")
def test_doctor_says_what_runs_here(capsys: Captured) -> None:
    assert cli.main(["doctor"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for part in ("machine", "MLX 0.", "memory", "100.0 GFLOP/s", "10.0 GB/s"):
        assert part in out


@pytest.mark.usefixtures("measured_at_once")
def test_doctor_as_json(capsys: Captured) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rates"]["float32"] == 1e11
    assert found["memory"] > 0 and isinstance(found["advice"], list)
