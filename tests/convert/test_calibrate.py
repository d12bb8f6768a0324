"""A calibrated model: as large as a plain one, of the same form, and nearer."""

from pathlib import Path

import pytest

from convert import ConversionReport, Recipe, convert_checkpoint
from convert.quality import read_examinee
from fastvlm_mlx.errors import OptionError, PromptError
from fastvlm_mlx.model_folder import load_config
from fastvlm_mlx.weights import load_model
from tests.convert.folders import GOLDENS, edit_json

SOURCE = Path(__file__).parents[2] / "benchmarks" / "nano" / "checkpoint"


FEW = 4


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for what does not depend on the number."""
    monkeypatch.setattr("convert.calibrate.CALIBRATED_SAMPLES", FEW)


def convert(
    source: Path, target: Path, calibrate: bool, samples: int = FEW
) -> ConversionReport:
    recipe = Recipe(3, calibrate=calibrate)
    return convert_checkpoint(source, target, recipe=recipe, quality_samples=samples)


@pytest.mark.parametrize("samples", [16, pytest.param(32, marks=pytest.mark.drills)])
def test_nano_loses_less_at_equal_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: int
) -> None:
    """On pictures and questions that it was not calibrated with."""
    monkeypatch.setattr("convert.calibrate.CALIBRATED_SAMPLES", samples)
    plain = convert(SOURCE, tmp_path / "plain", False, samples)
    ours = convert(SOURCE, tmp_path / "ours", True, samples)
    assert ours.bytes_written == plain.bytes_written
    assert ours.config == plain.config
    assert ours.quality is not None and plain.quality is not None
    assert ours.quality.kl_divergence < 0.7 * plain.quality.kl_divergence
    load_model(tmp_path / "ours", load_config(tmp_path / "ours"))


@pytest.mark.parametrize("name", ["apple-train", "fast_vlm-fused"])
def test_only_the_layers_of_the_language_model_differ(
    name: str, tmp_path: Path
) -> None:
    recipes = (Recipe(4, 32), Recipe(4, 32, calibrate=True))
    for number, recipe in enumerate(recipes):
        convert_checkpoint(
            GOLDENS / name, tmp_path / str(number), recipe=recipe, quality_samples=0
        )
    plain, ours = (
        read_examinee(tmp_path / str(number), "float32").model for number in range(2)
    )
    head = plain.language_model.model.embed_tokens.weight
    assert (head == ours.language_model.model.embed_tokens.weight).all().item()
    for before, after in zip(
        plain.language_model.layers, ours.language_model.layers, strict=True
    ):
        assert (before.mlp.up_proj.weight != after.mlp.up_proj.weight).any().item()
        assert (before.self_attn.q_proj.bias == after.self_attn.q_proj.bias).all()


def test_progress_only_goes_forward(source: Path, tmp_path: Path) -> None:
    """Answering, calibrating and judging are one bar."""
    seen: list[tuple[int, int]] = []
    convert_checkpoint(
        source,
        tmp_path / "out",
        recipe=Recipe(4, 32, calibrate=True),
        quality_samples=2,
        judging=lambda done, total: seen.append((done, total)),
    )
    assert {total for _, total in seen} == {300}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[0][0] == 50 and seen[-1][0] == 300


def test_a_model_too_large_for_the_machine(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convert.quantize.host_memory", lambda: 1000)
    with pytest.raises(OptionError, match="cannot be calibrated here"):
        convert(source, tmp_path / "out", calibrate=True)
    assert not (tmp_path / "out").exists()


def test_a_model_too_short_for_the_questions(source: Path, tmp_path: Path) -> None:
    edit_json(source / "config.json", tokenizer_model_max_length=10)
    with pytest.raises(PromptError, match="the model has 10"):
        convert(source, tmp_path / "out", calibrate=True)
    assert not (tmp_path / "out").exists()
