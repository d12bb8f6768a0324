"""Figures of loss: none for the same model, right for a known one, less with bits."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convert import Recipe, compare_folders, convert_checkpoint
from convert.quality import Answer, _compare, answers, judge, read_examinee
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.errors import CheckpointError
from tests.convert.folders import GOLDENS, edit_json

FEW = 4


@pytest.fixture
def whole(converted_golden: Callable[[str], Path]) -> Path:
    """A model at full precision."""
    return converted_golden("fast_vlm-train")


def test_a_model_loses_nothing_against_itself(whole: Path) -> None:
    found = compare_folders(whole, whole, count=FEW)
    assert (found.kl_divergence, found.largest_kl) == (0, 0)
    assert (found.top1_agreement, found.perplexity_ratio) == (1, 1)
    assert found.samples == FEW
    assert FEW <= found.positions <= 12 * FEW


def test_more_bits_lose_less(whole: Path, tmp_path: Path) -> None:
    divergences = []
    for bits in (2, 4, 8):
        recipe = Recipe(bits, 32, embed_bits=bits, head_bits=bits)
        report = convert_checkpoint(
            GOLDENS / "fast_vlm-train",
            tmp_path / str(bits),
            recipe=recipe,
            quality_samples=FEW,
        )
        assert report.quality is not None and report.unjudged is None
        divergences.append(report.quality.kl_divergence)
        found = compare_folders(whole, tmp_path / str(bits), count=FEW)
        assert found.kl_divergence == pytest.approx(divergences[-1], rel=1e-3)
    assert divergences[0] > divergences[1] > divergences[2] > 0


def test_the_figures_of_known_distributions() -> None:
    """Worked out by hand: two tokens, a fair coin against 1 to 3."""
    fair, biased = np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]])
    expected, found = (
        Answer((0,), mx.array(rows, mx.float32)) for rows in (fair, biased)
    )
    kl, same, lost = np.array(_compare(expected, found))[:, 0]
    assert kl == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3), abs=1e-6)
    assert same == 0  # of two equal ones the first counts
    assert lost == pytest.approx(np.log(2), abs=1e-6)


def test_the_answers_are_those_of_the_runtime(whole: Path) -> None:
    """The first model says what `generate` says to the same picture and question."""
    import fastvlm_mlx
    from convert.questions import sample_image, samples

    given = answers(read_examinee(whole, "float32"), 3)
    vlm = fastvlm_mlx.load(whole, dtype="float32")
    for answer, sample in zip(given, samples("judge", 3), strict=True):
        shown = sample_image("judge", sample.image)
        result = vlm.generate(shown, sample.question, max_tokens=12)
        ends = len(answer.token_ids) - len(result.token_ids)
        assert answer.token_ids[: len(result.token_ids)] == result.token_ids
        assert ends == (result.finish_reason == "stop")


def test_the_second_model_is_led(whole: Path) -> None:
    """Whatever it would say itself, it is asked about the first one's tokens."""
    examinee = read_examinee(whole, "float32")
    given = answers(examinee, 2)
    other = [replace(each, token_ids=each.token_ids[::-1]) for each in given]
    assert judge(given, examinee).kl_divergence == 0
    if any(a.token_ids != b.token_ids for a, b in zip(given, other, strict=True)):
        assert judge(other, examinee).kl_divergence > 0


def test_progress_counts_both_passes(whole: Path) -> None:
    seen: list[tuple[int, int]] = []
    compare_folders(
        whole,
        whole,
        count=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(50, 200), (100, 200), (150, 200), (200, 200)]


def test_other_tokenizers_cannot_be_compared(whole: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(whole, tmp_path / "other"))
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    edit_json(other / "tokenizer.json", added_tokens=tokenizer["added_tokens"][:-1])
    with pytest.raises(CheckpointError, match="have different tokenizers"):
        compare_folders(whole, other, count=1)


def test_other_vocabularies_cannot_be_compared() -> None:
    one, other = (Answer((0,), mx.zeros((1, size))) for size in (4, 5))
    with pytest.raises(CheckpointError, match="4 and 5 tokens"):
        _compare(one, other)


def test_judging_can_be_switched_off(source: Path, tmp_path: Path) -> None:
    report = convert_checkpoint(
        source, tmp_path / "out", recipe=Recipe(4), quality_samples=0
    )
    assert (report.quality, report.unjudged) == (None, "switched off")


def test_nothing_is_judged_that_is_whole(source: Path, tmp_path: Path) -> None:
    report = convert_checkpoint(source, tmp_path / "out")
    assert (report.quality, report.unjudged) == (None, None)


def test_what_is_too_large_for_the_machine_says_so(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convert.quantize.host_memory", lambda: 1000)
    report = convert_checkpoint(source, tmp_path / "out", recipe=Recipe(4))
    assert report.quality is None
    assert report.unjudged is not None
    assert "more than half of this machine's memory" in report.unjudged
    assert "--bits 8 as well" in report.unjudged


def test_a_model_too_short_for_the_questions_says_so(
    source: Path, tmp_path: Path
) -> None:
    edit_json(source / "config.json", tokenizer_model_max_length=10)
    report = convert_checkpoint(source, tmp_path / "out", recipe=Recipe(4))
    assert report.quality is None
    assert "a built-in question does not fit" in str(report.unjudged)
