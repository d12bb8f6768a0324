"""`fastvlm-mlx plan`: every precision on every Mac."""

import json
import re

import pytest

from fastvlm_mlx import cli

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize("model", ["0.5b", "7B", "nano"])
def test_plan_shows_every_precision_on_every_mac(model: str, capsys: Captured) -> None:
    assert cli.main(["plan", model]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for mac in ("8 GB", "16 GB", "24 GB", "32 GB", "64 GB"):
        assert mac in out
    for bits in (16, 8, 6, 4):
        assert len(re.findall(rf"^ +{bits}  ", out, re.MULTILINE)) == 2


def test_plan_says_where_the_largest_model_fits(capsys: Captured) -> None:
    assert cli.main(["plan", "7b"]) == 0
    macs = capsys.readouterr().out.split("On this machine")[0].splitlines()
    fits = {line.split()[0]: line.split()[-5:] for line in macs if "yes" in line}
    assert fits["16"] == ["no", "no", "yes", "yes", "yes"]
    assert fits["4"] == ["yes"] * 5


def test_plan_as_json_follows_its_settings(capsys: Captured) -> None:
    words = ["plan", "0.5b", "--json", "--memory-limit", "1GB"]
    totals = []
    for more in ([], ["--resolution", "2048"], ["--context", "9999", "--batch", "9"]):
        assert cli.main([*words, *more]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["limit"] == 10**9
        totals.append(found["mac"]["4"]["total"])
    assert totals[0] < min(totals[1:])
    assert found["work"] == {
        "resolution": [1024, 1024],
        "views": 1,
        "positions": 9999,
        "batch": 9,
    }


@pytest.mark.parametrize(
    "words",
    [
        ["missing"],
        ["0.5b", "--resolution", "100"],
        ["0.5b", "--context", "0"],
        ["0.5b", "--batch", "-1"],
        ["0.5b", "--memory-limit", "much"],
    ],
)
def test_plan_refuses_in_one_line(words: list[str], capsys: Captured) -> None:
    assert cli.main(["plan", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
