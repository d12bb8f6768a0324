"""Whole weights in, those of a recipe out, with what that costs."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fastvlm_mlx.config import FastVLMConfig
from fastvlm_mlx.device.backend import mx
from fastvlm_mlx.device.memory import host_memory
from fastvlm_mlx.errors import OptionError, PromptError
from fastvlm_mlx.text.tokenizer import ChatTokenizer
from fastvlm_mlx.timings import Progress
from fastvlm_mlx.weights import build_model

from .calibrate import calibrate
from .layout import Weights
from .packing import pack_chosen, plan
from .quality import (
    Answer,
    Examinee,
    Quality,
    answers,
    in_parts,
    judge,
    judging_dtype,
)
from .recipe import Recipe
from .tokenizer import TokenizerFiles


@dataclass(frozen=True)
class Quantized:
    """Weights in few bits, and what became of the model."""

    weights: Weights
    config: FastVLMConfig
    left: Mapping[str, str]  # matrix that the recipe covers -> why it stays whole
    quality: Quality | None  # against the weights before, at full precision
    unjudged: str | None  # why there is no quality


def quantize(
    weights: Weights,
    config: FastVLMConfig,
    files: TokenizerFiles,
    recipe: Recipe,
    samples: int,
    progress: Progress,
) -> Quantized:
    """Quantize a network's weights and judge the result.

    Args:
        weights: none of them packed, whatever the config says of the source.
        samples: questions to judge with; 0 does not judge.
        progress: called with steps of answering, calibrating and judging done so far
            and in all.

    Raises:
        OptionError: the recipe fits no matrix, or the model is too large for this
            machine to be calibrated.
    """
    config = replace(config, quantization=None)
    decided = plan(weights, recipe)
    dtype = judging_dtype(_parameters(weights))
    obstacle = _obstacle(weights, dtype)
    if recipe.calibrate and obstacle:
        raise OptionError(f"A model cannot be calibrated here: {obstacle}.")
    unjudged = obstacle if samples else "switched off"
    parts = 3 if recipe.calibrate else 2
    given: list[Answer] = []
    packed: dict[str, Weights] = {}
    if recipe.calibrate or unjudged is None:
        whole = _examinee(weights, config, files, dtype)
        if unjudged is None:
            given, unjudged = _answers(whole, samples, in_parts(progress, 0, parts))
        if recipe.calibrate:  # last, since it changes the model
            packed = calibrate(
                whole, weights, decided.chosen, in_parts(progress, 1, parts)
            )
        del whole  # before the second model is built
        mx.clear_cache()
    done = pack_chosen(weights, decided.chosen, packed)
    fits_float16 = config.fits_float16 and done.fits_float16
    config = replace(config, quantization=done.config, fits_float16=fits_float16)
    quality = None
    if given:
        examinee = _examinee(done.weights, config, files, dtype)
        quality = judge(given, examinee, in_parts(progress, parts - 1, parts))
    return Quantized(done.weights, config, decided.left, quality, unjudged)


def _answers(
    whole: Examinee, samples: int, progress: Progress
) -> tuple[list[Answer], str | None]:
    """What the model says at full precision, or why it cannot be asked."""
    try:
        return answers(whole, samples, progress), None
    except PromptError as error:
        return [], f"a built-in question does not fit the model ({error})"


def _obstacle(weights: Weights, dtype: str | None) -> str | None:
    """Why a whole model cannot be run, said aloud: no figure must not look like one."""
    needed = _parameters(weights) * (4 if dtype == "float32" else 2)
    room = host_memory() // 2
    if needed <= room:
        return None
    return (
        f"at full precision it takes {needed / 1e9:.1f} GB, more than half of this "
        f"machine's memory ({room / 1e9:.1f} GB). For a figure, convert with --bits 8 "
        "as well and compare both folders with `fastvlm-mlx quality`"
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
