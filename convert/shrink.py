"""Whole weights in, those of a recipe out, with what that costs."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fastvlm_mlx.config import FastVLMConfig
from fastvlm_mlx.errors import PromptError
from fastvlm_mlx.memory import host_memory
from fastvlm_mlx.prompt import ChatTokenizer
from fastvlm_mlx.weights import build_model

from .layout import Weights
from .quality import (
    Answer,
    Asked,
    Examinee,
    Quality,
    answers,
    in_halves,
    judge,
    judging_dtype,
)
from .quantize import quantize
from .recipe import Recipe
from .tokenizer import TokenizerFiles


@dataclass(frozen=True)
class Shrunk:
    """Weights in few bits, and what became of the model."""

    weights: Weights
    config: FastVLMConfig
    left: Mapping[str, str]  # matrix that the recipe covers -> why it stays whole
    quality: Quality | None  # against the weights before, at full precision
    unjudged: str | None  # why there is no quality


def shrink(
    weights: Weights,
    config: FastVLMConfig,
    files: TokenizerFiles,
    recipe: Recipe,
    samples: int,
    progress: Asked,
) -> Shrunk:
    """Quantize a network's weights and judge the result.

    Args:
        samples: questions to judge with; 0 does not judge.
        progress: called with the questions answered so far and in all.

    Raises:
        OptionError: the recipe fits no matrix.
    """
    dtype = judging_dtype(_parameters(weights))
    given: list[Answer] = []
    unjudged = _reason_not_to_judge(weights, samples, dtype)
    if unjudged is None:
        examinee = _examinee(weights, config, files, dtype)
        try:
            given = answers(examinee, samples, in_halves(progress, 0))
        except PromptError as error:
            unjudged = f"a built-in question does not fit: {error}"
        del examinee  # before the second model is built
    quantized = quantize(weights, recipe)
    fits_float16 = config.fits_float16 and quantized.fits_float16
    config = replace(config, quantization=quantized.config, fits_float16=fits_float16)
    quality = None
    if given:
        examinee = _examinee(quantized.weights, config, files, dtype)
        quality = judge(given, examinee, in_halves(progress, 1))
    return Shrunk(quantized.weights, config, quantized.left, quality, unjudged)


def _reason_not_to_judge(
    weights: Weights, samples: int, dtype: str | None
) -> str | None:
    """Said aloud: a conversion without figures must not look like one with them."""
    if not samples:
        return "switched off"
    needed = _parameters(weights) * (4 if dtype == "float32" else 2)
    room = host_memory() // 2
    if needed <= room:
        return None
    return (
        f"at full precision the model takes {needed / 1e9:.1f} GB, more than half of "
        f"this machine's memory ({room / 1e9:.1f} GB); to have a figure, convert with "
        "--bits 8 as well and compare the two folders with `fastvlm-mlx quality`"
    )


def _parameters(weights: Weights) -> int:
    return sum(array.size for array in weights.values())


def _examinee(
    weights: Weights, config: FastVLMConfig, files: TokenizerFiles, dtype: str | None
) -> Examinee:
    with tempfile.TemporaryDirectory() as folder:
        files.write(Path(folder))
        tokenizer = ChatTokenizer(Path(folder), config)
    model = build_model(config, weights, "the converted model", dtype)
    return Examinee(model, tokenizer, config)
